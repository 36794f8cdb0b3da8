//! Every kernel refuses wrong sizes before it touches memory.

#![no_main]

qk256_fuzz::target!("arguments");
