//! The layout of fixed-point activations: a transposition of bytes.

use std::arch::x86_64::*;

use super::lanes::{load_two_halves, store_plane};
use crate::activations::rounding::{round_group, split_groups};
use crate::activations::{GROUP, Group, PLANE, Plane};
use crate::format::CODES_PER_BYTE;

/// Writes the digits of `x * scale` and returns the sum of the integers, as the portable function of that name.
#[target_feature(enable = "avx2,fma")]
pub(super) fn lay_out_digits<const L: usize>(x: &[f32], scale: f64, planes: &mut [Plane]) -> i64 {
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
