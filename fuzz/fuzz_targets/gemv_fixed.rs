//! Every kernel multiplies any matrix by any finite vector as fixed point is defined, bit for bit, and refuses the others.

#![no_main]

use libfuzzer_sys::fuzz_target;
use qk256_verify::fuzz::{Target, run};

fuzz_target!(|data: &[u8]| run(Target::GemvFixed, data));
