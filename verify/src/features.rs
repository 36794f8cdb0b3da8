//! The CPU features that kernels may require: every name that the detection macros of Rust know.

use thiserror::Error;

/// A feature, and whether this CPU has it.
type Feature = (&'static str, fn() -> bool);

/// The features of one architecture.
struct Table {
    arch: &'static str,
    features: &'static [Feature],
}

/// A name that is no CPU feature of any architecture here.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there is no CPU feature `{name}`; known are {}", known())]
pub struct UnknownFeature {
    /// The name.
    pub name: String,
}

/// Whether this CPU has the feature `name`, in the spelling of `is_x86_feature_detected!` or `is_aarch64_feature_detected!`.
/// A feature of the other architecture is one that this CPU lacks.
///
/// # Errors
/// [`UnknownFeature`] if no macro knows the name.
pub fn is_detected(name: &str) -> Result<bool, UnknownFeature> {
    let mut known = TABLES.iter().flat_map(|table| table.features).filter(|(own, _)| *own == name).peekable();
    if known.peek().is_none() {
        return Err(UnknownFeature { name: name.to_owned() });
    }
    // `aes` and `sm4` are features of both.
    Ok(known.any(|(_, is_here)| is_here()))
}

/// The features of `required` that this CPU lacks.
///
/// # Errors
/// [`UnknownFeature`] with the first name that no macro knows.
pub fn missing<'a>(required: &[&'a str]) -> Result<Vec<&'a str>, UnknownFeature> {
    let mut missing = Vec::new();
    for name in required {
        if !is_detected(name)? {
            missing.push(*name);
        }
    }
    Ok(missing)
}

/// The name of a feature, in the spelling of the tables.
///
/// # Errors
/// [`UnknownFeature`] if no macro knows it.
pub(crate) fn named(name: &str) -> Result<&'static str, UnknownFeature> {
    let mut all = TABLES.iter().flat_map(|table| table.features).map(|&(known, _)| known);
    all.find(|known| *known == name).ok_or_else(|| UnknownFeature { name: name.to_owned() })
}

/// Every name, by architecture.
fn known() -> String {
    let of = |table: &Table| {
        let names: Vec<&str> = table.features.iter().map(|(name, _)| *name).collect();
        format!("{}: {}", table.arch, names.join(" "))
    };
    TABLES.iter().map(of).collect::<Vec<_>>().join("; ")
}

/// The table of an architecture, whose macro is asked where it exists.
macro_rules! table {
    ($arch:tt, $is_detected:ident, [$($name:tt)*]) => {
        Table {
            arch: $arch,
            features: &[$((
                $name,
                #[cfg(target_arch = $arch)]
                || std::arch::$is_detected!($name),
                #[cfg(not(target_arch = $arch))]
                || false,
            )),*],
        }
    };
}

/// The names that are stable in Rust 1.91 and later, synonyms and old names among them.
#[allow(deprecated, reason = "old names of features are known too")]
static TABLES: [Table; 2] = [
    table!("x86_64", is_x86_feature_detected, [
        "aes" "pclmulqdq" "rdrand" "rdseed" "tsc" "mmx" "sse" "sse2" "sse3" "ssse3" "sse4.1" "sse4.2" "sse4a" "sha" "avx"
        "avx2" "sha512" "sm3" "sm4" "avx512f" "avx512cd" "avx512er" "avx512pf" "avx512bw" "avx512dq" "avx512vl"
        "avx512ifma" "avx512vbmi" "avx512vpopcntdq" "avx512vbmi2" "gfni" "avx512gfni" "vaes" "avx512vaes" "vpclmulqdq"
        "avx512vpclmulqdq" "avx512vnni" "avx512bitalg" "avx512bf16" "avx512vp2intersect" "avx512fp16" "avxifma"
        "avxneconvert" "avxvnni" "avxvnniint16" "avxvnniint8" "f16c" "fma" "bmi1" "bmi2" "lzcnt" "abm" "tbm" "popcnt"
        "fxsr" "xsave" "xsaveopt" "xsaves" "xsavec" "cmpxchg16b" "kl" "widekl" "adx" "rtm" "movbe" "ermsb"
    ]),
    table!("aarch64", is_aarch64_feature_detected, [
        "neon" "asimd" "pmull" "fp" "aes" "bf16" "bti" "crc" "dit" "dpb" "dpb2" "dotprod" "f32mm" "f64mm" "fcma" "fhm"
        "flagm" "fp16" "frintts" "i8mm" "jsconv" "lse" "lse2" "mte" "paca" "pacg" "rand" "rcpc" "rcpc2" "rdm" "sb" "sha2"
        "sha3" "sm4" "ssbs" "sve" "sve2" "sve2-aes" "sve2-bitperm" "sve2-sha3" "sve2-sm4" "tme"
    ]),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Names that an earlier table lacked, and some of each architecture.
    #[test]
    fn names_of_both_architectures_are_known_and_those_of_the_other_are_missing() {
        for name in [
            "avx512ifma",
            "avx512bf16",
            "sse3",
            "popcnt",
            "avxvnniint8",
            "abm",
            "neon",
            "dotprod",
            "sve2-aes",
        ] {
            assert!(is_detected(name).is_ok(), "{name}");
        }
        let foreign: &[&str] =
            if cfg!(target_arch = "x86_64") { &["neon", "i8mm", "sve"] } else { &["avx2", "fma"] };
        assert_eq!(missing(foreign), Ok(foreign.to_vec()));
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_answer_is_that_of_the_macro() {
        assert_eq!(is_detected("sse2"), Ok(true));
        assert_eq!(is_detected("avx2"), Ok(is_x86_feature_detected!("avx2")));
        assert_eq!(is_detected("avx512ifma"), Ok(is_x86_feature_detected!("avx512ifma")));
        assert_eq!(is_detected("avxvnni"), Ok(is_x86_feature_detected!("avxvnni")));
    }

    #[test]
    fn a_misspelt_name_is_an_error_that_lists_the_known_ones() {
        for name in ["avx_2", "AVX2", "avx512", ""] {
            let error = missing(&["sse2", name]).expect_err("no macro knows it").to_string();
            assert!(
                error.starts_with(&format!("there is no CPU feature `{name}`; known are x86_64: ")),
                "{error}"
            );
            for known in [" avx2 ", " avx512ifma ", "; aarch64: neon "] {
                assert!(error.contains(known), "`{known}` is not in: {error}");
            }
        }
    }

    #[test]
    fn no_name_is_listed_twice_for_an_architecture() {
        for Table { arch, features } in &TABLES {
            let mut names: Vec<_> = features.iter().map(|(name, _)| name).collect();
            names.sort_unstable();
            assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{arch}");
        }
    }
}
