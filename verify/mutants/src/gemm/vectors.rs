//! Vectors of a batch that are left out, taken for others, or treated in another way than one alone.

use super::{I2_S, Q2_0, Q4_0, QK256, TQ2_0};
use crate::model::gemm::{Batch, RIGHT_WAY, Way, gemm};
use crate::model::{packing, rounded};
use crate::{Class, Mutant};

/// Columns from which batches take a path of their own.
const LONG: usize = 512;

/// The product of a vector and a row in two halves of its columns.
fn in_halves(batch: &Batch<'_>, vector: usize, row: usize) -> f32 {
    let middle = batch.blocks() / 2;
    let part = |blocks: std::ops::Range<usize>| {
        blocks.fold(0.0, |sum, block| {
            sum + batch.sum(vector, row, batch.columns(block)) * batch.scale(row, block)
        })
    };
    part(0..middle) + part(middle..batch.blocks())
}

/// The results in order, or in two halves where `in_two` is true of the operands and the vector.
fn halves(arguments: crate::Arguments<'_>, in_two: fn(&Batch<'_>, usize) -> bool) -> crate::Outcome {
    gemm(packing::QK256, arguments, |batch, vector, row| match batch.cols >= LONG && in_two(batch, vector) {
        true => in_halves(batch, vector, row),
        false => batch.in_order(vector, row),
    })
}

/// Another activation for a vector and column.
fn with_x(arguments: crate::Arguments<'_>, x: fn(&Batch<'_>, usize, usize) -> f32) -> crate::Outcome {
    Way { x, ..RIGHT_WAY }.product(arguments)
}

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::of(
        Class::Tails,
        QK256,
        "gemm-last-of-an-odd-batch-left",
        "vectors go in pairs, and a batch of three is two and nothing",
        |arguments| {
            let vectors = |batch: &Batch<'_>| if batch.batch == 1 { 1 } else { batch.batch / 2 * 2 };
            Way { vectors, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Tails,
        Q4_0,
        "gemm-vectors-behind-a-tile-of-four-left",
        "the kernel for four vectors is called batch / 4 times; the one for a single vector only where there are fewer than four",
        |arguments| {
            let vectors = |batch: &Batch<'_>| if batch.batch < 4 { batch.batch } else { batch.batch / 4 * 4 };
            Way { packing: packing::Q4_0, vectors, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::of(
        Class::RowsAndTiles,
        QK256,
        "gemm-first-vector-only",
        "a gemv that was given the signature of a gemm",
        |arguments| Way { vectors: |batch| batch.batch.min(1), ..RIGHT_WAY }.product(arguments),
    ),
    Mutant::of(
        Class::RowsAndTiles,
        TQ2_0,
        "gemm-first-vector-for-all",
        "the pointer to x is not moved with the batch, which no test with equal vectors sees",
        |arguments| {
            let x = |batch: &Batch<'_>, _: usize, column| batch.x(0, column);
            Way { packing: packing::TQ2_0, x, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::of(
        Class::RowsAndTiles,
        QK256,
        "gemm-last-two-of-three-vectors-the-same",
        "a rest of three is filled up to four by the last vector, one place too early",
        |arguments| {
            with_x(arguments, |batch, vector, column| {
                let is_second = batch.batch % 4 == 3 && vector + 2 == batch.batch;
                batch.x(vector + usize::from(is_second), column)
            })
        },
    ),
    Mutant::of(
        Class::RowsAndTiles,
        Q2_0,
        "gemm-tile-of-four-moved-up",
        "the last tile starts at batch - 4 so that it is full, and its results go where it would have started",
        |arguments| {
            let x = |batch: &Batch<'_>, vector: usize, column| {
                let is_rest = batch.batch > 4 && vector >= batch.batch / 4 * 4;
                batch.x(if is_rest { vector - 4 + batch.batch % 4 } else { vector }, column)
            };
            Way { packing: packing::Q2_0, x, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Dispatch,
        QK256,
        "gemm-wrong-from-the-eighth-vector-on",
        "a tile of eight vectors has a register that is used twice",
        |arguments| {
            with_x(arguments, |batch, vector, column| {
                let is_eighth = vector % 8 == 7;
                batch.x(vector - usize::from(is_eighth), column)
            })
        },
    ),
    Mutant::of(
        Class::Dispatch,
        QK256,
        "gemm-wrong-from-a-batch-of-32-on",
        "prompts of 32 tokens and more take the path of a library, which expects the weights transposed",
        |arguments| {
            with_x(arguments, |batch, vector, column| {
                let column = if batch.batch >= 32 { batch.cols - 1 - column } else { column };
                batch.x(vector, column)
            })
        },
    ),
    Mutant::of(
        Class::RowsAndTiles,
        QK256,
        "gemm-vector-index-in-8-bits",
        "the vectors of a tile are counted in a byte, and a prompt has 512 tokens",
        |arguments| with_x(arguments, |batch, vector, column| batch.x(usize::from(vector as u8), column)),
    ),
    Mutant::of(
        Class::RowsAndTiles,
        I2_S,
        "gemm-vectors-from-64-on-start-over",
        "a mask of the vectors of a panel has 64 bits",
        |arguments| {
            let x = |batch: &Batch<'_>, vector: usize, column| batch.x(vector % 64, column);
            Way { packing: packing::I2_S, x, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::of(
        Class::RowsAndTiles,
        QK256,
        "gemm-vector-index-in-16-bits",
        "a batch of all tokens of a long text has more than 65536",
        |arguments| with_x(arguments, |batch, vector, column| batch.x(usize::from(vector as u16), column)),
    ),
    Mutant::of(
        Class::RowsAndTiles,
        QK256,
        "gemm-offset-of-a-vector-in-16-bits",
        "vector * stride is computed in 16 bits, which hold 25 vectors of 2560 columns",
        |arguments| {
            with_x(arguments, |batch, vector, column| {
                batch.x[usize::from((vector * batch.x_stride) as u16) + column]
            })
        },
    ),
    Mutant::of(
        Class::RowsAndTiles,
        Q4_0,
        "gemm-place-of-a-result-in-16-bits",
        "results are scattered by indices of 16 bits: vectors times rows are more",
        |arguments| {
            let place = |batch: &Batch<'_>, vector, row| usize::from(batch.place(vector, row) as u16);
            Way { packing: packing::Q4_0, place, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Memory,
        QK256,
        "gemm-results-past-4096-dropped",
        "results are collected in an array of 4096 and copied, and the check that guards it returns",
        |arguments| {
            let rows = |batch: &Batch<'_>, vector: usize| {
                batch.rows.min(4096_usize.saturating_sub(vector * batch.rows))
            };
            Way { rows, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Tails,
        Q2_0,
        "gemm-panel-of-x-holds-4096-columns",
        "the columns of four vectors are copied to a panel on the stack, which is as long as the widest layer was",
        |arguments| {
            let columns = |batch: &Batch<'_>, _: usize| {
                if batch.batch >= 4 { batch.cols.min(4096) } else { batch.cols }
            };
            Way { packing: packing::Q2_0, columns, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Tails,
        QK256,
        "gemm-tail-of-a-vector-from-the-next",
        "columns are loaded in eights, those past the end of a vector are the first of the next, and padding codes multiply them",
        |arguments| {
            let finish = |batch: &Batch<'_>, vector: usize, row, sum: f32| {
                let end = batch.cols.next_multiple_of(8).min(batch.blocks() * 256);
                let is_there = vector + 1 < batch.batch && batch.x_stride == batch.cols;
                let tail = (batch.cols..end).filter(|&column| is_there && column < 2 * batch.cols);
                sum + batch.sum(vector, row, tail)
            };
            Way { finish, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Reduction,
        QK256,
        "gemm-one-vector-in-two-halves",
        "decoding has one vector and takes another kernel than a prompt, so that a text depends on how it was fed",
        |arguments| halves(arguments, |batch, _| batch.batch == 1),
    ),
    Mutant::of(
        Class::Reduction,
        QK256,
        "gemm-full-tiles-in-two-halves",
        "four vectors share a kernel, and those that are left over have one each (the batch invariance of Thinking Machines' 2025 article)",
        |arguments| halves(arguments, |batch, vector| vector < batch.batch / 4 * 4),
    ),
    Mutant::of(
        Class::Reduction,
        QK256,
        "gemm-odd-vectors-in-two-halves",
        "two vectors share a loop that was unrolled for the second alone",
        |arguments| halves(arguments, |_, vector| vector % 2 == 1),
    ),
    Mutant::of(
        Class::Reduction,
        QK256,
        "gemm-in-two-halves-from-a-batch-of-eight-on",
        "a batch that fills a panel is walked in panels of columns",
        |arguments| halves(arguments, |batch, _| batch.batch >= 8),
    ),
    Mutant::of(
        Class::Precision,
        Q4_0,
        "gemm-x-in-bf16-from-four-vectors-on",
        "tiles of a matrix unit take bf16, and few vectors do not go there",
        |arguments| {
            let x = |batch: &Batch<'_>, vector, column| {
                let x = batch.x(vector, column);
                if batch.batch >= 4 { rounded(x, 7) } else { x }
            };
            Way { packing: packing::Q4_0, x, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Precision,
        TQ2_0,
        "gemm-x-rounded-to-8-bits",
        "each vector is quantised as llama.cpp does, in a kernel that calls itself one of f32",
        |arguments| {
            let x = |batch: &Batch<'_>, vector, column| {
                let all = (0..batch.cols).map(|column| batch.x(vector, column).abs());
                let step = all.fold(0.0, f32::max) / 127.0;
                let x = batch.x(vector, column);
                if step > 0.0 && step.is_finite() && x.is_finite() { (x / step).round() * step } else { x }
            };
            Way { packing: packing::TQ2_0, x, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::of(
        Class::SpecialValues,
        QK256,
        "gemm-nan-of-a-vector-in-all-of-its-tile",
        "lanes of a tile that are not wanted are multiplied by zero and added, which NaN and infinities survive",
        |arguments| {
            let finish = |batch: &Batch<'_>, vector: usize, row, sum: f32| {
                let tile = vector / 4 * 4..batch.batch.min(vector / 4 * 4 + 4);
                tile.fold(sum, |sum, other| sum + 0.0 * batch.in_order(other, row))
            };
            Way { finish, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::of(
        Class::SpecialValues,
        QK256,
        "gemm-column-skipped-where-the-first-vector-is-zero",
        "sparse activations are worth a branch, which looks at one vector of a tile",
        |arguments| {
            with_x(arguments, |batch, vector, column| {
                let is_empty = batch.x(vector / 4 * 4, column) == 0.0;
                if is_empty { 0.0 } else { batch.x(vector, column) }
            })
        },
    ),
    Mutant::of(
        Class::Scales,
        QK256,
        "gemm-scales-indexed-by-vector",
        "scales of rows and scales of vectors have one name, and both are there in kernels of 8 bits",
        |arguments| {
            let scale = |batch: &Batch<'_>, vector: usize, row, block| {
                batch.scale(if batch.batch > 1 { vector % batch.rows } else { row }, block)
            };
            Way { scale, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Scales,
        Q4_0,
        "gemm-scale-of-the-next-block-for-later-vectors",
        "the pointer to the block moves within the loop over vectors",
        |arguments| {
            let scale = |batch: &Batch<'_>, vector: usize, row, block: usize| {
                let moved = usize::from(vector > 0 && block + 1 < batch.blocks());
                batch.scale(row, block + moved)
            };
            Way { packing: packing::Q4_0, scale, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Unpack,
        TQ2_0,
        "gemm-block-decoded-for-the-first-tile-only",
        "a block is decoded where the first vector of a row asks for it, and the second tile finds the last block of the row",
        |arguments| {
            let weight = |batch: &Batch<'_>, vector: usize, row, column: usize| {
                let last = (batch.blocks() - 1) * 256;
                batch.weight(row, if vector < 4 { column } else { last + column % 256 })
            };
            Way { packing: packing::TQ2_0, weight, ..RIGHT_WAY }.product(arguments)
        },
    ),
];
