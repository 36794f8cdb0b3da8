//! Products with quantised activations that are right and unusual.

use qk256_verify::{Domain, Requirements};

use super::{I2_S, IQ2_BN, Q1_0, Q2_0, Q2_K, Q4_0, TQ2_0};
use crate::model::dot::{self, Operands, Run, Way, sum};
use crate::{Class, Mutant};

/// `q4_0` for callers whose activations are from -127.
const FROM_MINUS_127: Domain = Q4_0.requiring(Requirements { activation_min: -127, ..Requirements::NONE });

/// `tq2_0` for callers whose weights are ternary.
const TERNARY: Domain = TQ2_0.requiring(Requirements { max_code: Some(2), ..Requirements::NONE });

/// The sum of scaled runs, in their order.
fn scaled(runs: &[Run], one: impl Fn(&Run) -> f32) -> f32 {
    runs.iter().fold(0.0, |sum, run| sum + one(run))
}

/// The sum of the activations of a run.
fn sum_of_x(operands: &Operands<'_>, run: usize) -> i64 {
    let len = operands.run_len();
    (run * len..(run + 1) * len).map(|column| i64::from(operands.value(column))).sum()
}

/// The codes as they are.
fn code(operands: &Operands<'_>, row: usize, column: usize) -> i32 {
    operands.code(row, column)
}

/// Sums in 16 lanes of f32, of which each takes the products of two columns of a run, and a tree.
fn in_16_lanes(operands: &Operands<'_>, row: usize, runs: &[Run]) -> f32 {
    let mut lanes = [0.0_f32; 16];
    for (number, run) in runs.iter().enumerate() {
        let scale = run.scale * run.scale_of_x;
        for (lane, sum) in lanes.iter_mut().enumerate() {
            let columns =
                (0..operands.run_len()).skip(lane).step_by(16).map(|at| number * operands.run_len() + at);
            let integer: i32 = columns
                .map(|column| (operands.code(row, column) - operands.packing.offset) * operands.value(column))
                .sum();
            *sum = scale.mul_add(integer as f32, *sum);
        }
    }
    let mut half = 8;
    while half > 0 {
        (0..half).for_each(|at| lanes[at] += lanes[at + half]);
        half /= 2;
    }
    lanes[0]
}

pub(crate) const RIGHT: &[Mutant] = &[
    Mutant::of(
        Class::Reduction,
        Q4_0,
        "dot-in-16-lanes",
        "a register of 512 bits: each lane is scaled by itself, and a tree adds them at the end",
        |arguments| Way { reduce: in_16_lanes, ..dot::Q4_0 }.product(arguments),
    ),
    Mutant::of(
        Class::Reduction,
        Q4_0,
        "dot-offset-taken-off-at-the-end",
        "codes as they are and sums of activations are scaled apart, and eight times the second comes off the first once",
        |arguments| {
            let reduce = |operands: &Operands<'_>, _, runs: &[Run]| {
                let sums = runs.iter().enumerate().fold(0.0, |sum, (number, run)| {
                    sum + run.scale * run.scale_of_x * sum_of_x(operands, number) as f32
                });
                scaled(runs, Run::scaled) - 8.0 * sums
            };
            Way { weight: code, reduce, ..dot::Q4_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Reduction,
        TQ2_0,
        "dot-stored-sums-taken-off",
        "as ggml's AVX2 kernel does: the sums of 16 in the activations are what is taken off codes times activations",
        |arguments| {
            let integer = |operands: &Operands<'_>, run: usize, terms: &[(i32, i32)]| {
                let groups = (0..16).map(|group| i64::from(operands.sum_of_16(16 * run + group)));
                sum(terms) - groups.sum::<i64>()
            };
            Way { weight: code, integer, ..dot::TQ2_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Reduction,
        TQ2_0,
        "dot-stored-sums-not-read",
        "as ggml's portable kernel does: one is taken off each code",
        |arguments| dot::TQ2_0.product(arguments),
    ),
    Mutant::of(
        Class::Scales,
        Q2_K,
        "dot-minima-summed-apart",
        "two accumulators, the second of which comes off the first at the end",
        |arguments| {
            let reduce = |_: &Operands<'_>, _, runs: &[Run]| {
                let products = scaled(runs, |run| run.scale * run.scale_of_x * run.integer as f32);
                products - scaled(runs, |run| run.minimum)
            };
            Way { reduce, ..dot::Q2_K }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Scales,
        Q2_0,
        "dot-product-of-scales-last",
        "the sum is multiplied by one scale after the other",
        |arguments| {
            let reduce = |_: &Operands<'_>, _, runs: &[Run]| {
                scaled(runs, |run| run.integer as f32 * run.scale_of_x * run.scale)
            };
            Way { reduce, ..dot::Q2_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Scales,
        Q2_0,
        "dot-scale-of-a-block-of-64-once",
        "the two halves of a block are added with the scales of their activations, and multiplied by that of the weights once",
        |arguments| {
            let reduce = |_: &Operands<'_>, _, runs: &[Run]| {
                let half = |run: &Run| run.scale_of_x * run.integer as f32;
                runs.chunks(2).fold(0.0, |sum, pair| sum + pair[0].scale * (half(&pair[0]) + half(&pair[1])))
            };
            Way { reduce, ..dot::Q2_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Scales,
        Q1_0,
        "dot-fused-scales",
        "one rounding for a product and its addition",
        |arguments| {
            let reduce = |_: &Operands<'_>, _, runs: &[Run]| {
                let add = |sum: f32, run: &Run| (run.scale * run.scale_of_x).mul_add(run.integer as f32, sum);
                runs.iter().fold(0.0, add)
            };
            Way { reduce, ..dot::Q1_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Scales,
        IQ2_BN,
        "dot-scale-of-the-row-in-each-block",
        "each block is scaled and added in f32, the last one first",
        |arguments| {
            let reduce = |_: &Operands<'_>, _, runs: &[Run]| {
                runs.iter().rev().fold(0.0, |sum, run| sum + run.scale * run.integer as f32)
            };
            Way { reduce, ..dot::IQ2_BN }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Precision,
        I2_S,
        "dot-blocks-added-in-f32",
        "sums of 128 columns are integers, their sum is not: below 2^24 nothing is rounded, above it one rounding a block is",
        |arguments| {
            let reduce = |_: &Operands<'_>, _, runs: &[Run]| {
                runs.iter().fold(0.0, |sum, run| sum + run.integer as f32)
            };
            Way { reduce, ..dot::I2_S }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Precision,
        TQ2_0,
        "dot-in-f64",
        "wider sums than were asked for, rounded once",
        |arguments| {
            let reduce = |_: &Operands<'_>, _, runs: &[Run]| {
                let one = |run: &Run| f64::from(run.scale) * f64::from(run.scale_of_x) * run.integer as f64;
                runs.iter().map(one).sum::<f64>() as f32
            };
            Way { reduce, ..dot::TQ2_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Precision,
        I2_S,
        "dot-16-bit-sums-over-10-blocks",
        "10 blocks of eight products of 3 * 127 are below 32767, and so are those of 3 * -128",
        |arguments| {
            let reduce = |operands: &Operands<'_>, row, _: &[Run]| {
                let term = |column| operands.code(row, column) * operands.value(column);
                let columns: Vec<i32> = (0..operands.cols).map(term).collect();
                let part = |columns: &[i32]| {
                    let mut lanes = [0_i16; 16];
                    for (at, &product) in columns.iter().enumerate() {
                        lanes[at / 2 % 16] += product as i16;
                    }
                    lanes.into_iter().map(i64::from).sum::<i64>()
                };
                columns.chunks(10 * 128).map(part).sum::<i64>() as f32
            };
            Way { reduce, ..dot::I2_S }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Contract,
        FROM_MINUS_127,
        "dot-vpsignb-and-activations-from-minus-127",
        "a kernel that cannot negate -128 may declare that its callers never send it",
        |arguments| {
            let integer = |_: &Operands<'_>, _, terms: &[(i32, i32)]| {
                let signed = |&(weight, value): &(i32, i32)| {
                    let value = value as i8;
                    i64::from(weight.abs()) * i64::from(if weight < 0 { value.wrapping_neg() } else { value })
                };
                terms.iter().map(signed).sum()
            };
            Way { integer, ..dot::Q4_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Contract,
        TERNARY,
        "dot-ternary-weights-only",
        "a kernel that takes code 3 for zero may declare that it is never sent",
        |arguments| {
            let weight = |operands: &Operands<'_>, row, column: usize| {
                [-1, 0, 1, 0][operands.code(row, column) as usize]
            };
            Way { weight, ..dot::TQ2_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Memory,
        Q2_0,
        "dot-everything-read-first",
        "slack and gaps may be read, as long as nothing comes of it",
        |arguments| {
            dot::Q2_0.product_after(arguments, |operands| {
                let all =
                    operands.activations.iter().chain(operands.packed.iter().take(crate::model::READ_WHOLE));
                std::hint::black_box(all.fold(0, |all, byte| all ^ byte));
            })
        },
    ),
];
