//! Integers that are too narrow, offsets that are missing, sums that are not those of the weights at hand.

use super::{I2_S, IQ2_BN, Q1_0, Q2_0, Q2_K, Q4_0, TQ2_0};
use crate::model::dot::{self, Operands, Run, Way, sum};
use crate::{Class, Mutant};

const CLASS: Class = Class::Precision;

/// The two products that `vpmaddubsw` adds, saturated.
fn maddubs(pair: &[(i32, i32)]) -> i16 {
    let sum: i32 = pair.iter().map(|&(weight, value)| weight * value).sum();
    sum.clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

/// The sum of runs in 16 lanes of 16 bits, which are widened after `runs` runs.
fn in_16_bits(operands: &Operands<'_>, row: usize, runs: usize, add: fn(i16, i16) -> i16) -> f32 {
    let term = |column| (operands.code(row, column), operands.value(column));
    let columns: Vec<(i32, i32)> = (0..operands.cols).map(term).collect();
    let part = |columns: &[(i32, i32)]| {
        let mut lanes = [0_i16; 16];
        for (at, pair) in columns.chunks(2).enumerate() {
            lanes[at % 16] = add(lanes[at % 16], maddubs(pair));
        }
        lanes.into_iter().map(i64::from).sum::<i64>()
    };
    columns.chunks(runs * operands.run_len()).map(part).sum::<i64>() as f32
}

/// The sum of a run's activations.
fn sum_of_x(operands: &Operands<'_>, run: usize) -> i64 {
    let len = operands.run_len();
    (run * len..(run + 1) * len).map(|column| i64::from(operands.value(column))).sum()
}

/// The sum of codes times activations.
fn raw(operands: &Operands<'_>, terms: &[(i32, i32)]) -> i64 {
    sum(terms) + i64::from(operands.packing.offset) * terms.iter().map(|term| i64::from(term.1)).sum::<i64>()
}

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::of(
        CLASS,
        I2_S,
        "dot-16-bit-sums-over-32-blocks",
        "bitnet.cpp adds vpmaddubsw of 32 blocks of 128 in 16 bits, which hold 10 of the largest",
        |arguments| {
            let reduce =
                |operands: &Operands<'_>, row, _: &[Run]| in_16_bits(operands, row, 32, i16::wrapping_add);
            Way { reduce, ..dot::I2_S }.product(arguments)
        },
    ),
    Mutant::of(
        CLASS,
        I2_S,
        "dot-16-bit-sums-over-16-blocks",
        "half as many, which is enough for activations of 6 bits",
        |arguments| {
            let reduce =
                |operands: &Operands<'_>, row, _: &[Run]| in_16_bits(operands, row, 16, i16::wrapping_add);
            Way { reduce, ..dot::I2_S }.product(arguments)
        },
    ),
    Mutant::of(
        CLASS,
        I2_S,
        "dot-16-bit-sums-that-saturate",
        "vpaddsw where vpaddw stood, so that what overflows is less wrong",
        |arguments| {
            let reduce =
                |operands: &Operands<'_>, row, _: &[Run]| in_16_bits(operands, row, 32, i16::saturating_add);
            Way { reduce, ..dot::I2_S }.product(arguments)
        },
    ),
    Mutant::of(
        CLASS,
        I2_S,
        "dot-high-codes-multiplied-in-place",
        "the codes in the high bits are masked and not shifted, since the product can be: two of 192 * 127 saturate vpmaddubsw",
        |arguments| {
            let integer = |_: &Operands<'_>, _, terms: &[(i32, i32)]| {
                let pair = |pair: &[(i32, i32)]| {
                    let unshifted = [pair[0], pair[1]].map(|(weight, value)| (weight << 6, value));
                    i64::from(maddubs(&unshifted) >> 6)
                };
                terms[..32].chunks(2).map(pair).sum::<i64>() + sum(&terms[32..])
            };
            Way { integer, ..dot::I2_S }.product(arguments)
        },
    ),
    Mutant::of(
        CLASS,
        Q4_0,
        "dot-high-nibbles-multiplied-in-place",
        "as in i2_s: 240 * 127 twice is beyond 32767",
        |arguments| {
            let integer = |operands: &Operands<'_>, run, terms: &[(i32, i32)]| {
                let pair = |pair: &[(i32, i32)]| {
                    let unshifted = [pair[0], pair[1]].map(|(weight, value)| ((weight + 8) << 4, value));
                    i64::from(maddubs(&unshifted) >> 4)
                };
                let low: Vec<(i32, i32)> = terms[..16].iter().map(|&(w, value)| (w + 8, value)).collect();
                terms[16..].chunks(2).map(pair).sum::<i64>() + sum(&low) - 8 * sum_of_x(operands, run)
            };
            Way { integer, ..dot::Q4_0 }.product(arguments)
        },
    ),
    Mutant::of(
        CLASS,
        Q2_K,
        "dot-scaled-sums-of-16-bits",
        "products of a pair are multiplied by the scale of their group with vpmullw and added before they are widened",
        |arguments| {
            let integer = |_: &Operands<'_>, _, terms: &[(i32, i32)]| {
                let lane = |lane: usize| {
                    let pairs = (lane..128).step_by(16).map(|at| maddubs(&terms[2 * at..2 * at + 2]));
                    i64::from(pairs.fold(0_i16, i16::wrapping_add))
                };
                (0..16).map(lane).sum()
            };
            Way { integer, ..dot::Q2_K }.product(arguments)
        },
    ),
    Mutant::of(
        CLASS,
        Q1_0,
        "dot-minus-128-negated-by-vpsignb",
        "vpsignb turns -128 into itself, so that it keeps its sign where the weight is negative",
        |arguments| {
            let integer = |_: &Operands<'_>, _, terms: &[(i32, i32)]| {
                let signed = |&(weight, value): &(i32, i32)| {
                    let value = value as i8;
                    i64::from(if weight < 0 { value.wrapping_neg() } else { value })
                };
                terms.iter().map(signed).sum()
            };
            Way { integer, ..dot::Q1_0 }.product(arguments)
        },
    ),
    Mutant::of(
        CLASS,
        Q4_0,
        "dot-magnitude-of-minus-128-is-zero",
        "the magnitude of the activation goes to vpmaddubsw in seven bits, its sign to the weight",
        |arguments| {
            let value = |operands: &Operands<'_>, column| {
                let value = operands.value(column);
                (value.abs() & 127) * value.signum()
            };
            Way { value, ..dot::Q4_0 }.product(arguments)
        },
    ),
    Mutant::of(
        CLASS,
        I2_S,
        "dot-products-added-in-f32",
        "each product is converted and added, which is exact up to 2^24 and then drops what is below the last bit",
        |arguments| {
            let reduce = |operands: &Operands<'_>, row, _: &[Run]| {
                let term = |column| (operands.code(row, column) * operands.value(column)) as f32;
                (0..operands.cols).fold(0.0, |sum, column| sum + term(column))
            };
            Way { reduce, ..dot::I2_S }.product(arguments)
        },
    ),
    Mutant::of(
        CLASS,
        TQ2_0,
        "dot-sum-of-a-block-in-16-bits",
        "the sums of 16 are 16 bits wide, and so was the type of their sum: 256 times -128 fits, 256 times 127 and a code of 2 does not",
        |arguments| {
            let integer = |operands: &Operands<'_>, run, terms: &[(i32, i32)]| {
                i64::from(raw(operands, terms) as i16) - sum_of_x(operands, run)
            };
            Way { integer, ..dot::TQ2_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Reduction,
        Q4_0,
        "dot-offset-missing-in-an-odd-last-block",
        "eight is taken off the codes of a step of two blocks; the code for the single one came from a format without an offset",
        |arguments| {
            let integer = |operands: &Operands<'_>, run: usize, terms: &[(i32, i32)]| {
                let is_single = run + 1 == operands.runs() && run.is_multiple_of(2);
                if is_single { raw(operands, terms) } else { sum(terms) }
            };
            Way { integer, ..dot::Q4_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Reduction,
        Q2_0,
        "dot-offset-times-the-sum-of-the-block-before",
        "sums of activations are kept in a register from one block to the next, and subtracted a block late",
        |arguments| {
            let integer = |operands: &Operands<'_>, run: usize, terms: &[(i32, i32)]| {
                raw(operands, terms) - sum_of_x(operands, run.saturating_sub(1))
            };
            Way { integer, ..dot::Q2_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Reduction,
        IQ2_BN,
        "dot-offset-left-to-the-caller",
        "i2_s leaves the sum of the activations to whoever calls, iq2_bn does not",
        |arguments| {
            let weight = |operands: &Operands<'_>, row, column| operands.code(row, column);
            Way { weight, ..dot::IQ2_BN }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Reduction,
        I2_S,
        "dot-offset-taken-off-twice",
        "a kernel that knows its weights to be ternary takes the sum of the activations off, and so does its caller",
        |arguments| {
            let weight = |operands: &Operands<'_>, row, column| operands.code(row, column) - 1;
            Way { weight, ..dot::I2_S }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Reduction,
        TQ2_0,
        "dot-eight-of-sixteen-sums",
        "the sums of a block are 256 bits, and a load of 128 takes the first eight",
        |arguments| {
            let integer = |operands: &Operands<'_>, run: usize, terms: &[(i32, i32)]| {
                let groups = (0..8).map(|group| i64::from(operands.sum_of_16(16 * run + group)));
                raw(operands, terms) - groups.sum::<i64>()
            };
            Way { integer, ..dot::TQ2_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Reduction,
        TQ2_0,
        "dot-sums-of-the-first-block",
        "the pointer to the sums is not moved with the block",
        |arguments| {
            let integer = |operands: &Operands<'_>, _: usize, terms: &[(i32, i32)]| {
                let groups = (0..16).map(|group| i64::from(operands.sum_of_16(group)));
                raw(operands, terms) - groups.sum::<i64>()
            };
            Way { integer, ..dot::TQ2_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Reduction,
        Q4_0,
        "dot-last-pair-of-a-block-missing",
        "the last of eight sums of 32 bits is not extracted",
        |arguments| {
            let integer = |_: &Operands<'_>, _, terms: &[(i32, i32)]| sum(&terms[..28]);
            Way { integer, ..dot::Q4_0 }.product(arguments)
        },
    ),
];
