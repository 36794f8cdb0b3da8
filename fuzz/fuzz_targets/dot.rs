//! Every kernel multiplies weights of its format and quantised activations as it must.

#![no_main]

qk256_fuzz::target!("dot");
