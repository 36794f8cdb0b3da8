//! `gemm`: a matrix times a batch of f32 vectors. One vector makes it a `gemv`.

use super::spec::{Change, Count, Effect, Element, Form, Scaling, Spec, Truth};
use crate::buffer::Buffer;
use crate::data::Distribution;

pub(super) const SPEC: Spec = Spec {
    name: "gemm",
    inputs: &[Buffer::Packed, Buffer::X],
    scaled_inputs: &[Buffer::Packed, Buffer::Scales, Buffer::X],
    scaling: Scaling::Optional,
    outputs: &[Buffer::Out],
    out: (Element::Float, Count::Rows),
    form: Form::Matrix,
    is_batched: true,
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
        (Change::VectorOrder, Effect::Moved),
        (Change::FewRows, Effect::Moved),
        (Change::OneVector, Effect::Moved),
    ],
    distributions: Distribution::OF_SUMS,
    fuzz_targets: &[("gemm", false)],
    exhaustive: None,
    usual_shape: (2560, 2560),
    traced_shape: (1, 256),
    most_elements: usize::MAX,
};
