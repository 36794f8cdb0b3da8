//! Packed formats: how the bytes of a block hold codes, and what each code weighs.
//!
//! A format is a value ([`Format`]). The harness decodes by it and shares no code with any kernel. To add one, write a file with a
//! constant, and a line of `formats!`; or describe it in a TOML file, which [`load`] reads. docs/formats.md has both.

mod custom;
mod description;
mod file;
pub(crate) mod ggml;
mod i2_s;
mod i2_s_neon;
pub(crate) mod integers;
mod iq2_bn;
pub(crate) mod number;
mod plain;
mod q1_0;
mod q2_0;
mod q2_k;
mod q4_0;
mod qk256;
pub(crate) mod quantiser;
mod row;
mod tq1_0;
mod tq2_0;

use std::ops::Range;

use crate::activations::Activations;
pub use custom::{BlockCoding, Element};
pub use file::{FormatError, find, is_of_file, know_ggml, load, named_or_loaded};
pub use ggml::{decoded_by, is_of_library};
pub use integers::{Q8_0, Q8_1, Q8_K};
pub use number::Number;
pub use plain::{BitOrder, Plain, Scale};

/// Lists the formats, in the order of reports: the module of each and its constant.
macro_rules! formats {
    ($($module:ident: $constant:ident),* $(,)?) => {
        $(pub use $module::$constant;)*

        /// The formats of this crate. Those of files are not among them.
        pub const ALL: &[&Format] = &[$(&$constant),*];
    };
}

formats! {
    qk256: QK256,
    q2_0: Q2_0,
    q1_0: Q1_0,
    q4_0: Q4_0,
    tq2_0: TQ2_0,
    tq1_0: TQ1_0,
    q2_k: Q2_K,
    i2_s: I2_S,
    i2_s_neon: I2_S_NEON,
    iq2_bn: IQ2_BN,
}

/// A format of blocks of `block_len` elements in `block_bytes` bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Format {
    /// The name in options and reports.
    pub name: &'static str,
    /// The project or the file that it comes from.
    pub origin: &'static str,
    /// Elements of a block.
    pub block_len: usize,
    /// Bytes of a block.
    pub block_bytes: usize,
    /// What the bytes of a block mean.
    pub coding: Coding,
    /// The quantised activations that kernels multiply the weights by, if there are such kernels.
    pub activations: Option<&'static Activations>,
}

/// What the bytes of a block mean.
#[derive(Debug)]
pub enum Coding {
    /// As a description of a few fields says.
    Plain(Plain),
    /// As no such description can say.
    Custom(&'static dyn BlockCoding),
}

impl PartialEq for Coding {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Plain(one), Self::Plain(other)) => one == other,
            (Self::Custom(one), Self::Custom(other)) => (*one).type_id() == (*other).type_id(),
            _ => false,
        }
    }
}

impl Eq for Coding {}

impl Format {
    /// The description, if there is one.
    #[inline(always)]
    pub const fn plain(&self) -> Option<&Plain> {
        match &self.coding {
            Coding::Plain(plain) => Some(plain),
            Coding::Custom(_) => None,
        }
    }

    /// The number of codes, which is one more than the largest.
    #[inline(always)]
    pub fn code_count(&self) -> u8 {
        match &self.coding {
            Coding::Plain(plain) => plain.largest_code() + 1,
            Coding::Custom(coding) => coding.code_count(),
        }
    }

    /// Blocks that hold this many elements.
    pub const fn blocks(&self, len: usize) -> usize {
        len.div_ceil(self.block_len)
    }

    /// Bytes before the blocks of a row.
    pub const fn header_bytes(&self) -> usize {
        match &self.coding {
            Coding::Plain(Plain { scale: Scale::BeforeRow(number), .. }) => number.width(),
            _ => 0,
        }
    }

    /// Bytes of a row of this many elements, wrapping as the arithmetic of a careless caller would.
    pub const fn row_bytes(&self, len: usize) -> usize {
        self.header_bytes().wrapping_add(self.blocks(len).wrapping_mul(self.block_bytes))
    }

    /// The weight of each code, before scales. `None` where it differs from block to block.
    #[inline(always)]
    pub fn values(&self) -> Option<&'static [i8]> {
        match &self.coding {
            Coding::Plain(plain) => Some(plain.values),
            Coding::Custom(coding) => coding.values(),
        }
    }

    /// The weight of a code, modulo the number of codes, before scales.
    ///
    /// # Panics
    /// If codes have no [`values`](Self::values).
    #[inline(always)]
    pub fn weight(&self, code: u8) -> i8 {
        match &self.coding {
            Coding::Plain(plain) => plain.weight(code),
            Coding::Custom(coding) => value(*coding, code),
        }
    }

    /// The elements whose codes a byte of a block holds, with the bits of each; none of a byte that holds no codes. Those of a plain format
    /// are in the order of slots.
    pub fn elements_of_byte(&self, byte: usize) -> impl Iterator<Item = (usize, u8)> {
        let plain = self.plain().map(|plain| plain.elements_of_byte(byte, self.block_len));
        let custom = match &self.coding {
            Coding::Plain(_) => None,
            Coding::Custom(coding) => Some(coding),
        };
        let custom = custom.into_iter().flat_map(move |coding| {
            let place = |element| coding.place(element).map(|(at, bits)| (element, at, bits));
            (0..self.block_len).filter_map(place).filter(move |&(_, at, _)| at == byte)
        });
        plain.into_iter().flatten().chain(custom.map(|(element, _, bits)| (element, bits)))
    }

    /// Whether rows whose bits of codes are all complemented have weights that are negated.
    pub fn is_symmetric(&self) -> bool {
        let opposite = |(&value, &mirrored): (&i8, &i8)| i16::from(value) == -i16::from(mirrored);
        self.plain().is_some_and(|plain| plain.values.iter().zip(plain.values.iter().rev()).all(opposite))
    }

    /// The code whose weight is `weight` before scales, if there is one.
    pub fn code_of(&self, weight: i8) -> Option<u8> {
        self.values()?.iter().position(|&value| value == weight).map(|code| code as u8)
    }

    /// Whether a weight before scales times an f32 is an f32, unless it overflows: each is zero or a power of two.
    pub fn has_exact_products(&self) -> bool {
        let is_exact = |value: &i8| *value == 0 || value.unsigned_abs().is_power_of_two();
        self.values().is_some_and(|values| values.iter().all(is_exact))
    }

    /// The largest magnitude of a weight before scales; that of an i8 where codes have no [`values`](Self::values).
    pub fn largest_weight(&self) -> u8 {
        self.values().map_or(u8::MAX, largest_magnitude)
    }

    /// Whether a weight that is zero has the sign of its scale. One from which a minimum is subtracted has either.
    pub fn has_signed_zeros(&self) -> bool {
        self.terms_per_block() == 1
    }

    /// The codes of the largest magnitude. Where codes have no [`values`](Self::values), the first and the last.
    pub fn extreme_codes(&self) -> Vec<u8> {
        let Some(values) = self.values() else { return vec![0, self.code_count() - 1] };
        let largest = largest_magnitude(values);
        let codes = (0..).zip(values).filter(|(_, value)| value.unsigned_abs() == largest);
        codes.map(|(code, _)| code).collect()
    }

    /// Where the scales are; of several in a block, the first.
    pub fn scale(&self) -> Scale {
        match &self.coding {
            Coding::Plain(plain) => plain.scale,
            Coding::Custom(coding) => {
                coding.scales().first().map_or(Scale::None, |&(byte, number)| Scale::InBlock(byte, number))
            }
        }
    }

    /// The scale of an element of a row, by its number: one a block, or one for all.
    pub fn scale_of(&self, element: usize) -> usize {
        if self.scale().is_of_rows() { 0 } else { element / self.block_len }
    }

    /// The scales of a row of `blocks` blocks among those that are in a buffer of their own.
    pub fn separate_scales(&self, row: usize, blocks: usize) -> Range<usize> {
        if self.scale() == Scale::Tensor { 0..1 } else { row * blocks..(row + 1) * blocks }
    }

    /// Whether there are scales among the bytes of a row.
    pub fn has_inner_scales(&self) -> bool {
        matches!(self.scale(), Scale::InBlock(..) | Scale::BeforeRow(_))
    }

    /// Every scale among the bytes of a row of `len` elements: its first byte in the row, and how it is stored.
    pub fn scale_places(&self, len: usize) -> Vec<(usize, Number)> {
        let in_block = match &self.coding {
            Coding::Plain(Plain { scale: Scale::InBlock(byte, number), .. }) => &[(*byte, *number)],
            Coding::Plain(Plain { scale: Scale::BeforeRow(number), .. }) => return vec![(0, *number)],
            Coding::Plain(_) => [].as_slice(),
            Coding::Custom(coding) => coding.scales(),
        };
        let starts = (0..self.blocks(len)).map(|block| self.header_bytes() + block * self.block_bytes);
        starts.flat_map(|start| in_block.iter().map(move |&(byte, number)| (start + byte, number))).collect()
    }

    /// Numbers that a kernel adds in f32 for each block: 1, or 2 where a minimum is subtracted.
    pub fn terms_per_block(&self) -> usize {
        match &self.coding {
            Coding::Plain(_) => 1,
            Coding::Custom(coding) => coding.terms_per_block(),
        }
    }

    /// What every weight is a whole multiple of if all scales are whole: a power of two.
    pub fn unit(&self) -> f64 {
        match &self.coding {
            Coding::Plain(_) => 1.0,
            Coding::Custom(coding) => coding.unit(),
        }
    }

    /// Whether [`decode`](Self::decode) gives weights that are rounded to f32.
    pub fn rounds_weights(&self) -> bool {
        matches!(&self.coding, Coding::Custom(coding) if coding.rounds_weights())
    }

    /// The byte of a block that holds the code of an element, and its bits.
    fn place_in_block(&self, element: usize) -> Option<(usize, u8)> {
        match &self.coding {
            Coding::Plain(plain) => {
                let (byte, slot) = plain.place(element);
                Some((byte, plain.mask(slot)))
            }
            Coding::Custom(coding) => coding.place(element),
        }
    }
}

/// The weight of a code of a format without a description.
fn value(coding: &dyn BlockCoding, code: u8) -> i8 {
    let values = coding.values().expect("each code has one weight");
    values[usize::from(code) % values.len()]
}

/// The largest magnitude of the weights of codes.
fn largest_magnitude(values: &[i8]) -> u8 {
    values.iter().map(|value| value.unsigned_abs()).max().unwrap_or(0)
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
        coding: Coding::Plain(Plain {
            bits: 4,
            codes_at: 2,
            group: 8,
            order: BitOrder::MsbFirst,
            values: &[-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7],
            scale: Scale::None,
        }),
        activations: None,
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
            if format.values().is_some() {
                let weights = codes.iter().map(|&code| format.weight(code));
                assert!(format.weights(&packed, codes.len()).into_iter().eq(weights), "{}", format.name);
            }
            assert_eq!(format.codes(&packed, codes.len()), codes, "{}", format.name);
        }
    }

    #[test]
    fn descriptions_hold_together() {
        for format in ALL.iter().copied().chain([&ODD]) {
            let Some(plain) = format.plain() else { continue };
            let (code_bytes, name) = (format.block_len / plain.codes_per_byte(), format.name);
            assert!(plain.codes_at + code_bytes <= format.block_bytes, "{name}: codes fit into a block");
            assert_eq!(code_bytes % plain.group, 0, "{name}: groups are whole");
            assert_eq!(
                plain.values.len(),
                usize::from(format.code_count()),
                "{name}: each code has a weight"
            );
        }
        assert!(QK256.is_symmetric() && !ODD.is_symmetric());
    }
}
