//! 2-bit codes to bytes by shuffles.
//!
//! `pshufb` copies each packed byte into the high half of two 16-bit lanes, the first of which keeps its low
//! nibble, the second its high one. One multiplication then puts the two codes of each nibble a byte apart:
//! `pmulhuw` by `2^a + 2^b` is the sum of two right shifts, by `16 - a` and by `16 - b`.

use std::arch::x86_64::*;

use super::lanes::{store_16_bytes, store_32_bytes, take};
use crate::format::{BLOCK_BYTES, BLOCK_LEN, Packed};
use crate::scalar;
use crate::size::SizeError;

/// Packed bytes of a step, and the codes in them.
const STEP_BYTES: usize = 8;
const STEP: usize = 32;

/// Below this number of codes the scalar loop is as fast as the way through the registers.
const FEW: usize = 9;

/// Writes the code of element `i` to `codes[i]`.
///
/// The checks are within the feature: one call less on the way to a short vector.
#[target_feature(enable = "avx2,fma")]
pub(super) fn unpack(packed: &[u8], codes: &mut [u8]) -> Result<(), SizeError> {
    if codes.len() < FEW {
        return scalar::unpack(packed, codes);
    }
    let packed = Packed::new(packed, codes.len())?;
    let blocks = packed.blocks();
    let (whole, rest) = codes.as_chunks_mut::<BLOCK_LEN>();
    for (codes, block) in whole.iter_mut().zip(blocks) {
        unpack_front(block, codes);
    }
    if !rest.is_empty() {
        unpack_front(&blocks[whole.len()], rest);
    }
    Ok(())
}

/// Unpacks the front of a block, `codes.len()` codes at most [`BLOCK_LEN`].
#[inline]
#[target_feature(enable = "avx2,fma")]
fn unpack_front(block: &[u8; BLOCK_BYTES], codes: &mut [u8]) {
    let (steps, _) = block.as_chunks();
    let (whole, rest) = codes.as_chunks_mut::<STEP>();
    for (codes, bytes) in whole.iter_mut().zip(steps) {
        store_32_bytes(codes, unpack32(*bytes));
    }
    if let Some(bytes) = steps.get(whole.len()) {
        unpack_rest(*bytes, rest);
    }
}

/// The 32 codes of eight bytes.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn unpack32(bytes: [u8; STEP_BYTES]) -> __m256i {
    let bytes = _mm256_set1_epi64x(i64::from_le_bytes(bytes));
    let doubled = _mm256_shuffle_epi8(
        bytes,
        _mm256_setr_epi8(
            -1, 0, -1, 0, -1, 1, -1, 1, -1, 2, -1, 2, -1, 3, -1, 3, //
            -1, 4, -1, 4, -1, 5, -1, 5, -1, 6, -1, 6, -1, 7, -1, 7,
        ),
    );
    let nibbles = _mm256_and_si256(doubled, _mm256_set1_epi32(0xf000_0f00_u32 as i32));
    // Low nibble, bits 8 to 11: right by 8, and by 2. High nibble, bits 12 to 15: right by 12, and by 6.
    let spread = _mm256_mulhi_epu16(nibbles, _mm256_set1_epi32(0x0410_4100));
    _mm256_and_si256(spread, _mm256_set1_epi8(3))
}

/// Writes the front of the 32 codes of eight bytes, `codes.len()` of them: 16, eight, four, then one at a
/// time.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn unpack_rest(bytes: [u8; STEP_BYTES], mut codes: &mut [u8]) {
    let all = unpack32(bytes);
    let mut half = _mm256_castsi256_si128(all);
    if let Some(front) = take(&mut codes) {
        store_16_bytes(front, half);
        half = _mm256_extracti128_si256::<1>(all);
    }
    let mut word = _mm_cvtsi128_si64(half);
    if let Some(front) = take(&mut codes) {
        *front = word.to_le_bytes();
        word = _mm_extract_epi64::<1>(half);
    }
    if let Some(front) = take(&mut codes) {
        *front = (word as u32).to_le_bytes();
        word >>= 32;
    }
    for code in codes {
        *code = word as u8;
        word >>= 8;
    }
}
