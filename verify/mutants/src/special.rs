//! NaN, infinities, zeros and subnormals.

use std::ops::Range;

use qk256_verify::Operation::{Dequantize, Gemv, GemvFixed};

use crate::model::fixed::{RIGHT_WAY, Way};
use crate::model::vector::{dequantize, dequantize_by};
use crate::model::{Product, SIMD, Simd, flushed, gemv};
use crate::{Class, Mutant};

const CLASS: Class = Class::SpecialValues;

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::new(
        CLASS,
        Gemv,
        "nan-becomes-zero",
        "a result that is not equal to itself is masked out",
        |arguments| {
            Simd { finish: |_, _, sum| if sum.is_nan() { 0.0 } else { sum }, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "masked-lanes-times-zero",
        "lanes past the end are multiplied by zeros, which is NaN where padding meets an infinite scale",
        |arguments| {
            gemv(arguments, |product, row| {
                let padding = product.cols..product.cols.next_multiple_of(32).min(256 * product.blocks());
                let masked =
                    padding.map(|column| product.weight(row, column) * product.scale(row, column) * 0.0);
                product.in_order(row) + masked.sum::<f32>()
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "clamp-loses-nan",
        "maxps and minps give their second operand where one is NaN (as in apache/tvm issue 19579)",
        |arguments| {
            let finish = |_: &Product<'_>, _, sum: f32| {
                let above = sum.max(f32::NEG_INFINITY);
                above.min(f32::INFINITY)
            };
            Simd { finish, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "subnormals-flushed-during-the-call",
        "flush-to-zero is on for the call and put back at its end",
        |arguments| {
            let term =
                |weight: f32, x: f32, scale: f32| flushed(flushed(weight * flushed(scale)) * flushed(x));
            Simd { term, add: |a, b| flushed(a + b), ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "subnormal-results-flushed",
        "only what is stored is flushed, by a pack to a narrower type and back",
        |arguments| Simd { finish: |_, _, sum| flushed(sum), ..SIMD }.product(arguments),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "zero-activations-skipped",
        "a sparse shortcut skips zeros, and with them the NaN of zero times infinity (gonum issue 224)",
        |arguments| {
            let term = |weight: f32, x: f32, scale: f32| if x == 0.0 { 0.0 } else { weight * scale * x };
            Simd { term, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "skip-by-a-comparison-that-nan-fails",
        "columns are done where the magnitude of x is above zero, which that of NaN is not",
        |arguments| {
            let term = |weight: f32, x: f32, scale: f32| {
                if x.abs() > 0.0 { weight * scale * x } else { 0.0 * scale }
            };
            Simd { term, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "blocks-of-zeros-skipped-whatever-the-scale",
        "a block whose activations are all zero is skipped without a look at its scale",
        |arguments| {
            gemv(arguments, |product, row| {
                let zeros = |block: &Range<usize>| product.x[block.clone()].iter().all(|&x| x == 0.0);
                product.sum(row, product.block_columns().filter(|block| !zeros(block)).flatten())
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "zero-scale-skips-its-block",
        "a block of scale zero is skipped, and NaN and infinity in x with it",
        |arguments| {
            let term = |weight: f32, x: f32, scale: f32| if scale == 0.0 { 0.0 } else { weight * scale * x };
            Simd { term, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "negative-infinity-becomes-positive",
        "an overflow is detected by its exponent and replaced, sign and all",
        |arguments| {
            let finish = |_: &Product<'_>, _, sum: f32| if sum.is_infinite() { f32::INFINITY } else { sum };
            Simd { finish, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "infinity-saturates",
        "results are clamped to what the next layer's type can hold",
        |arguments| {
            let finish =
                |_: &Product<'_>, _, sum: f32| if sum.is_infinite() { f32::MAX.copysign(sum) } else { sum };
            Simd { finish, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "infinite-activations-clamped",
        "activations are brought into range before they are permuted",
        |arguments| {
            let x = |product: &Product<'_>, _, column: usize| {
                let x = product.x[column];
                if x.is_infinite() { f32::MAX.copysign(x) } else { x }
            };
            Simd { x, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "nan-scale-taken-for-zero",
        "scales are sanitised on the way in, as a loader does",
        |arguments| {
            let term =
                |weight: f32, x: f32, scale: f32| weight * if scale.is_nan() { 0.0 } else { scale } * x;
            Simd { term, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "nan-in-slack-x-matters",
        "a test for NaN runs over the whole buffer",
        |arguments| {
            let finish = |product: &Product<'_>, _, sum| {
                if product.x.iter().any(|x| x.is_nan()) { f32::NAN } else { sum }
            };
            Simd { finish, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Dequantize,
        "nan-weights-become-zero",
        "a comparison with itself masks what a multiplication made",
        |arguments| {
            dequantize_by(
                arguments,
                |vector, at| if vector.scale(at).is_nan() { 0.0 } else { vector.scale(at) },
            )
        },
    ),
    Mutant::new(
        CLASS,
        Dequantize,
        "overflow-saturates",
        "twice the largest scale is cut to the largest number",
        |arguments| {
            dequantize(arguments, |vector, at| {
                let value = vector.weight(at) * vector.scale(at);
                if value.is_infinite() { f32::MAX.copysign(value) } else { value }
            })
        },
    ),
    Mutant::new(
        CLASS,
        GemvFixed,
        "negative-zero",
        "a sum of zero is multiplied by a negative unit, or negated at the end",
        |arguments| {
            let value = |sum: i64, unit: f64| if sum == 0 { -0.0 } else { sum as f32 * unit as f32 };
            Way { value, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        GemvFixed,
        "exponent-for-slack-x-as-well",
        "the largest magnitude is looked for in the whole buffer",
        |arguments| Way { scaled_by: |fixed| fixed.product.x, ..RIGHT_WAY }.product(arguments),
    ),
    Mutant::new(
        CLASS,
        GemvFixed,
        "exponent-of-normal-numbers-only",
        "the exponent is read from the bits of the largest x, and there are none below the smallest normal number",
        |arguments| Way { exponent: |_, exponent| exponent.max(-126), ..RIGHT_WAY }.product(arguments),
    ),
    Mutant::new(
        CLASS,
        GemvFixed,
        "overflow-of-y-saturates",
        "the conversion back to f32 saturates, as conversions between integers do",
        |arguments| {
            let value = |sum: i64, unit: f64| ((sum as f32 + 0.0) * unit as f32).clamp(f32::MIN, f32::MAX);
            Way { value, ..RIGHT_WAY }.product(arguments)
        },
    ),
];
