//! What a level is made of: the functions that compute the operations.
//!
//! They are `unsafe` to call, since each may need CPU features: those of the level that names it.

use crate::activations::{Activations, Digits, Plane};
use crate::batch::Batch;
use crate::matrix::Matrix;
use crate::size::SizeError;

pub(crate) type Unpack = unsafe fn(&[u8], &mut [u8]) -> Result<(), SizeError>;
pub(crate) type Lut = unsafe fn(&[u8], &mut [f32]) -> Result<(), SizeError>;
pub(crate) type Dequantize = unsafe fn(&[u8], &[f32], &mut [f32]) -> Result<(), SizeError>;
pub(crate) type Gemv = unsafe fn(&Matrix<'_>, &[f32], &mut [f32]) -> Result<(), SizeError>;
pub(crate) type Gemm = unsafe fn(&Matrix<'_>, &Batch<'_>, &mut [f32], usize) -> Result<(), SizeError>;
pub(crate) type GemvFixed = unsafe fn(&Matrix<'_>, &Activations, &mut [f32]) -> Result<(), SizeError>;
pub(crate) type MaxMagnitude = unsafe fn(&[f32]) -> f32;
pub(crate) type LayOut = unsafe fn(&[f32], f64, Digits, &mut [Plane]) -> i64;

/// A function that a level has of its own.
#[derive(Clone, Copy)]
#[cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "levels of other CPUs have no such functions of their own")
)]
pub(crate) enum Function {
    Unpack(Unpack),
    Lut(Lut),
    Dequantize(Dequantize),
    Gemv(Gemv),
    /// One of the ways in which the level's `gemv` computes a product, by its name.
    GemvPath(&'static str, Gemv),
    /// It gives the bits of the level's `gemv`, so a level that has one of them of its own has both.
    Gemm(Gemm),
    GemvFixed(GemvFixed),
    /// The passes over `x` that come before `gemv_fixed`: [`Rounding`](crate::activations::rounding::Rounding).
    MaxMagnitude(MaxMagnitude),
    LayOut(LayOut),
}

impl Function {
    /// The operation that it computes, or a part of.
    pub(crate) fn operation(&self) -> &'static str {
        match self {
            Self::Unpack(_) => "unpack",
            Self::Lut(_) => "lut",
            Self::Dequantize(_) => "dequantize",
            Self::Gemv(_) | Self::GemvPath(..) => "gemv",
            Self::Gemm(_) => "gemm",
            Self::GemvFixed(_) | Self::MaxMagnitude(_) | Self::LayOut(_) => "gemv_fixed",
        }
    }
}

/// All that a level calls: functions of its own, and of its base.
#[derive(Clone, Copy)]
pub(crate) struct Functions {
    pub(crate) unpack: Unpack,
    pub(crate) lut: Lut,
    pub(crate) dequantize: Dequantize,
    pub(crate) gemv: Gemv,
    pub(crate) gemm: Gemm,
    pub(crate) gemv_fixed: GemvFixed,
    pub(crate) max_magnitude: MaxMagnitude,
    pub(crate) lay_out: LayOut,
}

impl Functions {
    /// These, but for those in `own`.
    pub(crate) const fn replaced_by(mut self, own: &[Function]) -> Self {
        let mut i = 0;
        while i < own.len() {
            match own[i] {
                Function::Unpack(unpack) => self.unpack = unpack,
                Function::Lut(lut) => self.lut = lut,
                Function::Dequantize(dequantize) => self.dequantize = dequantize,
                Function::Gemv(gemv) => self.gemv = gemv,
                Function::GemvPath(..) => {}
                Function::Gemm(gemm) => self.gemm = gemm,
                Function::GemvFixed(gemv_fixed) => self.gemv_fixed = gemv_fixed,
                Function::MaxMagnitude(max_magnitude) => self.max_magnitude = max_magnitude,
                Function::LayOut(lay_out) => self.lay_out = lay_out,
            }
            i += 1;
        }
        self
    }
}
