//! The kernels that AVX-VNNI makes faster, and the token that lets a program call them. The others are those of
//! [`avx2`](crate::avx2).

mod fixed;

use std::arch::is_x86_feature_detected;

use crate::activations::Activations;
use crate::activations::rounding::Rounding;
use crate::avx2::{AHEAD, Avx2};
use crate::matrix::Matrix;
use crate::size::SizeError;

/// Proof that this CPU has AVX-VNNI, AVX2 and FMA, and the way to the kernels that need them.
#[derive(Clone, Copy, Debug)]
pub struct AvxVnni(Avx2);

impl AvxVnni {
    /// A token, if the CPU has AVX-VNNI, AVX2 and FMA.
    pub fn new() -> Option<Self> {
        Avx2::new().filter(|_| is_x86_feature_detected!("avxvnni")).map(Self)
    }

    /// The token for the kernels of AVX2.
    pub fn avx2(self) -> Avx2 {
        self.0
    }

    /// The passes over the activations of `gemv_fixed`: those of AVX2.
    pub(crate) fn rounding(&self) -> &dyn Rounding {
        &self.0
    }

    /// As [`scalar::gemv_fixed`](crate::scalar::gemv_fixed), bit for bit.
    ///
    /// # Errors
    /// The same.
    pub fn gemv_fixed(self, matrix: &Matrix<'_>, x: &Activations, y: &mut [f32]) -> Result<(), SizeError> {
        self.gemv_fixed_ahead::<AHEAD>(matrix, x, y)
    }

    /// As [`gemv_fixed`](Self::gemv_fixed), bit for bit, with prefetches N bytes ahead, or none if that is 0.
    ///
    /// # Errors
    /// The same.
    pub fn gemv_fixed_ahead<const AHEAD: usize>(
        self,
        matrix: &Matrix<'_>,
        x: &Activations,
        y: &mut [f32],
    ) -> Result<(), SizeError> {
        let y = matrix.fit_fixed(x, y)?;
        // SAFETY: `self` exists only where AVX-VNNI, AVX2 and FMA were detected (`AvxVnni::new`).
        unsafe { fixed::gemv::<AHEAD>(matrix, x, y) };
        Ok(())
    }
}
