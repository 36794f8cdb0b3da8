//! The passes over the activations of `gemv_fixed`, of which the layout is a transposition of bytes.

use std::arch::x86_64::*;

use super::lanes::{load_two_halves, store_plane};
use crate::activations::rounding::{compare_magnitudes, round_group, split_groups};
use crate::activations::{Digits, GROUP, Group, PLANE, Plane};
use crate::format::CODES_PER_BYTE;

/// [`Rounding::max_magnitude`](crate::activations::rounding::Rounding::max_magnitude).
#[target_feature(enable = "avx2,fma")]
pub(crate) fn max_magnitude(x: &[f32]) -> f32 {
    compare_magnitudes(x)
}

/// [`Rounding::lay_out`](crate::activations::rounding::Rounding::lay_out).
#[target_feature(enable = "avx2,fma")]
pub(crate) fn lay_out(x: &[f32], scale: f64, digits: Digits, planes: &mut [Plane]) -> i64 {
    match digits {
        Digits::One => lay_out_digits::<1>(x, scale, planes),
        Digits::Two => lay_out_digits::<2>(x, scale, planes),
        Digits::Three => lay_out_digits::<3>(x, scale, planes),
        Digits::Four => lay_out_digits::<4>(x, scale, planes),
    }
}

/// The same of `L` digits.
#[target_feature(enable = "avx2,fma")]
fn lay_out_digits<const L: usize>(x: &[f32], scale: f64, planes: &mut [Plane]) -> i64 {
    let (mut sum, mut padded) = (0, [0.0; GROUP]);
    for (x, group) in split_groups(x, &mut padded).zip(planes.as_chunks_mut().0.as_chunks_mut().0) {
        let (digits, part) = round_group(x, scale);
        sum += part;
        transpose::<L>(digits.as_chunks().0, group);
    }
    sum
}

/// Writes the bytes `4 * k + l` of all of 32 rows to the plane of code `k` and digit `l`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn transpose<const L: usize>(rows: &[[u32; CODES_PER_BYTE]], group: &mut Group<L>) {
    // Row `i` below and row `16 + i` above; four rounds of shuffling like cards exchange rows and bytes.
    let mut bytes = [_mm256_setzero_si256(); PLANE / 2];
    for (i, bytes) in bytes.iter_mut().enumerate() {
        *bytes = load_two_halves(&rows[i], &rows[PLANE / 2 + i]);
    }
    for _ in 0..4 {
        let before = bytes;
        for i in 0..PLANE / 4 {
            bytes[2 * i] = _mm256_unpacklo_epi8(before[i], before[PLANE / 4 + i]);
            bytes[2 * i + 1] = _mm256_unpackhi_epi8(before[i], before[PLANE / 4 + i]);
        }
    }
    for (k, planes) in group.iter_mut().enumerate() {
        for (l, plane) in planes.iter_mut().enumerate() {
            store_plane(plane, bytes[4 * k + l]);
        }
    }
}
