//! Ways to sum a row that kernels without multiplications, with tables or with planes of bits use: right ones.

use std::ops::Range;

use qk256_verify::Operation::Gemv;

use crate::model::{LANES, Product, gemv};
use crate::{Class, Mutant};

/// Activations of a table of partial sums.
const GROUP: usize = 4;

/// Sums over these columns, to which `add` adds the activation of each code.
fn sums_of<const N: usize>(
    product: &Product<'_>,
    row: usize,
    columns: impl Iterator<Item = usize>,
    add: impl Fn(&mut [f32; N], u8, f32),
) -> [f32; N] {
    let mut sums = [0.0; N];
    columns.for_each(|column| add(&mut sums, product.code(row, column), product.x[column]));
    sums
}

/// Whether a code stands for a negative weight.
pub(crate) fn is_negative(code: u8) -> bool {
    code < 2
}

/// Whether a code stands for a weight of magnitude 2.
pub(crate) fn is_double(code: u8) -> bool {
    code == 0 || code == 3
}

/// `x` with the sign of a code.
fn signed(code: u8, x: f32) -> f32 {
    if is_negative(code) { -x } else { x }
}

/// The sum of the weights of magnitude 1, and twice that of magnitude 2.
fn magnitudes_apart(product: &Product<'_>, row: usize, columns: Range<usize>) -> f32 {
    let add = |sums: &mut [f32; 2], code, x| sums[usize::from(is_double(code))] += signed(code, x);
    let [ones, twos] = sums_of(product, row, columns, add);
    ones + (twos + twos)
}

/// What positive weights add, less what negative ones subtract; `columns` are added in their order.
pub(crate) fn signs_apart(product: &Product<'_>, row: usize, columns: impl Iterator<Item = usize>) -> f32 {
    let add = |sums: &mut [f32; 2], code, x| {
        sums[usize::from(is_negative(code))] += if is_double(code) { x + x } else { x };
    };
    let [added, subtracted] = sums_of(product, row, columns, add);
    added - subtracted
}

/// One accumulator, to which all positive terms are added before all negative ones are subtracted.
fn added_then_subtracted(product: &Product<'_>, row: usize, columns: Range<usize>) -> f32 {
    let term = |column: usize| {
        let x = product.x[column];
        if is_double(product.code(row, column)) { x + x } else { x }
    };
    let is_added = |column: &usize| !is_negative(product.code(row, *column));
    let added = columns.clone().filter(is_added).fold(0.0, |sum, column| sum + term(column));
    columns.filter(|column| !is_added(column)).fold(added, |sum, column| sum - term(column))
}

/// A sum for each of the four codes.
fn codes_apart(product: &Product<'_>, row: usize, columns: Range<usize>) -> f32 {
    let add = |sums: &mut [f32; 4], code, x| sums[usize::from(code)] += x;
    let [a, b, c, d] = sums_of(product, row, columns, add);
    ((d + d) + c) - (b + (a + a))
}

/// The plane of signs, in which each activation stands once, and that of magnitudes, in which those of weights of 2 stand again.
fn planes(product: &Product<'_>, row: usize, columns: Range<usize>) -> f32 {
    let add = |sums: &mut [f32; 2], code, x| {
        sums[0] += signed(code, x);
        if is_double(code) {
            sums[1] += signed(code, x);
        }
    };
    let [signs, magnitudes] = sums_of(product, row, columns, add);
    signs + magnitudes
}

/// Four look-ups for each group of four activations in a table of its partial sums: by the bits of the added, of the subtracted, and of
/// those among both that are doubled.
fn tables(product: &Product<'_>, row: usize, columns: Range<usize>) -> f32 {
    let mut sums = [0.0_f32; 4];
    for first in columns.clone().step_by(GROUP) {
        let group = first..columns.end.min(first + GROUP);
        let mut table = [0.0_f32; 1 << GROUP];
        for bits in 1..1_usize << group.len() {
            let last = bits.ilog2() as usize;
            table[bits] = table[bits & !(1 << last)] + product.x[first + last];
        }
        let bits = |wanted: &dyn Fn(u8) -> bool| {
            let bit = |column: usize| usize::from(wanted(product.code(row, column))) << (column - first);
            group.clone().map(bit).sum::<usize>()
        };
        let (negative, double) = (bits(&is_negative), bits(&is_double));
        let positive = bits(&|code| !is_negative(code));
        let looked_up = [positive, positive & double, negative, negative & double];
        sums.iter_mut().zip(looked_up).for_each(|(sum, bits)| *sum += table[bits]);
    }
    (sums[0] + sums[1]) - (sums[2] + sums[3])
}

/// `sum` of each block times its scale, the blocks added in their order.
pub(crate) fn by_blocks(
    product: &Product<'_>,
    row: usize,
    sum: fn(&Product<'_>, usize, Range<usize>) -> f32,
) -> f32 {
    product.block_columns().fold(0.0, |y, block| {
        let scale = product.scale(row, block.start);
        y + scale * sum(product, row, block)
    })
}

/// Whether no activation and no scale is NaN or infinite: offsets that are taken back would make NaN of infinities.
pub(crate) fn is_finite(product: &Product<'_>, row: usize) -> bool {
    let scales =
        product.scales.map_or(&[][..], |scales| &scales[row * product.blocks()..][..product.blocks()]);
    product.x[..product.cols].iter().chain(scales).all(|value| value.is_finite())
}

/// The columns' `count` times their activation and scale in f64, less `offset` times that, and the product itself where it is not finite.
fn with_offset(product: &Product<'_>, row: usize, count: fn(u8) -> u8, offset: f64) -> f32 {
    if !is_finite(product, row) {
        return product.in_order(row);
    }
    let term = |column| f64::from(product.x[column]) * f64::from(product.scale(row, column));
    let raised = (0..product.cols)
        .fold(0.0, |sum, column| sum + f64::from(count(product.code(row, column))) * term(column));
    let taken_back = (0..product.cols).fold(0.0, |sum, column| sum + term(column));
    (raised - offset * taken_back) as f32
}

pub(crate) const RIGHT: &[Mutant] = &[
    Mutant::new(
        Class::Reduction,
        Gemv,
        "magnitudes-one-and-two-apart",
        "no multiplication: terms of weights of 1 and of 2 have sums of their own, and the second is doubled, which is exact",
        |arguments| gemv(arguments, |product, row| by_blocks(product, row, magnitudes_apart)),
    ),
    Mutant::new(
        Class::Reduction,
        Gemv,
        "added-and-subtracted-apart",
        "no multiplication: positive and negative terms have sums of their own",
        |arguments| gemv(arguments, |product, row| by_blocks(product, row, signs_apart)),
    ),
    Mutant::new(
        Class::Reduction,
        Gemv,
        "added-before-subtracted",
        "one accumulator; complemented codes are added in another order, so that the result need not be the negative of the first",
        |arguments| gemv(arguments, |product, row| by_blocks(product, row, added_then_subtracted)),
    ),
    Mutant::new(
        Class::Reduction,
        Gemv,
        "codes-apart",
        "a sum for each of the four codes, weighted at the end of a block",
        |arguments| gemv(arguments, |product, row| by_blocks(product, row, codes_apart)),
    ),
    Mutant::new(
        Class::Reduction,
        Gemv,
        "planes-of-bits",
        "bit by bit: signs first, then the weights of 2 once more; a term goes through as many additions as there are columns at most",
        |arguments| gemv(arguments, |product, row| by_blocks(product, row, planes)),
    ),
    Mutant::new(
        Class::Reduction,
        Gemv,
        "tables-of-four-activations",
        "T-MAC looks partial sums of four activations up in tables, by bits of the codes",
        |arguments| gemv(arguments, |product, row| by_blocks(product, row, tables)),
    ),
    Mutant::new(
        Class::Reduction,
        Gemv,
        "order-by-the-first-codes",
        "a row's order may depend on the row's bytes, however rarely it shows",
        |arguments| {
            gemv(arguments, |product, row| {
                let is_ramp = product.cols >= 4 && (0..4).all(|c| usize::from(product.code(row, c)) == c);
                if is_ramp { product.sum(row, (0..product.cols).rev()) } else { product.in_order(row) }
            })
        },
    ),
    Mutant::new(
        Class::Precision,
        Gemv,
        "raised-by-two-and-taken-back-in-f64",
        "weights become 0, 1, 3 and 4; twice the sum of x is taken back, with bits to spare",
        |arguments| {
            gemv(arguments, |product, row| {
                with_offset(product, row, |code| [0, 1, 3, 4][usize::from(code)], 2.0)
            })
        },
    ),
    Mutant::new(
        Class::Precision,
        Gemv,
        "planes-of-bits-in-f64",
        "a weight is three times the high bit of its code, plus the low bit, less two",
        |arguments| {
            gemv(arguments, |product, row| {
                with_offset(product, row, |code| 3 * (code >> 1) + (code & 1), 2.0)
            })
        },
    ),
    Mutant::new(
        Class::Precision,
        Gemv,
        "compensated-at-the-end",
        "Neumaier keeps what additions lose in a sum of its own, whichever operand is larger; none where that is not finite",
        |arguments| {
            gemv(arguments, |product, row| {
                let (mut sum, mut lost) = (0.0_f32, 0.0_f32);
                for column in 0..product.cols {
                    let term = product.term(row, column);
                    let next = sum + term;
                    let (large, small) = if sum.abs() >= term.abs() { (sum, term) } else { (term, sum) };
                    lost += if next.is_finite() { (large - next) + small } else { 0.0 };
                    sum = next;
                }
                sum + lost
            })
        },
    ),
    Mutant::new(
        Class::Scales,
        Gemv,
        "scale-on-the-activation",
        "the activation is scaled first, and the weight of 2 doubles what was rounded, which shows where it is subnormal",
        |arguments| {
            gemv(arguments, |product, row| {
                (0..product.cols).fold(0.0, |sum, column| {
                    sum + product.weight(row, column) * (product.x[column] * product.scale(row, column))
                })
            })
        },
    ),
    Mutant::new(
        Class::Scales,
        Gemv,
        "scale-on-the-activation-in-the-tail",
        "whole vectors scale the weight, the loop for the rest the activation",
        |arguments| {
            gemv(arguments, |product, row| {
                let whole = product.cols / LANES * LANES;
                let tail = |c: usize| product.weight(row, c) * (product.x[c] * product.scale(row, c));
                let sum = product.sum(row, 0..whole);
                (whole..product.cols).fold(sum, |sum, column| sum + tail(column))
            })
        },
    ),
    Mutant::new(
        Class::Scales,
        Gemv,
        "lanes-of-a-block-scaled-and-fused",
        "each of eight lanes takes its part of a block by one fused multiply-add with the scale",
        |arguments| {
            gemv(arguments, |product, row| {
                let mut sums = [0.0_f32; LANES];
                for block in product.block_columns() {
                    let scale = product.scale(row, block.start);
                    // A lane without a column would make NaN of an infinite scale.
                    for (lane, sum) in sums.iter_mut().enumerate().take(block.len()) {
                        let part = block.clone().skip(lane).step_by(LANES);
                        let part = part.fold(0.0, |sum, c| sum + product.weight(row, c) * product.x[c]);
                        *sum = part.mul_add(scale, *sum);
                    }
                }
                sums.iter().fold(0.0, |sum, lane| sum + lane)
            })
        },
    ),
];
