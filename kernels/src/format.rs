//! The QK256 format: its constants, and [`Packed`], a vector in it.

use crate::size::{Buffer, SizeError, at_least};

/// Elements in a block.
pub const BLOCK_LEN: usize = 256;

/// Bytes in a block, its scale not included.
pub const BLOCK_BYTES: usize = BLOCK_LEN / CODES_PER_BYTE;

/// Codes in a byte. Code `k` of a byte is `byte >> (2 * k) & 3`.
pub const CODES_PER_BYTE: usize = 4;

/// The weight of each code.
pub const WEIGHTS: [f32; 4] = [-2.0, -1.0, 1.0, 2.0];

/// The same as integers.
pub(crate) const INTEGER_WEIGHTS: [i8; 4] = [-2, -1, 1, 2];

/// The weight of the low two bits of `codes`, from a table that fits into a register: no address depends on the code.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(crate) const fn weight(codes: u32) -> f32 {
    /// The upper halves of all weights, of which the lower ones are zeros.
    const HALVES: u64 = {
        let [a, b, c, d] = WEIGHTS;
        (a.to_bits() as u64 >> 16)
            | (b.to_bits() as u64)
            | ((c.to_bits() as u64) << 16)
            | ((d.to_bits() as u64) << 32)
    };
    f32::from_bits((HALVES.wrapping_shr(codes << 4) as u32) << 16)
}

/// The blocks that `len` elements occupy: `ceil(len / 256)`.
pub const fn blocks(len: usize) -> usize {
    len.div_ceil(BLOCK_LEN)
}

/// The bytes that `len` elements occupy. Always fits: it is less than `len` from 64 elements on.
pub(crate) const fn packed_bytes(len: usize) -> usize {
    blocks(len) * BLOCK_BYTES
}

/// The packed codes of a vector: whole blocks, the last of which may end in padding.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a> {
    bytes: &'a [u8],
    len: usize,
}

impl<'a> Packed<'a> {
    /// Views the front of `bytes` as `len` elements.
    ///
    /// # Errors
    /// [`SizeError::TooShort`] if `bytes` is shorter than `64 * ceil(len / 256)`. It may be longer.
    pub fn new(bytes: &'a [u8], len: usize) -> Result<Self, SizeError> {
        let needed = packed_bytes(len);
        at_least(Buffer::Packed, needed, bytes.len())?;
        Ok(Self { bytes: &bytes[..needed], len })
    }

    /// The number of elements, padding not included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes of the blocks, padding included: `64 * ceil(len / 256)` of them.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The blocks, padding included: `ceil(len / 256)` of them.
    pub fn blocks(&self) -> &'a [[u8; BLOCK_BYTES]] {
        self.bytes.as_chunks().0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_owns_whole_blocks() {
        for (len, expected) in [(0, 0), (1, 1), (255, 1), (256, 1), (257, 2), (512, 2), (513, 3)] {
            assert_eq!(blocks(len), expected, "len = {len}");
            assert_eq!(packed_bytes(len), 64 * expected, "len = {len}");
        }
        assert_eq!(packed_bytes(usize::MAX), usize::MAX / 4 + 1);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_computed_weight_is_that_of_the_table() {
        for codes in 0..=u32::from(u8::MAX) {
            assert_eq!(weight(codes), WEIGHTS[codes as usize % 4], "{codes}");
        }
    }

    #[test]
    fn a_packed_vector_drops_the_bytes_past_its_blocks() {
        let bytes = [7; 200];
        let packed = Packed::new(&bytes, 257).unwrap();
        assert_eq!((packed.len(), packed.bytes().len(), packed.blocks().len()), (257, 128, 2));
        assert!(!packed.is_empty() && Packed::new(&bytes, 0).unwrap().is_empty());
        let refusal = SizeError::TooShort { buffer: Buffer::Packed, needed: 256, actual: 200 };
        assert_eq!(Packed::new(&bytes, 769).unwrap_err(), refusal);
    }
}
