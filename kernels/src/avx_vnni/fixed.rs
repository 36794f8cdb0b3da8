//! Integer sums by `vpdpbusd`, which multiplies bytes by digits and adds four products into 32 bits at once.

use std::arch::x86_64::*;
use std::array;

use crate::activations::{Activations, Digits, Group, PLANE, join};
use crate::avx2::fixed::raised_weights;
use crate::avx2::lanes::{add_integer_lanes, load_plane};
use crate::avx2::prefetch::{AHEAD, prefetch};
use crate::format::CODES_PER_BYTE;
use crate::matrix::Matrix;

/// A sum for each digit of each code of a byte of each row: enough of them to hide the latency of adding to one.
type Sums<const L: usize, const ROWS: usize> = [[[__m256i; L]; CODES_PER_BYTE]; ROWS];

/// Writes the product of row `r` and `x` to `y[r]`: `x` has all columns, `y` all rows.
#[target_feature(enable = "avx2,fma,avxvnni")]
pub(super) fn gemv(matrix: &Matrix<'_>, x: &Activations, y: &mut [f32]) {
    match x.digits() {
        Digits::One => tiles::<1, 2>(matrix, x, y),
        Digits::Two => tiles::<2, 2>(matrix, x, y),
        Digits::Three => tiles::<3, 2>(matrix, x, y),
        Digits::Four => tiles::<4, 2>(matrix, x, y),
    }
}

/// The same for `L` digits, in tiles of `ROWS` rows.
#[target_feature(enable = "avx2,fma,avxvnni")]
fn tiles<const L: usize, const ROWS: usize>(matrix: &Matrix<'_>, x: &Activations, y: &mut [f32]) {
    let (tiles, rest) = y.as_chunks_mut::<ROWS>();
    let tiled = ROWS * tiles.len();
    for (first, y) in (0..).step_by(ROWS).zip(tiles) {
        *y = tile::<L, ROWS>(matrix, first, x);
    }
    for (r, y) in (tiled..).zip(rest) {
        [*y] = tile::<L, 1>(matrix, r, x);
    }
}

/// The products of the `ROWS` rows from `first` on and `x`.
#[inline]
#[target_feature(enable = "avx2,fma,avxvnni")]
fn tile<const L: usize, const ROWS: usize>(
    matrix: &Matrix<'_>,
    first: usize,
    x: &Activations,
) -> [f32; ROWS] {
    let groups = x.groups::<L>();
    let rows: [&[[u8; PLANE]]; ROWS] =
        array::from_fn(|row| &matrix.row(first + row).as_chunks().0[..groups.len()]);
    let mut sums = [[[_mm256_setzero_si256(); L]; CODES_PER_BYTE]; ROWS];
    for (g, x) in groups.iter().enumerate() {
        if g % 2 == 0 {
            for row in 0..ROWS {
                prefetch(matrix.packed(), matrix.block_start(first + row, g / 2) + AHEAD);
            }
        }
        add_group(&mut sums, rows.map(|row| &row[g]), x);
    }
    let mut products = [0.0; ROWS];
    for (product, sums) in products.iter_mut().zip(sums) {
        let mut digits = [0; L];
        for (l, digit) in digits.iter_mut().enumerate() {
            let [a, b, c, d] = sums.map(|sums| sums[l]);
            *digit = add_integer_lanes(_mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d)));
        }
        *product = x.round(join(digits, x.sum()));
    }
    products
}

/// Adds the products of a group.
#[inline]
#[target_feature(enable = "avx2,fma,avxvnni")]
fn add_group<const L: usize, const ROWS: usize>(
    sums: &mut Sums<L, ROWS>,
    codes: [&[u8; PLANE]; ROWS],
    x: &Group<L>,
) {
    let mut weights = [[_mm256_setzero_si256(); CODES_PER_BYTE]; ROWS];
    for row in 0..ROWS {
        weights[row] = raised_weights(codes[row]);
    }
    for (k, x) in x.iter().enumerate() {
        for (l, x) in x.iter().enumerate() {
            let x = load_plane(x);
            for row in 0..ROWS {
                sums[row][k][l] = _mm256_dpbusd_avx_epi32(sums[row][k][l], weights[row][k], x);
            }
        }
    }
}
