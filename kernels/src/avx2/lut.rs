//! Codes to weights by a table that lives in a register.
//!
//! `vpermilps` picks one of the four floats of a 128-bit lane by the low two bits of each index and ignores
//! the others: exactly a table of four weights, and no mask is ever needed.

use std::arch::x86_64::*;

use super::lanes::{LANES, store, store4};
use crate::format::{WEIGHTS, weight};
use crate::size::{Buffer, SizeError, at_least};

/// Below this number of codes [`few`] is faster than the way through the registers.
const FEW: usize = 6;

/// Writes the weight of `codes[i]` to `weights[i]`.
///
/// The checks are within the feature: one call less on the way to a short vector.
#[target_feature(enable = "avx2,fma")]
pub(super) fn lut(codes: &[u8], weights: &mut [f32]) -> Result<(), SizeError> {
    at_least(Buffer::Codes, weights.len(), codes.len())?;
    if weights.len() < FEW {
        few(codes, weights);
    } else {
        many(&codes[..weights.len()], weights);
    }
    Ok(())
}

/// The same for [`FEW`] codes or more; the slices are of one length.
///
/// The last codes are done by a whole register, together with some that were done before.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn many(codes: &[u8], weights: &mut [f32]) {
    for (weights, codes) in weights.as_chunks_mut().0.iter_mut().zip(codes.as_chunks().0) {
        eight(codes, weights);
    }
    if !codes.len().is_multiple_of(LANES) {
        match (codes.last_chunk(), weights.last_chunk_mut()) {
            (Some(codes), Some(weights)) => eight(codes, weights),
            _ => four_to_seven(codes, weights),
        }
    }
}

/// Writes the weights of eight codes.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn eight(codes: &[u8; LANES], weights: &mut [f32; LANES]) {
    let codes = _mm_cvtsi64_si128(i64::from_le_bytes(*codes));
    store(weights, look_up(table(), _mm256_cvtepu8_epi32(codes)));
}

/// Writes the weights of four to seven codes: of the first four and of the last four.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn four_to_seven(codes: &[u8], weights: &mut [f32]) {
    if let (Some(codes), Some(weights)) = (codes.first_chunk(), weights.first_chunk_mut()) {
        four(codes, weights);
    }
    if let (Some(codes), Some(weights)) = (codes.last_chunk(), weights.last_chunk_mut()) {
        four(codes, weights);
    }
}

/// Writes the weights of four codes.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn four(codes: &[u8; LANES / 2], weights: &mut [f32; LANES / 2]) {
    let codes = _mm_cvtepu8_epi32(_mm_cvtsi32_si128(i32::from_le_bytes(*codes)));
    store4(weights, _mm_permutevar_ps(_mm256_castps256_ps128(table()), codes));
}

/// The same for less than [`FEW`] codes; `codes` may be longer.
#[inline]
fn few(codes: &[u8], weights: &mut [f32]) {
    for (out, code) in weights.iter_mut().zip(codes) {
        *out = weight((*code).into());
    }
}

/// The weights of the four codes, in each half.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn table() -> __m256 {
    let [a, b, c, d] = WEIGHTS;
    _mm256_setr_ps(a, b, c, d, a, b, c, d)
}

/// The weights of the four codes times `scale`, in each half. The product is exact, or rounded as any other.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn scaled_table(scale: f32) -> __m256 {
    _mm256_mul_ps(table(), _mm256_set1_ps(scale))
}

/// What the table gives for the low two bits of each lane of `codes`.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn look_up(table: __m256, codes: __m256i) -> __m256 {
    _mm256_permutevar_ps(table, codes)
}

/// The 16 codes of four bytes, in the low two bits of each half of the lanes: code `i` in lane `i`, code `8 +
/// i` 16 bits higher. The other bits are not cleared, since [`look_up`] ignores them.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn spread16(codes: [u8; 4]) -> __m256i {
    let codes = _mm256_set1_epi32(i32::from_le_bytes(codes));
    _mm256_srlv_epi32(codes, _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14))
}
