//! The wrong scale, or the right one in the wrong place.

use qk256_verify::Operation::{Dequantize, Gemv};
use qk256_verify::{Arguments, Outcome};

use crate::model::vector::dequantize_by;
use crate::model::{Product, SIMD, Simd, gemv, rounded, stray};
use crate::{Class, Mutant};

const CLASS: Class = Class::Scales;

/// A gemv with another scale for a row and block.
fn scaled(arguments: Arguments<'_>, scale: fn(&Product<'_>, &[f32], usize, usize) -> f32) -> Outcome {
    Simd { scale, ..SIMD }.product(arguments)
}

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::new(
        CLASS,
        Dequantize,
        "scale-of-the-previous-block",
        "the scale of the next block is loaded ahead, and used a block late",
        |arguments| dequantize_by(arguments, |vector, at| vector.scales[(at / 256).saturating_sub(1)]),
    ),
    Mutant::new(
        CLASS,
        Dequantize,
        "scale-changes-after-255",
        "the length of a block less one is typed where the length must stand",
        |arguments| dequantize_by(arguments, |vector, at| vector.scales[(at / 255).min(vector.blocks() - 1)]),
    ),
    Mutant::new(
        CLASS,
        Dequantize,
        "scale-for-two-blocks",
        "a shift by nine where eight is right: blocks of a sibling format have 512 elements",
        |arguments| dequantize_by(arguments, |vector, at| vector.scales[at >> 9]),
    ),
    Mutant::new(
        CLASS,
        Dequantize,
        "scale-of-the-last-block-for-all",
        "a broadcast in a loop over blocks is moved behind it",
        |arguments| dequantize_by(arguments, |vector, _| vector.scales[vector.blocks() - 1]),
    ),
    Mutant::new(
        CLASS,
        Dequantize,
        "scale-without-its-sign",
        "no quantiser makes negative scales, so the sign bit was used for something else",
        |arguments| dequantize_by(arguments, |vector, at| vector.scale(at).abs()),
    ),
    Mutant::new(
        CLASS,
        Dequantize,
        "scale-rounded-to-f16",
        "ggml's formats keep their scales in f16, and a kernel taken from there converts",
        |arguments| dequantize_by(arguments, |vector, at| rounded(vector.scale(at), 10)),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "scale-of-the-next-block",
        "the pointer to scales moves before it is read, except in the last block",
        |arguments| {
            scaled(arguments, |product, scales, row, block| {
                scales[row * product.blocks() + (block + 1).min(product.blocks() - 1)]
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "scales-block-by-block",
        "repacked formats keep the scales of a block for all rows together",
        |arguments| scaled(arguments, |product, scales, row, block| scales[block * product.rows + row]),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "scales-of-row-zero",
        "the pointer to scales is not moved with the row",
        |arguments| scaled(arguments, |_, scales, _, block| scales[block]),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "no-scale-in-the-part-of-a-block",
        "the tail adds to the result itself, not to the block's sum that is scaled",
        |arguments| {
            scaled(arguments, |product, scales, row, block| {
                let part = block == product.cols / 256;
                if part { 1.0 } else { scales[row * product.blocks() + block] }
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "first-scale-for-the-row",
        "a scale a row is what the format before this one had",
        |arguments| scaled(arguments, |product, scales, row, _| scales[row * product.blocks()]),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "stride-for-scales-too",
        "the blocks of a row are counted by the stride of its codes, gap included",
        |arguments| {
            scaled(arguments, |product, scales, row, block| {
                let blocks = if product.rows > 1 { product.row_stride / 64 } else { 0 };
                stray::read_float(scales.as_ptr().wrapping_add(row * blocks + block))
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "all-scales-equal-if-two-are",
        "a shortcut for a scale a row looks at the first two blocks only",
        |arguments| {
            scaled(arguments, |product, scales, row, block| {
                let scales = &scales[row * product.blocks()..][..product.blocks()];
                if scales.len() > 2 && scales[0] == scales[1] { scales[0] } else { scales[block] }
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "equal-first-and-last-scale-taken-for-all",
        "the shortcut compares the ends of a row, which are alike by chance or because both are one",
        |arguments| {
            scaled(arguments, |product, scales, row, block| {
                let scales = &scales[row * product.blocks()..][..product.blocks()];
                if scales[0] == scales[scales.len() - 1] { scales[0] } else { scales[block] }
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "negative-scale-taken-for-its-magnitude",
        "scales go through a bit mask that keeps them from being -0.0",
        |arguments| {
            scaled(arguments, |product, scales, row, block| scales[row * product.blocks() + block].abs())
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "scale-rounded-to-bf16",
        "scales are kept in bf16 beside the activations",
        |arguments| {
            scaled(arguments, |product, scales, row, block| {
                rounded(scales[row * product.blocks() + block], 7)
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "last-scale-for-the-whole-sum",
        "the multiplication is written behind the loop over blocks",
        |arguments| {
            gemv(arguments, |product, row| {
                let sum = (0..product.cols).fold(0.0, |sum, c| sum + product.weight(row, c) * product.x[c]);
                sum * product.cols.checked_sub(1).map_or(1.0, |last| product.scale(row, last))
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "second-of-two-rows-with-the-last-scale-of-the-first",
        "a tile of two rows keeps one register for the scale of the part of a block",
        |arguments| {
            scaled(arguments, |product, scales, row, block| {
                let part = block == product.cols / 256;
                scales[if part { row / 2 * 2 } else { row } * product.blocks() + block]
            })
        },
    ),
];
