//! Integer sums over several rows at once, which share the loads of the digits.
//!
//! Two `pshufb` turn a nibble into the two weights that it stands for, raised by two so that they are unsigned; `maddubs`
//! multiplies them by signed digits and adds pairs into 16 bits. A group of 128 columns adds at most `4 * 2 * 4 * 128 =
//! 4096` to a 16-bit sum, so eight groups fit before the sums must move on to 32 bits.

use std::arch::x86_64::*;

use super::lanes::{add_integer_lanes, load_32_bytes, load_plane};
use super::prefetch::prefetch;
use crate::activations::{Activations, Digits, Group, PLANE, join};
use crate::matrix::Matrix;

/// Blocks whose sums fit into 16 bits, each of two groups.
const NARROW: usize = 4;

/// Sums of a row, for each digit.
type Sums<const L: usize, const CHAINS: usize> = [[__m256i; L]; CHAINS];

/// Writes the product of row `r` and `x` to `y[r]`, with prefetches `AHEAD` bytes ahead, or none if that is 0: `x` has all
/// columns, `y` all rows.
#[target_feature(enable = "avx2,fma")]
pub(super) fn gemv<const AHEAD: usize>(matrix: &Matrix<'_>, x: &Activations, y: &mut [f32]) {
    match x.digits() {
        Digits::One => rows::<1, 2, AHEAD>(matrix, x, y),
        Digits::Two => rows::<2, 2, AHEAD>(matrix, x, y),
        Digits::Three => rows::<3, 1, AHEAD>(matrix, x, y),
        Digits::Four => rows::<4, 1, AHEAD>(matrix, x, y),
    }
}

/// The same for `L` digits, each with its sums of a row.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn rows<const L: usize, const CHAINS: usize, const AHEAD: usize>(
    matrix: &Matrix<'_>,
    x: &Activations,
    y: &mut [f32],
) {
    for (r, y) in y.iter_mut().enumerate() {
        let (blocks, rest) = x.groups::<L>().as_chunks::<2>();
        let mut wide = [_mm256_setzero_si256(); L];
        for (chunk, blocks) in blocks.chunks(NARROW).enumerate() {
            let mut sums = [[_mm256_setzero_si256(); L]; CHAINS];
            for (block, [first, second]) in (NARROW * chunk..).zip(blocks) {
                if AHEAD > 0 {
                    prefetch(matrix.packed(), matrix.block_start(r, block) + AHEAD);
                }
                let [low, high] = halves(matrix, r, block);
                add_group::<L, CHAINS>(&mut sums, low, first);
                add_group::<L, CHAINS>(&mut sums, high, second);
            }
            widen(&mut wide, sums);
        }
        if let [last] = rest {
            let [low, _] = halves(matrix, r, blocks.len());
            let mut sums = [[_mm256_setzero_si256(); L]; CHAINS];
            add_group::<L, CHAINS>(&mut sums, low, last);
            widen(&mut wide, sums);
        }
        let mut digits = [0; L];
        for (digit, wide) in digits.iter_mut().zip(wide) {
            *digit = add_integer_lanes(wide);
        }
        *y = x.round(join(digits, x.sum()));
    }
}

/// Adds 16-bit sums to 32-bit ones.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn widen<const L: usize, const CHAINS: usize>(wide: &mut [__m256i; L], sums: Sums<L, CHAINS>) {
    for sums in sums {
        for (wide, sum) in wide.iter_mut().zip(sums) {
            *wide = _mm256_add_epi32(*wide, _mm256_madd_epi16(sum, _mm256_set1_epi16(1)));
        }
    }
}

/// The codes of the two groups of a block.
#[inline(always)]
pub(crate) fn halves<'a>(matrix: &Matrix<'a>, r: usize, block: usize) -> &'a [[u8; PLANE]; 2] {
    matrix.block(r, block).as_chunks().0.try_into().expect("a block is two groups")
}

/// Adds the products of a group.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_group<const L: usize, const CHAINS: usize>(
    sums: &mut Sums<L, CHAINS>,
    codes: &[u8; PLANE],
    x: &Group<L>,
) {
    let halves = [nibbles::<0>(codes), nibbles::<1>(codes)];
    for (h, half) in halves.into_iter().enumerate() {
        for (k, table) in raised_weights().into_iter().enumerate() {
            let weights = _mm256_shuffle_epi8(table, half);
            let code = 2 * h + k;
            for (sum, x) in sums[code % CHAINS].iter_mut().zip(&x[code]) {
                *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(weights, load_plane(x)));
            }
        }
    }
}

/// Nibble `H` of each byte: two codes.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn nibbles<const H: usize>(codes: &[u8; PLANE]) -> __m256i {
    let codes = load_32_bytes(codes);
    let codes = if H == 0 { codes } else { _mm256_srli_epi16::<4>(codes) };
    _mm256_and_si256(codes, _mm256_set1_epi8(0xf))
}

/// Two more than the weights of the low and of the high code of each nibble.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn raised_weights() -> [__m256i; 2] {
    [
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 3, 4, 0, 1, 3, 4, 0, 1, 3, 4, 0, 1, 3, 4)),
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 0, 0, 0, 1, 1, 1, 1, 3, 3, 3, 3, 4, 4, 4, 4)),
    ]
}
