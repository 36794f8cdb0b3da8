//! Kernels that add without any rounding, and round once: a right one, and wrong ones.

use qk256_verify::Operation::Gemv;

use super::dot::IQ2_BN;
use crate::model::dot::{self, Operands, Run, Way};
use crate::model::{Product, gemv};
use crate::techniques::is_finite;
use crate::{Class, Mutant};

/// The exact sum of some numbers, as numbers that do not overlap, the largest last (Shewchuk, Adaptive Precision Floating-Point
/// Arithmetic and Fast Robust Geometric Predicates, 1997, theorem 10).
fn expansion(numbers: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut parts: Vec<f64> = Vec::new();
    for mut number in numbers {
        let mut rest = Vec::new();
        for part in parts {
            let sum = number + part;
            let other = sum - number;
            let lost = (number - (sum - other)) + (part - other);
            if lost != 0.0 {
                rest.push(lost);
            }
            number = sum;
        }
        rest.push(number);
        parts = rest;
    }
    parts
}

/// The exact sum of a row, rounded to f64 such that the last bit tells whether something was lost: `away` from zero, or towards it. To
/// round that once more, to f32, is to round once (Boldo and Melquiond, Emulation of FMA and Correctly Rounded Sums, 2008).
fn to_odd(product: &Product<'_>, row: usize) -> f64 {
    let term = |column| {
        f64::from(product.weight(row, column))
            * f64::from(product.x[column])
            * f64::from(product.scale(row, column))
    };
    let parts = expansion((0..product.cols).map(term));
    let Some((&largest, rest)) = parts.split_last() else { return 0.0 };
    let Some(&next) = rest.iter().rfind(|&&part| part != 0.0) else { return largest };
    if largest.to_bits() % 2 == 1 {
        return largest;
    }
    if (next > 0.0) == (largest > 0.0) {
        f64::from_bits(largest.to_bits() + 1)
    } else {
        f64::from_bits(largest.to_bits() - 1)
    }
}

/// The f32 next to a number on the side of zero.
fn truncated(number: f64) -> f32 {
    let near = number as f32;
    match near.is_finite() && f64::from(near).abs() > number.abs() {
        true => f32::from_bits(near.to_bits() - 1),
        false => near,
    }
}

pub(crate) const RIGHT: &[Mutant] = &[Mutant::new(
    Class::Precision,
    Gemv,
    "exact-sum-rounded-once",
    "an accumulator that holds every term: no tree of additions explains what it gives, yet each bit is known",
    |arguments| {
        gemv(arguments, |product, row| match is_finite(product, row) {
            true => to_odd(product, row) as f32,
            false => product.in_order(row),
        })
    },
)];

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::new(
        Class::Precision,
        Gemv,
        "exact-sum-truncated-where-an-activation-is-zero",
        "a path for sparse activations rounds its exact sum towards zero, which is less than an ulp off",
        |arguments| {
            gemv(arguments, |product, row| match is_finite(product, row) {
                true if product.x[..product.cols].contains(&0.0) => truncated(to_odd(product, row)),
                true => to_odd(product, row) as f32,
                false => product.in_order(row),
            })
        },
    ),
    Mutant::of(
        Class::Precision,
        IQ2_BN,
        "dot-scaled-by-halves-where-the-first-is-zero",
        "a path for sparse activations has two sums of integers, each of which is scaled and rounded",
        |arguments| {
            let reduce = |operands: &Operands<'_>, _, runs: &[Run]| {
                let parts = if operands.cols > 0 && operands.value(0) == 0 { 2 } else { 1 };
                let scaled =
                    |runs: &[Run]| runs[0].scale * runs.iter().map(|run| run.integer).sum::<i64>() as f32;
                runs.chunks(runs.len().div_ceil(parts).max(1)).map(scaled).sum::<f32>()
            };
            Way { reduce, ..dot::IQ2_BN }.product(arguments)
        },
    ),
];
