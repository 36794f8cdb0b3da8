//! How the quantisers of ggml choose the scale of a block and its codes, as far as that is defined.

use super::Format;

/// How the scale of a block and its codes follow from its values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Quantiser {
    /// The scale is the largest magnitude over `largest`, and each code is the nearest, or its clamp.
    Linear {
        /// The code of the largest magnitude.
        largest: f64,
        /// Whether that code exists with one sign only, so that a value of the other may be a whole step away.
        has_one_sign: bool,
    },
    /// The minimum is the least value, the scale is the range over `steps` steps, and each code is the nearest.
    Affine {
        /// The largest code.
        steps: f64,
    },
    /// A search, or something of its own.
    Search,
}

impl Quantiser {
    /// The quantiser of a format.
    pub(crate) fn of(format: &Format) -> Self {
        match format.name {
            "q4_0" => Self::Linear { largest: 8.0, has_one_sign: true },
            "q5_0" => Self::Linear { largest: 16.0, has_one_sign: true },
            "q8_0" | "q8_1" | "q8_k" => Self::Linear { largest: 127.0, has_one_sign: false },
            "tq1_0" | "tq2_0" => Self::Linear { largest: 1.0, has_one_sign: false },
            "q4_1" => Self::Affine { steps: 15.0 },
            "q5_1" => Self::Affine { steps: 31.0 },
            _ => Self::Search,
        }
    }
}
