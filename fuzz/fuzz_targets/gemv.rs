//! Every kernel multiplies any matrix and vector as the ladder demands.

#![no_main]

use libfuzzer_sys::fuzz_target;
use qk256_verify::fuzz::{Target, run};

fuzz_target!(|data: &[u8]| run(Target::Gemv, data));
