//! Integer sums by `vpdpbusd`, which multiplies bytes by digits and adds four products into 32 bits at once.
//!
//! One row at a time: the digits are read from memory by the instruction itself, so that a second row would save nothing,
//! and its sums would not fit into the registers.

use std::arch::x86_64::*;

use crate::activations::{Activations, Digits, Group, PLANE};
use crate::avx2::fixed::{blocks, halves, raised_weights, round};
use crate::avx2::lanes::load_plane;
use crate::format::CODES_PER_BYTE;
use crate::matrix::Matrix;
use crate::size::SizeError;

/// Sums of a row, for each digit: enough of them to hide the latency of adding to one, as many as fit.
type Sums<const L: usize, const CHAINS: usize> = [[__m256i; L]; CHAINS];

/// Writes the product of row `r` and `x` to `y[r]`, with prefetches `AHEAD` bytes ahead, or none if that is 0.
#[target_feature(enable = "avx2,fma,avxvnni")]
pub(super) fn gemv<const AHEAD: usize>(
    matrix: &Matrix<'_>,
    x: &Activations,
    y: &mut [f32],
) -> Result<(), SizeError> {
    let y = matrix.fit_fixed(x, y)?;
    match x.digits() {
        Digits::One => rows::<1, 8, AHEAD>(matrix, x, y),
        Digits::Two => rows::<2, 4, AHEAD>(matrix, x, y),
        Digits::Three => rows::<3, 2, AHEAD>(matrix, x, y),
        Digits::Four => rows::<4, 2, AHEAD>(matrix, x, y),
    }
    Ok(())
}

/// The same for `L` digits, each with its sums of a row.
#[inline]
#[target_feature(enable = "avx2,fma,avxvnni")]
fn rows<const L: usize, const CHAINS: usize, const AHEAD: usize>(
    matrix: &Matrix<'_>,
    x: &Activations,
    y: &mut [f32],
) {
    let (whole, rest) = x.groups::<L>().as_chunks();
    for (r, y) in y.iter_mut().enumerate() {
        let mut sums = [[_mm256_setzero_si256(); L]; CHAINS];
        for (codes, x) in blocks::<L, AHEAD>(matrix, r, 0, whole) {
            add_group::<L, CHAINS, 0>(&mut sums, &codes[0], &x[0]);
            add_group::<L, CHAINS, 1>(&mut sums, &codes[1], &x[1]);
        }
        if let [last] = rest {
            add_group::<L, CHAINS, 0>(&mut sums, &halves(matrix, r, whole.len())[0], last);
        }
        let mut total = [_mm256_setzero_si256(); L];
        for chain in sums {
            for (total, sum) in total.iter_mut().zip(chain) {
                *total = _mm256_add_epi32(*total, sum);
            }
        }
        *y = round(x, total);
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
    for (code, weights) in raised_weights(codes).into_iter().enumerate() {
        for (sum, x) in sums[(CODES_PER_BYTE * G + code) % CHAINS].iter_mut().zip(&x[code]) {
            *sum = _mm256_dpbusd_avx_epi32(*sum, weights, load_plane(x));
        }
    }
}
