//! `dot`: integers within a block, f32 beyond.

use super::block::{float, integers, scale_of_block, scale_of_row};
use super::custom::{self, q2_k, tq1_0};
use crate::activations::Activations;
use crate::format::{Coding, Format, Plain};
use crate::kernel::{Arguments, Outcome};

/// Rows of weights times quantised activations.
#[inline(always)]
pub(super) fn dot(format: &Format, arguments: Arguments<'_>) -> Outcome {
    let Arguments { packed, activations, out, rows, cols, row_stride, .. } = arguments;
    let Some(kind) = format.activations else { return Outcome::Unsupported };
    for (row, out) in out.iter_mut().enumerate().take(rows) {
        *out = match &format.coding {
            _ if cols == 0 => 0.0,
            Coding::Plain(plain) => {
                plain_row(format, plain, kind, &packed[row * row_stride..], activations, cols)
            }
            Coding::Custom(_) => custom_row(format, kind, &packed[row * row_stride..], activations, cols),
        };
    }
    Outcome::Done
}

/// A row of a plain format: the sums of runs that have one scale of weights and one of activations, times both. Without scales that change
/// from run to run it is one sum of integers, scaled once.
#[inline(always)]
fn plain_row(
    format: &Format,
    plain: &Plain,
    kind: &Activations,
    row: &[u8],
    activations: &[u8],
    cols: usize,
) -> f32 {
    let of_row = scale_of_row(format, row);
    let run = format.block_len.min(if kind.scale.is_some() { kind.block_len } else { format.block_len });
    let (mut weights, mut sum, mut total) = (vec![0_i8; format.block_len], 0.0_f32, 0_i64);
    let blocks = row[format.header_bytes()..].chunks_exact(format.block_bytes).take(cols / format.block_len);
    for (number, block) in blocks.enumerate() {
        integers(plain, block, &mut weights);
        let scale = scale_of_block(format, of_row, block);
        for (part, weights) in weights.chunks(run).enumerate() {
            let (values, scale_of_x) = values(kind, activations, number * format.block_len + part * run, run);
            let integer: i32 =
                weights.iter().zip(values).map(|(&w, &q)| i32::from(w) * i32::from(q as i8)).sum();
            match kind.scale {
                Some(_) => sum += scale * scale_of_x * integer as f32,
                None => total += i64::from(integer),
            }
        }
    }
    if kind.scale.is_some() { sum } else { total as f32 * of_row }
}

/// The values of `len` elements from `column` on, and their scale.
#[inline(always)]
fn values<'a>(kind: &Activations, activations: &'a [u8], column: usize, len: usize) -> (&'a [u8], f32) {
    let (block, at) = (&activations[column / kind.block_len * kind.block_bytes..], column % kind.block_len);
    let scale = kind.scale.map_or(1.0, |(at, number)| float(number, &block[at..]));
    let start = kind.values_at.unwrap_or_default() + at;
    (&block[start..start + len], scale)
}

/// A row of a format without a description, in blocks of as many elements as those of its activations.
fn custom_row(format: &Format, kind: &Activations, row: &[u8], activations: &[u8], cols: usize) -> f32 {
    let blocks = row.chunks_exact(format.block_bytes).take(cols / custom::LEN);
    let block = |(number, block): (usize, &[u8])| {
        let (values, scale) = values(kind, activations, number * custom::LEN, custom::LEN);
        let mut codes = [0; custom::LEN];
        custom::codes(format, block, &mut codes);
        if custom::is_q2_k(format) {
            let (mut weights, mut minima) = (0, 0);
            let groups = codes.chunks(q2_k::GROUP).zip(values.chunks(q2_k::GROUP));
            for (group, (codes, values)) in groups.enumerate() {
                let (of_group, minimum) = q2_k::scale_and_minimum(block, group);
                weights += of_group * sum_of_products(codes, values, 0);
                minima += minimum * values.iter().map(|&value| i32::from(value as i8)).sum::<i32>();
            }
            let (of_weights, of_minima) = q2_k::scales(block);
            scale * of_weights * weights as f32 - scale * of_minima * minima as f32
        } else {
            scale * tq1_0::scale(block) * sum_of_products(&codes, values, 1) as f32
        }
    };
    blocks.enumerate().map(block).fold(0.0, |sum, block| sum + block)
}

/// The sum of codes, each less an offset, times 8-bit integers.
#[inline(always)]
fn sum_of_products(codes: &[u8], values: &[u8], offset: i32) -> i32 {
    let product = |(&code, &value): (&u8, &u8)| (i32::from(code) - offset) * i32::from(value as i8);
    codes.iter().zip(values).map(product).sum()
}
