//! The scalar source of [`fast_scalar`](super), compiled with AVX2 and FMA enabled.
//!
//! The results are those of the baseline build, bit for bit: the compiler may use the instructions, but never
//! fuses a multiplication with an addition or reorders a sum of its own accord.

use super::body;
use crate::activations::Activations;
use crate::avx2::Avx2;
use crate::matrix::Matrix;
use crate::size::SizeError;

/// As [`fast_scalar::unpack`](super::unpack).
///
/// # Errors
/// The same.
pub fn unpack(_: Avx2, packed: &[u8], codes: &mut [u8]) -> Result<(), SizeError> {
    #[target_feature(enable = "avx2,fma")]
    fn entered(packed: &[u8], codes: &mut [u8]) -> Result<(), SizeError> {
        body::unpack(packed, codes)
    }
    // SAFETY: an `Avx2` exists only where AVX2 and FMA were detected (`Avx2::new`).
    unsafe { entered(packed, codes) }
}

/// As [`fast_scalar::lut`](super::lut).
///
/// # Errors
/// The same.
pub fn lut(_: Avx2, codes: &[u8], weights: &mut [f32]) -> Result<(), SizeError> {
    #[target_feature(enable = "avx2,fma")]
    fn entered(codes: &[u8], weights: &mut [f32]) -> Result<(), SizeError> {
        body::lut(codes, weights)
    }
    // SAFETY: an `Avx2` exists only where AVX2 and FMA were detected (`Avx2::new`).
    unsafe { entered(codes, weights) }
}

/// As [`fast_scalar::dequantize`](super::dequantize).
///
/// # Errors
/// The same.
pub fn dequantize(_: Avx2, packed: &[u8], scales: &[f32], out: &mut [f32]) -> Result<(), SizeError> {
    #[target_feature(enable = "avx2,fma")]
    fn entered(packed: &[u8], scales: &[f32], out: &mut [f32]) -> Result<(), SizeError> {
        body::dequantize(packed, scales, out)
    }
    // SAFETY: an `Avx2` exists only where AVX2 and FMA were detected (`Avx2::new`).
    unsafe { entered(packed, scales, out) }
}

/// As [`fast_scalar::gemv`](super::gemv), in the same order of summation.
///
/// # Errors
/// The same.
pub fn gemv(_: Avx2, matrix: &Matrix<'_>, x: &[f32], y: &mut [f32]) -> Result<(), SizeError> {
    #[target_feature(enable = "avx2,fma")]
    fn entered(matrix: &Matrix<'_>, x: &[f32], y: &mut [f32]) -> Result<(), SizeError> {
        body::gemv(matrix, x, y)
    }
    // SAFETY: an `Avx2` exists only where AVX2 and FMA were detected (`Avx2::new`).
    unsafe { entered(matrix, x, y) }
}

/// As [`fast_scalar::gemv_fixed`](super::gemv_fixed).
///
/// # Errors
/// The same.
pub fn gemv_fixed(_: Avx2, matrix: &Matrix<'_>, x: &Activations, y: &mut [f32]) -> Result<(), SizeError> {
    #[target_feature(enable = "avx2,fma")]
    fn entered(matrix: &Matrix<'_>, x: &Activations, y: &mut [f32]) -> Result<(), SizeError> {
        body::gemv_fixed(matrix, x, y)
    }
    // SAFETY: an `Avx2` exists only where AVX2 and FMA were detected (`Avx2::new`).
    unsafe { entered(matrix, x, y) }
}
