//! `dot`: rows of weights times one vector of quantised activations, both in whole blocks.

use super::spec::{Change, Count, Effect, Element, Form, Scaling, Spec, Truth};
use crate::buffer::Buffer;
use crate::data::Distribution;

pub(super) const SPEC: Spec = Spec {
    name: "dot",
    inputs: &[Buffer::Packed, Buffer::Activations],
    scaled_inputs: &[Buffer::Packed, Buffer::Activations],
    scaling: Scaling::Never,
    outputs: &[Buffer::Out],
    out: (Element::Float, Count::Rows),
    form: Form::Matrix,
    is_batched: false,
    whole_blocks: true,
    has_digits: false,
    needs_finite_x: false,
    truth: Truth::Products,
    relations: &[
        (Change::Padding, Effect::Same),
        (Change::Complement, Effect::Negated),
        (Change::NegatedX, Effect::Negated),
        (Change::NegatedScales, Effect::Negated),
        (Change::RowOrder, Effect::Moved),
        (Change::FewRows, Effect::Moved),
    ],
    distributions: Distribution::OF_PRODUCTS,
    fuzz_targets: &[("dot", false)],
    exhaustive: None,
    usual_shape: (2560, 2560),
    traced_shape: (1, 256),
    most_elements: usize::MAX,
};
