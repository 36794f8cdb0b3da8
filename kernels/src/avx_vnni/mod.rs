//! The kernels that AVX-VNNI makes faster, and the token that lets a program call them. The others are those of
//! [`avx2`](crate::avx2).

mod fixed;

use std::arch::is_x86_feature_detected;

use crate::activations::Activations;
use crate::avx2::{AHEAD, Avx2};
use crate::functions::Function;
use crate::matrix::Matrix;
use crate::size::SizeError;

/// What the level has of its own.
pub(crate) const OWN: &[Function] = &[Function::GemvFixed(fixed::gemv::<AHEAD>)];

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
        // SAFETY: `self` exists only where AVX-VNNI, AVX2 and FMA were detected (`AvxVnni::new`).
        unsafe { fixed::gemv::<AHEAD>(matrix, x, y) }
    }
}
