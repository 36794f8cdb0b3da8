//! `unpack`: packed bytes to codes.

use super::spec::{Change, Count, Effect, Element, Form, Scaling, Spec, Truth};
use crate::buffer::Buffer;
use crate::data::Distribution;

pub(super) const SPEC: Spec = Spec {
    name: "unpack",
    inputs: &[Buffer::Packed],
    scaled_inputs: &[Buffer::Packed],
    scaling: Scaling::Never,
    outputs: &[Buffer::Out],
    out: (Element::Byte, Count::Columns),
    form: Form::Vector(Buffer::Out),
    is_batched: false,
    whole_blocks: false,
    has_digits: false,
    needs_finite_x: false,
    truth: Truth::Elements(|elements, at| elements.codes[at].into()),
    relations: &[(Change::Padding, Effect::Same), (Change::Complement, Effect::Complement)],
    distributions: Distribution::OF_SUMS,
    fuzz_targets: &[("unpack", false)],
    exhaustive: None,
    usual_shape: (1, 1024),
    traced_shape: (1, 256),
    most_elements: usize::MAX,
};
