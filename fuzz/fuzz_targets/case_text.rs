//! No text breaks the parser of cases, and what it takes survives printing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use qk256_verify::fuzz::{Target, run};

fuzz_target!(|data: &[u8]| run(Target::CaseText, data));
