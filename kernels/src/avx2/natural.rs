//! `gemv` one row at a time, with `x` as it is: register `j` has the partial sums `(j, 0)` to `(j, 7)`.

use std::arch::x86_64::*;

use super::cursor::Cursor;
use super::gemv::{GROUP, GROUP_BYTES};
use super::lanes::{LANES, add_lanes, keep, load, mask};
use super::lut::{look_up, spread16};
use crate::matrix::Matrix;

/// Columns that share the first number of a partial sum: those of four bytes of codes.
const STEP: usize = 2 * LANES;

/// The partial sums, by their first number.
type Partials = [__m256; GROUP / STEP];

/// Writes the products of the rows from `first` on and `x` to `y`.
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
pub(super) fn rows<const SCALED: bool, const AHEAD: usize>(
    matrix: &Matrix<'_>,
    first: usize,
    x: &[f32],
    y: &mut [f32],
) {
    let (groups, rest) = x.as_chunks::<GROUP>();
    if rest.is_empty() {
        for (r, y) in (first..).zip(y) {
            let (partials, _) = whole_groups::<SCALED, AHEAD>(Cursor::new(matrix, r), groups);
            *y = add_partials(partials);
        }
    } else {
        let mut padded = [0.0; GROUP];
        padded[..rest.len()].copy_from_slice(rest);
        for (r, y) in (first..).zip(y) {
            let (mut partials, cursor) = whole_groups::<SCALED, AHEAD>(Cursor::new(matrix, r), groups);
            add_group::<SCALED>(
                &mut partials,
                cursor.table::<SCALED>(groups.len() / 2),
                cursor.codes(),
                &padded,
                rest.len(),
            );
            *y = add_partials(partials);
        }
    }
}

/// The partial sums of the whole groups of a row, and where they end.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn whole_groups<'a, const SCALED: bool, const AHEAD: usize>(
    mut cursor: Cursor<'a>,
    groups: &[[f32; GROUP]],
) -> (Partials, Cursor<'a>) {
    let mut partials = [_mm256_setzero_ps(); _];
    for (group, x) in groups.iter().enumerate() {
        cursor.prefetch::<AHEAD>();
        add_group::<false>(&mut partials, cursor.table::<SCALED>(group / 2), cursor.codes(), x, GROUP);
        cursor.advance::<GROUP_BYTES>();
    }
    (partials, cursor)
}

/// Adds the products of a group. If it is `MASKED`, codes from column `len` on count as weights of zero.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_group<const MASKED: bool>(
    partials: &mut Partials,
    table: __m256,
    codes: &[u8; GROUP_BYTES],
    x: &[f32; GROUP],
    len: usize,
) {
    let (codes, _) = codes.as_chunks();
    let (x, _) = x.as_chunks();
    for (step, partial) in partials.iter_mut().enumerate() {
        let codes = spread16(codes[step]);
        // A shift here, a multiplication in `dequantize`: each kernel takes what its other work leaves idle.
        let halves = [codes, _mm256_srli_epi32::<16>(codes)];
        for (half, codes) in halves.into_iter().enumerate() {
            let mut weights = look_up(table, codes);
            if MASKED {
                weights = keep(weights, mask(len.saturating_sub(STEP * step + LANES * half)));
            }
            *partial = _mm256_fmadd_ps(weights, load(&x[2 * step + half]), *partial);
        }
    }
}

/// The sum of the partial sums: those whose first number differs by 4, then by 2 and 1, then those of the lanes.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_partials([a, b, c, d, e, f, g, h]: Partials) -> f32 {
    let (ae, cg) = (_mm256_add_ps(a, e), _mm256_add_ps(c, g));
    let (bf, dh) = (_mm256_add_ps(b, f), _mm256_add_ps(d, h));
    add_lanes(_mm256_add_ps(_mm256_add_ps(ae, cg), _mm256_add_ps(bf, dh)))
}
