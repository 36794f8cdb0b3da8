//! Every kernel multiplies any matrix by any finite vector as fixed point is defined, bit for bit, and refuses the others.

#![no_main]

qk256_fuzz::target!("gemv_fixed");
