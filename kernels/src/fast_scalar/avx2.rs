//! The scalar source of [`fast_scalar`](super), compiled with AVX2 and FMA enabled.
//!
//! The results are those of the baseline build, bit for bit: the compiler may use the instructions, but never
//! fuses a multiplication with an addition or reorders a sum of its own accord.

use super::body;
use crate::activations::Activations;
use crate::avx2::digits;
use crate::batch::Batch;
use crate::functions::Function;
use crate::matrix::Matrix;
use crate::size::SizeError;

/// What the level has of its own. Rounding is no scalar code of its own: it is that of `avx2`.
pub(crate) const OWN: &[Function] = &[
    Function::Unpack(unpack),
    Function::Lut(lut),
    Function::Dequantize(dequantize),
    Function::Gemv(gemv),
    Function::Gemm(gemm),
    Function::GemvFixed(gemv_fixed),
    Function::MaxMagnitude(digits::max_magnitude),
    Function::LayOut(digits::lay_out),
];

#[target_feature(enable = "avx2,fma")]
fn unpack(packed: &[u8], codes: &mut [u8]) -> Result<(), SizeError> {
    body::unpack(packed, codes)
}

#[target_feature(enable = "avx2,fma")]
fn lut(codes: &[u8], weights: &mut [f32]) -> Result<(), SizeError> {
    body::lut(codes, weights)
}

#[target_feature(enable = "avx2,fma")]
fn dequantize(packed: &[u8], scales: &[f32], out: &mut [f32]) -> Result<(), SizeError> {
    body::dequantize(packed, scales, out)
}

#[target_feature(enable = "avx2,fma")]
fn gemv(matrix: &Matrix<'_>, x: &[f32], y: &mut [f32]) -> Result<(), SizeError> {
    body::gemv(matrix, x, y)
}

#[target_feature(enable = "avx2,fma")]
fn gemm(matrix: &Matrix<'_>, x: &Batch<'_>, y: &mut [f32], y_stride: usize) -> Result<(), SizeError> {
    body::gemm(matrix, x, y, y_stride)
}

#[target_feature(enable = "avx2,fma")]
fn gemv_fixed(matrix: &Matrix<'_>, x: &Activations, y: &mut [f32]) -> Result<(), SizeError> {
    body::gemv_fixed(matrix, x, y)
}
