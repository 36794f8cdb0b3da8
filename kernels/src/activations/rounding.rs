//! The passes over `x`: for its largest magnitude, and for its digits.
//!
//! Where the CPU has AVX2 they are built for it, and the layout is written for it. The results are the same.

use super::{Digits, GROUP, Group, Plane};
#[cfg(target_arch = "x86_64")]
use crate::avx2::Avx2;
use crate::format::CODES_PER_BYTE;

/// The largest magnitude of `x`, NaN if there is one.
pub(super) fn max_magnitude(x: &[f32]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = Avx2::new() {
        return avx2.max_magnitude(x);
    }
    compare_magnitudes(x)
}

/// [`max_magnitude`], to be compiled for the instructions of the caller.
#[inline(always)]
pub(crate) fn compare_magnitudes(x: &[f32]) -> f32 {
    // Without the sign bit, f32 compare as their bits do, NaN above infinity above all numbers.
    let magnitudes = x.iter().map(|x| (x.to_bits() & (u32::MAX >> 1)) as i32);
    f32::from_bits(magnitudes.fold(0, i32::max) as u32)
}

/// Writes the digits of `x * scale` and returns the sum of the integers. The columns past the last are zeros.
pub(super) fn lay_out(x: &[f32], scale: f64, digits: Digits, planes: &mut [Plane]) -> i64 {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = Avx2::new() {
        return avx2.lay_out_digits(x, scale, digits, planes);
    }
    lay_out_portably(x, scale, digits, planes)
}

fn lay_out_portably(x: &[f32], scale: f64, digits: Digits, planes: &mut [Plane]) -> i64 {
    match digits {
        Digits::One => lay_out_digits::<1>(x, scale, planes),
        Digits::Two => lay_out_digits::<2>(x, scale, planes),
        Digits::Three => lay_out_digits::<3>(x, scale, planes),
        Digits::Four => lay_out_digits::<4>(x, scale, planes),
    }
}

/// [`lay_out`] of `L` digits.
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

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn avx2_gives_what_portable_code_gives() {
        let Some(avx2) = Avx2::new() else { return eprintln!("skipped: no AVX2 and FMA") };
        let x: Vec<f32> =
            (0..300_u32).map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b9) % 0x5000_0000)).collect();
        let x: Vec<f32> = x.iter().enumerate().map(|(i, x)| if i % 3 == 0 { -x } else { *x }).collect();
        for len in (0..=9).chain([127, 128, 129, 255, 256, 257, 300]) {
            let x = &x[..len];
            let max = compare_magnitudes(x);
            assert_eq!(avx2.max_magnitude(x), max, "{len} elements");
            for digits in Digits::ALL {
                let scale = digits.largest() as f64 / f64::from(max).max(1.0);
                let planes = vec![Plane([7; 32]); len.div_ceil(GROUP) * CODES_PER_BYTE * digits.count()];
                let (mut one, mut other) = (planes.clone(), planes);
                let sum = lay_out_portably(x, scale, digits, &mut one);
                assert_eq!(
                    avx2.lay_out_digits(x, scale, digits, &mut other),
                    sum,
                    "{len} elements, {digits:?}"
                );
                assert!(one == other, "{len} elements, {digits:?}");
            }
        }
    }
}
