//! `quantize`: f32 values to packed codes and scales, with the least squared error.

use super::spec::{Change, Count, Effect, Element, Form, Scaling, Spec, Truth};
use crate::buffer::Buffer;
use crate::data::Distribution;

pub(super) const SPEC: Spec = Spec {
    name: "quantize",
    inputs: &[Buffer::X],
    scaled_inputs: &[Buffer::X],
    scaling: Scaling::Never,
    outputs: &[Buffer::Out, Buffer::OutScales],
    out: (Element::Byte, Count::Matrix),
    form: Form::Vector(Buffer::X),
    is_batched: false,
    whole_blocks: false,
    has_digits: false,
    needs_finite_x: true,
    truth: Truth::Quantized,
    relations: &[
        (Change::NegatedX, Effect::Mirrored),
        (Change::PowerOfTwo, Effect::Rescaled),
        (Change::BlockOrder, Effect::Moved),
        (Change::OneBlock, Effect::Moved),
    ],
    distributions: Distribution::OF_VALUES,
    fuzz_targets: &[("quantize", false)],
    exhaustive: None,
    usual_shape: (1, 1024),
    // For each element there may be a loop over all.
    traced_shape: (1, 16),
    // No size of a unit lies beyond.
    most_elements: 1 << 17,
};
