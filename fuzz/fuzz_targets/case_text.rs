//! No text breaks the parser of cases, and what it takes survives printing.

#![no_main]

qk256_fuzz::target!("case_text");
