//! Integer sums over several rows at once, which share the loads of the digits.
//!
//! Two `pshufb` turn a nibble into the two weights that it stands for, raised by two so that they are unsigned; `maddubs`
//! multiplies them by signed digits and adds pairs into 16 bits. A group of 128 columns adds at most `4 * 2 * 4 * 128 =
//! 4096` to a 16-bit sum, so eight groups fit before the sums must move on to 32 bits.

use std::arch::x86_64::*;
use std::array;

use super::lanes::{add_integer_lanes, load_32_bytes, load_plane};
use super::prefetch::{AHEAD, prefetch};
use crate::activations::{Activations, Digits, Group, PLANE, join};
use crate::format::CODES_PER_BYTE;
use crate::matrix::Matrix;

/// Groups whose sums fit into 16 bits.
const NARROW: usize = 8;

/// A sum for each digit of each row.
type Sums<const L: usize, const ROWS: usize> = [[__m256i; L]; ROWS];

/// Writes the product of row `r` and `x` to `y[r]`: `x` has all columns, `y` all rows.
#[target_feature(enable = "avx2,fma")]
pub(super) fn gemv(matrix: &Matrix<'_>, x: &Activations, y: &mut [f32]) {
    match x.digits() {
        Digits::One => tiles::<1, 2>(matrix, x, y),
        Digits::Two => tiles::<2, 2>(matrix, x, y),
        Digits::Three => tiles::<3, 2>(matrix, x, y),
        Digits::Four => tiles::<4, 2>(matrix, x, y),
    }
}

/// The same for `L` digits, in tiles of `ROWS` rows.
#[target_feature(enable = "avx2,fma")]
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
#[target_feature(enable = "avx2,fma")]
fn tile<const L: usize, const ROWS: usize>(
    matrix: &Matrix<'_>,
    first: usize,
    x: &Activations,
) -> [f32; ROWS] {
    let rows: [&[[u8; PLANE]]; ROWS] = array::from_fn(|row| matrix.row(first + row).as_chunks().0);
    let mut wide = [[_mm256_setzero_si256(); L]; ROWS];
    for (chunk, groups) in x.groups::<L>().chunks(NARROW).enumerate() {
        let codes = rows.map(|row| &row[chunk * NARROW..][..groups.len()]);
        let start = chunk * NARROW * PLANE;
        for row in 0..ROWS {
            for line in (0..NARROW * PLANE).step_by(64) {
                prefetch(matrix.packed(), matrix.block_start(first + row, 0) + start + line + AHEAD);
            }
        }
        let narrow = add_groups(codes, groups);
        for (wide, narrow) in wide.as_flattened_mut().iter_mut().zip(narrow.as_flattened()) {
            let pairs = _mm256_madd_epi16(*narrow, _mm256_set1_epi16(1));
            *wide = _mm256_add_epi32(*wide, pairs);
        }
    }
    let mut products = [0.0; ROWS];
    for (product, wide) in products.iter_mut().zip(wide) {
        let mut sums = [0; L];
        for (sum, wide) in sums.iter_mut().zip(wide) {
            *sum = add_integer_lanes(wide);
        }
        *product = x.round(join(sums, x.sum()));
    }
    products
}

/// The 16-bit sums of up to [`NARROW`] groups.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_groups<const L: usize, const ROWS: usize>(
    codes: [&[[u8; PLANE]]; ROWS],
    x: &[Group<L>],
) -> Sums<L, ROWS> {
    let mut sums = [[_mm256_setzero_si256(); L]; ROWS];
    for (group, x) in x.iter().enumerate() {
        let mut weights = [[_mm256_setzero_si256(); CODES_PER_BYTE]; ROWS];
        for row in 0..ROWS {
            weights[row] = raised_weights(&codes[row][group]);
        }
        for (k, x) in x.iter().enumerate() {
            for (l, x) in x.iter().enumerate() {
                let x = load_plane(x);
                for row in 0..ROWS {
                    let pairs = _mm256_maddubs_epi16(weights[row][k], x);
                    sums[row][l] = _mm256_add_epi16(sums[row][l], pairs);
                }
            }
        }
    }
    sums
}

/// Two more than the weight of each code of 32 bytes: by code of a byte, then by byte.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn raised_weights(codes: &[u8; PLANE]) -> [__m256i; CODES_PER_BYTE] {
    // The weights of the low and of the high code of each nibble.
    let low = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 3, 4, 0, 1, 3, 4, 0, 1, 3, 4, 0, 1, 3, 4));
    let high = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 0, 0, 0, 1, 1, 1, 1, 3, 3, 3, 3, 4, 4, 4, 4));
    let nibble = _mm256_set1_epi8(0xf);
    let codes = load_32_bytes(codes);
    let first = _mm256_and_si256(codes, nibble);
    let second = _mm256_and_si256(_mm256_srli_epi16::<4>(codes), nibble);
    [
        _mm256_shuffle_epi8(low, first),
        _mm256_shuffle_epi8(high, first),
        _mm256_shuffle_epi8(low, second),
        _mm256_shuffle_epi8(high, second),
    ]
}
