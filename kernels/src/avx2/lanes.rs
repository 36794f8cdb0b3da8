//! Memory to registers and back: all that the kernels do with raw pointers, but for the prefetch.

use std::arch::x86_64::*;

use crate::activations::Plane;

/// f32 lanes of a register.
pub(super) const LANES: usize = 8;

/// Loads eight floats.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn load(source: &[f32; LANES]) -> __m256 {
    // SAFETY: `source` is eight readable floats; the instruction asks for no alignment.
    unsafe { _mm256_loadu_ps(source.as_ptr()) }
}

/// Loads 32 bytes.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn load_32_bytes(source: &[u8; 32]) -> __m256i {
    // SAFETY: `source` is 32 readable bytes; the instruction asks for no alignment.
    unsafe { _mm256_loadu_si256(source.as_ptr().cast()) }
}

/// Loads two times four words, `low` below `high`.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn load_two_halves(low: &[u32; 4], high: &[u32; 4]) -> __m256i {
    // SAFETY: both are 16 readable bytes; the instruction asks for no alignment.
    unsafe { _mm256_loadu2_m128i(high.as_ptr().cast(), low.as_ptr().cast()) }
}

/// Loads 32 digits.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn load_plane(source: &Plane) -> __m256i {
    // SAFETY: `source` is 32 readable bytes at a multiple of 32, as its type demands.
    unsafe { _mm256_load_si256(source.0.as_ptr().cast()) }
}

/// All ones in the first `len` lanes, zeros in the others.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn mask(len: usize) -> __m256i {
    let len = _mm256_set1_epi32(len.min(LANES) as i32);
    _mm256_cmpgt_epi32(len, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}

/// Each lane from that `by` above it, the lowest `by` lanes above the others.
///
/// With a load that ends where the slice does, this reads the front of a register. A masked load would too, but takes hundreds
/// of cycles where the lanes that it leaves out are on a page that is not there.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn move_down(lanes: __m256, by: usize) -> __m256 {
    let from = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(by as i32));
    _mm256_permutevar8x32_ps(lanes, from)
}

/// The lanes that `mask` selects, and `+0.0` in the others.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn keep(lanes: __m256, mask: __m256i) -> __m256 {
    _mm256_and_ps(lanes, _mm256_castsi256_ps(mask))
}

/// Stores eight floats.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn store(target: &mut [f32; LANES], value: __m256) {
    // SAFETY: `target` is eight writable floats; the instruction asks for no alignment.
    unsafe { _mm256_storeu_ps(target.as_mut_ptr(), value) }
}

/// Stores four floats.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn store4(target: &mut [f32; 4], value: __m128) {
    // SAFETY: `target` is four writable floats; the instruction asks for no alignment.
    unsafe { _mm_storeu_ps(target.as_mut_ptr(), value) }
}

/// Stores 32 bytes.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn store_32_bytes(target: &mut [u8; 32], value: __m256i) {
    // SAFETY: `target` is 32 writable bytes; the instruction asks for no alignment.
    unsafe { _mm256_storeu_si256(target.as_mut_ptr().cast(), value) }
}

/// Stores 32 digits.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn store_plane(target: &mut Plane, value: __m256i) {
    // SAFETY: `target` is 32 writable bytes at a multiple of 32, as its type demands.
    unsafe { _mm256_store_si256(target.0.as_mut_ptr().cast(), value) }
}

/// Stores 16 bytes.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn store_16_bytes(target: &mut [u8; 16], value: __m128i) {
    // SAFETY: `target` is 16 writable bytes; the instruction asks for no alignment.
    unsafe { _mm_storeu_si128(target.as_mut_ptr().cast(), value) }
}

/// Cuts the first `N` items off `rest`, if it has that many.
#[inline]
pub(super) fn take<'a, T, const N: usize>(rest: &mut &'a mut [T]) -> Option<&'a mut [T; N]> {
    rest.split_off_mut(..N)?.try_into().ok()
}

/// The sum of the lanes: lanes 4 apart first, then 2, then neighbours.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn add_lanes(lanes: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(lanes), _mm256_extractf128_ps::<1>(lanes));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}

/// The sum of the lanes, which must not overflow.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn add_integer_lanes(lanes: __m256i) -> i32 {
    let four = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
    let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two)))
}
