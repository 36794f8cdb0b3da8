//! `tq2_0`: 256 elements in 66 bytes. Two groups of 32 bytes hold 128 codes each, 32 of them in each pair of bits; an f16 scale follows.

use super::{BitOrder, Coding, Format, Number, Plain, Scale};
use crate::activations::Q8_K;

/// Ternary weights of ggml. Its encoders never write code 3; kernels meet it all the same.
pub const TQ2_0: Format = Format {
    name: "tq2_0",
    origin: "ggml",
    block_len: 256,
    block_bytes: 66,
    coding: Coding::Plain(Plain {
        bits: 2,
        codes_at: 0,
        group: 32,
        order: BitOrder::LsbFirst,
        values: &[-1, 0, 1, 2],
        scale: Scale::InBlock(64, Number::F16),
    }),
    activations: Some(&Q8_K),
};
