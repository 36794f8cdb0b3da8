//! The levels: one table.

use std::{fmt, iter};

use crate::functions::{Function, Functions, Gemv};
use crate::{fast_scalar, scalar};
#[cfg(not(target_arch = "x86_64"))]
use elsewhere::{avx_vnni, avx2, fast_scalar_avx2};
#[cfg(target_arch = "x86_64")]
use {crate::avx_vnni, crate::avx2, crate::fast_scalar::avx2 as fast_scalar_avx2};

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

/// What there is to know of a level.
struct Entry {
    name: &'static str,
    /// All CPU features that the functions of the level need, and those of its base.
    features: &'static [&'static str],
    /// The level, further up in the table, of which this one has the other functions. `None` has [`scalar::FUNCTIONS`].
    base: Option<Level>,
    own: &'static [Function],
}

/// The levels in the order of [`Level::ALL`].
static TABLE: [Entry; Level::ALL.len()] = [
    Entry { name: "scalar", features: &[], base: None, own: &[] },
    Entry { name: "fast_scalar", features: &[], base: Some(Level::Scalar), own: fast_scalar::OWN },
    Entry {
        name: "fast_scalar_avx2",
        features: &["avx2", "fma"],
        base: Some(Level::FastScalar),
        own: fast_scalar_avx2::OWN,
    },
    Entry { name: "avx2", features: &["avx2", "fma"], base: Some(Level::FastScalar), own: avx2::OWN },
    Entry {
        name: "avx_vnni",
        features: &["avx2", "fma", "avxvnni"],
        base: Some(Level::Avx2),
        own: avx_vnni::OWN,
    },
];

/// What each level calls.
static FUNCTIONS: [Functions; TABLE.len()] = {
    let mut functions = [scalar::FUNCTIONS; TABLE.len()];
    let mut i = 0;
    while i < TABLE.len() {
        if let Some(base) = TABLE[i].base {
            assert!((base as usize) < i, "a base stands further up in the table");
            functions[i] = functions[base as usize].replaced_by(TABLE[i].own);
        }
        i += 1;
    }
    functions
};

impl Level {
    /// Every level, from the plainest to the fastest.
    pub const ALL: &[Level] =
        &[Level::Scalar, Level::FastScalar, Level::FastScalarAvx2, Level::Avx2, Level::AvxVnni];

    /// `scalar`, `fast_scalar`, `fast_scalar_avx2`, `avx2` or `avx_vnni`.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// The CPU features that the level needs, all of them, by the names that the compiler gives them.
    pub fn required_features(self) -> &'static [&'static str] {
        self.entry().features
    }

    /// Whether this CPU has all the features that the level needs.
    pub fn is_supported(self) -> bool {
        self.missing_features().next().is_none()
    }

    /// The level whose code this one runs for an operation, by the name of the method of [`Kernels`](crate::Kernels): itself, or
    /// one that it is based on. What no level has code of its own for is that of [`Level::Scalar`].
    pub fn code_of(self, operation: &str) -> Level {
        let mut levels = iter::successors(Some(self), |level| level.entry().base);
        let has_own = |level: &Level| level.entry().own.iter().any(|own| own.operation() == operation);
        levels.find(has_own).unwrap_or(Level::Scalar)
    }

    /// The names of the ways in which the level's own `gemv` computes a product, depending on the shape. They give the same bits.
    /// Empty where there is but one. [`Kernels::gemv_by`](crate::Kernels::gemv_by) takes their numbers.
    pub fn gemv_paths(self) -> impl Iterator<Item = &'static str> {
        self.paths().map(|(name, _)| name)
    }

    /// [`gemv_paths`](Self::gemv_paths) with their functions.
    pub(crate) fn paths(self) -> impl Iterator<Item = (&'static str, Gemv)> {
        self.entry().own.iter().filter_map(|function| match *function {
            Function::GemvPath(name, gemv) => Some((name, gemv)),
            _ => None,
        })
    }

    /// The features that the level needs and this CPU lacks.
    pub(crate) fn missing_features(self) -> impl Iterator<Item = &'static str> {
        self.required_features().iter().copied().filter(|feature| !is_detected(feature))
    }

    /// What the level calls: where all its features are.
    pub(crate) fn functions(self) -> &'static Functions {
        &FUNCTIONS[self as usize]
    }

    fn entry(self) -> &'static Entry {
        &TABLE[self as usize]
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Whether this CPU has a feature of the table.
#[cfg(target_arch = "x86_64")]
fn is_detected(feature: &str) -> bool {
    match feature {
        "avx2" => std::arch::is_x86_feature_detected!("avx2"),
        "fma" => std::arch::is_x86_feature_detected!("fma"),
        "avxvnni" => std::arch::is_x86_feature_detected!("avxvnni"),
        _ => unreachable!("no level needs {feature}"),
    }
}

/// Whether this CPU has a feature of the table: they are all x86's.
#[cfg(not(target_arch = "x86_64"))]
fn is_detected(_: &str) -> bool {
    false
}

/// Levels of x86-64 that no other CPU supports.
#[cfg(not(target_arch = "x86_64"))]
mod elsewhere {
    pub(super) use {none as avx_vnni, none as avx2, none as fast_scalar_avx2};

    pub(super) mod none {
        pub(crate) const OWN: &[crate::functions::Function] = &[];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_levels_and_a_level_needs_what_its_base_needs() {
        for (i, &level) in Level::ALL.iter().enumerate() {
            assert_eq!(level as usize, i, "{level}");
            let needed = level.entry().base.map_or(&[][..], Level::required_features);
            assert!(needed.iter().all(|feature| level.required_features().contains(feature)), "{level}");
        }
    }

    #[test]
    fn a_level_runs_code_of_its_own_or_that_of_a_level_that_it_is_based_on() {
        for operation in ["unpack", "lut", "dequantize", "gemv", "gemm"] {
            assert_eq!(Level::AvxVnni.code_of(operation).name(), Level::Avx2.code_of(operation).name());
        }
        assert_eq!(Level::Scalar.code_of("gemv"), Level::Scalar);
        assert_eq!(Level::FastScalar.code_of("gemv"), Level::FastScalar);
        assert_eq!(Level::Avx2.code_of("quantize"), Level::Scalar);
        let expected = if cfg!(target_arch = "x86_64") { Level::AvxVnni } else { Level::FastScalar };
        assert_eq!(Level::AvxVnni.code_of("gemv_fixed"), expected);
    }
}
