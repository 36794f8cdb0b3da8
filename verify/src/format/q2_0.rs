//! `q2_0`: 64 elements in 18 bytes, an f16 scale and then four codes a byte, the first in the least significant bits.

use super::{BitOrder, Coding, Format, Number, Plain, Scale};
use crate::activations::Q8_0;

/// 2-bit weights of ggml, -1 to 2.
pub const Q2_0: Format = Format {
    name: "q2_0",
    origin: "ggml",
    block_len: 64,
    block_bytes: 18,
    coding: Coding::Plain(Plain {
        bits: 2,
        codes_at: 2,
        group: 1,
        order: BitOrder::LsbFirst,
        values: &[-1, 0, 1, 2],
        scale: Scale::InBlock(0, Number::F16),
    }),
    activations: Some(&Q8_0),
};
