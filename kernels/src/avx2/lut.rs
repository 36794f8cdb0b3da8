//! Codes to weights by a table that lives in a register.
//!
//! `vpermilps` picks one of the four floats of a 128-bit lane by the low two bits of each index and ignores
//! the others: exactly a table of four weights, and no mask is ever needed.

use std::arch::x86_64::*;

use super::lanes::{LANES, store};
use crate::format::WEIGHTS;

/// Below so many codes [`few`] is faster than the way through the registers.
pub(super) const FEW: usize = LANES;

/// Writes the weight of `codes[i]` to `weights[i]`. The slices are of one length.
#[target_feature(enable = "avx2,fma")]
pub(super) fn lut(codes: &[u8], weights: &mut [f32]) {
    let (codes, codes_rest) = codes.as_chunks::<LANES>();
    let (weights, weights_rest) = weights.as_chunks_mut::<LANES>();
    for (weights, codes) in weights.iter_mut().zip(codes) {
        let codes = _mm_cvtsi64_si128(i64::from_le_bytes(*codes));
        store(weights, look_up(table(), _mm256_cvtepu8_epi32(codes)));
    }
    few(codes_rest, weights_rest);
}

/// The same for less than [`FEW`] codes; `codes` may be longer.
#[inline]
pub(super) fn few(codes: &[u8], weights: &mut [f32]) {
    for (weight, code) in weights.iter_mut().zip(codes) {
        *weight = WEIGHTS[usize::from(code & 3)];
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
