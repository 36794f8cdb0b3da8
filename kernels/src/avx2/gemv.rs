//! FMA into 64 partial sums, in one of two ways that give the same bits.
//!
//! `natural` reads `x` as it is and works on one row at a time. `permuted` copies `x` once, in the order in which codes come
//! out of a register, which saves one shift in four, and works on two rows, which share the loads of `x`. The copy pays where
//! rows and columns are many.
//!
//! # Order of summation
//! Fewer than 17 columns are summed from left to right. Of more, the column `c` goes to the partial sum `(c / 16 % 8, c %
//! 8)`, from left to right and from `+0.0` on; product and sum are rounded once. At the end of the row those are added whose
//! first number differs by 4, then by 2 and 1, then those whose second number differs by 4, 2 and 1.
//!
//! A partial sum that starts from `+0.0` never becomes `-0.0`, so adding a product of zero changes nothing: where columns end
//! within a register, `x` goes on with zeros. That is enough as long as no weight is infinite; with scales, the weights of
//! what is padding are zeros too.

use super::natural;
use super::permuted::{self, PermutedX};
use super::prefetch::AHEAD;
use crate::format::{BLOCK_LEN, weight};
use crate::matrix::Matrix;
use crate::size::SizeError;

/// Below this number of columns [`few`] is faster than filling registers. Four bytes have the codes of all of them.
const FEW: usize = 17;

/// Rows and columns from which permuting `x` pays: measured (docs/kernels.md).
const LAY_OUT: (usize, usize) = (48, 2048);

/// Writes the product of row `r` and `x` to `y[r]`, with a copy of `x` where it is worth its while, and prefetches `AHEAD` bytes
/// ahead if so, or none if that is 0.
#[target_feature(enable = "avx2,fma")]
pub(super) fn gemv<const AHEAD: usize>(
    matrix: &Matrix<'_>,
    x: &[f32],
    y: &mut [f32],
) -> Result<(), SizeError> {
    product::<AHEAD>(matrix, x, y, matrix.rows() >= LAY_OUT.0 && matrix.cols() >= LAY_OUT.1)
}

/// The same with `x` as it is.
#[target_feature(enable = "avx2,fma")]
pub(super) fn gemv_natural(matrix: &Matrix<'_>, x: &[f32], y: &mut [f32]) -> Result<(), SizeError> {
    product::<AHEAD>(matrix, x, y, false)
}

/// The same with a copy of `x`.
#[target_feature(enable = "avx2,fma")]
pub(super) fn gemv_permuted(matrix: &Matrix<'_>, x: &[f32], y: &mut [f32]) -> Result<(), SizeError> {
    product::<AHEAD>(matrix, x, y, true)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn product<const AHEAD: usize>(
    matrix: &Matrix<'_>,
    x: &[f32],
    y: &mut [f32],
    lay_out: bool,
) -> Result<(), SizeError> {
    let (x, y) = matrix.fit(x, y)?;
    if x.len() < FEW {
        few(matrix, x, y);
    } else if !lay_out {
        natural(matrix, x, y);
    } else {
        permuted::<AHEAD>(matrix, x, y);
    }
    Ok(())
}

/// `gemv` with `x` as it is.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn natural(matrix: &Matrix<'_>, x: &[f32], y: &mut [f32]) {
    if matrix.is_scaled() {
        natural::rows::<true>(matrix, 0, x, y);
    } else {
        natural::rows::<false>(matrix, 0, x, y);
    }
}

/// `gemv` with a copy of `x`, as far as it can be used.
#[target_feature(enable = "avx2,fma")]
fn permuted<const AHEAD: usize>(matrix: &Matrix<'_>, x: &[f32], y: &mut [f32]) {
    if matrix.is_scaled() && !x.len().is_multiple_of(BLOCK_LEN) {
        // The zeros behind the copy would meet weights of padding, which a scale may have made infinite.
        return natural(matrix, x, y);
    }
    // The last row, or the last two, as they are: there must be bytes behind the others.
    let (y, last) = y.split_at_mut(y.len().saturating_sub(1) / 2 * 2);
    let (first, (pairs, _)) = (y.len(), y.as_chunks_mut());
    let copy = PermutedX::new(x);
    if matrix.is_scaled() {
        permuted::pairs::<true, AHEAD>(matrix, &copy, pairs);
        natural::rows::<true>(matrix, first, x, last);
    } else {
        permuted::pairs::<false, AHEAD>(matrix, &copy, pairs);
        natural::rows::<false>(matrix, first, x, last);
    }
}

/// `gemv` of less than [`FEW`] columns, from left to right.
#[inline]
fn few(matrix: &Matrix<'_>, x: &[f32], y: &mut [f32]) {
    if x.is_empty() {
        return y.fill(0.0);
    }
    for (r, y) in y.iter_mut().enumerate() {
        let [a, b, c, d, ..] = *matrix.block(r, 0);
        let mut codes = u32::from_le_bytes([a, b, c, d]);
        let scale = matrix.scale(r, 0);
        *y = 0.0;
        for x in x {
            *y += weight(codes) * scale * x;
            codes >>= 2;
        }
    }
}
