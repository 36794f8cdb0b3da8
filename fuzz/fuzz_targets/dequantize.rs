//! Every kernel dequantizes any blocks and scales as the oracle does.

#![no_main]

qk256_fuzz::target!("dequantize");
