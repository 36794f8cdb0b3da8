//! The AVX2 kernels: one idea a file, and the token that lets a program call them.
//!
//! | file | idea |
//! | --- | --- |
//! | `unpack` | 2-bit codes to bytes by shuffles |
//! | `lut` | codes to weights by a table that lives in a register |
//! | `dequantize` | the same table with the scale multiplied in, and two stores for each dword of codes |
//! | `gemv` | FMA into 64 partial sums, and the choice between the next two |
//! | `natural` | one row at a time, `x` as it is |
//! | `permuted` | two rows at a time, `x` copied in the order of shifted codes |
//! | `gemm` | `gemv` of several vectors, and the choice whether they share a tile |
//! | `tile` | two rows and up to four vectors at a time: codes shifted and `x` permuted once |
//! | `digits` | the layout of fixed-point activations |
//! | `fixed` | integer sums of byte products |
//! | `prefetch` | asking for the codes of later rows in time |
//!
//! Fewer elements than pay for the way through the registers are left to a plain loop: there AVX2 has nothing to win.
//!
//! Everything in these files is safe code but for the loads and stores of `lanes` and the prefetch.

mod cursor;
mod dequantize;
pub(crate) mod digits;
pub(crate) mod fixed;
mod gemm;
mod gemv;
pub(crate) mod lanes;
mod lut;
mod natural;
mod permuted;
mod prefetch;
mod tile;
mod unpack;

use std::arch::is_x86_feature_detected;

pub use prefetch::{AHEAD, prefetch};

use crate::activations::Activations;
use crate::functions::Function;
use crate::matrix::Matrix;
use crate::size::SizeError;

/// What the level has of its own.
pub(crate) const OWN: &[Function] = &[
    Function::Unpack(unpack::unpack),
    Function::Lut(lut::lut),
    Function::Dequantize(dequantize::dequantize),
    Function::Gemv(gemv::gemv::<AHEAD>),
    Function::GemvPath("natural", gemv::gemv_natural),
    Function::GemvPath("permuted", gemv::gemv_permuted),
    Function::Gemm(gemm::gemm),
    Function::GemvFixed(fixed::gemv::<AHEAD>),
    Function::MaxMagnitude(digits::max_magnitude),
    Function::LayOut(digits::lay_out),
];

/// Proof that this CPU has AVX2 and FMA, and the way to the kernels that need them.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

impl Avx2 {
    /// A token, if the CPU has both AVX2 and FMA.
    pub fn new() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }

    /// As [`scalar::gemv`](crate::scalar::gemv), in another order of summation.
    ///
    /// Fewer than 17 columns are summed from left to right. Of more, the column `c` goes to the partial sum `(c / 16 % 8, c
    /// % 8)`, from left to right and from `+0.0` on; product and sum are rounded once. At the end of the row those are
    /// added whose first number differs by 4, then by 2 and 1, then those whose second number differs by 4, 2 and 1.
    ///
    /// From 48 rows and 2048 columns on, `x` is copied to memory that this allocates.
    ///
    /// # Errors
    /// The same.
    #[inline]
    pub fn gemv(self, matrix: &Matrix<'_>, x: &[f32], y: &mut [f32]) -> Result<(), SizeError> {
        self.gemv_ahead::<AHEAD>(matrix, x, y)
    }

    /// As [`gemv`](Self::gemv), bit for bit, with prefetches N bytes ahead, or none if that is 0.
    ///
    /// # Errors
    /// The same.
    #[inline]
    pub fn gemv_ahead<const AHEAD: usize>(
        self,
        matrix: &Matrix<'_>,
        x: &[f32],
        y: &mut [f32],
    ) -> Result<(), SizeError> {
        // SAFETY: `self` exists only where AVX2 and FMA were detected (`Avx2::new`).
        unsafe { gemv::gemv::<AHEAD>(matrix, x, y) }
    }

    /// As [`gemv`](Self::gemv), bit for bit, with `x` as it is, whatever the number of rows.
    ///
    /// # Errors
    /// The same.
    pub fn gemv_natural(self, matrix: &Matrix<'_>, x: &[f32], y: &mut [f32]) -> Result<(), SizeError> {
        // SAFETY: `self` exists only where AVX2 and FMA were detected (`Avx2::new`).
        unsafe { gemv::gemv_natural(matrix, x, y) }
    }

    /// As [`gemv`](Self::gemv), bit for bit, with a copy of `x`, whatever the number of rows.
    ///
    /// # Errors
    /// The same.
    pub fn gemv_permuted(self, matrix: &Matrix<'_>, x: &[f32], y: &mut [f32]) -> Result<(), SizeError> {
        // SAFETY: `self` exists only where AVX2 and FMA were detected (`Avx2::new`).
        unsafe { gemv::gemv_permuted(matrix, x, y) }
    }

    /// As [`scalar::gemv_fixed`](crate::scalar::gemv_fixed), bit for bit, with prefetches N bytes ahead, or none if that is 0.
    ///
    /// # Errors
    /// The same.
    pub fn gemv_fixed_ahead<const AHEAD: usize>(
        self,
        matrix: &Matrix<'_>,
        x: &Activations,
        y: &mut [f32],
    ) -> Result<(), SizeError> {
        // SAFETY: `self` exists only where AVX2 and FMA were detected (`Avx2::new`).
        unsafe { fixed::gemv::<AHEAD>(matrix, x, y) }
    }
}
