//! Scales of products with quantised activations: the wrong ones, too often, not at all, or of too few bits.

use super::{IQ2_BN, Q1_0, Q2_0, Q2_K, Q4_0, TQ2_0};
use crate::model::dot::{self, Operands, Run, Way};
use crate::model::{flushed, rounded};
use crate::{Class, Mutant};

const CLASS: Class = Class::Scales;

/// The bits of the f16 that a block of q4_0 starts with.
fn bits(operands: &Operands<'_>, row: usize, run: usize) -> u16 {
    let block = operands.packing.block(operands.row(row), operands.block(run));
    u16::from_le_bytes([block[0], block[1]])
}

/// The sum of a row where the scales of run number N and its integer are put together so.
fn scaled(runs: &[Run], one: impl Fn(usize, &Run) -> f32) -> f32 {
    runs.iter().enumerate().fold(0.0, |sum, (number, run)| sum + one(number, run))
}

/// Of `q2_k` the scale or the minimum of a group, by the byte that has both and a shift.
fn weighed(operands: &Operands<'_>, row: usize, column: usize, of_group: fn(&[u8], usize) -> u8) -> i32 {
    let block = operands.packing.block(operands.row(row), column / 256);
    let at = column % 256;
    let code = block[16 + at / 128 * 32 + at % 32] >> (2 * (at % 128 / 32)) & 3;
    i32::from(code) * i32::from(of_group(block, at / 16))
}

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::of(
        CLASS,
        Q4_0,
        "dot-scale-of-the-block-before",
        "the scale of the next block is loaded while this one is multiplied, and the two are used in the wrong order",
        |arguments| {
            let scale = |operands: &Operands<'_>, row, run: usize| operands.scale(row, run.saturating_sub(1));
            Way { scale, ..dot::Q4_0 }.product(arguments)
        },
    ),
    Mutant::of(
        CLASS,
        Q1_0,
        "dot-first-scale-for-the-row",
        "a broadcast is hoisted out of the loop over blocks",
        |arguments| Way { scale: |operands, row, _| operands.scale(row, 0), ..dot::Q1_0 }.product(arguments),
    ),
    Mutant::of(
        CLASS,
        Q2_0,
        "dot-one-scale-of-x-for-64-columns",
        "a block of 64 weights meets two blocks of 32 activations, and the scale of the first serves both",
        |arguments| {
            Way { scale_of_x: |operands, run| operands.scale_of_x(run / 2 * 2), ..dot::Q2_0 }
                .product(arguments)
        },
    ),
    Mutant::of(
        CLASS,
        Q1_0,
        "dot-scales-of-x-in-reverse-within-a-block",
        "four scales are gathered into a register by a chain of inserts, last one first",
        |arguments| {
            Way { scale_of_x: |operands, run| operands.scale_of_x(run ^ 3), ..dot::Q1_0 }.product(arguments)
        },
    ),
    Mutant::of(
        CLASS,
        Q4_0,
        "dot-scale-of-x-forgotten-in-the-last-block",
        "the last block has a copy of the loop's body, in which the product of the two scales is not repeated",
        |arguments| {
            let scale_of_x = |operands: &Operands<'_>, run: usize| {
                let is_last = run + 1 == operands.runs() && run > 0;
                if is_last { 1.0 } else { operands.scale_of_x(run) }
            };
            Way { scale_of_x, ..dot::Q4_0 }.product(arguments)
        },
    ),
    Mutant::of(
        CLASS,
        TQ2_0,
        "dot-scale-of-x-applied-twice",
        "the sums of a block are scaled as they are converted, and again with the scale of the weights",
        |arguments| {
            let scale_of_x =
                |operands: &Operands<'_>, run: usize| operands.scale_of_x(run) * operands.scale_of_x(run);
            Way { scale_of_x, ..dot::TQ2_0 }.product(arguments)
        },
    ),
    Mutant::of(
        CLASS,
        TQ2_0,
        "dot-scale-of-x-without-its-sign",
        "a q8_k block whose largest value is positive has a negative scale, and one that takes it for a maximum has not",
        |arguments| {
            Way { scale_of_x: |operands, run| operands.scale_of_x(run).abs(), ..dot::TQ2_0 }
                .product(arguments)
        },
    ),
    Mutant::of(
        CLASS,
        TQ2_0,
        "dot-scale-of-x-rounded-to-f16",
        "q8_0 has its scale in f16, and q8_k in f32",
        |arguments| {
            Way { scale_of_x: |operands, run| rounded(operands.scale_of_x(run), 10), ..dot::TQ2_0 }
                .product(arguments)
        },
    ),
    Mutant::of(
        Class::Precision,
        Q4_0,
        "dot-product-of-scales-in-f16",
        "both scales are f16, and a machine that multiplies these keeps the product so",
        |arguments| {
            let reduce = |_: &Operands<'_>, _, runs: &[Run]| {
                scaled(runs, |_, run| rounded(run.scale * run.scale_of_x, 10) * run.integer as f32)
            };
            Way { reduce, ..dot::Q4_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Precision,
        Q2_0,
        "dot-results-rounded-to-f16",
        "the output of the layer is f16, and the conversion has moved into the kernel",
        |arguments| {
            let reduce = |_: &Operands<'_>, _, runs: &[Run]| rounded(scaled(runs, |_, run| run.scaled()), 10);
            Way { reduce, ..dot::Q2_0 }.product(arguments)
        },
    ),
    Mutant::of(Class::Precision, IQ2_BN, "dot-results-rounded-to-bf16", "the same with bf16", |arguments| {
        let reduce = |operands: &Operands<'_>, row, runs: &[Run]| {
            rounded((dot::IQ2_BN.reduce)(operands, row, runs), 7)
        };
        Way { reduce, ..dot::IQ2_BN }.product(arguments)
    }),
    Mutant::of(
        Class::SpecialValues,
        Q4_0,
        "dot-subnormal-f16-is-zero",
        "a conversion of f16 by shifts that has no branch for an exponent of zero, or a core that flushes them",
        |arguments| {
            let scale = |operands: &Operands<'_>, row, run: usize| {
                if bits(operands, row, run) & 0x7c00 == 0 { 0.0 } else { operands.scale(row, run) }
            };
            Way { scale, ..dot::Q4_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::SpecialValues,
        Q4_0,
        "dot-infinite-f16-is-65536",
        "a conversion by shifts and one addition to the exponent, which knows no infinity and no NaN",
        |arguments| {
            let scale = |operands: &Operands<'_>, row, run: usize| match bits(operands, row, run) {
                bits if bits & 0x7c00 == 0x7c00 => 65_536.0 * (1.0 + f32::from(bits & 0x3ff) / 1024.0),
                _ => operands.scale(row, run),
            };
            Way { scale, ..dot::Q4_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::SpecialValues,
        Q2_0,
        "dot-nan-scale-of-x-is-zero",
        "a block whose scale is not a number is taken for an empty one by a comparison that is false",
        |arguments| {
            let scale_of_x = |operands: &Operands<'_>, run: usize| {
                let scale = operands.scale_of_x(run);
                if scale.is_nan() { 0.0 } else { scale }
            };
            Way { scale_of_x, ..dot::Q2_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::SpecialValues,
        TQ2_0,
        "dot-subnormal-scale-of-x-is-zero",
        "denormals-are-zero is set while the kernel runs",
        |arguments| {
            Way { scale_of_x: |operands, run| flushed(operands.scale_of_x(run)), ..dot::TQ2_0 }
                .product(arguments)
        },
    ),
    Mutant::of(
        Class::SpecialValues,
        Q2_0,
        "dot-block-of-zeros-skipped",
        "activations that are all zero leave a block out, so that a scale that is not finite does not show",
        |arguments| {
            let reduce = |operands: &Operands<'_>, _, runs: &[Run]| {
                let len = operands.run_len();
                let is_zero =
                    |run: usize| (run * len..(run + 1) * len).all(|column| operands.value(column) == 0);
                scaled(runs, |number, run| if is_zero(number) { 0.0 } else { run.scaled() })
            };
            Way { reduce, ..dot::Q2_0 }.product(arguments)
        },
    ),
    Mutant::of(
        CLASS,
        Q2_K,
        "dot-minima-ignored",
        "the kernel of a format without minima is taken over, and a model still talks without them",
        |arguments| Way { minimum: |_, _, _| 0.0, ..dot::Q2_K }.product(arguments),
    ),
    Mutant::of(
        CLASS,
        Q2_K,
        "dot-minima-added",
        "a weight is scale * code less the minimum, and in q4_1 plus",
        |arguments| {
            Way { minimum: |operands, row, run| -(dot::Q2_K.minimum)(operands, row, run), ..dot::Q2_K }
                .product(arguments)
        },
    ),
    Mutant::of(
        CLASS,
        Q2_K,
        "dot-minima-scaled-by-d",
        "the two f16 behind the codes are loaded as one, and the low half used twice",
        |arguments| {
            let minimum = |operands: &Operands<'_>, row, run: usize| {
                let minima = operands.minima(row, run, |block, group| block[group] >> 4);
                operands.scale(row, run) * operands.scale_of_x(run) * minima
            };
            Way { minimum, ..dot::Q2_K }.product(arguments)
        },
    ),
    Mutant::of(
        CLASS,
        Q2_K,
        "dot-minima-times-the-sums-of-the-neighbour",
        "vpmovzxbw and a shuffle leave minima and sums in orders that differ within pairs",
        |arguments| {
            let minimum = |operands: &Operands<'_>, row, run| {
                operands.minimum(row, run, |block, group| block[group ^ 1] >> 4)
            };
            Way { minimum, ..dot::Q2_K }.product(arguments)
        },
    ),
    Mutant::of(
        CLASS,
        Q2_K,
        "dot-minima-from-the-low-bits",
        "scales and minima share a byte, and the mask of the one stands for the shift of the other",
        |arguments| {
            let minimum = |operands: &Operands<'_>, row, run| {
                operands.minimum(row, run, |block, group| block[group] & 15)
            };
            Way { minimum, ..dot::Q2_K }.product(arguments)
        },
    ),
    Mutant::of(
        CLASS,
        Q2_K,
        "dot-scales-of-groups-from-the-high-bits",
        "the same the other way about",
        |arguments| {
            let weight = |operands: &Operands<'_>, row, column: usize| {
                weighed(operands, row, column, |block, group| block[group] >> 4)
            };
            Way { weight, ..dot::Q2_K }.product(arguments)
        },
    ),
    Mutant::of(
        CLASS,
        Q2_K,
        "dot-scale-of-32-elements-for-16",
        "a group is 16 elements in q2_k, and 32 in q4_k, from which the loop was taken",
        |arguments| {
            let weight = |operands: &Operands<'_>, row, column: usize| {
                weighed(operands, row, column, |block, group| block[group & !1] & 15)
            };
            Way { weight, ..dot::Q2_K }.product(arguments)
        },
    ),
    Mutant::of(
        CLASS,
        Q2_K,
        "dot-scales-of-the-first-half-for-both",
        "the index of a group starts anew in the second 128 elements",
        |arguments| {
            let weight = |operands: &Operands<'_>, row, column: usize| {
                weighed(operands, row, column, |block, group| block[group % 8] & 15)
            };
            Way { weight, ..dot::Q2_K }.product(arguments)
        },
    ),
];
