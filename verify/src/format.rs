//! Packed formats: how the bytes of a block hold codes, and what each code weighs.
//!
//! A format is a value ([`Format`]). The harness decodes by it and shares no code with any kernel. To add one, write a file with a
//! constant, and a line of [`ALL`].

mod i2_s;
mod i2_s_neon;
mod iq2_bn;
mod q1_0;
mod q2_0;
mod q4_0;
mod qk256;
mod tq2_0;

use half::{bf16, f16};

pub use i2_s::I2_S;
pub use i2_s_neon::I2_S_NEON;
pub use iq2_bn::IQ2_BN;
pub use q1_0::Q1_0;
pub use q2_0::Q2_0;
pub use q4_0::Q4_0;
pub use qk256::QK256;
pub use tq2_0::TQ2_0;

/// Every format.
pub const ALL: &[&Format] = &[&QK256, &Q2_0, &Q1_0, &Q4_0, &TQ2_0, &I2_S, &I2_S_NEON, &IQ2_BN];

/// A format of blocks of `block_len` elements in `block_bytes` bytes, of which each byte holds `8 / bits` codes.
///
/// With P codes a byte and groups of G bytes, code `e` of a block is in byte `codes_at + e / (G * P) * G + e % G`, in slot `e / G % P`.
#[derive(Debug, PartialEq, Eq)]
pub struct Format {
    /// The name in options and reports.
    pub name: &'static str,
    /// The project that it comes from.
    pub origin: &'static str,
    /// Elements of a block.
    pub block_len: usize,
    /// Bytes of a block.
    pub block_bytes: usize,
    /// Bits of a code: 1, 2 or 4.
    pub bits: u32,
    /// The first byte of a block that holds codes.
    pub codes_at: usize,
    /// Bytes of a group, of which the first slots come first, then the second, and so on.
    pub group: usize,
    /// Where the first slot of a byte lies.
    pub order: BitOrder,
    /// The weight of each code.
    pub values: &'static [i8],
    /// What the weights are multiplied by.
    pub scale: Scale,
}

/// Which bits of a byte hold its first code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitOrder {
    /// The least significant ones.
    LsbFirst,
    /// The most significant ones.
    MsbFirst,
}

/// Where the scales of a format are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// There are none.
    None,
    /// One f32 a block, in a buffer of their own, or none at all, as the call has it.
    Separate,
    /// One in each block, from this byte on.
    InBlock(usize, Number),
    /// One before the blocks of each row.
    BeforeRow(Number),
}

/// How a scale is stored, least significant byte first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// IEEE 754 binary16.
    F16,
    /// The upper half of an f32.
    Bf16,
    /// IEEE 754 binary32.
    F32,
}

impl Number {
    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
        }
    }

    /// Its bytes.
    pub const fn width(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
        }
    }

    /// The number in the first bytes, exact.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn read(self, bytes: &[u8]) -> f64 {
        let low = || bytes.first_chunk().copied().expect("the number is there");
        match self {
            Self::F16 => f16::from_le_bytes(low()).into(),
            Self::Bf16 => bf16::from_le_bytes(low()).into(),
            Self::F32 => {
                f32::from_le_bytes(bytes.first_chunk().copied().expect("the number is there")).into()
            }
        }
    }
}

impl Format {
    /// Codes of a byte.
    pub const fn codes_per_byte(&self) -> usize {
        8 / self.bits as usize
    }

    /// The number of codes, which is one more than the largest.
    pub const fn code_count(&self) -> u8 {
        1 << self.bits
    }

    /// Blocks that hold this many elements.
    pub const fn blocks(&self, len: usize) -> usize {
        len.div_ceil(self.block_len)
    }

    /// Bytes before the blocks of a row.
    pub const fn header_bytes(&self) -> usize {
        match self.scale {
            Scale::BeforeRow(number) => number.width(),
            _ => 0,
        }
    }

    /// Bytes of a row of this many elements, wrapping as the arithmetic of a careless caller would.
    pub const fn row_bytes(&self, len: usize) -> usize {
        self.header_bytes().wrapping_add(self.blocks(len).wrapping_mul(self.block_bytes))
    }

    /// The weight of a code, of which the low bits count.
    #[inline(always)]
    pub const fn weight(&self, code: u8) -> i8 {
        self.values[(code & (self.code_count() - 1)) as usize]
    }

    /// The code of element `at` of packed blocks.
    ///
    /// # Panics
    /// If the bytes end before it.
    #[inline(always)]
    pub const fn code(&self, packed: &[u8], at: usize) -> u8 {
        let (byte, slot) = self.place(at);
        packed[byte] >> self.shift(slot) & (self.code_count() - 1)
    }

    /// Puts the code of element `at` into packed blocks.
    ///
    /// # Panics
    /// If the bytes end before it.
    #[inline(always)]
    pub const fn set_code(&self, packed: &mut [u8], at: usize, code: u8) {
        let (byte, slot) = self.place(at);
        let mask = self.mask(slot);
        packed[byte] = packed[byte] & !mask | code << self.shift(slot) & mask;
    }

    /// Packs these codes into a row of whole blocks; the bits that they leave are zero.
    pub fn pack(&self, codes: &[u8]) -> Vec<u8> {
        let (mut packed, mask) = (vec![0; self.row_bytes(codes.len())], self.code_count() - 1);
        self.places(codes.len(), |at, byte, shift| packed[byte] |= (codes[at] & mask) << shift);
        packed
    }

    /// The codes of the first `len` elements of a row, in order.
    ///
    /// # Panics
    /// If the bytes end before the last.
    pub fn codes(&self, packed: &[u8], len: usize) -> Vec<u8> {
        let (mut codes, mask) = (vec![0; len], self.code_count() - 1);
        self.places(len, |at, byte, shift| codes[at] = packed[byte] >> shift & mask);
        codes
    }

    /// The weights of the first `len` elements of a row, in order.
    ///
    /// # Panics
    /// If the bytes end before the last.
    pub fn weights(&self, packed: &[u8], len: usize) -> Vec<i8> {
        let mut weights = vec![0; len];
        self.places(len, |at, byte, shift| weights[at] = self.weight(packed[byte] >> shift));
        weights
    }

    /// Calls `each` with the first `len` elements of a row, byte by byte: which element it is, the byte that holds its code, and how far
    /// that is to be shifted. As [`place`](Self::place) says, without a division for each.
    #[inline]
    fn places(&self, len: usize, mut each: impl FnMut(usize, usize, u32)) {
        let slots = self.codes_per_byte();
        let shifts: [u32; 8] = std::array::from_fn(|slot| self.shift(slot % slots));
        for block in 0..self.blocks(len) {
            let mut byte = self.header_bytes() + block * self.block_bytes + self.codes_at;
            for group in (block * self.block_len..(block + 1) * self.block_len).step_by(self.group * slots) {
                for first in group..group + self.group {
                    for (slot, &shift) in shifts[..slots].iter().enumerate() {
                        let at = first + slot * self.group;
                        if at < len {
                            each(at, byte, shift);
                        }
                    }
                    byte += 1;
                }
            }
        }
    }

    /// The first `len` numbers of a row: weights times the scales that are among its bytes, exact. The others count as one.
    ///
    /// # Panics
    /// If the bytes end before the last.
    pub fn decode(&self, row: &[u8], len: usize) -> Vec<f64> {
        let scale = |at: usize| match self.scale {
            Scale::None | Scale::Separate => 1.0,
            Scale::BeforeRow(number) => number.read(row),
            Scale::InBlock(byte, number) => {
                number.read(&row[self.header_bytes() + at / self.block_len * self.block_bytes + byte..])
            }
        };
        let weights = self.weights(row, len).into_iter().enumerate();
        weights.map(|(at, weight)| f64::from(weight) * scale(at)).collect()
    }

    /// The elements whose codes a byte of a block holds, in the order of slots; none of a byte that holds no codes.
    pub fn elements(&self, byte: usize) -> impl Iterator<Item = usize> + use<> {
        let (group, slots) = (self.group, self.codes_per_byte());
        let held = byte.checked_sub(self.codes_at).filter(|byte| byte * slots < self.block_len);
        let of_slot = move |byte: usize, slot| (byte / group * slots + slot) * group + byte % group;
        held.into_iter().flat_map(move |byte| (0..slots).map(move |slot| of_slot(byte, slot)))
    }

    /// The bits of a byte that hold the code of a slot.
    pub const fn mask(&self, slot: usize) -> u8 {
        (self.code_count() - 1) << self.shift(slot)
    }

    /// Whether codes that are complemented have weights that are negated.
    pub fn is_symmetric(&self) -> bool {
        self.values.iter().zip(self.values.iter().rev()).all(|(value, mirrored)| *value == -mirrored)
    }

    /// The code whose weight is `weight`, if there is one.
    pub fn code_of(&self, weight: i8) -> Option<u8> {
        self.values.iter().position(|&value| value == weight).map(|code| code as u8)
    }

    /// Byte and slot of element `at` of packed blocks.
    #[inline(always)]
    const fn place(&self, at: usize) -> (usize, usize) {
        let (block, element) = (at / self.block_len, at % self.block_len);
        let group = self.group * self.codes_per_byte();
        let byte = self.codes_at + element / group * self.group + element % self.group;
        let byte = self.header_bytes() + block * self.block_bytes + byte;
        (byte, element / self.group % self.codes_per_byte())
    }

    #[inline(always)]
    const fn shift(&self, slot: usize) -> u32 {
        match self.order {
            BitOrder::LsbFirst => self.bits * slot as u32,
            BitOrder::MsbFirst => 8 - self.bits * (slot as u32 + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups, most significant bits first, codes behind something else: a layout that no format of [`ALL`] needs to have.
    const ODD: Format = Format {
        name: "odd",
        origin: "this test",
        block_len: 32,
        block_bytes: 20,
        bits: 4,
        codes_at: 2,
        group: 8,
        order: BitOrder::MsbFirst,
        values: &[-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7],
        scale: Scale::None,
    };

    #[test]
    fn codes_are_where_the_description_says() {
        let qk256: Vec<u8> = (0..64_u8).map(|byte| byte.wrapping_mul(37)).collect();
        for (at, code) in QK256.codes(&qk256, 256).into_iter().enumerate() {
            assert_eq!(code, qk256[at / 4] >> (2 * (at % 4)) & 3, "element {at}");
        }
        // Element 9 is the second of the low nibbles of the first group, element 16 the first of the second group, behind 8 bytes.
        let mut packed = [0; 40];
        packed[3] = 0x0a;
        packed[10] = 0x50;
        packed[20 + 2] = 0xc0;
        assert_eq!([9, 16, 32].map(|at| ODD.code(&packed, at)), [0xa, 5, 0xc]);
    }

    #[test]
    fn what_is_packed_has_the_codes_that_it_was_made_of() {
        for format in ALL.iter().copied().chain([&ODD]) {
            let codes: Vec<u8> =
                (0..3 * format.block_len).map(|at| (at * 7 / 3) as u8 % format.code_count()).collect();
            let packed = format.pack(&codes);
            assert_eq!(packed.len(), format.header_bytes() + 3 * format.block_bytes, "{}", format.name);
            let weights = codes.iter().map(|&code| format.weight(code));
            assert!(format.weights(&packed, codes.len()).into_iter().eq(weights), "{}", format.name);
            assert_eq!(format.codes(&packed, codes.len()), codes, "{}", format.name);
        }
    }

    #[test]
    fn descriptions_hold_together() {
        for format in ALL.iter().copied().chain([&ODD]) {
            let code_bytes = format.block_len / format.codes_per_byte();
            assert!(
                format.codes_at + code_bytes <= format.block_bytes,
                "{}: codes fit into a block",
                format.name
            );
            assert_eq!(code_bytes % format.group, 0, "{}: groups are whole", format.name);
            assert_eq!(
                format.values.len(),
                usize::from(format.code_count()),
                "{}: each code has a weight",
                format.name
            );
        }
        assert!(QK256.is_symmetric() && !ODD.is_symmetric());
    }
}
