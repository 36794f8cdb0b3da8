//! Blocks of formats without a description, decoded by hand.

use super::block::float;
use crate::format::{Format, Number, Q2_K, TQ1_0};

/// Elements of a block.
pub(super) const LEN: usize = 256;

/// A block of `q2_k`: 16 scales and minima of 4 bits each, for 16 elements, and two scales of these.
pub(super) mod q2_k {
    use super::{Number, float};

    /// Elements that share a scale and a minimum.
    pub(in super::super) const GROUP: usize = 16;

    const CODES_AT: usize = 16;
    const SCALE_AT: usize = 80;
    const SCALE_OF_MINIMA_AT: usize = 82;

    /// Calls `each` with the place and the code of each element: of 128 elements the first 32 are in the lowest two bits of 32 bytes, and
    /// so on.
    #[inline(always)]
    pub(in super::super) fn each_code(block: &[u8], mut each: impl FnMut(usize, u8)) {
        for (half, bytes) in block[CODES_AT..SCALE_AT].chunks_exact(32).enumerate() {
            for slot in 0..4 {
                for (at, byte) in bytes.iter().enumerate() {
                    each(half * 128 + slot * 32 + at, byte >> (2 * slot) & 3);
                }
            }
        }
    }

    /// The scale and the minimum of the 16 elements number `group`, as integers.
    pub(in super::super) fn scale_and_minimum(block: &[u8], group: usize) -> (i32, i32) {
        (i32::from(block[group] & 15), i32::from(block[group] >> 4))
    }

    /// What scales and minima are multiplied by.
    pub(in super::super) fn scales(block: &[u8]) -> (f32, f32) {
        (float(Number::F16, &block[SCALE_AT..]), float(Number::F16, &block[SCALE_OF_MINIMA_AT..]))
    }
}

/// A block of `tq1_0`: digits of base 3, five or four to a byte.
pub(super) mod tq1_0 {
    use super::{Number, float};

    const SCALE_AT: usize = 52;

    /// Powers of 3.
    const POWERS: [u8; 5] = [1, 3, 9, 27, 81];

    /// Calls `each` with the place and the digit of each element. A byte holds its digits as a fraction of 256, so that the next one is the
    /// whole part of three times it.
    #[inline(always)]
    pub(in super::super) fn each_digit(block: &[u8], mut each: impl FnMut(usize, u8)) {
        for (first, bytes, powers) in [
            (0, &block[..32], &POWERS[..]),
            (160, &block[32..48], &POWERS),
            (240, &block[48..SCALE_AT], &POWERS[..4]),
        ] {
            for (place, power) in powers.iter().enumerate() {
                for (at, byte) in bytes.iter().enumerate() {
                    let shifted = byte.wrapping_mul(*power);
                    each(first + place * bytes.len() + at, ((u16::from(shifted) * 3) >> 8) as u8);
                }
            }
        }
    }

    pub(in super::super) fn scale(block: &[u8]) -> f32 {
        float(Number::F16, &block[SCALE_AT..])
    }
}

/// Writes the codes of a block, one a byte.
#[inline(always)]
pub(super) fn codes(format: &Format, block: &[u8], codes: &mut [u8]) {
    let each = |at: usize, code| codes[at] = code;
    if is_q2_k(format) { q2_k::each_code(block, each) } else { tq1_0::each_digit(block, each) }
}

/// Writes the weights of a block.
#[inline(always)]
pub(super) fn weights(format: &Format, block: &[u8], weights: &mut [f32]) {
    if is_q2_k(format) {
        q2_k::each_code(block, |at, code| weights[at] = f32::from(code));
        let (scale, scale_of_minima) = q2_k::scales(block);
        for (group, weights) in weights.chunks_mut(q2_k::GROUP).enumerate() {
            let (of_group, minimum) = q2_k::scale_and_minimum(block, group);
            let (step, minimum) = (scale * of_group as f32, scale_of_minima * minimum as f32);
            weights.iter_mut().for_each(|weight| *weight = step * *weight - minimum);
        }
    } else {
        let scale = tq1_0::scale(block);
        tq1_0::each_digit(block, |at, digit| weights[at] = (f32::from(digit) - 1.0) * scale);
    }
}

/// Which of the two it is.
///
/// # Panics
/// If it is neither: a format without a description needs a line here.
pub(super) fn is_q2_k(format: &Format) -> bool {
    assert!([Q2_K.name, TQ1_0.name].contains(&format.name), "{} has a reference kernel", format.name);
    format.name == Q2_K.name
}
