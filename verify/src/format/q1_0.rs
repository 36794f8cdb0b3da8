//! `q1_0`: 128 elements in 18 bytes, an f16 scale and then eight signs a byte, the first in the least significant bit.

use super::{BitOrder, Coding, Format, Number, Plain, Scale};
use crate::activations::Q8_0;

/// 1-bit weights of ggml.
pub const Q1_0: Format = Format {
    name: "q1_0",
    origin: "ggml",
    block_len: 128,
    block_bytes: 18,
    coding: Coding::Plain(Plain {
        bits: 1,
        codes_at: 2,
        group: 1,
        order: BitOrder::LsbFirst,
        values: &[-1, 1],
        scale: Scale::InBlock(0, Number::F16),
    }),
    activations: Some(&Q8_0),
};
