//! The quantised types of ggml: those that are described here, and those whose weights are what the library's own `to_float` makes of
//! a block.
//!
//! Sizes and places of scales are those of ggml 0.13.1 and 0.21. Only a process that has loaded a ggml library ([`decode_by`]) knows
//! the weights of a format without a description. The others make cases and reports of it.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::OnceLock;

use super::{BlockCoding, Coding, Element, Format, Number, integers};
use super::{Q1_0, Q2_0, Q2_K, Q4_0, TQ1_0, TQ2_0};
use crate::activations::{Q8_0, Q8_1, Q8_K};

/// A type of ggml.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Type {
    /// Its number in `enum ggml_type`.
    pub(crate) id: i32,
    /// What ggml calls it.
    pub(crate) name: &'static str,
    /// What its blocks hold.
    pub(crate) format: &'static Format,
    /// The alignment of a block, in bytes.
    pub(crate) alignment: u32,
}

impl Type {
    const fn new(id: i32, name: &'static str, format: &'static Format, alignment: u32) -> Self {
        Self { id, name, format, alignment }
    }
}

/// Every quantised type of ggml, those that only activations have among them.
pub(crate) static TYPES: [Type; 27] = [
    Type::new(2, "q4_0", &Q4_0, 2),
    Type::new(3, "q4_1", &Q4_1, 4),
    Type::new(6, "q5_0", &Q5_0, 2),
    Type::new(7, "q5_1", &Q5_1, 4),
    Type::new(8, "q8_0", &integers::Q8_0, 2),
    Type::new(9, "q8_1", &integers::Q8_1, 4),
    Type::new(10, "q2_K", &Q2_K, 4),
    Type::new(11, "q3_K", &Q3_K, 2),
    Type::new(12, "q4_K", &Q4_K, 4),
    Type::new(13, "q5_K", &Q5_K, 4),
    Type::new(14, "q6_K", &Q6_K, 2),
    Type::new(15, "q8_K", &integers::Q8_K, 4),
    Type::new(16, "iq2_xxs", &IQ2_XXS, 2),
    Type::new(17, "iq2_xs", &IQ2_XS, 2),
    Type::new(18, "iq3_xxs", &IQ3_XXS, 2),
    Type::new(19, "iq1_s", &IQ1_S, 2),
    Type::new(20, "iq4_nl", &IQ4_NL, 2),
    Type::new(21, "iq3_s", &IQ3_S, 2),
    Type::new(22, "iq2_s", &IQ2_S, 2),
    Type::new(23, "iq4_xs", &IQ4_XS, 2),
    Type::new(29, "iq1_m", &IQ1_M, 2),
    Type::new(34, "tq1_0", &TQ1_0, 2),
    Type::new(35, "tq2_0", &TQ2_0, 2),
    Type::new(39, "mxfp4", &MXFP4, 1),
    Type::new(40, "nvfp4", &NVFP4, 1),
    Type::new(41, "q1_0", &Q1_0, 2),
    Type::new(42, "q2_0", &Q2_0, 2),
];

/// Defines formats without a description: the name, elements and bytes of a block, what kernels multiply the weights by, and the layout.
macro_rules! own {
    ($($constant:ident = $name:literal, $len:literal / $bytes:literal, $activations:ident, $layout:expr;)*) => {
        $(static $constant: Format = {
            static CODING: OwnCoding = OwnCoding { len: $len, layout: $layout, to_float: OnceLock::new() };
            Format {
                name: $name,
                origin: "ggml",
                block_len: $len,
                block_bytes: $bytes,
                coding: Coding::Custom(&CODING),
                activations: Some(&$activations),
            }
        };)*
    };
}

own! {
    Q4_1 = "q4_1", 32 / 20, Q8_1, Layout::new(MINIMUM, 15.0).with_codes(4..20).with_minimum();
    Q5_0 = "q5_0", 32 / 22, Q8_0, Layout::new(FIRST, 16.0).with_codes(2..22);
    Q5_1 = "q5_1", 32 / 24, Q8_1, Layout::new(MINIMUM, 31.0).with_codes(4..24).with_minimum();
    Q3_K = "q3_k", 256 / 110, Q8_K, Layout::new(&[(108, Number::F16)], 128.0).with_codes(0..96);
    Q4_K = "q4_k", 256 / 144, Q8_K, Layout::new(MINIMUM, 945.0).with_codes(16..144).with_minimum();
    Q5_K = "q5_k", 256 / 176, Q8_K, Layout::new(MINIMUM, 1953.0).with_codes(16..176).with_minimum();
    Q6_K = "q6_k", 256 / 210, Q8_K, Layout::new(&[(208, Number::F16)], 4096.0).with_codes(0..192);
    IQ2_XXS = "iq2_xxs", 256 / 66, Q8_K, Layout::new(FIRST, 167.0).in_units_of(0.125);
    IQ2_XS = "iq2_xs", 256 / 74, Q8_K, Layout::new(FIRST, 167.0).in_units_of(0.125);
    IQ2_S = "iq2_s", 256 / 82, Q8_K, Layout::new(FIRST, 167.0).in_units_of(0.125);
    IQ3_XXS = "iq3_xxs", 256 / 98, Q8_K, Layout::new(FIRST, 481.0).in_units_of(0.25);
    IQ3_S = "iq3_s", 256 / 110, Q8_K, Layout::new(FIRST, 465.0);
    IQ1_S = "iq1_s", 256 / 50, Q8_K, Layout::new(FIRST, 17.0).in_units_of(0.125).with_minimum();
    IQ1_M = "iq1_m", 256 / 56, Q8_K, Layout::new(&[(48, Number::SplitF16)], 17.0).in_units_of(0.125).with_minimum();
    IQ4_NL = "iq4_nl", 32 / 18, Q8_0, Layout::new(FIRST, 127.0).with_codes(2..18);
    IQ4_XS = "iq4_xs", 256 / 136, Q8_K, Layout::new(FIRST, 4064.0).with_codes(8..136);
    MXFP4 = "mxfp4", 32 / 17, Q8_0, Layout::new(&[(0, Number::HalfE8m0)], 12.0).with_codes(1..17);
    NVFP4 = "nvfp4", 64 / 36, Q8_0, Layout::new(FOUR, 12.0).with_codes(4..36);
}

/// The formats without a description.
pub(super) fn own_formats() -> impl Iterator<Item = &'static Format> {
    TYPES.iter().map(|known| known.format).filter(|format| is_of_library(format))
}

/// One scale, in the first bytes.
const FIRST: &[(usize, Number)] = &[(0, Number::F16)];

/// A scale, and a minimum or the scale of the minima.
const MINIMUM: &[(usize, Number)] = &[(0, Number::F16), (2, Number::F16)];

/// One scale for 16 elements each.
const FOUR: &[(usize, Number)] =
    &[(0, Number::HalfE4m3), (1, Number::HalfE4m3), (2, Number::HalfE4m3), (3, Number::HalfE4m3)];

/// What is known of the bytes of a block without a library.
#[derive(Clone, Debug)]
struct Layout {
    scales: &'static [(usize, Number)],
    /// The bytes that hold codes and nothing else; none where codes and scales share bytes.
    codes: (usize, usize),
    /// As of [`BlockCoding::largest_weight`].
    largest: f64,
    /// As of [`BlockCoding::unit`].
    unit: f64,
    /// Whether a kernel adds two numbers a block: of the codes, and of minima or offsets.
    has_minimum: bool,
}

impl Layout {
    const fn new(scales: &'static [(usize, Number)], largest: f64) -> Self {
        Self { scales, codes: (0, 0), largest, unit: 1.0, has_minimum: false }
    }

    const fn with_codes(self, codes: Range<usize>) -> Self {
        Self { codes: (codes.start, codes.end), ..self }
    }

    const fn with_minimum(self) -> Self {
        Self { has_minimum: true, ..self }
    }

    const fn in_units_of(self, unit: f64) -> Self {
        Self { unit, ..self }
    }
}

/// The library's function from the bytes of a block to its weights.
pub(crate) type ToFloat = Box<dyn Fn(&[u8], &mut [f32]) + Send + Sync + UnwindSafe + RefUnwindSafe>;

/// A format whose weights are what a library makes of a block.
struct OwnCoding {
    /// Elements of a block.
    len: usize,
    layout: Layout,
    to_float: OnceLock<ToFloat>,
}

/// From now on the weights of a format without a description are what the library's own function makes of a block. `false` if they are what
/// another function makes.
pub(crate) fn decode_by(format: &Format, to_float: ToFloat) -> bool {
    own(format).is_none_or(|own| own.to_float.set(to_float).is_ok())
}

/// The format of a type of ggml. Where it has no description, its weights are what `to_float` makes of the bytes of a block, as of a library in
/// Rust that has the type. `None` of a name that ggml does not have, and where another function makes the weights already.
pub fn decoded_by(
    name: &str,
    to_float: impl Fn(&[u8], &mut [f32]) + Send + Sync + UnwindSafe + RefUnwindSafe + 'static,
) -> Option<&'static Format> {
    let known = TYPES.iter().find(|known| known.format.name == name)?;
    super::know_ggml().ok()?;
    decode_by(known.format, Box::new(to_float)).then_some(known.format)
}

/// Whether the format has no description, so that it takes a library to decode it.
pub fn is_of_library(format: &Format) -> bool {
    own(format).is_some()
}

fn own(format: &Format) -> Option<&'static OwnCoding> {
    match format.coding {
        Coding::Plain(_) => None,
        Coding::Custom(coding) => (coding as &'static dyn Any).downcast_ref(),
    }
}

impl OwnCoding {
    fn weights(&self, block: &[u8]) -> Vec<f32> {
        let to_float = self.to_float.get().expect("a process that decodes this has loaded a ggml library");
        let mut weights = vec![0.0; self.len];
        to_float(block, &mut weights);
        weights
    }

    /// The largest magnitude that weights with the scales of this block have, one for each element, as far as that is known: that of the
    /// codes of which all bits are zero, or all are one, or the highest of a byte; or of the weights of the block.
    fn largest(&self, block: &[u8], weights: &[f32]) -> Vec<f64> {
        let magnitude = |weight: &f32| f64::from(weight.abs());
        let (start, end) = self.layout.codes;
        if start == end {
            let largest = weights.iter().map(magnitude).fold(0.0, f64::max);
            return vec![largest; self.len];
        }
        let mut largest = vec![0.0; self.len];
        let mut other = block.to_vec();
        for byte in [0x00, 0x80, 0xff] {
            other[start..end].fill(byte);
            let weights = self.weights(&other);
            largest.iter_mut().zip(&weights).for_each(|(most, weight)| *most = magnitude(weight).max(*most));
        }
        largest
    }

    /// The byte that the code of an element is shown by.
    fn byte(&self, element: usize, bytes: usize) -> usize {
        element * bytes / self.len
    }
}

/// Where a code is a library does not say. The codes of the harness are patterns of bits that fill a block.
impl BlockCoding for OwnCoding {
    fn code_count(&self) -> u8 {
        16
    }

    fn decode(&self, block: &[u8], each: &mut dyn FnMut(Element)) {
        let weights = self.weights(block);
        let largest = self.largest(block, &weights);
        for (element, (weight, most)) in weights.iter().zip(largest).enumerate() {
            let code = block[self.byte(element, block.len())] & 15;
            let weight = f64::from(*weight);
            // A minimum m is a weight itself, that of the lowest codes: |w - m| + |m| is at most |w| + 2 |m|.
            each(Element { code, weight, magnitude: weight.abs() + 2.0 * most });
        }
    }

    fn encode(&self, codes: &[u8], block: &mut [u8]) {
        let bytes = block.len();
        for (at, byte) in block.iter_mut().enumerate() {
            *byte = (codes[at * self.len / bytes] & 15) * 0x11;
        }
    }

    fn scales(&self) -> &'static [(usize, Number)] {
        self.layout.scales
    }

    fn place(&self, _element: usize) -> Option<(usize, u8)> {
        None
    }

    fn label(&self, _byte: usize) -> &'static str {
        "of the library"
    }

    fn terms_per_block(&self) -> usize {
        if self.layout.has_minimum { 2 } else { 1 }
    }

    fn largest_weight(&self) -> f64 {
        self.layout.largest
    }

    fn unit(&self) -> f64 {
        self.layout.unit
    }

    fn rounds_weights(&self) -> bool {
        true
    }
}

impl fmt::Debug for OwnCoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnCoding").field("layout", &self.layout).finish_non_exhaustive()
    }
}

/// `q4_1`, decoded by hand in the place of a library.
#[cfg(test)]
pub(crate) fn q4_1_by_hand() -> &'static Format {
    let to_float: ToFloat = Box::new(|block, weights| {
        let [scale, minimum] = [0, 2].map(|at| Number::F16.read(&block[at..]));
        for (element, weight) in weights.iter_mut().enumerate() {
            let code = block[4 + element % 16] >> (element / 16 * 4) & 15;
            *weight = (scale * f64::from(code) + minimum) as f32;
        }
    });
    // Another test may have done it: by the same function.
    let _ = decode_by(&Q4_1, to_float);
    &Q4_1
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::format::{self, find};

    #[test]
    fn types_have_the_sizes_of_ggml_and_each_name_is_known_once() {
        let ids: BTreeSet<i32> = TYPES.iter().map(|known| known.id).collect();
        let names: BTreeSet<&str> = TYPES.iter().map(|known| known.format.name).collect();
        assert_eq!((ids.len(), names.len()), (TYPES.len(), TYPES.len()));
        format::know_ggml().expect("no file has taken a name");
        format::know_ggml().expect("they are known by now");
        for Type { name, format, alignment, .. } in &TYPES {
            assert_eq!(format.name, name.to_lowercase());
            assert_eq!(find(format.name), Some(*format), "{name}");
            assert_eq!(format.block_bytes % *alignment as usize, 0, "{name}: blocks of a row are aligned");
            for (at, number) in format.scale_places(format.block_len) {
                assert!(at + number.width() <= format.block_bytes, "{name}");
            }
        }
    }

    #[test]
    fn magnitudes_cover_the_code_and_the_minimum_apart() {
        let format = q4_1_by_hand();
        let mut block = [0xf7; 20];
        Number::F16.write(2.0, &mut block);
        Number::F16.write(-14.0, &mut block[2..]);
        let (weights, magnitudes) = format.weights_and_magnitudes(&block, 32);
        // 7 * 2 - 14 and 15 * 2 - 14.
        assert_eq!((weights[0], weights[16]), (0.0, 16.0));
        assert!(magnitudes[0] >= 28.0 && magnitudes[16] >= 44.0, "{magnitudes:?}");
        assert_eq!((format.has_signed_zeros(), format.rounds_weights(), format.unit()), (false, true, 1.0));
    }
}
