//! `tq1_0`: 256 elements in 54 bytes. 48 bytes hold five digits to base 3 each, 4 bytes hold four, and an f16 scale follows.

use super::{BlockCoding, Coding, Element, Format, Number};
use crate::activations::Q8_K;

/// Ternary weights of ggml, five in a byte.
pub const TQ1_0: Format = Format {
    name: "tq1_0",
    origin: "ggml",
    block_len: LEN,
    block_bytes: 54,
    coding: Coding::Custom(&Tq1),
    activations: Some(&Q8_K),
};

/// Elements of a block.
const LEN: usize = 256;

/// Runs of bytes: the first element, the first byte, and how many bytes. Each byte of a run holds the first digit of one of the next
/// elements, then each the second, and so on.
const RUNS: [(usize, usize, usize); 3] = [(0, 0, 32), (160, 32, 16), (240, 48, 4)];

/// Digits of a byte; the bytes of the last run hold one less.
const DIGITS: usize = 5;

const SCALE: (usize, Number) = (52, Number::F16);

/// A byte is a fraction of 256: times 3 to the power of d, without what is above 256, its third that it lies in is digit d. The weight is
/// the digit less one, times the scale.
#[derive(Debug)]
struct Tq1;

impl BlockCoding for Tq1 {
    fn code_count(&self) -> u8 {
        3
    }

    fn decode(&self, block: &[u8], each: &mut dyn FnMut(Element)) {
        let scale = SCALE.1.read(&block[SCALE.0..]);
        for element in 0..LEN {
            let (byte, digit) = place(element);
            let fraction = block[byte].wrapping_mul(3_u8.pow(digit as u32));
            let code = ((u16::from(fraction) * 3) >> 8) as u8;
            let value = f64::from(code) - 1.0;
            each(Element { code, weight: value * scale, magnitude: (value.abs() + 1.0) * scale.abs() });
        }
    }

    fn encode(&self, codes: &[u8], block: &mut [u8]) {
        // Byte by byte the number that its digits are, the first the most significant one.
        let mut numbers = [0_u16; SCALE.0];
        for (element, code) in codes[..LEN].iter().enumerate() {
            let (byte, digit) = place(element);
            numbers[byte] += u16::from(code % 3) * 3_u16.pow((DIGITS - 1 - digit) as u32);
        }
        // The smallest fraction of 256 that is not below that of 3 to the power of the digits.
        let all = 3_u16.pow(DIGITS as u32);
        for (byte, number) in block.iter_mut().zip(numbers) {
            *byte = (number * 256).div_ceil(all) as u8;
        }
    }

    fn scales(&self) -> &'static [(usize, Number)] {
        &[SCALE]
    }

    fn values(&self) -> Option<&'static [i8]> {
        Some(&[-1, 0, 1])
    }

    fn place(&self, element: usize) -> Option<(usize, u8)> {
        Some((place(element).0, u8::MAX))
    }

    fn label(&self, _byte: usize) -> &'static str {
        "scale"
    }

    fn largest_weight(&self) -> f64 {
        1.0
    }
}

/// The byte of an element, and which of its digits it is.
const fn place(element: usize) -> (usize, usize) {
    let (first, byte, len) = RUNS[(element >= RUNS[1].0) as usize + (element >= RUNS[2].0) as usize];
    (byte + (element - first) % len, (element - first) / len)
}
