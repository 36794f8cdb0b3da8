//! `q4_0`: 32 elements in 18 bytes, an f16 scale and then 16 bytes: low nibbles hold the first half of the elements, high ones the second.

use super::{BitOrder, Coding, Format, Number, Plain, Scale};
use crate::activations::Q8_0;

/// 4-bit weights of ggml, -8 to 7.
pub const Q4_0: Format = Format {
    name: "q4_0",
    origin: "ggml",
    block_len: 32,
    block_bytes: 18,
    coding: Coding::Plain(Plain {
        bits: 4,
        codes_at: 2,
        group: 16,
        order: BitOrder::LsbFirst,
        values: &[-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7],
        scale: Scale::InBlock(0, Number::F16),
    }),
    activations: Some(&Q8_0),
};
