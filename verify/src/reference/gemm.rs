//! `gemm`: each block decoded once, for all vectors.

use super::block::{integers, scale_of_block, scale_of_row, separate};
use super::custom;
use crate::format::{Coding, Format};
use crate::kernel::{Arguments, Outcome};

/// The product of a matrix and a batch of vectors: within a block from left to right, then the scaled sums of blocks from left to right.
#[inline(always)]
pub(super) fn gemm(format: &Format, arguments: Arguments<'_>) -> Outcome {
    let Arguments { packed, scales, x, out, rows, cols, row_stride, batch, x_stride, out_stride, .. } =
        arguments;
    let blocks = cols.div_ceil(format.block_len);
    let (mut weights, mut of_block) = (vec![0.0; format.block_len], vec![0; format.block_len]);
    for row in 0..rows {
        for vector in 0..batch {
            out[vector * out_stride + row] = 0.0;
        }
        if cols == 0 {
            continue;
        }
        let bytes = &packed[row * row_stride..];
        let of_row = scale_of_row(format, bytes);
        for (number, block) in
            bytes[format.header_bytes()..].chunks_exact(format.block_bytes).take(blocks).enumerate()
        {
            write_unscaled(format, block, &mut of_block, &mut weights);
            let scale = scales.map_or_else(
                || scale_of_block(format, of_row, block),
                |all| separate(format, all, row * blocks + number),
            );
            let columns = number * format.block_len..cols.min((number + 1) * format.block_len);
            for vector in 0..batch {
                let x = &x[vector * x_stride..][columns.clone()];
                let sum = weights.iter().zip(x).fold(0.0, |sum: f32, (weight, x)| sum + weight * x);
                out[vector * out_stride + row] += sum * scale;
            }
        }
    }
    Outcome::Done
}

/// Writes the weights of a block: of a plain format its integers first, and without its scale.
#[inline(always)]
fn write_unscaled(format: &Format, block: &[u8], of_block: &mut [i8], weights: &mut [f32]) {
    match &format.coding {
        Coding::Plain(plain) => {
            integers(plain, block, of_block);
            weights.iter_mut().zip(of_block).for_each(|(to, integer)| *to = f32::from(*integer));
        }
        Coding::Custom(_) => custom::weights(format, block, weights),
    }
}
