//! Integer sums by `vpdpbusd`, which multiplies bytes by digits and adds four products into 32 bits at once.
//!
//! One row at a time: the digits are read from memory by the instruction itself, so that a second row would save nothing,
//! and its sums would not fit into the registers.

use std::arch::x86_64::*;

use crate::activations::{Activations, Digits, Group, PLANE, join};
use crate::avx2::fixed::{halves, nibbles, raised_weights};
use crate::avx2::lanes::{add_integer_lanes, load_plane};
use crate::avx2::prefetch::prefetch;
use crate::matrix::Matrix;

/// Sums of a row, for each digit: enough of them to hide the latency of adding to one, as many as fit.
type Sums<const L: usize, const CHAINS: usize> = [[__m256i; L]; CHAINS];

/// Writes the product of row `r` and `x` to `y[r]`, with prefetches `AHEAD` bytes ahead, or none if that is 0: `x` has all
/// columns, `y` all rows.
#[target_feature(enable = "avx2,fma,avxvnni")]
pub(super) fn gemv<const AHEAD: usize>(matrix: &Matrix<'_>, x: &Activations, y: &mut [f32]) {
    match x.digits() {
        Digits::One => rows::<1, 8, AHEAD>(matrix, x, y),
        Digits::Two => rows::<2, 4, AHEAD>(matrix, x, y),
        Digits::Three => rows::<3, 2, AHEAD>(matrix, x, y),
        Digits::Four => rows::<4, 2, AHEAD>(matrix, x, y),
    }
}

/// The same for `L` digits, each with its sums of a row.
#[inline]
#[target_feature(enable = "avx2,fma,avxvnni")]
fn rows<const L: usize, const CHAINS: usize, const AHEAD: usize>(
    matrix: &Matrix<'_>,
    x: &Activations,
    y: &mut [f32],
) {
    for (r, y) in y.iter_mut().enumerate() {
        let (blocks, rest) = x.groups::<L>().as_chunks();
        let mut sums = [[_mm256_setzero_si256(); L]; CHAINS];
        for (block, [first, second]) in blocks.iter().enumerate() {
            if AHEAD > 0 {
                prefetch(matrix.packed(), matrix.block_start(r, block) + AHEAD);
            }
            let [low, high] = halves(matrix, r, block);
            add_group::<L, CHAINS, 0>(&mut sums, low, first);
            add_group::<L, CHAINS, 1>(&mut sums, high, second);
        }
        if let [last] = rest {
            let [low, _] = halves(matrix, r, blocks.len());
            add_group::<L, CHAINS, 0>(&mut sums, low, last);
        }
        let mut digits = [0; L];
        for (l, digit) in digits.iter_mut().enumerate() {
            let mut sum = _mm256_setzero_si256();
            for chain in &sums {
                sum = _mm256_add_epi32(sum, chain[l]);
            }
            *digit = add_integer_lanes(sum);
        }
        *y = x.round(join(digits, x.sum()));
    }
}

/// Adds the products of a group; those of the first and of the second group of a block go to sums of their own, as far as
/// there are enough.
#[inline]
#[target_feature(enable = "avx2,fma,avxvnni")]
fn add_group<const L: usize, const CHAINS: usize, const G: usize>(
    sums: &mut Sums<L, CHAINS>,
    codes: &[u8; PLANE],
    x: &Group<L>,
) {
    let halves = [nibbles::<0>(codes), nibbles::<1>(codes)];
    for (h, half) in halves.into_iter().enumerate() {
        for (k, table) in raised_weights().into_iter().enumerate() {
            let weights = _mm256_shuffle_epi8(table, half);
            let code = 2 * h + k;
            let sums = &mut sums[(4 * G + code) % CHAINS];
            for (sum, x) in sums.iter_mut().zip(&x[code]) {
                *sum = _mm256_dpbusd_avx_epi32(*sum, weights, load_plane(x));
            }
        }
    }
}
