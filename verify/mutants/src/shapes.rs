//! Paths for some shapes only, which no list of edges names.

use std::sync::atomic::{AtomicU32, Ordering};

use qk256_verify::Operation::{Dequantize, Gemv, GemvFixed, Unpack};
use qk256_verify::{Arguments, Outcome};

use crate::model::fixed::{RIGHT_WAY, Way};
use crate::model::vector::{Vector, dequantize, unpack};
use crate::model::{BLOCK_ELEMENTS, Product, SIMD, Simd, code, gemv, weight};
use crate::{Class, Mutant};

const CLASS: Class = Class::Dispatch;

/// Elements from which two orders are tried.
const TUNED: usize = 1 << 18;

impl Product<'_> {
    fn elements(&self) -> usize {
        self.rows * self.cols
    }
}

/// A gemv that leaves out some of the last columns of a row.
fn without(arguments: Arguments<'_>, last: impl Fn(&Product<'_>, usize) -> usize) -> Outcome {
    gemv(arguments, |product, row| product.sum(row, 0..product.cols - last(product, row)))
}

/// A gemv whose scale of a row and block is `scale(operands, scales, row, block)`.
fn scaled_by(arguments: Arguments<'_>, scale: fn(&Product<'_>, &[f32], usize, usize) -> f32) -> Outcome {
    Simd { scale, ..SIMD }.product(arguments)
}

/// The scale that belongs there.
fn right_scale(product: &Product<'_>, scales: &[f32], row: usize, block: usize) -> f32 {
    scales[row * product.blocks() + block]
}

/// The code of element `at` by a byte offset of 16 bits, counted from `before` elements before the first.
fn by_16_bits(vector: &Vector<'_>, at: usize, before: usize) -> u8 {
    let at = at + before;
    let wrapped = usize::from((at / 4) as u16) * 4 + at % 4;
    wrapped.checked_sub(before).map_or(0, |at| vector.code(at))
}

/// A dequantize whose code of element `i` is `code(reads, i, elements by which the output starts past 32 bytes)`.
fn dequantize_peeled(arguments: Arguments<'_>, code: fn(&Vector<'_>, usize, usize) -> u8) -> Outcome {
    let past = arguments.out.as_ptr().addr() / 4 % 8;
    dequantize(arguments, |vector, at| weight(code(vector, at, past)) * vector.scale(at))
}

/// Whether a call of a large matrix is one of the first four, and its number.
fn tuning(product: &Product<'_>, calls: &AtomicU32) -> Option<u32> {
    let is_large = product.elements() >= TUNED;
    is_large.then(|| calls.fetch_add(1, Ordering::Relaxed)).filter(|&call| call < 4)
}

/// A gemv that on its first calls of large matrices takes `other` for every second one.
fn tuned(arguments: Arguments<'_>, calls: &AtomicU32, other: impl Fn(&Product<'_>, usize) -> f32) -> Outcome {
    let mut takes_other = None;
    gemv(arguments, |product, row| {
        let takes_other =
            *takes_other.get_or_insert_with(|| tuning(product, calls).is_some_and(|call| call % 2 == 1));
        if takes_other { other(product, row) } else { product.in_order(row) }
    })
}

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::new(
        CLASS,
        Gemv,
        "rest-of-4096-rows-of-one-column",
        "a matrix of one column is a vector, done in pieces of 4096, and of the last piece fewer than four are forgotten",
        |arguments| {
            without(arguments, |product, row| {
                let rest = product.rows % 4096;
                let is_lost = product.cols == 1 && row >= 4096 && rest < 4 && row >= product.rows - rest;
                usize::from(is_lost)
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "last-of-302-rows-of-one-column",
        "rows of one column are done in panels of 300, and the path for a rest of two does one",
        |arguments| {
            without(arguments, |product, row| {
                let is_lost = product.cols == 1 && product.rows > 300 && product.rows % 300 == 2;
                usize::from(is_lost && product.is_last(row))
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "block-of-a-row-of-6912-left-out",
        "kernels are generated for the widths of known models, and one of them was generated for another",
        |arguments| {
            without(
                arguments,
                |product, _| {
                    if product.rows == 1 && product.cols == 6912 { BLOCK_ELEMENTS } else { 0 }
                },
            )
        },
    ),
    Mutant::new(
        CLASS,
        GemvFixed,
        "fixed-block-of-a-row-of-8192-left-out",
        "the same in fixed point, of a width that a test of small shapes has no use for",
        |arguments| {
            let of = |product: &Product<'_>, row, column: usize| {
                if product.cols == 8192 && column >= 7936 { 0.0 } else { product.weight(row, column) }
            };
            Way { weight: of, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "last-row-of-a-height-of-1376",
        "an eighth of 11008 rows is no multiple of the panel, and the table of heights says otherwise",
        |arguments| {
            without(arguments, |product, row| {
                let is_lost = product.rows == 1376 && product.is_last(row);
                usize::from(is_lost && product.cols > 0)
            })
        },
    ),
    Mutant::new(
        Class::Scales,
        Gemv,
        "number-of-a-scale-in-16-bits",
        "as many scales as rows, and a vocabulary has more rows than 16 bits count",
        |arguments| {
            scaled_by(arguments, |product, scales, row, block| {
                scales[usize::from((row * product.blocks() + block) as u16)]
            })
        },
    ),
    Mutant::new(
        Class::Scales,
        Gemv,
        "scales-of-the-first-panel-from-2-to-the-20-on",
        "matrices beyond the cache are done in two panels of rows, each with a pointer to scales of its own",
        |arguments| {
            scaled_by(arguments, |product, scales, row, block| {
                let is_panelled = product.elements() >= 1 << 20;
                let row = if is_panelled { row % product.rows.div_ceil(2) } else { row };
                right_scale(product, scales, row, block)
            })
        },
    ),
    Mutant::new(
        Class::Scales,
        Gemv,
        "last-scale-of-a-row-from-2-to-the-22-on",
        "larger matrices are done in panels of columns too, and the last one starts with its second scale",
        |arguments| {
            scaled_by(arguments, |product, scales, row, block| {
                let is_moved = product.elements() >= 1 << 22 && block > 0 && block + 1 == product.blocks();
                right_scale(product, scales, row, block - usize::from(is_moved))
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "last-row-of-2-to-the-23-elements",
        "from 8 MiB of weights in bytes on rows are shared out, and the last share ends a row early",
        |arguments| {
            without(arguments, |product, row| {
                let is_lost = product.scales.is_some() && product.elements() >= 1 << 23;
                usize::from(is_lost && product.is_last(row))
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "last-row-of-2-to-the-24-elements",
        "as many elements as an f32 counts, in a loop that counts in one",
        |arguments| {
            without(arguments, |product, row| {
                usize::from(product.elements() > 1 << 24 && product.is_last(row))
            })
        },
    ),
    Mutant::new(
        CLASS,
        Dequantize,
        "offset-of-a-byte-in-16-bits",
        "65536 bytes of codes are 262144 elements",
        |arguments| dequantize(arguments, |vector, at| weight(by_16_bits(vector, at, 0)) * vector.scale(at)),
    ),
    Mutant::new(
        CLASS,
        Dequantize,
        "offset-of-a-byte-in-16-bits-past-a-peeled-output",
        "elements are counted from the aligned address before the output, where it is not aligned",
        |arguments| {
            dequantize_peeled(arguments, |vector, at, past| {
                if past == 0 { vector.code(at) } else { by_16_bits(vector, at, past) }
            })
        },
    ),
    Mutant::new(
        CLASS,
        Unpack,
        "codes-from-262144-on-start-over",
        "the same offset in the kernel that only unpacks",
        |arguments| unpack(arguments, |vector, at| by_16_bits(vector, at, 0)),
    ),
    Mutant::new(CLASS, Unpack, "last-of-605-codes", "a rest of five, behind panels of 600", |arguments| {
        unpack(arguments, |vector, at| {
            let is_lost = vector.len > 600 && vector.len % 600 == 5 && at + 1 == vector.len;
            vector.code(at - usize::from(is_lost))
        })
    }),
    Mutant::new(
        Class::State,
        Gemv,
        "two-orders-tried-on-the-first-four-calls",
        "the faster of two loops is found out by calling both, and they do not add in one order",
        |arguments| {
            static CALLS: AtomicU32 = AtomicU32::new(0);
            tuned(arguments, &CALLS, |product, row| product.sum(row, (0..product.cols).rev()))
        },
    ),
];

pub(crate) const RIGHT: &[Mutant] = &[
    Mutant::new(
        CLASS,
        Gemv,
        "one-column-without-a-loop",
        "a matrix of one column is a vector times a number",
        |arguments| {
            gemv(arguments, |product, row| match product.cols {
                1 => {
                    weight(code(&product.packed[row * product.row_stride..], 0))
                        * product.scale(row, 0)
                        * product.x[0]
                }
                _ => product.in_order(row),
            })
        },
    ),
    Mutant::new(
        Class::Scales,
        Gemv,
        "panels-of-rows-from-2-to-the-20-on",
        "two panels of rows, each with the scales that belong to it",
        |arguments| {
            scaled_by(arguments, |product, scales, row, block| {
                let panel = product.rows.div_ceil(2).max(1);
                let start = if product.elements() >= 1 << 20 { row / panel * panel } else { 0 };
                right_scale(product, &scales[start * product.blocks()..], row - start, block)
            })
        },
    ),
    Mutant::new(
        CLASS,
        Dequantize,
        "offset-of-a-byte-in-32-bits-past-a-peeled-output",
        "the output is peeled, and offsets have room",
        |arguments| {
            dequantize_peeled(arguments, |vector, at, past| {
                let at = (at + past) as u32;
                vector.code(at as usize - past)
            })
        },
    ),
    Mutant::new(
        Class::State,
        Gemv,
        "two-ways-tried-on-the-first-four-calls",
        "both ways add in the same order, one of them with terms that were multiplied before",
        |arguments| {
            static CALLS: AtomicU32 = AtomicU32::new(0);
            tuned(arguments, &CALLS, |product, row| {
                let terms: Vec<f32> = (0..product.cols).map(|column| product.term(row, column)).collect();
                terms.into_iter().fold(0.0, |sum, term| sum + term)
            })
        },
    ),
];
