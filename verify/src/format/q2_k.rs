//! `q2_k`: 256 elements in 84 bytes. 16 bytes hold a 4-bit scale and a 4-bit minimum for 16 elements each, 64 bytes the codes, and an f16
//! scale of the scales and one of the minima follow.

use super::{BlockCoding, Coding, Element, Format, Number};
use crate::activations::Q8_K;

/// 2-bit weights of ggml with a scale and a minimum for 16 elements each.
pub const Q2_K: Format = Format {
    name: "q2_k",
    origin: "ggml",
    block_len: LEN,
    block_bytes: 84,
    coding: Coding::Custom(&Q2K),
    activations: Some(&Q8_K),
};

/// Elements of a block.
const LEN: usize = 256;

/// Elements that share a scale and a minimum.
const SUB_BLOCK: usize = 16;

/// The first byte of codes, behind the scales and minima.
const CODES_AT: usize = LEN / SUB_BLOCK;

/// Bytes of a half, which hold four codes each.
const HALF: usize = 32;

/// The scale of the scales.
const SCALE: (usize, Number) = (80, Number::F16);

/// The scale of the minima.
const MIN_SCALE: (usize, Number) = (82, Number::F16);

/// With s the byte of the sub-block, weight = scale * (s & 15) * code - minimum scale * (s >> 4).
#[derive(Debug)]
struct Q2K;

impl BlockCoding for Q2K {
    fn code_count(&self) -> u8 {
        4
    }

    fn decode(&self, block: &[u8], each: &mut dyn FnMut(Element)) {
        let [scale, min_scale] = [SCALE, MIN_SCALE].map(|(at, number)| number.read(&block[at..]));
        for element in 0..LEN {
            let packed = block[element / SUB_BLOCK];
            let (byte, shift) = place(element);
            let code = block[byte] >> shift & 3;
            // At most 11, 4 and 2 significant bits, so that neither the products nor their difference are rounded.
            let scaled = scale * f64::from(packed & 15) * f64::from(code);
            let min = min_scale * f64::from(packed >> 4);
            each(Element { code, weight: scaled - min, magnitude: scaled.abs() + min.abs() });
        }
    }

    fn encode(&self, codes: &[u8], block: &mut [u8]) {
        for (element, code) in codes[..LEN].iter().enumerate() {
            let (byte, shift) = place(element);
            block[byte] = block[byte] & !(3 << shift) | (code & 3) << shift;
        }
    }

    fn scales(&self) -> &'static [(usize, Number)] {
        &[SCALE, MIN_SCALE]
    }

    fn place(&self, element: usize) -> Option<(usize, u8)> {
        let (byte, shift) = place(element);
        Some((byte, 3 << shift))
    }

    fn label(&self, byte: usize) -> &'static str {
        match byte {
            0..CODES_AT => "scale (bits 3-0) and minimum (bits 7-4) of 16 elements",
            _ if byte < MIN_SCALE.0 => "scale of the scales",
            _ => "scale of the minima",
        }
    }

    fn terms_per_block(&self) -> usize {
        2
    }

    /// A scale of 15 times a code of 3.
    fn largest_weight(&self) -> f64 {
        45.0
    }
}

/// The byte that holds the code of an element, and how far it is to be shifted: in each half, 32 elements in each pair of bits.
const fn place(element: usize) -> (usize, usize) {
    let (half, within) = (element / (4 * HALF), element % (4 * HALF));
    (CODES_AT + half * HALF + within % HALF, 2 * (within / HALF))
}
