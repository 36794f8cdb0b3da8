//! Every kernel turns any codes into weights as the oracle does.

#![no_main]

qk256_fuzz::target!("lut");
