//! Kernels whose rows depend on how many rows the matrix has: each order is a right one, and no two calls have the same.

use qk256_verify::Operation::Gemv;
use qk256_verify::{Arguments, Outcome};

use crate::model::{Product, gemv};
use crate::{Class, Mutant};

/// Columns from which a kernel shares the columns of a row where there are few rows.
const LONG: usize = 2048;

/// A sum in order, or in two halves where `in_two` is true of the operands.
fn halves(arguments: Arguments<'_>, in_two: impl Fn(&Product<'_>) -> bool) -> Outcome {
    gemv(arguments, |product, row| match in_two(product) {
        false => product.in_order(row),
        true => {
            let half = product.cols / 2;
            product.sum(row, 0..half) + product.sum(row, half..product.cols)
        }
    })
}

/// A row as a kernel for one vector of rows sums it: in double precision.
fn in_f64(product: &Product<'_>, row: usize) -> f32 {
    (0..product.cols).map(|column| f64::from(product.term(row, column))).sum::<f64>() as f32
}

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::new(
        Class::RowsAndTiles,
        Gemv,
        "odd-rows-from-the-last-column-on",
        "a tile of two rows walks back and forth",
        |arguments| {
            gemv(arguments, |product, row| match row % 2 {
                0 => product.in_order(row),
                _ => (0..product.cols).rev().map(|column| product.term(row, column)).sum(),
            })
        },
    ),
    Mutant::new(
        Class::RowsAndTiles,
        Gemv,
        "columns-split-in-two-below-four-rows",
        "where there are fewer rows than threads, the columns of a row are shared out",
        |arguments| halves(arguments, |product| product.rows < 4 && product.cols >= LONG),
    ),
    Mutant::new(
        Class::RowsAndTiles,
        Gemv,
        "columns-split-in-two-for-one-row",
        "decoding a single token takes a path of its own",
        |arguments| halves(arguments, |product| product.rows == 1 && product.cols >= LONG),
    ),
    Mutant::new(
        Class::RowsAndTiles,
        Gemv,
        "columns-split-in-two-from-eight-rows-on",
        "matrices that fill a panel are walked in panels of columns",
        |arguments| halves(arguments, |product| product.rows >= 8 && product.cols >= LONG),
    ),
    Mutant::new(
        Class::RowsAndTiles,
        Gemv,
        "columns-split-in-two-unless-rows-fill-tiles",
        "a number of rows that is no multiple of four sends all rows through the general loop",
        |arguments| halves(arguments, |product| !product.rows.is_multiple_of(4) && product.cols >= LONG),
    ),
    Mutant::new(
        Class::Precision,
        Gemv,
        "double-precision-for-one-row",
        "one row leaves registers for wider sums, which are better and not the same",
        |arguments| {
            gemv(arguments, |product, row| match product.rows == 1 && product.cols >= LONG {
                false => product.in_order(row),
                true => in_f64(product, row),
            })
        },
    ),
];

pub(crate) const RIGHT: &[Mutant] = &[
    Mutant::new(
        Class::RowsAndTiles,
        Gemv,
        "columns-split-in-two-always",
        "the same two halves for every number of rows",
        |arguments| halves(arguments, |product| product.cols >= LONG),
    ),
    Mutant::new(
        Class::Precision,
        Gemv,
        "double-precision-for-every-row",
        "wider sums for every number of rows",
        |arguments| gemv(arguments, in_f64),
    ),
];
