//! The quantiser gives any values the codes and scales that the oracle demands, and refuses those that are not finite.

#![no_main]

qk256_fuzz::target!("quantize");
