//! Paths that are wrong, and taken for some sizes or addresses only.

use qk256_verify::Operation::{Dequantize, Gemv, GemvFixed, Lut, Unpack};
use qk256_verify::Outcome;

use crate::model::fixed::{Fixed, RIGHT_WAY, Way};
use crate::model::vector::{dequantize_by, lut, unpack};
use crate::model::{Product, SIMD, Simd, gemv, rounded, weight};
use crate::{Class, Mutant};

const CLASS: Class = Class::Dispatch;

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::new(
        CLASS,
        Gemv,
        "single-row-drops-a-part-of-128",
        "a vector times a vector is a kernel of its own, written for whole steps",
        |arguments| {
            let columns = |product: &Product<'_>, _| match product.rows {
                1 => product.cols - usize::from(product.cols > 128 && !product.cols.is_multiple_of(128)),
                _ => product.cols,
            };
            Simd { columns, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "large-matrices-drop-the-last-column",
        "from 48 rows of 2048 columns on a blocked kernel takes over, with other tails",
        |arguments| {
            let columns = |product: &Product<'_>, _| {
                product.cols - usize::from(product.cols >= 2048 && product.rows >= 48)
            };
            Simd { columns, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "another-order-for-aligned-x",
        "aligned loads have a loop of their own, so that bits depend on what malloc gave",
        |arguments| {
            gemv(arguments, |product, row| match product.x.as_ptr().addr() % 32 {
                0 => product.sum(row, (0..product.cols).rev()),
                _ => product.in_order(row),
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "aligned-codes-read-one-vector-late",
        "the loop for aligned codes peels its first load and does not come back for it",
        |arguments| {
            let code = |product: &Product<'_>, row, column: usize| {
                let aligned = product.packed.as_ptr().addr().is_multiple_of(64) && product.cols >= 512;
                product.code(row, if aligned && column < 128 { column + 128 } else { column })
            };
            Simd { code, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "fewer-than-eight-columns-not-written",
        "too short for a vector: the kernel returns early and leaves y as it was",
        |arguments| {
            let Some(mut product) = Product::of(arguments) else { return Outcome::Refused };
            if !(1..8).contains(&product.cols) {
                SIMD.write(&mut product);
            }
            Outcome::Done
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "scaled-results-of-11-bits",
        "the path with scales goes through the kernel for f16",
        |arguments| {
            let finish =
                |product: &Product<'_>, _, sum| if product.scales.is_some() { rounded(sum, 10) } else { sum };
            Simd { finish, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "no-scale-where-there-is-one-block",
        "a row of one block is sent to the kernel without scales",
        |arguments| {
            let scale = |product: &Product<'_>, scales: &[f32], row, block| match product.blocks() {
                1 => 1.0,
                blocks => scales[row * blocks + block],
            };
            Simd { scale, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "rows-a-page-apart-lose-a-vector",
        "strides of a page would share cache sets, and have a path that copies rows first, a vector too few",
        |arguments| {
            let columns = |product: &Product<'_>, _| {
                let paged = product.has_gaps() && product.row_stride.is_multiple_of(4096);
                if paged && product.cols >= 64 { product.cols - 8 } else { product.cols }
            };
            Simd { columns, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "a-block-between-rows-taken-for-dense",
        "whether a matrix is dense is decided by the rounded stride",
        |arguments| {
            let code = |product: &Product<'_>, row: usize, column| {
                let dense = product.row_stride < product.row_bytes() + 64;
                product.code_from(row * if dense { product.row_bytes() } else { product.row_stride }, column)
            };
            Simd { code, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "middle-column-counted-twice",
        "wide matrices are split in two halves of columns, both of them rounded up",
        |arguments| {
            gemv(arguments, |product, row| {
                let half = product.cols.div_ceil(2);
                let first =
                    if product.cols > 1024 && product.rows >= 16 { product.cols - half } else { half };
                product.sum(row, 0..half) + product.sum(row, first..product.cols)
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "nan-lost-from-64-columns-on",
        "short rows are clamped by a comparison and long ones by maxps, which drops NaN (burn issue 5716)",
        |arguments| {
            let x = |product: &Product<'_>, _, column: usize| match product.x[column] {
                x if product.cols >= 64 => x.max(f32::NEG_INFINITY),
                x => x,
            };
            Simd { x, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "wide-loads-where-the-stride-is-no-multiple-of-four",
        "rows of 128 columns and more go through loads that must be aligned, and a stride may not be (llama.cpp pull 25671)",
        |arguments| {
            let code = |product: &Product<'_>, row: usize, column| {
                let start = row * product.row_stride;
                product.code_from(if product.cols >= 128 { start / 4 * 4 } else { start }, column)
            };
            Simd { code, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "square-matrices-transposed",
        "a layout is recognised by its sizes: as many rows as columns look like the other one",
        |arguments| {
            let code = |product: &Product<'_>, row, column| {
                let square = product.rows == product.cols && product.rows > 1;
                if square { product.code(column, row) } else { product.code(row, column) }
            };
            Simd { code, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Unpack,
        "33-to-63-codes-read-backwards",
        "a path for half a vector keeps the bytes in the order of its shuffle",
        |arguments| {
            unpack(arguments, |vector, at| match vector.len {
                33..64 if at < 32 => vector.code(at ^ 16),
                _ => vector.code(at),
            })
        },
    ),
    Mutant::new(
        CLASS,
        Unpack,
        "first-byte-of-127-taken-for-a-mark",
        "a reader that once skipped the mark in front of a file is called with blocks, which may begin with any byte",
        |arguments| {
            unpack(arguments, |vector, at| match vector.bytes.first() {
                Some(0x7f) if at < 4 => 0,
                _ => vector.code(at),
            })
        },
    ),
    Mutant::new(
        CLASS,
        Lut,
        "long-vectors-from-4096-on-lose-the-last",
        "streaming stores begin at 4096 elements and end at a whole line",
        |arguments| {
            lut(arguments, |vector, at| {
                let lost = vector.len > 4096 && !vector.len.is_multiple_of(16) && at + 1 == vector.len;
                if lost { 0.0 } else { weight(vector.bytes[at]) }
            })
        },
    ),
    Mutant::new(
        CLASS,
        Dequantize,
        "fourth-block-with-the-scale-of-the-third",
        "four blocks at a time load four scales, the last of them by a shuffle constant that is one off",
        |arguments| {
            dequantize_by(arguments, |vector, at| {
                let unrolled = at / 1024 < vector.len / 1024;
                vector.scales[at / 256 - usize::from(unrolled && at / 256 % 4 == 3)]
            })
        },
    ),
    Mutant::new(
        CLASS,
        GemvFixed,
        "one-digit-cut-in-short-rows",
        "a conversion that truncates in a path of its own: one digit, fewer than 32 columns",
        |arguments| {
            let round = |fixed: &Fixed<'_>, x: f64| {
                if fixed.digits == 1 && fixed.product.cols < 32 { x.trunc() } else { x.round_ties_even() }
            };
            Way { round, ..RIGHT_WAY }.product(arguments)
        },
    ),
];
