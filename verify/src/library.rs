//! A shared library with kernels, and how they are found in it.

use std::fmt;
use std::path::PathBuf;

/// A shared library with kernels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// The file.
    pub path: PathBuf,
    /// How its kernels are found.
    pub source: Source,
}

/// How kernels are found in a library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// By the table of `verify/include/qk256_kernel.h`.
    Table,
    /// By the tables of types that a build of ggml has.
    Ggml(GgmlOptions),
}

/// What is wanted of a build of ggml.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GgmlOptions {
    /// The types, by ggml's or our names; all where there are none.
    pub types: Vec<String>,
    /// The least activation that kernels are sent, -128 or -127.
    pub activation_min: i8,
    /// The least weight of types of 8-bit integers, -128 or -127.
    pub weight_min: i8,
}

impl GgmlOptions {
    /// All types, and nothing below -127: ggml's own quantisers write nothing less.
    pub const USUAL: Self = Self { types: Vec::new(), activation_min: -i8::MAX, weight_min: -i8::MAX };
}

impl Library {
    /// A library that exports the table of kernels.
    pub fn plugin(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), source: Source::Table }
    }

    /// A build of ggml.
    pub fn ggml(path: impl Into<PathBuf>, options: GgmlOptions) -> Self {
        Self { path: path.into(), source: Source::Ggml(options) }
    }

    /// The options by which another process of this program finds the same kernels, from every folder.
    pub fn options(&self) -> Vec<String> {
        let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        let path = path.to_string_lossy().into_owned();
        let Source::Ggml(GgmlOptions { types, activation_min, weight_min }) = &self.source else {
            return vec!["--lib".to_owned(), path];
        };
        let mut words = vec!["--ggml".to_owned(), path];
        words.extend(types.iter().flat_map(|name| ["--type".to_owned(), name.clone()]));
        for (option, least) in [("--activation-min", *activation_min), ("--weights-min", *weight_min)] {
            if least != -i8::MAX {
                words.extend([option.to_owned(), least.to_string()]);
            }
        }
        words
    }
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}
