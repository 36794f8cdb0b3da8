//! The choice of an implementation at run time.

use std::error::Error;
use std::fmt;

use crate::activations::rounding::{Baseline, Rounding};
use crate::activations::{Activations, ActivationsError, Digits};
#[cfg(target_arch = "x86_64")]
use crate::avx_vnni::AvxVnni;
#[cfg(target_arch = "x86_64")]
use crate::avx2::Avx2;
use crate::matrix::Matrix;
use crate::size::SizeError;
use crate::{fast_scalar, scalar};

/// An implementation of the operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Level {
    /// [`scalar`]: the definition.
    Scalar,
    /// [`fast_scalar`], compiled for the target's baseline.
    FastScalar,
    /// `fast_scalar::avx2`: the same source, compiled with AVX2 and FMA enabled.
    FastScalarAvx2,
    /// `avx2`: written with AVX2 and FMA intrinsics.
    Avx2,
    /// `avx_vnni`: `gemv_fixed` written with AVX-VNNI intrinsics, all else that of `avx2`.
    AvxVnni,
}

impl Level {
    /// Every level, from the plainest to the fastest.
    pub const ALL: &[Level] =
        &[Level::Scalar, Level::FastScalar, Level::FastScalarAvx2, Level::Avx2, Level::AvxVnni];

    /// `scalar`, `fast_scalar`, `fast_scalar_avx2`, `avx2` or `avx_vnni`.
    pub fn name(self) -> &'static str {
        match self {
            Level::Scalar => "scalar",
            Level::FastScalar => "fast_scalar",
            Level::FastScalarAvx2 => "fast_scalar_avx2",
            Level::Avx2 => "avx2",
            Level::AvxVnni => "avx_vnni",
        }
    }

    /// The CPU features that the level needs, all of them, by the names that the compiler gives them.
    pub fn required_features(self) -> &'static [&'static str] {
        match self {
            Level::Scalar | Level::FastScalar => &[],
            Level::FastScalarAvx2 | Level::Avx2 => &["avx2", "fma"],
            Level::AvxVnni => &["avx2", "fma", "avxvnni"],
        }
    }

    /// Whether this CPU has all the features that the level needs.
    pub fn is_supported(self) -> bool {
        self.required_features().iter().all(|feature| is_detected(feature))
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

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
#[derive(Clone, Copy, Debug)]
pub struct Kernels(Implementation);

/// A level together with its proof that the CPU supports it.
#[derive(Clone, Copy, Debug)]
enum Implementation {
    Scalar,
    FastScalar,
    #[cfg(target_arch = "x86_64")]
    FastScalarAvx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    AvxVnni(AvxVnni),
}

impl Kernels {
    /// The fastest kernels that this CPU supports.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(vnni) = AvxVnni::new() {
            return Self(Implementation::AvxVnni(vnni));
        } else if let Some(avx2) = Avx2::new() {
            return Self(Implementation::Avx2(avx2));
        }
        Self(Implementation::FastScalar)
    }

    /// The kernels of `level`.
    ///
    /// # Errors
    /// [`Unsupported`] if this CPU lacks a feature that the level needs.
    pub fn new(level: Level) -> Result<Self, Unsupported> {
        let implementation = match level {
            Level::Scalar => Some(Implementation::Scalar),
            Level::FastScalar => Some(Implementation::FastScalar),
            #[cfg(target_arch = "x86_64")]
            Level::FastScalarAvx2 => Avx2::new().map(Implementation::FastScalarAvx2),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => Avx2::new().map(Implementation::Avx2),
            #[cfg(target_arch = "x86_64")]
            Level::AvxVnni => AvxVnni::new().map(Implementation::AvxVnni),
            #[cfg(not(target_arch = "x86_64"))]
            Level::FastScalarAvx2 | Level::Avx2 | Level::AvxVnni => None,
        };
        implementation.map(Self).ok_or_else(|| Unsupported::new(level))
    }

    /// The level that was picked.
    pub fn level(self) -> Level {
        match self.0 {
            Implementation::Scalar => Level::Scalar,
            Implementation::FastScalar => Level::FastScalar,
            #[cfg(target_arch = "x86_64")]
            Implementation::FastScalarAvx2(_) => Level::FastScalarAvx2,
            #[cfg(target_arch = "x86_64")]
            Implementation::Avx2(_) => Level::Avx2,
            #[cfg(target_arch = "x86_64")]
            Implementation::AvxVnni(_) => Level::AvxVnni,
        }
    }

    /// The token of the AVX2 kernels, if they are among those of the level.
    #[cfg(target_arch = "x86_64")]
    pub fn avx2(self) -> Option<Avx2> {
        match self.0 {
            Implementation::Avx2(avx2) => Some(avx2),
            Implementation::AvxVnni(vnni) => Some(vnni.avx2()),
            _ => None,
        }
    }

    /// As [`scalar::unpack`].
    ///
    /// # Errors
    /// The same.
    #[inline]
    pub fn unpack(self, packed: &[u8], codes: &mut [u8]) -> Result<(), SizeError> {
        match self.0 {
            Implementation::Scalar => scalar::unpack(packed, codes),
            Implementation::FastScalar => fast_scalar::unpack(packed, codes),
            #[cfg(target_arch = "x86_64")]
            Implementation::FastScalarAvx2(avx2) => fast_scalar::avx2::unpack(avx2, packed, codes),
            #[cfg(target_arch = "x86_64")]
            Implementation::Avx2(avx2) => avx2.unpack(packed, codes),
            #[cfg(target_arch = "x86_64")]
            Implementation::AvxVnni(vnni) => vnni.avx2().unpack(packed, codes),
        }
    }

    /// As [`scalar::lut`].
    ///
    /// # Errors
    /// The same.
    #[inline]
    pub fn lut(self, codes: &[u8], weights: &mut [f32]) -> Result<(), SizeError> {
        match self.0 {
            Implementation::Scalar => scalar::lut(codes, weights),
            Implementation::FastScalar => fast_scalar::lut(codes, weights),
            #[cfg(target_arch = "x86_64")]
            Implementation::FastScalarAvx2(avx2) => fast_scalar::avx2::lut(avx2, codes, weights),
            #[cfg(target_arch = "x86_64")]
            Implementation::Avx2(avx2) => avx2.lut(codes, weights),
            #[cfg(target_arch = "x86_64")]
            Implementation::AvxVnni(vnni) => vnni.avx2().lut(codes, weights),
        }
    }

    /// As [`scalar::dequantize`].
    ///
    /// # Errors
    /// The same.
    #[inline]
    pub fn dequantize(self, packed: &[u8], scales: &[f32], out: &mut [f32]) -> Result<(), SizeError> {
        match self.0 {
            Implementation::Scalar => scalar::dequantize(packed, scales, out),
            Implementation::FastScalar => fast_scalar::dequantize(packed, scales, out),
            #[cfg(target_arch = "x86_64")]
            Implementation::FastScalarAvx2(avx2) => fast_scalar::avx2::dequantize(avx2, packed, scales, out),
            #[cfg(target_arch = "x86_64")]
            Implementation::Avx2(avx2) => avx2.dequantize(packed, scales, out),
            #[cfg(target_arch = "x86_64")]
            Implementation::AvxVnni(vnni) => vnni.avx2().dequantize(packed, scales, out),
        }
    }

    /// As [`scalar::gemv`], in the level's own order of summation.
    ///
    /// # Errors
    /// The same.
    #[inline]
    pub fn gemv(self, matrix: &Matrix<'_>, x: &[f32], y: &mut [f32]) -> Result<(), SizeError> {
        match self.0 {
            Implementation::Scalar => scalar::gemv(matrix, x, y),
            Implementation::FastScalar => fast_scalar::gemv(matrix, x, y),
            #[cfg(target_arch = "x86_64")]
            Implementation::FastScalarAvx2(avx2) => fast_scalar::avx2::gemv(avx2, matrix, x, y),
            #[cfg(target_arch = "x86_64")]
            Implementation::Avx2(avx2) => avx2.gemv(matrix, x, y),
            #[cfg(target_arch = "x86_64")]
            Implementation::AvxVnni(vnni) => vnni.avx2().gemv(matrix, x, y),
        }
    }

    /// Rounds `x` to N digits, for [`gemv_fixed`](Self::gemv_fixed) of this level or any other: the activations are the
    /// same at every level.
    ///
    /// # Errors
    /// [`ActivationsError::NotFinite`] with the first index of a NaN or an infinity,
    /// [`ActivationsError::TooManyColumns`] beyond [`Activations::MAX_COLS`].
    pub fn activations(self, x: &[f32], digits: Digits) -> Result<Activations, ActivationsError> {
        Activations::new(self.rounding(), x, digits)
    }

    /// Rounds `x` to the fewest digits for which [`Activations::error_bound`] is at most `tolerance`.
    ///
    /// # Errors
    /// Those of [`activations`](Self::activations), and [`ActivationsError::OutOfReach`] if four digits do not meet the
    /// tolerance.
    pub fn activations_within(self, x: &[f32], tolerance: f64) -> Result<Activations, ActivationsError> {
        Activations::within(self.rounding(), x, tolerance)
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
        old.assign(self.rounding(), x, digits)
    }

    /// The passes over `x` of the level.
    fn rounding(&self) -> &dyn Rounding {
        match &self.0 {
            Implementation::Scalar | Implementation::FastScalar => &Baseline,
            #[cfg(target_arch = "x86_64")]
            Implementation::FastScalarAvx2(avx2) | Implementation::Avx2(avx2) => avx2,
            #[cfg(target_arch = "x86_64")]
            Implementation::AvxVnni(vnni) => vnni.rounding(),
        }
    }

    /// As [`scalar::gemv_fixed`], bit for bit.
    ///
    /// # Errors
    /// The same.
    #[inline]
    pub fn gemv_fixed(self, matrix: &Matrix<'_>, x: &Activations, y: &mut [f32]) -> Result<(), SizeError> {
        match self.0 {
            Implementation::Scalar => scalar::gemv_fixed(matrix, x, y),
            Implementation::FastScalar => fast_scalar::gemv_fixed(matrix, x, y),
            #[cfg(target_arch = "x86_64")]
            Implementation::FastScalarAvx2(avx2) => fast_scalar::avx2::gemv_fixed(avx2, matrix, x, y),
            #[cfg(target_arch = "x86_64")]
            Implementation::Avx2(avx2) => avx2.gemv_fixed(matrix, x, y),
            #[cfg(target_arch = "x86_64")]
            Implementation::AvxVnni(vnni) => vnni.gemv_fixed(matrix, x, y),
        }
    }
}

/// The refusal of a level that this CPU cannot run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    level: Level,
    missing: Vec<&'static str>,
}

impl Unsupported {
    fn new(level: Level) -> Self {
        let required = level.required_features().iter().copied();
        Self { level, missing: required.filter(|feature| !is_detected(feature)).collect() }
    }

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

/// Whether this CPU has a feature of [`Level::required_features`].
#[cfg(target_arch = "x86_64")]
fn is_detected(feature: &str) -> bool {
    match feature {
        "avx2" => std::arch::is_x86_feature_detected!("avx2"),
        "fma" => std::arch::is_x86_feature_detected!("fma"),
        "avxvnni" => std::arch::is_x86_feature_detected!("avxvnni"),
        _ => unreachable!("no level needs {feature}"),
    }
}

/// Whether this CPU has a feature of [`Level::required_features`]: they are all x86's.
#[cfg(not(target_arch = "x86_64"))]
fn is_detected(_: &str) -> bool {
    false
}

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
    fn the_token_of_avx2_comes_with_the_levels_that_have_its_kernels() {
        for &level in Level::ALL {
            let has_them = matches!(level, Level::Avx2 | Level::AvxVnni);
            match Kernels::new(level) {
                Ok(kernels) => assert_eq!(kernels.avx2().is_some(), has_them, "{level}"),
                Err(refusal) => qk256_skip::skip_part(level.name(), refusal.missing()),
            }
        }
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
