//! The choice of an implementation at run time.

use std::error::Error;
use std::fmt;

use crate::activations::rounding::Rounding;
use crate::activations::{Activations, ActivationsError, Digits, Plane};
use crate::batch::Batch;
use crate::functions::Functions;
use crate::level::Level;
use crate::matrix::Matrix;
use crate::size::SizeError;

/// The kernels of one level, which this CPU is known to support.
///
/// ```
/// use qk256_kernels::{Kernels, Level};
///
/// let mut codes = [0; 4];
/// Kernels::detect().unpack(&[0b11_10_01_00; 64], &mut codes)?;
/// assert_eq!(codes, [0, 1, 2, 3]);
/// assert_eq!(Kernels::new(Level::Scalar)?.level(), Level::Scalar);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Kernels {
    level: Level,
    functions: &'static Functions,
}

impl Kernels {
    /// The fastest kernels that this CPU supports.
    pub fn detect() -> Self {
        let fastest = Level::ALL.iter().rev().find_map(|&level| Self::new(level).ok());
        fastest.expect("scalar code runs everywhere")
    }

    /// The kernels of `level`.
    ///
    /// # Errors
    /// [`Unsupported`] if this CPU lacks a feature that the level needs.
    pub fn new(level: Level) -> Result<Self, Unsupported> {
        if level.is_supported() {
            Ok(Self { level, functions: level.functions() })
        } else {
            Err(Unsupported { level, missing: level.missing_features().collect() })
        }
    }

    /// The level that was picked.
    pub fn level(self) -> Level {
        self.level
    }

    /// As [`scalar::unpack`](crate::scalar::unpack).
    ///
    /// # Errors
    /// The same.
    #[inline]
    pub fn unpack(self, packed: &[u8], codes: &mut [u8]) -> Result<(), SizeError> {
        // SAFETY: `self` exists only where the features of the level were detected (`Kernels::new`).
        unsafe { (self.functions.unpack)(packed, codes) }
    }

    /// As [`scalar::lut`](crate::scalar::lut).
    ///
    /// # Errors
    /// The same.
    #[inline]
    pub fn lut(self, codes: &[u8], weights: &mut [f32]) -> Result<(), SizeError> {
        // SAFETY: `self` exists only where the features of the level were detected (`Kernels::new`).
        unsafe { (self.functions.lut)(codes, weights) }
    }

    /// As [`scalar::dequantize`](crate::scalar::dequantize).
    ///
    /// # Errors
    /// The same.
    #[inline]
    pub fn dequantize(self, packed: &[u8], scales: &[f32], out: &mut [f32]) -> Result<(), SizeError> {
        // SAFETY: `self` exists only where the features of the level were detected (`Kernels::new`).
        unsafe { (self.functions.dequantize)(packed, scales, out) }
    }

    /// As [`scalar::gemv`](crate::scalar::gemv), in the level's own order of summation.
    ///
    /// # Errors
    /// The same.
    #[inline]
    pub fn gemv(self, matrix: &Matrix<'_>, x: &[f32], y: &mut [f32]) -> Result<(), SizeError> {
        // SAFETY: `self` exists only where the features of the level were detected (`Kernels::new`).
        unsafe { (self.functions.gemv)(matrix, x, y) }
    }

    /// As [`gemv`](Self::gemv), bit for bit, by number `path` of [`Level::gemv_paths`], whatever the shape.
    ///
    /// # Errors
    /// The same.
    ///
    /// # Panics
    /// If the level has no such path.
    pub fn gemv_by(
        self,
        path: usize,
        matrix: &Matrix<'_>,
        x: &[f32],
        y: &mut [f32],
    ) -> Result<(), SizeError> {
        let (_, gemv) = self.level.paths().nth(path).expect("a path of the level");
        // SAFETY: `self` exists only where the features of the level were detected (`Kernels::new`).
        unsafe { gemv(matrix, x, y) }
    }

    /// As [`scalar::gemm`](crate::scalar::gemm), each vector's product with the bits of [`gemv`](Self::gemv) of that vector alone.
    ///
    /// From 96 rows and 1024 columns on, `avx2` and `avx_vnni` copy up to four vectors at a time, and two rows, to memory that they
    /// allocate.
    ///
    /// ```
    /// use qk256_kernels::{Batch, Kernels, Matrix};
    ///
    /// let packed = [0b11_10_01_00; 64];
    /// let matrix = Matrix::new(&packed, 1, 4, 64)?; // -2, -1, 1, 2
    /// let x = Batch::new(&[1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 2.0], 2, 4, 4)?;
    /// let mut y = [0.0; 2];
    /// Kernels::detect().gemm(&matrix, &x, &mut y, 1)?;
    /// assert_eq!(y, [-2.0, 2.0]);
    /// # Ok::<(), qk256_kernels::SizeError>(())
    /// ```
    ///
    /// # Errors
    /// The same.
    #[inline]
    pub fn gemm(
        self,
        matrix: &Matrix<'_>,
        x: &Batch<'_>,
        y: &mut [f32],
        y_stride: usize,
    ) -> Result<(), SizeError> {
        // SAFETY: `self` exists only where the features of the level were detected (`Kernels::new`).
        unsafe { (self.functions.gemm)(matrix, x, y, y_stride) }
    }

    /// Rounds `x` to N digits, for [`gemv_fixed`](Self::gemv_fixed) of this level or any other: the activations are the
    /// same at every level.
    ///
    /// # Errors
    /// [`ActivationsError::NotFinite`] with the first index of a NaN or an infinity,
    /// [`ActivationsError::TooManyColumns`] beyond [`Activations::MAX_COLS`].
    pub fn activations(self, x: &[f32], digits: Digits) -> Result<Activations, ActivationsError> {
        Activations::new(&self, x, digits)
    }

    /// Rounds `x` to the fewest digits for which [`Activations::error_bound`] is at most `tolerance`.
    ///
    /// # Errors
    /// Those of [`activations`](Self::activations), and [`ActivationsError::OutOfReach`] if four digits do not meet the
    /// tolerance.
    pub fn activations_within(self, x: &[f32], tolerance: f64) -> Result<Activations, ActivationsError> {
        Activations::within(&self, x, tolerance)
    }

    /// As [`activations`](Self::activations), in the memory of `old`.
    ///
    /// # Errors
    /// The same; `old` is then as it was.
    pub fn assign_activations(
        self,
        old: &mut Activations,
        x: &[f32],
        digits: Digits,
    ) -> Result<(), ActivationsError> {
        old.assign(&self, x, digits)
    }

    /// As [`scalar::gemv_fixed`](crate::scalar::gemv_fixed), bit for bit.
    ///
    /// # Errors
    /// The same.
    #[inline]
    pub fn gemv_fixed(self, matrix: &Matrix<'_>, x: &Activations, y: &mut [f32]) -> Result<(), SizeError> {
        // SAFETY: `self` exists only where the features of the level were detected (`Kernels::new`).
        unsafe { (self.functions.gemv_fixed)(matrix, x, y) }
    }
}

impl Rounding for Kernels {
    fn max_magnitude(&self, x: &[f32]) -> f32 {
        // SAFETY: `self` exists only where the features of the level were detected (`Kernels::new`).
        unsafe { (self.functions.max_magnitude)(x) }
    }

    fn lay_out(&self, x: &[f32], scale: f64, digits: Digits, planes: &mut [Plane]) -> i64 {
        // SAFETY: `self` exists only where the features of the level were detected (`Kernels::new`).
        unsafe { (self.functions.lay_out)(x, scale, digits, planes) }
    }
}

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kernels").field(&self.level).finish()
    }
}

/// The refusal of a level that this CPU cannot run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    level: Level,
    missing: Vec<&'static str>,
}

impl Unsupported {
    /// The level that was asked for.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The features that the level needs and this CPU lacks.
    pub fn missing(&self) -> &[&'static str] {
        &self.missing
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` needs what this CPU lacks: {}", self.level, self.missing.join(", "))
    }
}

impl Error for Unsupported {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_available_exactly_where_it_is_supported() {
        for &level in Level::ALL {
            match Kernels::new(level) {
                Ok(kernels) => {
                    assert!(level.is_supported(), "{level}");
                    assert_eq!(kernels.level(), level);
                }
                Err(refusal) => {
                    assert!(!level.is_supported(), "{level}");
                    assert_eq!(refusal.level(), level);
                    assert!(!refusal.missing().is_empty(), "{level}");
                }
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn there_are_tokens_exactly_where_their_levels_are_supported() {
        assert_eq!(crate::avx2::Avx2::new().is_some(), Level::Avx2.is_supported());
        assert_eq!(crate::avx_vnni::AvxVnni::new().is_some(), Level::AvxVnni.is_supported());
    }

    #[test]
    fn scalar_levels_run_everywhere_and_a_refusal_names_what_is_missing() {
        assert!(Level::Scalar.is_supported() && Level::FastScalar.is_supported());
        assert_ne!(Kernels::detect().level(), Level::Scalar);
        let refusal = Unsupported { level: Level::Avx2, missing: vec!["avx2", "fma"] };
        assert_eq!(refusal.missing(), ["avx2", "fma"]);
        assert_eq!(refusal.to_string(), "`avx2` needs what this CPU lacks: avx2, fma");
    }
}
