//! `dequantize`: packed bytes and scales to f32 weights.

use super::spec::{Change, Count, Effect, Element, Exhaustive, Form, Scaling, Spec, Truth};
use crate::buffer::Buffer;
use crate::data::Distribution;

pub(super) const SPEC: Spec = Spec {
    name: "dequantize",
    inputs: &[Buffer::Packed],
    scaled_inputs: &[Buffer::Packed, Buffer::Scales],
    scaling: Scaling::Always,
    outputs: &[Buffer::Out],
    out: (Element::Float, Count::Columns),
    form: Form::Vector(Buffer::Out),
    is_batched: false,
    whole_blocks: false,
    has_digits: false,
    needs_finite_x: false,
    truth: Truth::Elements(|elements, at| (elements.scaled_weight(at) as f32).to_bits()),
    relations: &[
        (Change::Padding, Effect::Same),
        (Change::Complement, Effect::Negated),
        (Change::NegatedScales, Effect::Negated),
    ],
    distributions: Distribution::OF_SUMS,
    fuzz_targets: &[("dequantize", true)],
    exhaustive: Some(Exhaustive::Scales),
    usual_shape: (1, 1024),
    traced_shape: (1, 256),
    most_elements: usize::MAX,
};
