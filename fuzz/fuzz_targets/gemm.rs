//! Every kernel multiplies a matrix of its format and a batch of vectors as it must, each vector by itself.

#![no_main]

qk256_fuzz::target!("gemm");
