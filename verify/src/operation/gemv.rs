//! `gemv`: a matrix-vector product in f32, with or without scales.

use super::spec::{Change, Count, Effect, Element, Exhaustive, Form, Scaling, Spec, Truth};
use crate::buffer::Buffer;
use crate::data::Distribution;

pub(super) const SPEC: Spec = Spec {
    name: "gemv",
    inputs: &[Buffer::Packed, Buffer::X],
    scaled_inputs: &[Buffer::Packed, Buffer::Scales, Buffer::X],
    scaling: Scaling::Optional,
    outputs: &[Buffer::Out],
    out: (Element::Float, Count::Rows),
    form: Form::Matrix,
    is_batched: false,
    whole_blocks: false,
    has_digits: false,
    needs_finite_x: false,
    truth: Truth::Sums,
    relations: &[
        (Change::Padding, Effect::Same),
        (Change::Complement, Effect::Negated),
        (Change::NegatedX, Effect::Negated),
        (Change::NegatedScales, Effect::Negated),
        (Change::PowerOfTwo, Effect::Scaled),
        (Change::RowOrder, Effect::Moved),
        (Change::FewRows, Effect::Moved),
    ],
    distributions: Distribution::OF_SUMS,
    fuzz_targets: &[("gemv", false), ("gemv_scaled", true)],
    exhaustive: Some(Exhaustive::Wiring),
    usual_shape: (2560, 2560),
    traced_shape: (1, 256),
    most_elements: usize::MAX,
};
