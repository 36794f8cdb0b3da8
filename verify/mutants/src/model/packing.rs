//! How formats hold weights, decoded an element at a time.

use qk256_verify::format::{self, Format};

/// A format, as kernels read it.
#[derive(Clone, Copy)]
pub(crate) struct Packing {
    pub(crate) format: &'static Format,
    /// Bytes before the blocks of a row.
    pub(crate) header: usize,
    /// The code of an element of a block.
    pub(crate) code: fn(&[u8], usize) -> i32,
    /// What is taken off a code.
    pub(crate) offset: i32,
    /// The scale of a block, by the bytes of its row and its own.
    pub(crate) scale: fn(&[u8], &[u8]) -> f32,
}

impl Packing {
    pub(crate) fn block_len(&self) -> usize {
        self.format.block_len
    }

    /// The bytes of a row from those of block number `block` on.
    pub(crate) fn block<'a>(&self, row: &'a [u8], block: usize) -> &'a [u8] {
        &row[self.header + block * self.format.block_bytes..]
    }

    /// The code of an element of a row.
    pub(crate) fn code(&self, row: &[u8], column: usize) -> i32 {
        let (block, at) = place(column, self.block_len());
        (self.code)(self.block(row, block), at)
    }

    /// The scale of a block of a row.
    pub(crate) fn scale(&self, row: &[u8], block: usize) -> f32 {
        (self.scale)(row, self.block(row, block))
    }
}

/// The block of a column and its place in it, of blocks whose length is a power of two.
pub(crate) fn place(column: usize, block_len: usize) -> (usize, usize) {
    (column >> block_len.trailing_zeros(), column & (block_len - 1))
}

fn two_bits(byte: u8, slot: usize) -> i32 {
    i32::from(byte >> (2 * slot) & 3)
}

/// `qk256`, of which half of the weights are a code less two, and half a code less one.
pub(crate) const QK256: Packing = Packing {
    format: &format::QK256,
    header: 0,
    code: |block, at| {
        let code = two_bits(block[at / 4], at % 4);
        code + i32::from(code >= 2)
    },
    offset: 2,
    scale: |_, _| 1.0,
};

/// `q2_0`: an f16, then four codes a byte.
pub(crate) const Q2_0: Packing = Packing {
    format: &format::Q2_0,
    header: 0,
    code: |block, at| two_bits(block[2 + at / 4], at % 4),
    offset: 1,
    scale: |_, block| half(block),
};

/// `q1_0`: an f16, then eight signs a byte. The codes are 0 and 2.
pub(crate) const Q1_0: Packing = Packing {
    format: &format::Q1_0,
    header: 0,
    code: |block, at| 2 * i32::from(block[2 + at / 8] >> (at % 8) & 1),
    offset: 1,
    scale: |_, block| half(block),
};

/// `q4_0`: an f16, then the low halves of 16 bytes and their high ones.
pub(crate) const Q4_0: Packing = Packing {
    format: &format::Q4_0,
    header: 0,
    code: |block, at| i32::from(block[2 + at % 16] >> (4 * (at / 16)) & 15),
    offset: 8,
    scale: |_, block| half(block),
};

/// `tq2_0`: twice 32 bytes of which each holds a code of four groups of 32, then an f16.
pub(crate) const TQ2_0: Packing = Packing {
    format: &format::TQ2_0,
    header: 0,
    code: |block, at| two_bits(block[at / 128 * 32 + at % 32], at % 128 / 32),
    offset: 1,
    scale: |_, block| half(&block[64..]),
};

/// `i2_s`: 32 bytes that hold four groups of 32, the first in the high bits.
pub(crate) const I2_S: Packing = Packing {
    format: &format::I2_S,
    header: 0,
    code: |block, at| two_bits(block[at % 32], 3 - at / 32),
    offset: 0,
    scale: |_, _| 1.0,
};

/// `iq2_bn`: an f32 a row, and 16 bytes that hold four groups of 16.
pub(crate) const IQ2_BN: Packing = Packing {
    format: &format::IQ2_BN,
    header: 4,
    code: |block, at| two_bits(block[at % 16], at / 16),
    offset: 1,
    scale: |row, _| float(row),
};

/// `q2_k`: 16 bytes of a scale and a minimum each, codes as those of `tq2_0`, and two f16. A code is multiplied by the scale of its group.
pub(crate) const Q2_K: Packing = Packing {
    format: &format::Q2_K,
    header: 0,
    code: |block, at| {
        let code = two_bits(block[16 + at / 128 * 32 + at % 32], at % 128 / 32);
        code * i32::from(block[at / 16] & 15)
    },
    offset: 0,
    scale: |_, block| half(&block[80..]),
};

/// The f32 at the start of some bytes.
pub(crate) fn float(bytes: &[u8]) -> f32 {
    f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// The f16 at the start of some bytes.
pub(crate) fn half(bytes: &[u8]) -> f32 {
    let bits = u16::from_le_bytes([bytes[0], bytes[1]]);
    let (exponent, fraction) = (u32::from(bits >> 10 & 31), u32::from(bits & 0x3ff));
    let magnitude = match exponent {
        0 => fraction as f32 / 16_777_216.0,
        31 => f32::from_bits(0x7f80_0000 | fraction << 13),
        _ => f32::from_bits((exponent + 112) << 23 | fraction << 13),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}
