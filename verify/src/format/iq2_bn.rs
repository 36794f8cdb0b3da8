//! `iq2_bn`: an f32 scale before each row, then blocks of 64 elements in 16 bytes, 16 of them in each pair of bits.

use super::{BitOrder, Coding, Format, Number, Plain, Scale};
use crate::activations::I8;

/// Ternary weights of ik_llama.cpp.
pub const IQ2_BN: Format = Format {
    name: "iq2_bn",
    origin: "ik_llama.cpp",
    block_len: 64,
    block_bytes: 16,
    coding: Coding::Plain(Plain {
        bits: 2,
        codes_at: 0,
        group: 16,
        order: BitOrder::LsbFirst,
        values: &[-1, 0, 1, 2],
        scale: Scale::BeforeRow(Number::F32),
    }),
    activations: Some(&I8),
};
