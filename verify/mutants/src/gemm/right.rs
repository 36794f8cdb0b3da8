//! Products of a batch that are right and unusual.

use qk256_verify::{Domain, Requirements};

use super::{I2_S, IQ2_BN, Q2_0, Q4_0, QK256, TQ2_0};
use crate::model::gemm::{Batch, RIGHT_WAY, Way, gemm};
use crate::model::packing;
use crate::{Arguments, Class, Mutant, Outcome};

/// A kernel that has one way for one vector and another for many, and says so.
const VARYING: Domain = QK256.requiring(Requirements { varies_with_rows: true, ..Requirements::NONE });

/// A kernel of tiles of four rows.
const ROWS_IN_FOURS: Domain = Q4_0.requiring(Requirements { rows_multiple: 4, ..Requirements::NONE });

/// A kernel of up to four vectors.
const FOUR_VECTORS: Domain = Q2_0.requiring(Requirements { max_batch: Some(4), ..Requirements::NONE });

/// The products of a vector and a row, each with its scale.
fn terms(batch: &Batch<'_>, vector: usize, row: usize) -> impl Iterator<Item = f32> {
    let len = batch.packing.block_len();
    (0..batch.cols).map(move |column| {
        batch.weight(row, column) * batch.scale(row, column / len) * batch.x(vector, column)
    })
}

/// The sum with a term for what additions lose, as long as nothing is infinite.
fn compensated(terms: impl Iterator<Item = f32>) -> f32 {
    let (mut sum, mut lost) = (0.0_f32, 0.0_f32);
    for term in terms {
        let next = term - lost;
        let total = sum + next;
        let of_this = (total - sum) - next;
        lost = if of_this.is_finite() { of_this } else { 0.0 };
        sum = total;
    }
    sum
}

/// The sum in 16 lanes, which are folded in halves.
fn in_16_lanes(batch: &Batch<'_>, vector: usize, row: usize) -> f32 {
    let mut lanes = [0.0_f32; 16];
    terms(batch, vector, row).enumerate().for_each(|(at, term)| lanes[at % 16] += term);
    let mut half = 8;
    while half > 0 {
        (0..half).for_each(|at| lanes[at] += lanes[at + half]);
        half /= 2;
    }
    lanes[0]
}

/// A row decoded once for each tile of vectors, whose results are made one after the other.
fn decoded_once(arguments: Arguments<'_>, tile: usize) -> Outcome {
    let Some(batch) = Batch::of(packing::TQ2_0, arguments) else { return Outcome::Refused };
    for row in 0..batch.rows {
        for first in (0..batch.batch).step_by(tile) {
            let weights: Vec<f32> = (0..batch.cols).map(|column| batch.weight(row, column)).collect();
            for vector in first..batch.batch.min(first + tile) {
                let block = |block| {
                    let terms = batch.columns(block).map(|column| weights[column] * batch.x(vector, column));
                    terms.fold(0.0, |sum: f32, term| sum + term) * batch.scale(row, block)
                };
                let sum = (0..batch.blocks()).map(block).fold(0.0, |sum: f32, block| sum + block);
                batch.y[batch.place(vector, row)] = sum;
            }
        }
    }
    Outcome::Done
}

/// Columns in the outer loop, and results that are cleared first and added to in memory.
fn by_columns(arguments: Arguments<'_>) -> Outcome {
    let Some(batch) = Batch::of(packing::Q4_0, arguments) else { return Outcome::Refused };
    let results = |batch: &Batch<'_>| {
        let rows = batch.rows;
        (0..batch.batch).flat_map(move |vector| (0..rows).map(move |row| (vector, row)))
    };
    for (vector, row) in results(&batch) {
        batch.y[batch.place(vector, row)] = 0.0;
    }
    for column in 0..batch.cols {
        for (vector, row) in results(&batch) {
            let term = batch.weight(row, column) * batch.x(vector, column) * batch.scale(row, column / 32);
            batch.y[batch.place(vector, row)] += term;
        }
    }
    Outcome::Done
}

pub(crate) const RIGHT: &[Mutant] = &[
    Mutant::of(
        Class::Reduction,
        QK256,
        "gemm-in-16-lanes",
        "a register of 512 bits, each lane with its own sum",
        |arguments| gemm(packing::QK256, arguments, in_16_lanes),
    ),
    Mutant::of(
        Class::RowsAndTiles,
        TQ2_0,
        "gemm-row-decoded-once-for-four-vectors",
        "decoding is most of the work, and vectors share it",
        |arguments| decoded_once(arguments, 4),
    ),
    Mutant::of(
        Class::RowsAndTiles,
        Q4_0,
        "gemm-columns-in-the-outer-loop",
        "y may be cleared and added to, as long as it is this call that clears it",
        by_columns,
    ),
    Mutant::of(
        Class::RowsAndTiles,
        IQ2_BN,
        "gemm-last-vector-first",
        "results may be written in any order",
        |arguments| {
            let Some(batch) = Batch::of(packing::IQ2_BN, arguments) else { return Outcome::Refused };
            for vector in (0..batch.batch).rev() {
                for row in (0..batch.rows).rev() {
                    batch.y[batch.place(vector, row)] = batch.in_order(vector, row);
                }
            }
            Outcome::Done
        },
    ),
    Mutant::of(
        Class::Precision,
        QK256,
        "gemm-compensated",
        "Kahan's sum, which is better than any order",
        |arguments| {
            gemm(packing::QK256, arguments, |batch, vector, row| compensated(terms(batch, vector, row)))
        },
    ),
    Mutant::of(
        Class::Precision,
        I2_S,
        "gemm-in-f64",
        "wider sums than were asked for, rounded once",
        |arguments| {
            gemm(packing::I2_S, arguments, |batch, vector, row| {
                terms(batch, vector, row).map(f64::from).sum::<f64>() as f32
            })
        },
    ),
    Mutant::of(
        Class::Scales,
        Q4_0,
        "gemm-fused-scales",
        "the sum of a block is scaled and added with one rounding",
        |arguments| {
            gemm(packing::Q4_0, arguments, |batch, vector, row| {
                (0..batch.blocks()).fold(0.0, |sum, block| {
                    batch.sum(vector, row, batch.columns(block)).mul_add(batch.scale(row, block), sum)
                })
            })
        },
    ),
    Mutant::of(
        Class::Scales,
        Q2_0,
        "gemm-scales-on-the-activations",
        "x times the scale of a block comes before the weight",
        |arguments| {
            gemm(packing::Q2_0, arguments, |batch, vector, row| {
                (0..batch.cols).fold(0.0, |sum, column| {
                    sum + batch.x(vector, column) * batch.scale(row, column / 64) * batch.weight(row, column)
                })
            })
        },
    ),
    Mutant::of(
        Class::Scales,
        IQ2_BN,
        "gemm-scale-of-the-row-last",
        "the whole sum is multiplied by the scale of its row",
        |arguments| {
            gemm(packing::IQ2_BN, arguments, |batch, vector, row| match batch.cols {
                0 => 0.0,
                cols => batch.sum(vector, row, 0..cols) * batch.scale(row, 0),
            })
        },
    ),
    Mutant::of(
        Class::Reduction,
        QK256,
        "gemm-order-by-the-first-code-of-a-block",
        "an order may depend on the weights, as long as the same weights have the same one",
        |arguments| {
            gemm(packing::QK256, arguments, |batch, vector, row| {
                let block = |block: usize| {
                    let columns = batch.columns(block);
                    let sum = match batch.weight(row, columns.start) > 0.0 {
                        true => batch.sum(vector, row, columns.rev()),
                        false => batch.sum(vector, row, columns),
                    };
                    sum * batch.scale(row, block)
                };
                (0..batch.blocks()).map(block).fold(0.0, |sum, block| sum + block)
            })
        },
    ),
    Mutant::of(
        Class::Dispatch,
        VARYING,
        "gemm-one-vector-in-16-lanes-and-declared",
        "a kernel may say that its bits depend on the number of vectors",
        |arguments| {
            gemm(packing::QK256, arguments, |batch, vector, row| match batch.batch {
                1 => in_16_lanes(batch, vector, row),
                _ => batch.in_order(vector, row),
            })
        },
    ),
    Mutant::of(
        Class::Contract,
        ROWS_IN_FOURS,
        "gemm-rows-in-fours-and-declared",
        "a kernel may say that it takes whole tiles of rows",
        |arguments| match arguments.rows % 4 {
            0 => Way { packing: packing::Q4_0, ..RIGHT_WAY }.product(arguments),
            _ => Outcome::Refused,
        },
    ),
    Mutant::of(
        Class::Contract,
        FOUR_VECTORS,
        "gemm-four-vectors-at-most-and-declared",
        "a kernel may say how many vectors it takes",
        |arguments| match arguments.batch {
            0..=4 => Way { packing: packing::Q2_0, ..RIGHT_WAY }.product(arguments),
            _ => Outcome::Refused,
        },
    ),
];
