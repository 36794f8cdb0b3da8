//! Packed codes to scaled weights, 16 elements at a time.

use std::arch::x86_64::*;

use super::lanes::{LANES, store, store4, take};
use super::lut::{look_up, scaled_table, spread16};
use crate::format::{BLOCK_BYTES, BLOCK_LEN, Packed, blocks, weight};
use crate::size::{Buffer, SizeError, at_least};

/// Below this number of elements [`few`] is faster than the way through the registers.
const FEW: usize = 4;

/// Writes weight times scale of each element.
///
/// The checks are within the feature: one call less on the way to a short vector.
#[target_feature(enable = "avx2,fma")]
pub(super) fn dequantize(packed: &[u8], scales: &[f32], out: &mut [f32]) -> Result<(), SizeError> {
    let packed = Packed::new(packed, out.len())?;
    at_least(Buffer::Scales, blocks(out.len()), scales.len())?;
    if out.len() < FEW {
        few(packed.bytes(), scales, out);
        return Ok(());
    }
    let blocks = packed.blocks();
    let (whole, rest) = out.as_chunks_mut::<BLOCK_LEN>();
    for ((block, scale), out) in blocks.iter().zip(scales).zip(&mut *whole) {
        dequantize_front(block, *scale, out);
    }
    if !rest.is_empty() {
        dequantize_front(&blocks[whole.len()], scales[whole.len()], rest);
    }
    Ok(())
}

/// Dequantizes the front of a block, `out.len()` elements at most [`BLOCK_LEN`].
#[inline]
#[target_feature(enable = "avx2,fma")]
fn dequantize_front(block: &[u8; BLOCK_BYTES], scale: f32, out: &mut [f32]) {
    let table = scaled_table(scale);
    let (codes, _) = block.as_chunks::<4>();
    let (whole, rest) = out.as_chunks_mut::<{ 2 * LANES }>();
    for (out, codes) in whole.iter_mut().zip(codes) {
        let [low, high] = look_up16(table, *codes);
        let (halves, _) = out.as_chunks_mut();
        store(&mut halves[0], low);
        store(&mut halves[1], high);
    }
    if let Some(codes) = codes.get(whole.len()) {
        dequantize_rest(table, *codes, rest);
    }
}

/// Dequantizes the front of 16 elements, `out.len()` of them: eight, four, two and one.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn dequantize_rest(table: __m256, codes: [u8; 4], mut out: &mut [f32]) {
    let [mut low, high] = look_up16(table, codes);
    if let Some(front) = take(&mut out) {
        store(front, low);
        low = high;
    }
    let mut four = _mm256_castps256_ps128(low);
    if let Some(front) = take(&mut out) {
        store4(front, four);
        four = _mm256_extractf128_ps::<1>(low);
    }
    if let Some([a, b]) = take(&mut out) {
        [*a, *b] = [_mm_cvtss_f32(four), _mm_cvtss_f32(_mm_movehdup_ps(four))];
        four = _mm_movehl_ps(four, four);
    }
    if let Some(last) = out.first_mut() {
        *last = _mm_cvtss_f32(four);
    }
}

/// What the table gives for the 16 codes of four bytes: the first eight, and the last.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn look_up16(table: __m256, codes: [u8; 4]) -> [__m256; 2] {
    let codes = spread16(codes);
    // A shift by 16, but on the ports that multiply: those that shift are busy with the table.
    let high = _mm256_madd_epi16(codes, _mm256_set1_epi32(0x0001_0000));
    [look_up(table, codes), look_up(table, high)]
}

/// Dequantizes the front of a byte, `out.len()` elements less than [`FEW`].
#[inline]
fn few(block: &[u8], scales: &[f32], out: &mut [f32]) {
    let ([byte, ..], [scale, ..]) = (block, scales) else { return };
    let mut byte = *byte;
    for out in out {
        *out = weight(byte.into()) * scale;
        byte >>= 2;
    }
}
