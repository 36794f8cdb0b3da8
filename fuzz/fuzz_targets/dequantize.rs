//! Every kernel dequantizes any blocks and scales as the oracle does.

#![no_main]

use libfuzzer_sys::fuzz_target;
use qk256_verify::fuzz::{Target, run};

fuzz_target!(|data: &[u8]| run(Target::Dequantize, data));
