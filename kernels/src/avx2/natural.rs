//! `gemv` one row at a time, with `x` as it is: register `j` has the partial sums `(j, 0)` to `(j, 7)`.
//!
//! It asks for nothing ahead of time: a single stream is what the hardware's own prefetcher is made for.

use std::arch::x86_64::*;

use super::cursor::{Cursor, GROUP, GROUP_BYTES};
use super::lanes::{LANES, add_lanes, keep, load, mask, move_down};
use super::lut::{look_up, spread16};
use crate::matrix::Matrix;

/// Columns that share the first number of a partial sum: those of four bytes of codes.
const STEP: usize = 2 * LANES;

/// The partial sums, by their first number.
type Partials = [__m256; GROUP / STEP];

/// Writes the products of the rows from `first` on and `x` to `y`.
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
pub(super) fn rows<const SCALED: bool>(matrix: &Matrix<'_>, first: usize, x: &[f32], y: &mut [f32]) {
    let (groups, rest) = x.as_chunks::<GROUP>();
    if rest.is_empty() {
        for (r, y) in (first..).zip(y) {
            let (partials, _) = whole_groups::<SCALED>(Cursor::new(matrix, r), groups);
            *y = add_partials(partials);
        }
    } else {
        let last = x.last_chunk().expect("there are more columns than lanes");
        for (r, y) in (first..).zip(y) {
            let (mut partials, cursor) = whole_groups::<SCALED>(Cursor::new(matrix, r), groups);
            let table = cursor.table::<SCALED>(groups.len() / 2);
            add_rest::<SCALED>(&mut partials, table, cursor.codes(), rest, last);
            *y = add_partials(partials);
        }
    }
}

/// The partial sums of the whole groups of a row, and where they end.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn whole_groups<'a, const SCALED: bool>(
    mut cursor: Cursor<'a>,
    groups: &[[f32; GROUP]],
) -> (Partials, Cursor<'a>) {
    let mut partials = [_mm256_setzero_ps(); _];
    for (group, x) in groups.iter().enumerate() {
        add_group(&mut partials, cursor.table::<SCALED>(group / 2), cursor.codes(), x);
        cursor.advance::<GROUP_BYTES>();
    }
    (partials, cursor)
}

/// Adds the products of a group.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_group(partials: &mut Partials, table: __m256, codes: &[u8; GROUP_BYTES], x: &[f32; GROUP]) {
    let (steps, _) = x.as_chunks();
    for ((partial, codes), x) in partials.iter_mut().zip(codes.as_chunks().0).zip(steps) {
        add_step(partial, table, *codes, x);
    }
}

/// Adds the products of the front of a group, `x.len()` columns less than [`GROUP`]. `last` are the eight that end with `x`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_rest<const SCALED: bool>(
    partials: &mut Partials,
    table: __m256,
    codes: &[u8; GROUP_BYTES],
    x: &[f32],
    last: &[f32; LANES],
) {
    let (steps, rest) = x.as_chunks();
    for (step, (partial, codes)) in partials.iter_mut().zip(codes.as_chunks().0).enumerate() {
        match steps.get(step) {
            Some(x) => add_step(partial, table, *codes, x),
            None => return add_part::<SCALED>(partial, table, *codes, rest, last),
        }
    }
}

/// Adds the products of 16 columns: two to each partial sum.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_step(partial: &mut __m256, table: __m256, codes: [u8; 4], x: &[f32; STEP]) {
    let [low, high] = look_up16(table, codes);
    let (x, _) = x.as_chunks();
    *partial = _mm256_fmadd_ps(low, load(&x[0]), *partial);
    *partial = _mm256_fmadd_ps(high, load(&x[1]), *partial);
}

/// Adds the products of the front of 16 columns, `x.len()` of them. `last` are the eight that end with `x`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_part<const SCALED: bool>(
    partial: &mut __m256,
    table: __m256,
    codes: [u8; 4],
    x: &[f32],
    last: &[f32; LANES],
) {
    let [mut weights, high] = look_up16(table, codes);
    let mut len = x.len();
    if let Some((x, rest)) = x.split_first_chunk() {
        *partial = _mm256_fmadd_ps(weights, load(x), *partial);
        (weights, len) = (high, rest.len());
    }
    if len > 0 {
        let mask = mask(len);
        if SCALED {
            weights = keep(weights, mask);
        }
        *partial = _mm256_fmadd_ps(weights, keep(move_down(load(last), LANES - len), mask), *partial);
    }
}

/// What the table gives for the 16 codes of four bytes: the first eight, and the last.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn look_up16(table: __m256, codes: [u8; 4]) -> [__m256; 2] {
    let codes = spread16(codes);
    // A shift here, a multiplication in `dequantize`: each kernel takes what its other work leaves idle.
    [look_up(table, codes), look_up(table, _mm256_srli_epi32::<16>(codes))]
}

/// The sum of the partial sums: those whose first number differs by 4, then by 2 and 1, then those of the lanes.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_partials([a, b, c, d, e, f, g, h]: Partials) -> f32 {
    let (ae, cg) = (_mm256_add_ps(a, e), _mm256_add_ps(c, g));
    let (bf, dh) = (_mm256_add_ps(b, f), _mm256_add_ps(d, h));
    add_lanes(_mm256_add_ps(_mm256_add_ps(ae, cg), _mm256_add_ps(bf, dh)))
}
