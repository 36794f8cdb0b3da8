//! Quantisers whose codes and scales are not those of docs/format.md or of ggml, and unusual ones whose are.

pub(crate) mod calls;
pub(crate) mod packed;
pub(crate) mod right;
pub(crate) mod values;

use qk256_verify::{Arguments, Outcome};

use crate::model::BLOCK_ELEMENTS;

use crate::model::quantize::{ONE, Quantized, RIGHT_WAY, Values};

/// The mean magnitude of a block.
fn mean(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(value.abs())).sum::<f64>() / values.len() as f64
}

/// Codes for a scale that is given: twos from one and a half on.
fn with_scale(values: &[f32], scale: f32) -> Quantized {
    let mut codes = [ONE; BLOCK_ELEMENTS];
    let code = |&value: &f32| (RIGHT_WAY.code)(value, f64::from(value.abs()) > 1.5 * f64::from(scale));
    codes.iter_mut().zip(values).for_each(|(slot, value)| *slot = code(value));
    Quantized { codes, scale }
}

/// A quantiser that checks room and finiteness only where `is_checked` holds of the place of a value.
fn where_checked(arguments: Arguments<'_>, is_checked: impl Fn(usize, f32) -> bool) -> Outcome {
    let mut values = Values::unchecked(arguments);
    let is_seen = |(at, value): (usize, &f32)| !value.is_finite() && is_checked(at, *value);
    if !values.has_room() || values.values.iter().enumerate().any(is_seen) {
        return Outcome::Refused;
    }
    for block in 0..values.blocks() {
        let quantized = RIGHT_WAY.block(values.block(block));
        values.write(block, &quantized);
    }
    Outcome::Done
}
