//! How plain formats hold codes: the description that most formats need.

use super::Number;

/// Each byte holds `8 / bits` codes, and each code has a weight of its own.
///
/// With P codes a byte and groups of G bytes, code `e` of a block is in byte `codes_at + e / (G * P) * G + e % G`, in slot `e / G % P`.
#[derive(Debug, PartialEq, Eq)]
pub struct Plain {
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
    /// One f32 for the whole matrix or vector, in the same buffer, or none at all.
    Tensor,
    /// One in each block, from this byte on.
    InBlock(usize, Number),
    /// One before the blocks of each row.
    BeforeRow(Number),
}

impl Scale {
    /// Whether they are in a buffer of their own.
    pub const fn is_separate(self) -> bool {
        matches!(self, Self::Separate | Self::Tensor)
    }

    /// Whether all elements of a row have the same.
    pub const fn is_of_rows(self) -> bool {
        matches!(self, Self::BeforeRow(_) | Self::Tensor)
    }
}

impl Plain {
    /// Codes of a byte.
    pub const fn codes_per_byte(&self) -> usize {
        8 / self.bits as usize
    }

    /// The largest code, which is a mask of a code as well.
    pub const fn largest_code(&self) -> u8 {
        (1 << self.bits) - 1
    }

    /// The weight of a code, of which the low bits count.
    #[inline(always)]
    pub const fn weight(&self, code: u8) -> i8 {
        self.values[(code & self.largest_code()) as usize]
    }

    /// Byte and slot of an element of a block.
    #[inline(always)]
    pub(super) const fn place(&self, element: usize) -> (usize, usize) {
        let group = self.group * self.codes_per_byte();
        let byte = self.codes_at + element / group * self.group + element % self.group;
        (byte, element / self.group % self.codes_per_byte())
    }

    /// How far the code of a slot is to be shifted to the right.
    #[inline(always)]
    pub(super) const fn shift(&self, slot: usize) -> u32 {
        match self.order {
            BitOrder::LsbFirst => self.bits * slot as u32,
            BitOrder::MsbFirst => 8 - self.bits * (slot as u32 + 1),
        }
    }

    /// The bits of a byte that hold the code of a slot.
    #[inline(always)]
    pub(super) const fn mask(&self, slot: usize) -> u8 {
        self.largest_code() << self.shift(slot)
    }

    /// The elements whose codes a byte of a block of `block_len` holds, and their bits, in the order of slots.
    pub(super) fn elements_of_byte(
        &self,
        byte: usize,
        block_len: usize,
    ) -> impl Iterator<Item = (usize, u8)> {
        let slots = self.codes_per_byte();
        let held = byte.checked_sub(self.codes_at).filter(|byte| byte * slots < block_len);
        let of_slot = move |byte: usize, slot| {
            ((byte / self.group * slots + slot) * self.group + byte % self.group, self.mask(slot))
        };
        held.into_iter().flat_map(move |byte| (0..slots).map(move |slot| of_slot(byte, slot)))
    }
}
