//! Results and rows of a batch in the wrong place, strides that are taken for others, and repacked rows.

use super::{I2_S, IQ2_BN, Q2_0, Q4_0, QK256, TQ2_0};
use crate::model::gemm::{Batch, RIGHT_WAY, Way};
use crate::model::packing;
use crate::{Arguments, Class, Mutant, Outcome};

const CLASS: Class = Class::RowsAndTiles;

/// Another place for the result of a vector and row; of two results that meet the later one stays.
fn placed(arguments: Arguments<'_>, place: fn(&Batch<'_>, usize, usize) -> usize) -> Outcome {
    Way { place, ..RIGHT_WAY }.product(arguments)
}

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::of(
        CLASS,
        QK256,
        "gemm-results-transposed",
        "a gemm of BLAS writes columns, and this one is called as one that writes rows",
        |arguments| {
            placed(arguments, |batch, vector, row| match batch.out_stride == batch.rows {
                true => row * batch.batch + vector,
                false => batch.place(vector, row),
            })
        },
    ),
    Mutant::of(
        CLASS,
        QK256,
        "gemm-square-results-transposed",
        "a flag for transposition is derived from the strides, which are the same where there are as many vectors as rows",
        |arguments| {
            placed(arguments, |batch, vector, row| match batch.batch == batch.rows {
                true => batch.place(row, vector),
                false => batch.place(vector, row),
            })
        },
    ),
    Mutant::of(
        CLASS,
        QK256,
        "gemm-stride-of-results-taken-for-rows",
        "results are dense wherever the kernel was tried",
        |arguments| placed(arguments, |batch, vector, row| vector * batch.rows + row),
    ),
    Mutant::of(
        CLASS,
        QK256,
        "gemm-stride-of-x-for-results-too",
        "a square layer has as many rows as columns, and one stride was enough for it",
        |arguments| {
            placed(arguments, |batch, vector, row| match batch.x_stride > batch.out_stride {
                true => batch.place(vector, row),
                false => vector * batch.x_stride.max(batch.rows) + row,
            })
        },
    ),
    Mutant::of(
        CLASS,
        Q4_0,
        "gemm-stride-of-x-taken-for-columns",
        "vectors are dense wherever the kernel was tried",
        |arguments| {
            let x = |batch: &Batch<'_>, vector, column| batch.x[vector * batch.cols + column];
            Way { packing: packing::Q4_0, x, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::of(
        CLASS,
        Q2_0,
        "gemm-stride-of-x-in-whole-blocks",
        "vectors are thought to be padded to whole blocks of weights",
        |arguments| {
            let x = |batch: &Batch<'_>, vector: usize, column| {
                let stride = if batch.x_stride >= 64 { batch.x_stride / 64 * 64 } else { batch.x_stride };
                batch.x[vector * stride + column]
            };
            Way { packing: packing::Q2_0, x, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::of(
        CLASS,
        QK256,
        "gemm-stride-of-rows-taken-for-dense",
        "the stride is passed on to the kernel for one vector, and not to that for many",
        |arguments| {
            let weight = |batch: &Batch<'_>, _: usize, row: usize, column| {
                let stride = if batch.batch > 1 { batch.shape().row_bytes() } else { batch.row_stride };
                (batch.packing.code(&batch.packed[row * stride..], column) - batch.packing.offset) as f32
            };
            Way { weight, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::of(
        CLASS,
        TQ2_0,
        "gemm-offset-of-a-row-in-32-bits",
        "as in gemv: a matrix of 4 GiB is read from its start",
        |arguments| {
            let weight = |batch: &Batch<'_>, _: usize, row: usize, column| {
                let start = (row * batch.row_stride) as u32 as usize;
                (batch.packing.code(&batch.packed[start..], column) - 1) as f32
            };
            Way { packing: packing::TQ2_0, weight, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::of(
        CLASS,
        Q4_0,
        "gemm-rest-of-repacked-rows-from-the-tile-before",
        "rows are interleaved in fours when a model is loaded, and the rows that fill no four are not",
        |arguments| {
            let weight = |batch: &Batch<'_>, _: usize, row: usize, column| {
                let is_rest = batch.rows > 4 && row >= batch.rows / 4 * 4;
                batch.weight(row - if is_rest { 4 } else { 0 }, column)
            };
            Way { packing: packing::Q4_0, weight, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::of(
        CLASS,
        Q4_0,
        "gemm-rest-of-repacked-rows-left",
        "the same, and their results are left as they were where there is a batch",
        |arguments| {
            let rows = |batch: &Batch<'_>, _: usize| match batch.batch > 1 && batch.rows > 4 {
                true => batch.rows / 4 * 4,
                false => batch.rows,
            };
            Way { packing: packing::Q4_0, rows, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::of(
        CLASS,
        I2_S,
        "gemm-two-rows-interleaved-for-a-batch",
        "a kernel of two rows and two vectors writes its four results in the order of its registers",
        |arguments| {
            let place = |batch: &Batch<'_>, vector: usize, row: usize| {
                let is_in_tile = vector < batch.batch / 2 * 2 && row < batch.rows / 2 * 2;
                match (is_in_tile, vector % 2, row % 2) {
                    (true, 0, 1) => batch.place(vector + 1, row - 1),
                    (true, 1, 0) => batch.place(vector - 1, row + 1),
                    _ => batch.place(vector, row),
                }
            };
            Way { packing: packing::I2_S, place, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::of(
        CLASS,
        IQ2_BN,
        "gemm-header-of-the-first-row",
        "the scale of a row is read once for a tile of rows",
        |arguments| {
            let scale = |batch: &Batch<'_>, _: usize, row: usize, block| batch.scale(row / 4 * 4, block);
            Way { packing: packing::IQ2_BN, scale, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Tails,
        IQ2_BN,
        "gemm-part-of-a-block-of-64-from-the-block-before",
        "two blocks of 64 a step, and a part of the second is looked for in the first",
        |arguments| {
            let weight = |batch: &Batch<'_>, _: usize, row, column: usize| {
                let is_part = column / 128 * 128 + 128 > batch.cols && column % 128 >= 64;
                batch.weight(row, column - if is_part { 64 } else { 0 })
            };
            Way { packing: packing::IQ2_BN, weight, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Tails,
        I2_S,
        "gemm-part-of-a-block-skipped",
        "rows of i2_s are multiples of 128 in every model, and cols / 128 blocks are multiplied",
        |arguments| {
            let columns = |batch: &Batch<'_>, _: usize| batch.cols / 128 * 128;
            Way { packing: packing::I2_S, columns, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Unpack,
        Q4_0,
        "gemm-nibbles-swapped-for-a-batch",
        "the kernel for many vectors reads weights that were repacked, and here they were not",
        |arguments| {
            let weight = |batch: &Batch<'_>, _: usize, row, column: usize| {
                batch.weight(row, if batch.batch > 1 { column ^ 16 } else { column })
            };
            Way { packing: packing::Q4_0, weight, ..RIGHT_WAY }.product(arguments)
        },
    ),
];
