//! The passes over `x`: for its largest magnitude, and for its digits. Each level brings its own, with its own instructions;
//! the results are the same.

use super::{Digits, GROUP, Group, Plane};
use crate::format::CODES_PER_BYTE;

/// The two passes, by the instructions of one level.
pub(crate) trait Rounding {
    /// The largest magnitude of `x`, NaN if there is one.
    fn max_magnitude(&self, x: &[f32]) -> f32;

    /// Writes the digits of `x * scale` and returns the sum of the integers. The columns past the last are zeros.
    fn lay_out(&self, x: &[f32], scale: f64, digits: Digits, planes: &mut [Plane]) -> i64;
}

/// [`Rounding::lay_out`], with the instructions of the target's baseline.
pub(crate) fn lay_out(x: &[f32], scale: f64, digits: Digits, planes: &mut [Plane]) -> i64 {
    match digits {
        Digits::One => lay_out_digits::<1>(x, scale, planes),
        Digits::Two => lay_out_digits::<2>(x, scale, planes),
        Digits::Three => lay_out_digits::<3>(x, scale, planes),
        Digits::Four => lay_out_digits::<4>(x, scale, planes),
    }
}

/// [`Rounding::max_magnitude`], to be compiled for the instructions of the caller.
#[inline(always)]
pub(crate) fn compare_magnitudes(x: &[f32]) -> f32 {
    // Without the sign bit, f32 compare as their bits do, NaN above infinity above all numbers.
    let magnitudes = x.iter().map(|x| (x.to_bits() & (u32::MAX >> 1)) as i32);
    f32::from_bits(magnitudes.fold(0, i32::max) as u32)
}

/// [`Rounding::lay_out`] of `L` digits.
fn lay_out_digits<const L: usize>(x: &[f32], scale: f64, planes: &mut [Plane]) -> i64 {
    let groups: &mut [Group<L>] = planes.as_chunks_mut().0.as_chunks_mut().0;
    let (mut sum, mut padded) = (0, [0.0; GROUP]);
    for (x, group) in split_groups(x, &mut padded).zip(groups) {
        let (digits, part) = round_group(x, scale);
        sum += part;
        for (k, planes) in group.iter_mut().enumerate() {
            for (l, plane) in planes.iter_mut().enumerate() {
                for (i, digit) in plane.0.iter_mut().enumerate() {
                    *digit = (digits[CODES_PER_BYTE * i + k] >> (8 * l)) as i8;
                }
            }
        }
    }
    sum
}

/// The groups of `x`, the last of them filled up with zeros in `padded`.
#[inline(always)]
pub(crate) fn split_groups<'a>(
    x: &'a [f32],
    padded: &'a mut [f32; GROUP],
) -> impl Iterator<Item = &'a [f32; GROUP]> {
    let (whole, rest) = x.as_chunks();
    padded[..rest.len()].copy_from_slice(rest);
    whole.iter().chain((!rest.is_empty()).then_some(&*padded))
}

/// The digits of each integer of a group, the lowest in the lowest byte, and the sum of the integers.
#[inline(always)]
pub(crate) fn round_group(x: &[f32; GROUP], scale: f64) -> ([u32; GROUP], i64) {
    /// Adding this rounds an f64 of less than 2^51 to an integer, ties to even, and leaves the integer in its low bits.
    const ROUND: f64 = 1.5 * (1_u64 << 52) as f64;
    /// Adding this makes digits from 0 to 255 of digits from -128 to 127.
    const UNSIGNED: u32 = 0x8080_8080;
    /// Sums at a time, for vectors. Those of integers below 2^31 do not round.
    const LANES: usize = 8;
    let (mut digits, mut sums) = ([0; GROUP], [0.0; LANES]);
    for (digits, x) in digits.as_chunks_mut::<LANES>().0.iter_mut().zip(x.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            let shifted = f64::from(x[lane]) * scale + ROUND;
            sums[lane] += shifted - ROUND;
            digits[lane] = (shifted.to_bits() as u32).wrapping_add(UNSIGNED) ^ UNSIGNED;
        }
    }
    (digits, sums.iter().sum::<f64>() as i64)
}
