//! `i2_s_neon`: 64 elements in 16 bytes, 16 of them in each pair of bits, the first in the most significant ones.

use super::{BitOrder, Coding, Format, Plain, Scale};
use crate::activations::I8;

/// Ternary weights of bitnet.cpp on Arm, multiplied as those of `i2_s`.
pub const I2_S_NEON: Format = Format {
    name: "i2_s_neon",
    origin: "bitnet.cpp on Arm",
    block_len: 64,
    block_bytes: 16,
    coding: Coding::Plain(Plain {
        bits: 2,
        codes_at: 0,
        group: 16,
        order: BitOrder::MsbFirst,
        values: &[0, 1, 2, 3],
        scale: Scale::None,
    }),
    activations: Some(&I8),
};
