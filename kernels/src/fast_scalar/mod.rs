//! Scalar code that a compiler can make the most of, to measure the other kernels against.
//!
//! It walks over bytes instead of dividing element numbers, cuts its buffers so that no bound is checked in a
//! loop, gives sums several accumulators, and looks weights up one at a time in a table of four. The same
//! source is compiled twice: here for the target's baseline, in `avx2` with AVX2 and FMA enabled, for the
//! compiler to use as it sees fit. The faster of the two is the base of an honest ratio.
//!
//! What it leaves out on purpose is a table of the four weights of each of the 256 bytes. That moves whole
//! vectors, so it is faster (`dequantize` between two and three times, in a trial on Zen 5 that is not in the
//! repository), but it is scalar code in its source only.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
mod body;

use crate::activations::Activations;
use crate::batch::Batch;
use crate::functions::Function;
use crate::matrix::Matrix;
use crate::size::SizeError;

/// What the level has of its own.
pub(crate) const OWN: &[Function] = &[
    Function::Unpack(unpack),
    Function::Lut(lut),
    Function::Dequantize(dequantize),
    Function::Gemv(gemv),
    Function::Gemm(gemm),
    Function::GemvFixed(gemv_fixed),
];

/// As [`scalar::unpack`](crate::scalar::unpack).
///
/// # Errors
/// The same.
pub fn unpack(packed: &[u8], codes: &mut [u8]) -> Result<(), SizeError> {
    body::unpack(packed, codes)
}

/// As [`scalar::lut`](crate::scalar::lut).
///
/// # Errors
/// The same.
pub fn lut(codes: &[u8], weights: &mut [f32]) -> Result<(), SizeError> {
    body::lut(codes, weights)
}

/// As [`scalar::dequantize`](crate::scalar::dequantize), bit for bit.
///
/// # Errors
/// The same.
pub fn dequantize(packed: &[u8], scales: &[f32], out: &mut [f32]) -> Result<(), SizeError> {
    body::dequantize(packed, scales, out)
}

/// As [`scalar::gemv`](crate::scalar::gemv), in another order of summation.
///
/// In the whole blocks the column `c` goes to the partial sum `c % 8`, from left to right and from `+0.0` on.
/// A last block that is not whole has eight such sums of its own, which are then added to the others one by
/// one. At the end the partial sums 4 apart are added, then those 2 and 1 apart.
///
/// # Errors
/// The same.
pub fn gemv(matrix: &Matrix<'_>, x: &[f32], y: &mut [f32]) -> Result<(), SizeError> {
    body::gemv(matrix, x, y)
}

/// As [`scalar::gemm`](crate::scalar::gemm), each vector by [`gemv`].
///
/// # Errors
/// The same.
pub fn gemm(matrix: &Matrix<'_>, x: &Batch<'_>, y: &mut [f32], y_stride: usize) -> Result<(), SizeError> {
    body::gemm(matrix, x, y, y_stride)
}

/// As [`scalar::gemv_fixed`](crate::scalar::gemv_fixed), bit for bit.
///
/// # Errors
/// The same.
pub fn gemv_fixed(matrix: &Matrix<'_>, x: &Activations, y: &mut [f32]) -> Result<(), SizeError> {
    body::gemv_fixed(matrix, x, y)
}
