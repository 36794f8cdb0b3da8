//! Every kernel refuses wrong sizes before it touches memory.

#![no_main]

use libfuzzer_sys::fuzz_target;
use qk256_verify::fuzz::{Target, run};

fuzz_target!(|data: &[u8]| run(Target::Arguments, data));
