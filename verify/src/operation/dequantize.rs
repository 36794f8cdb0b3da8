//! `dequantize`: packed bytes and scales to f32 weights.

use super::spec::{Change, Count, Effect, Element, Exhaustive, Form, Spec, Truth};
use crate::buffer::Buffer;
use crate::data::Distribution;

pub(super) const SPEC: Spec = Spec {
    name: "dequantize",
    inputs: &[Buffer::Packed, Buffer::Scales],
    scaled_inputs: &[Buffer::Packed, Buffer::Scales],
    outputs: &[Buffer::Out],
    out: (Element::Float, Count::Columns),
    form: Form::Vector(Buffer::Out),
    has_digits: false,
    needs_finite_x: false,
    truth: Truth::Elements(|elements, at| {
        let exact = f64::from(elements.weight(at)) * f64::from(elements.scale(at));
        (exact as f32).to_bits()
    }),
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
