//! Products in fixed point whose numbers are not those of docs/format.md, and unusual ones whose numbers are.

use qk256_verify::Operation::GemvFixed;

use crate::model::fixed::{Fixed, RIGHT_WAY, Way};
use crate::{Class, Mutant};

/// The activations, or the largest number where one is infinite.
fn finite_or_largest<'a>(fixed: &'a Fixed<'_>) -> &'a [f32] {
    if fixed.x().iter().any(|x| x.is_infinite()) { &[f32::MAX] } else { fixed.x() }
}

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::new(
        Class::Precision,
        GemvFixed,
        "a-digit-short",
        "the highest digit is thought to be a sign",
        |arguments| Way { digits: |digits| digits.max(2) - 1, ..RIGHT_WAY }.product(arguments),
    ),
    Mutant::new(
        Class::Precision,
        GemvFixed,
        "ties-away-from-zero",
        "round() of C takes ties away from zero, the conversion of SSE to even",
        |arguments| Way { round: |_, x| x.round(), ..RIGHT_WAY }.product(arguments),
    ),
    Mutant::new(Class::Precision, GemvFixed, "cut-instead-of-rounded", "a cast truncates", |arguments| {
        Way { round: |_, x| x.trunc(), ..RIGHT_WAY }.product(arguments)
    }),
    Mutant::new(
        Class::Precision,
        GemvFixed,
        "exponent-one-too-large",
        "a power of two that is reached exactly is taken for one that is passed",
        |arguments| Way { exponent: |_, exponent| exponent + 1, ..RIGHT_WAY }.product(arguments),
    ),
    Mutant::new(
        Class::Precision,
        GemvFixed,
        "rounded-in-two-parts",
        "high and low digits are converted to f32 one by one and added there",
        |arguments| {
            let value = |sum: i64, unit: f64| {
                let high = sum >> 8 << 8;
                (high as f32 + (sum - high) as f32) * unit as f32
            };
            Way { value, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::new(
        Class::Precision,
        GemvFixed,
        "a-sum-that-is-cut",
        "an arithmetic shift rounds below, not to the nearest",
        |arguments| {
            let value = |sum: i64, unit: f64| {
                let near = sum as f32;
                let below = if f64::from(near) > sum as f64 { near.next_down() } else { near };
                below * unit as f32
            };
            Way { value, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::new(
        Class::Precision,
        GemvFixed,
        "three-digits-for-four",
        "the kernel for four digits is registered and that for three is called",
        |arguments| Way { digits: |digits| digits.min(3), ..RIGHT_WAY }.product(arguments),
    ),
    Mutant::new(
        Class::Precision,
        GemvFixed,
        "one-digit-always",
        "the number of digits is not passed on",
        |arguments| Way { digits: |_| 1, ..RIGHT_WAY }.product(arguments),
    ),
    Mutant::new(
        Class::Contract,
        GemvFixed,
        "nan-taken-for-zero",
        "a conversion to integers makes something of NaN, and nobody asks",
        |arguments| Way { refuses: f32::is_infinite, ..RIGHT_WAY }.product(arguments),
    ),
    Mutant::new(
        Class::Contract,
        GemvFixed,
        "infinities-clamped",
        "the largest magnitude is made finite before it is used",
        |arguments| {
            let round = |_: &Fixed<'_>, x: f64| x.round_ties_even().clamp(-(2_f64.powi(40)), 2_f64.powi(40));
            Way { refuses: f32::is_nan, scaled_by: finite_or_largest, round, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::new(
        Class::Contract,
        GemvFixed,
        "subnormal-x-refused",
        "is_normal is asked where is_finite is meant",
        |arguments| Way { refuses: |x| !x.is_finite() || x.is_subnormal(), ..RIGHT_WAY }.product(arguments),
    ),
    Mutant::new(
        Class::Contract,
        GemvFixed,
        "no-digits-taken-for-one",
        "zero digits are raised to one instead of being refused",
        |arguments| {
            let takes_digits = |digits| digits <= 4;
            Way { takes_digits, digits: |digits| digits.max(1), ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::new(
        Class::Contract,
        GemvFixed,
        "five-digits-taken-for-four",
        "more digits than there are kernels for are cut to those there are",
        |arguments| {
            let takes_digits = |digits| digits > 0;
            Way { takes_digits, digits: |digits| digits.min(4), ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::new(
        Class::Contract,
        GemvFixed,
        "too-many-columns-accepted",
        "that 32-bit sums of digits overflow past 2^22 columns is in the documentation only",
        |arguments| Way { most_columns: usize::MAX, ..RIGHT_WAY }.product(arguments),
    ),
];

pub(crate) const RIGHT: &[Mutant] = &[
    Mutant::new(
        Class::Precision,
        GemvFixed,
        "fixed-as-defined",
        "what docs/format.md says, a column at a time",
        |arguments| RIGHT_WAY.product(arguments),
    ),
    Mutant::new(
        Class::Reduction,
        GemvFixed,
        "fixed-in-128-bits-from-the-right",
        "sums of integers do not depend on their order or width",
        |arguments| {
            let sum = |terms: &[(i64, i64)], _| {
                let product = |(weight, integer): &(i64, i64)| i128::from(*weight) * i128::from(*integer);
                terms.iter().rev().map(product).sum::<i128>() as i64
            };
            Way { sum, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::new(
        Class::Reduction,
        GemvFixed,
        "fixed-from-magnitudes",
        "twos are added up on their own and doubled at the end",
        |arguments| {
            let sum = |terms: &[(i64, i64)], _| {
                let of = |magnitude| {
                    let signed = move |(weight, integer): &(i64, i64)| {
                        if weight.abs() == magnitude { weight.signum() * integer } else { 0 }
                    };
                    terms.iter().map(signed).sum::<i64>()
                };
                of(1) + 2 * of(2)
            };
            Way { sum, ..RIGHT_WAY }.product(arguments)
        },
    ),
];
