//! The source that [`fast_scalar`](super) compiles for each of its instruction sets.
//!
//! Every function is inlined into the public one that names it, so that it takes over its target features.

use std::array;

use crate::activations::{Activations, Digits, Group, PLANE, join};
use crate::batch::{Batch, Products};
use crate::format::{BLOCK_BYTES, BLOCK_LEN, CODES_PER_BYTE, Packed, WEIGHTS, blocks};
use crate::matrix::Matrix;
use crate::size::{Buffer, SizeError, at_least};

/// Partial sums of a row: as many as two bytes have codes.
const PARTIALS: usize = 2 * CODES_PER_BYTE;

type Sums = [f32; PARTIALS];

#[inline(always)]
pub(super) fn unpack(packed: &[u8], codes: &mut [u8]) -> Result<(), SizeError> {
    let packed = Packed::new(packed, codes.len())?;
    let (whole, rest) = codes.as_chunks_mut();
    for (codes, byte) in whole.iter_mut().zip(packed.bytes()) {
        *codes = split(*byte);
    }
    if let Some(byte) = packed.bytes().get(whole.len()) {
        rest.copy_from_slice(&split(*byte)[..rest.len()]);
    }
    Ok(())
}

#[inline(always)]
pub(super) fn lut(codes: &[u8], weights: &mut [f32]) -> Result<(), SizeError> {
    at_least(Buffer::Codes, weights.len(), codes.len())?;
    for (weight, code) in weights.iter_mut().zip(codes) {
        *weight = WEIGHTS[usize::from(code & 3)];
    }
    Ok(())
}

#[inline(always)]
pub(super) fn dequantize(packed: &[u8], scales: &[f32], out: &mut [f32]) -> Result<(), SizeError> {
    let packed = Packed::new(packed, out.len())?;
    at_least(Buffer::Scales, blocks(out.len()), scales.len())?;
    for ((block, scale), out) in packed.blocks().iter().zip(scales).zip(out.chunks_mut(BLOCK_LEN)) {
        dequantize_block(block, *scale, out);
    }
    Ok(())
}

#[inline(always)]
pub(super) fn gemv(matrix: &Matrix<'_>, x: &[f32], y: &mut [f32]) -> Result<(), SizeError> {
    let (x, y) = matrix.fit(x, y)?;
    for (r, y) in y.iter_mut().enumerate() {
        *y = dot(matrix.row(r), matrix.row_scales(r), x);
    }
    Ok(())
}

#[inline(always)]
pub(super) fn gemm(
    matrix: &Matrix<'_>,
    x: &Batch<'_>,
    y: &mut [f32],
    y_stride: usize,
) -> Result<(), SizeError> {
    let mut y = Products::new(matrix, x, y, y_stride)?;
    for b in 0..y.batch() {
        gemv(matrix, x.vector(b), y.product(b))?;
    }
    Ok(())
}

#[inline(always)]
pub(super) fn gemv_fixed(matrix: &Matrix<'_>, x: &Activations, y: &mut [f32]) -> Result<(), SizeError> {
    let y = matrix.fit_fixed(x, y)?;
    match x.digits() {
        Digits::One => gemv_digits::<1>(matrix, x, y),
        Digits::Two => gemv_digits::<2>(matrix, x, y),
        Digits::Three => gemv_digits::<3>(matrix, x, y),
        Digits::Four => gemv_digits::<4>(matrix, x, y),
    }
    Ok(())
}

#[inline(always)]
fn gemv_digits<const L: usize>(matrix: &Matrix<'_>, x: &Activations, y: &mut [f32]) {
    for (r, y) in y.iter_mut().enumerate() {
        let mut sums = [0; L];
        for (codes, x) in matrix.row(r).as_chunks().0.iter().zip(x.groups()) {
            add_group(codes, x, &mut sums);
        }
        *y = x.round(join(sums, x.sum()));
    }
}

/// Adds to each digit's sum the weights plus two of a group, times the digits.
#[inline(always)]
fn add_group<const L: usize>(codes: &[u8; PLANE], x: &Group<L>, sums: &mut [i32; L]) {
    for (k, x) in x.iter().enumerate() {
        for (sum, plane) in sums.iter_mut().zip(x) {
            for (byte, digit) in codes.iter().zip(plane.0) {
                let code = (byte >> (2 * k)) & 3;
                *sum += i32::from(i16::from(code + (code >> 1)) * i16::from(digit));
            }
        }
    }
}

/// Dequantizes the front of a block, `out.len()` elements at most [`BLOCK_LEN`].
#[inline(always)]
fn dequantize_block(block: &[u8; BLOCK_BYTES], scale: f32, out: &mut [f32]) {
    let table = scaled_table(scale);
    let (whole, rest) = out.as_chunks_mut();
    for (out, byte) in whole.iter_mut().zip(block) {
        *out = look_up(&table, *byte);
    }
    if let Some(byte) = block.get(whole.len()) {
        rest.copy_from_slice(&look_up(&table, *byte)[..rest.len()]);
    }
}

/// The product of a row and `x`.
#[inline(always)]
fn dot(row: &[u8], scales: Option<&[f32]>, x: &[f32]) -> f32 {
    let (blocks, _) = row.as_chunks();
    let (whole, rest) = x.as_chunks::<BLOCK_LEN>();
    let table = |block: usize| scaled_table(scales.map_or(1.0, |scales| scales[block]));
    let mut sums = [0.0; PARTIALS];
    for (block, (codes, x)) in blocks.iter().zip(whole).enumerate() {
        sums = add(codes, &table(block), x, sums);
    }
    if let Some(codes) = blocks.get(whole.len()) {
        let rest = add(codes, &table(whole.len()), rest, [0.0; PARTIALS]);
        sums = array::from_fn(|k| sums[k] + rest[k]);
    }
    let [a, b, c, d]: [f32; 4] = array::from_fn(|k| sums[k] + sums[k + 4]);
    (a + c) + (b + d)
}

/// `sums`, and added to number `c % 8` what the table gives for element `c` of the block, times `x[c]`.
#[inline(always)]
fn add(codes: &[u8; BLOCK_BYTES], table: &[f32; 4], x: &[f32], mut sums: Sums) -> Sums {
    let (codes, _) = codes.as_chunks::<{ PARTIALS / CODES_PER_BYTE }>();
    let (whole, rest) = x.as_chunks::<PARTIALS>();
    for (x, [a, b]) in whole.iter().zip(codes) {
        let (a, b) = (look_up(table, *a), look_up(table, *b));
        for k in 0..CODES_PER_BYTE {
            sums[k] += a[k] * x[k];
            sums[k + 4] += b[k] * x[k + 4];
        }
    }
    if let Some([a, b]) = codes.get(whole.len()) {
        let (a, b) = (look_up(table, *a), look_up(table, *b));
        for k in 0..CODES_PER_BYTE {
            // Products of what is there only: padding times a huge scale is infinite.
            sums[k] += rest.get(k).map_or(0.0, |x| a[k] * x);
            sums[k + 4] += rest.get(k + 4).map_or(0.0, |x| b[k] * x);
        }
    }
    sums
}

/// The weights of the four codes, times `scale`.
#[inline(always)]
fn scaled_table(scale: f32) -> [f32; 4] {
    WEIGHTS.map(|weight| weight * scale)
}

/// The four codes of a byte.
#[inline(always)]
fn split(byte: u8) -> [u8; CODES_PER_BYTE] {
    [byte & 3, (byte >> 2) & 3, (byte >> 4) & 3, byte >> 6]
}

/// What the table gives for the four codes of a byte.
#[inline(always)]
fn look_up(table: &[f32; 4], byte: u8) -> [f32; CODES_PER_BYTE] {
    split(byte).map(|code| table[usize::from(code)])
}
