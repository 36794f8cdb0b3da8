//! QK256: 256 elements in 64 bytes, 2 bits each, the first in the least significant bits (docs/format.md). The scales are apart.

use super::{BitOrder, Coding, Format, Plain, Scale};

/// The format of the kernels of this project.
pub const QK256: Format = Format {
    name: "qk256",
    origin: "this project",
    block_len: 256,
    block_bytes: 64,
    coding: Coding::Plain(Plain {
        bits: 2,
        codes_at: 0,
        group: 1,
        order: BitOrder::LsbFirst,
        values: &[-2, -1, 1, 2],
        scale: Scale::Separate,
    }),
    activations: None,
};
