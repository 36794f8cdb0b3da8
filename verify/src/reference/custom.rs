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

    /// The code of an element: of 128 elements the first 32 are in the lowest two bits of 32 bytes, and so on.
    pub(in super::super) fn code(block: &[u8], at: usize) -> u8 {
        block[CODES_AT + at / 128 * 32 + at % 32] >> (at % 128 / 32 * 2) & 3
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

    /// The digit of an element. A byte holds its digits as a fraction of 256, so that the next one is the whole part of three times it.
    pub(in super::super) fn digit(block: &[u8], at: usize) -> u8 {
        let (byte, place) = match at {
            0..160 => (at % 32, at / 32),
            160..240 => (32 + (at - 160) % 16, (at - 160) / 16),
            _ => (48 + (at - 240) % 4, (at - 240) / 4),
        };
        let shifted = block[byte].wrapping_mul(POWERS[place]);
        ((u16::from(shifted) * 3) >> 8) as u8
    }

    pub(in super::super) fn scale(block: &[u8]) -> f32 {
        float(Number::F16, &block[SCALE_AT..])
    }
}

/// Writes the codes of a block, one a byte.
pub(super) fn codes(format: &Format, block: &[u8], codes: &mut [u8]) {
    let code = if is_q2_k(format) { q2_k::code } else { tq1_0::digit };
    codes.iter_mut().enumerate().for_each(|(at, to)| *to = code(block, at));
}

/// Writes the weights of a block.
pub(super) fn weights(format: &Format, block: &[u8], weights: &mut [f32]) {
    if is_q2_k(format) {
        let (scale, scale_of_minima) = q2_k::scales(block);
        for (group, weights) in weights.chunks_mut(q2_k::GROUP).enumerate() {
            let (of_group, minimum) = q2_k::scale_and_minimum(block, group);
            let (step, minimum) = (scale * of_group as f32, scale_of_minima * minimum as f32);
            for (at, weight) in weights.iter_mut().enumerate() {
                *weight = step * f32::from(q2_k::code(block, group * q2_k::GROUP + at)) - minimum;
            }
        }
    } else {
        let scale = tq1_0::scale(block);
        let integer = |at| f32::from(tq1_0::digit(block, at)) - 1.0;
        weights.iter_mut().enumerate().for_each(|(at, weight)| *weight = integer(at) * scale);
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
