//! Columns that do not fill a vector, a byte or a block.

use qk256_verify::Operation::{Dequantize, Gemv, GemvFixed, Lut, Unpack};
use qk256_verify::{Arguments, Outcome};

use crate::model::fixed::{RIGHT_WAY, Way};
use crate::model::vector::{dequantize_by, lut, of_unpack};
use crate::model::{BLOCK_ELEMENTS, Product, SIMD, Simd, gemv};
use crate::{Class, Mutant};

const CLASS: Class = Class::Tails;

/// A gemv that adds up only N columns of each row.
fn first_columns(arguments: Arguments<'_>, columns: fn(&Product<'_>, usize) -> usize) -> Outcome {
    Simd { columns, ..SIMD }.product(arguments)
}

/// A gemv that drops the last column of the rows for which `drops`.
fn dropping_the_last(arguments: Arguments<'_>, drops: impl Fn(&Product<'_>, usize) -> bool) -> Outcome {
    gemv(arguments, |product, row| product.sum(row, 0..product.cols - usize::from(drops(product, row))))
}

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::new(
        CLASS,
        Gemv,
        "last-dropped-when-7-of-8",
        "the loop over the tail steps by two and ends before the seventh",
        |arguments| dropping_the_last(arguments, |product, _| product.cols % 8 == 7),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "last-dropped-when-63-of-64-in-a-third-row",
        "two remainders meet in a path of their own: rows past a tile, columns past a vector",
        |arguments| {
            dropping_the_last(arguments, |product, row| {
                product.cols % 64 == 63 && product.rows % 3 == 2 && product.is_last(row)
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "last-dropped-when-193-to-199-of-256",
        "a block of a tail is done in four quarters, and one of them has its bound off by one",
        |arguments| dropping_the_last(arguments, |product, _| (193..200).contains(&(product.cols % 256))),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "last-dropped-when-17-of-32-in-a-remainder-row",
        "the tail of remainder rows is unrolled once less than that of tiles",
        |arguments| {
            dropping_the_last(arguments, |product, row| {
                product.cols % 32 == 17 && product.rows % 4 == 3 && row >= product.rows / 4 * 4
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "mask-of-the-tail-one-short",
        "the mask is (1 << n) - 1 with n counted from zero",
        |arguments| dropping_the_last(arguments, |product, _| product.cols % 8 == 1 && product.cols > 8),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "part-of-a-byte-from-the-next-row",
        "after the loop over whole bytes the pointer has moved to the next row",
        |arguments| {
            let code = |product: &Product<'_>, row: usize, column: usize| {
                let in_part = column >= product.cols / 4 * 4 && !product.is_last(row);
                product.code(if in_part { row + 1 } else { row }, column)
            };
            Simd { code, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "last-of-three-from-the-padding",
        "codes of a part of a byte are shifted once too often",
        |arguments| {
            let code = |product: &Product<'_>, row: usize, column: usize| {
                let last_of_three = product.cols % 4 == 3 && column + 1 == product.cols;
                product.code(row, column + usize::from(last_of_three))
            };
            Simd { code, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "code-behind-the-last-matters",
        "the mask keeps a whole byte, and a padding code comes along",
        |arguments| {
            gemv(arguments, |product, row| {
                let packed = &product.packed[row * product.row_stride..];
                let next = packed.get(product.cols / 4).filter(|_| !product.cols.is_multiple_of(4));
                product.in_order(row) + next.map_or(0.0, |&byte| f32::from(byte >> 6))
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "whole-last-block-taken-for-a-tail-of-none",
        "blocks are unrolled by four, and a rest of exactly one whole block has a remainder of zero columns",
        |arguments| {
            first_columns(arguments, |product, _| match product.cols % 1024 {
                256 if product.cols > 1024 => product.cols - 8,
                _ => product.cols,
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "second-vector-dropped-below-16-columns",
        "rows too short for the loop are done by a single masked vector",
        |arguments| {
            first_columns(
                arguments,
                |product, _| if product.cols < 16 { product.cols.min(8) } else { product.cols },
            )
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "four-behind-a-step-of-128-dropped",
        "the tail begins with a loop over 8 columns and ends with one over 2",
        |arguments| {
            first_columns(arguments, |product, _| product.cols - if product.cols % 128 == 4 { 4 } else { 0 })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "columns-past-whole-steps-of-128-ignored",
        "the number of steps is a division, as in bitnet.cpp's i2_s dot product, and the rest of it is nobody's",
        |arguments| first_columns(arguments, |product, _| product.cols / 128 * 128),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "columns-counted-in-16-bits",
        "a parameter of 16 bits wraps at 65536 columns",
        |arguments| first_columns(arguments, |product, _| usize::from(product.cols as u16)),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "columns-counted-in-15-bits-and-a-sign",
        "a signed counter of 16 bits is negative from 32768 on, and the loop ends there",
        |arguments| first_columns(arguments, |product, _| product.cols.min(i16::MAX as usize)),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "blocks-counted-in-8-bits",
        "256 blocks are none where the counter has eight bits",
        |arguments| {
            first_columns(arguments, |product, _| {
                let whole = usize::from((product.cols / BLOCK_ELEMENTS) as u8) * BLOCK_ELEMENTS;
                whole + product.cols % BLOCK_ELEMENTS
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "codes-past-column-65535-from-the-start",
        "indices of a gather are 16 bits wide",
        |arguments| {
            Simd { code: |product, row, column| product.code(row, column & 0xffff), ..SIMD }
                .product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "column-past-two-to-the-17-dropped",
        "a stack buffer for x holds 131072 columns, and the check that guards it has the wrong sign",
        |arguments| first_columns(arguments, |product, _| product.cols.min(1 << 17)),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "column-past-a-large-power-of-two-dropped",
        "trip counts of large rows are rounded to a power of two",
        |arguments| {
            dropping_the_last(arguments, |product, _| {
                product.cols > 4096 && (product.cols - 1).is_power_of_two()
            })
        },
    ),
    Mutant::new(
        CLASS,
        Unpack,
        "last-code-of-31-not-written",
        "the store of the tail is 16, 8, 4 and 2 wide, and nothing is 1 wide",
        |arguments| {
            let Some((vector, codes)) = of_unpack(arguments) else { return Outcome::Refused };
            let written = vector.len - usize::from(vector.len % 32 == 31);
            (0..written).for_each(|at| codes[at] = vector.code(at));
            Outcome::Done
        },
    ),
    Mutant::new(
        CLASS,
        Lut,
        "last-of-15-is-the-one-before",
        "the tail of a lookup is done by a load that ends with the buffer, shifted by one too few",
        |arguments| {
            lut(arguments, |vector, at| {
                let shifted = vector.len % 16 == 15 && at + 1 == vector.len;
                crate::model::weight(vector.bytes[at - usize::from(shifted)])
            })
        },
    ),
    Mutant::new(
        CLASS,
        Dequantize,
        "first-scale-in-the-last-part-of-a-block",
        "the tail is a function of its own, and it is given the array of scales rather than the block's",
        |arguments| {
            dequantize_by(arguments, |vector, at| {
                let in_tail = at >= vector.len / BLOCK_ELEMENTS * BLOCK_ELEMENTS;
                if in_tail { vector.scales[0] } else { vector.scale(at) }
            })
        },
    ),
    Mutant::new(
        CLASS,
        GemvFixed,
        "last-of-129-dropped",
        "a step takes 128 columns, and a rest of one is taken for none",
        |arguments| {
            let sum = |terms: &[(i64, i64)], _| {
                let kept = terms.len() - usize::from(terms.len() % 128 == 1);
                terms[..kept].iter().map(|(weight, integer)| weight * integer).sum()
            };
            Way { sum, ..RIGHT_WAY }.product(arguments)
        },
    ),
];
