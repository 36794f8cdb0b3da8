//! `gemv_fixed`: a matrix-vector product in fixed point. x is rounded to digits, sums are integers, and each is rounded once.

use std::ops::RangeInclusive;

use super::spec::{Change, Count, Effect, Element, Form, Scaling, Spec, Truth};
use crate::buffer::Buffer;
use crate::data::Distribution;

/// The digits that x may be rounded to.
pub const DIGITS: RangeInclusive<u8> = 1..=4;

/// The most columns.
pub const MAX_FIXED_COLUMNS: usize = 1 << 22;

pub(super) const SPEC: Spec = Spec {
    name: "gemv_fixed",
    inputs: &[Buffer::Packed, Buffer::X],
    scaled_inputs: &[Buffer::Packed, Buffer::X],
    scaling: Scaling::Never,
    outputs: &[Buffer::Out],
    out: (Element::Float, Count::Rows),
    form: Form::Matrix,
    is_batched: false,
    whole_blocks: false,
    has_digits: true,
    needs_finite_x: true,
    truth: Truth::FixedSums,
    relations: &[
        (Change::Padding, Effect::Same),
        (Change::Complement, Effect::Negated),
        (Change::NegatedX, Effect::Negated),
        (Change::PowerOfTwo, Effect::Scaled),
        (Change::RowOrder, Effect::Moved),
    ],
    distributions: Distribution::OF_DIGITS,
    fuzz_targets: &[("gemv_fixed", false)],
    exhaustive: None,
    usual_shape: (2560, 2560),
    // The rounding of x, which kernels share, takes more instructions than a row.
    traced_shape: (8, 64),
    most_elements: usize::MAX,
};
