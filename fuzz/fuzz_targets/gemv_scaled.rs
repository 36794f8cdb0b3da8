//! Every kernel multiplies any scaled matrix and vector as the ladder demands.

#![no_main]

qk256_fuzz::target!("gemv_scaled");
