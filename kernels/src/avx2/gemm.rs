//! `gemv` of several vectors: tiles of up to four of them, or one at a time. Both give the same bits.

use super::gemv;
use super::prefetch::AHEAD;
use super::tile::{self, MAX_VECTORS, ROWS};
use crate::batch::{Batch, Products};
use crate::format::BLOCK_LEN;
use crate::matrix::Matrix;
use crate::size::SizeError;

/// Rows and columns from which a tile pays: measured (docs/kernels.md).
const TILE: (usize, usize) = (96, 1024);

/// Writes the product of row `r` and vector `b` of `x` to `y[b * y_stride + r]`.
#[target_feature(enable = "avx2,fma")]
pub(super) fn gemm(
    matrix: &Matrix<'_>,
    x: &Batch<'_>,
    y: &mut [f32],
    y_stride: usize,
) -> Result<(), SizeError> {
    let mut y = Products::new(matrix, x, y, y_stride)?;
    let most = if tiles_pay(matrix) { MAX_VECTORS } else { 1 };
    let mut first = 0;
    while first < y.batch() {
        let vectors = (y.batch() - first).min(most);
        match vectors {
            4 => tile::product::<4, 1>(matrix, x, &mut y, first),
            3 => tile::product::<3, 1>(matrix, x, &mut y, first),
            2 => tile::product::<2, 2>(matrix, x, &mut y, first),
            _ => gemv::gemv::<AHEAD>(matrix, x.vector(first), y.product(first))?,
        }
        first += vectors;
    }
    Ok(())
}

/// Whether tiles can be used, and are worth the permutation of `x`.
fn tiles_pay(matrix: &Matrix<'_>) -> bool {
    // A tile computes whole blocks. Its zeros behind `x` must not meet weights of padding, which a scale may have made infinite.
    let whole = !matrix.is_scaled() || matrix.cols().is_multiple_of(BLOCK_LEN);
    whole && matrix.rows() >= TILE.0.max(ROWS) && matrix.cols() >= TILE.1
}
