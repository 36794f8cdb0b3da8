//! Every kernel unpacks any bytes as the oracle does.

#![no_main]

qk256_fuzz::target!("unpack");
