//! Every kernel multiplies any matrix and vector as the ladder demands.

#![no_main]

qk256_fuzz::target!("gemv");
