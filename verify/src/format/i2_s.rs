//! `i2_s`: 128 elements in 32 bytes, 32 of them in each pair of bits, the first in the most significant ones.

use super::{BitOrder, Coding, Format, Plain, Scale};
use crate::activations::I8;

/// Ternary weights of bitnet.cpp on x86. Kernels multiply the codes themselves; the caller subtracts the sum of the activations and applies one f32 a tensor.
pub const I2_S: Format = Format {
    name: "i2_s",
    origin: "bitnet.cpp on x86",
    block_len: 128,
    block_bytes: 32,
    coding: Coding::Plain(Plain {
        bits: 2,
        codes_at: 0,
        group: 32,
        order: BitOrder::MsbFirst,
        values: &[0, 1, 2, 3],
        scale: Scale::None,
    }),
    activations: Some(&I8),
};
