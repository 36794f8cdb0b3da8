//! `lut`: codes to unscaled weights, the stage between unpack and multiply.

use super::spec::{Change, Count, Effect, Element, Form, Scaling, Spec, Truth};
use crate::buffer::Buffer;
use crate::data::Distribution;

pub(super) const SPEC: Spec = Spec {
    name: "lut",
    inputs: &[Buffer::Codes],
    scaled_inputs: &[Buffer::Codes],
    scaling: Scaling::Never,
    outputs: &[Buffer::Out],
    out: (Element::Float, Count::Columns),
    form: Form::Vector(Buffer::Out),
    is_batched: false,
    whole_blocks: false,
    has_digits: false,
    needs_finite_x: false,
    truth: Truth::Elements(|elements, at| f32::from(elements.weight(at)).to_bits()),
    relations: &[(Change::Padding, Effect::Same), (Change::Complement, Effect::Negated)],
    distributions: Distribution::OF_SUMS,
    fuzz_targets: &[("lut", false)],
    exhaustive: None,
    usual_shape: (1, 1024),
    traced_shape: (1, 256),
    most_elements: usize::MAX,
};
