//! Integer sums of byte products, one row at a time.
//!
//! Two `pshufb` turn a nibble into the two weights that it stands for, raised by two so that they are unsigned; `maddubs`
//! multiplies them by signed digits and adds pairs into 16 bits. A group of 128 columns adds at most `4 * 2 * 4 * 128 =
//! 4096` to a 16-bit sum, so eight groups fit before the sums must move on to 32 bits.
//!
//! AVX-VNNI has other instructions that multiply and add. What comes before and after them, [`blocks`], [`halves`],
//! [`raised_weights`] and [`round`], is the same.

use std::arch::x86_64::*;

use super::lanes::{add_integer_lanes, load_32_bytes, load_plane};
use super::prefetch::prefetch;
use crate::activations::{Activations, Digits, Group, PLANE, join};
use crate::format::CODES_PER_BYTE;
use crate::matrix::Matrix;
use crate::size::SizeError;

/// Blocks whose sums fit into 16 bits, each of two groups.
const NARROW: usize = 4;

/// Sums of a row, for each digit.
type Sums<const L: usize, const CHAINS: usize> = [[__m256i; L]; CHAINS];

/// Writes the product of row `r` and `x` to `y[r]`, with prefetches `AHEAD` bytes ahead, or none if that is 0.
#[target_feature(enable = "avx2,fma")]
pub(super) fn gemv<const AHEAD: usize>(
    matrix: &Matrix<'_>,
    x: &Activations,
    y: &mut [f32],
) -> Result<(), SizeError> {
    let y = matrix.fit_fixed(x, y)?;
    match x.digits() {
        Digits::One => rows::<1, 2, AHEAD>(matrix, x, y),
        Digits::Two => rows::<2, 2, AHEAD>(matrix, x, y),
        Digits::Three => rows::<3, 1, AHEAD>(matrix, x, y),
        Digits::Four => rows::<4, 1, AHEAD>(matrix, x, y),
    }
    Ok(())
}

/// The same for `L` digits, each with its sums of a row.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn rows<const L: usize, const CHAINS: usize, const AHEAD: usize>(
    matrix: &Matrix<'_>,
    x: &Activations,
    y: &mut [f32],
) {
    let (whole, rest) = x.groups::<L>().as_chunks();
    for (r, y) in y.iter_mut().enumerate() {
        let mut wide = [_mm256_setzero_si256(); L];
        for (part, whole) in whole.chunks(NARROW).enumerate() {
            let mut sums = [[_mm256_setzero_si256(); L]; CHAINS];
            for (codes, x) in blocks::<L, AHEAD>(matrix, r, NARROW * part, whole) {
                add_group::<L, CHAINS>(&mut sums, &codes[0], &x[0]);
                add_group::<L, CHAINS>(&mut sums, &codes[1], &x[1]);
            }
            widen(&mut wide, sums);
        }
        if let [last] = rest {
            let mut sums = [[_mm256_setzero_si256(); L]; CHAINS];
            add_group::<L, CHAINS>(&mut sums, &halves(matrix, r, whole.len())[0], last);
            widen(&mut wide, sums);
        }
        *y = round(x, wide);
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

/// Adds the products of a group.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_group<const L: usize, const CHAINS: usize>(
    sums: &mut Sums<L, CHAINS>,
    codes: &[u8; PLANE],
    x: &Group<L>,
) {
    for (code, weights) in raised_weights(codes).into_iter().enumerate() {
        for (sum, x) in sums[code % CHAINS].iter_mut().zip(&x[code]) {
            *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(weights, load_plane(x)));
        }
    }
}

/// The codes of the blocks of row `r` from `first` on, each with its digits, of which `x` has as many blocks as are wanted.
#[inline(always)]
pub(crate) fn blocks<'a, const L: usize, const AHEAD: usize>(
    matrix: &Matrix<'a>,
    r: usize,
    first: usize,
    x: &'a [[Group<L>; 2]],
) -> impl Iterator<Item = (&'a [[u8; PLANE]; 2], &'a [Group<L>; 2])> {
    (first..).zip(x).map(move |(block, x)| {
        if AHEAD > 0 {
            prefetch(matrix.packed(), matrix.block_start(r, block) + AHEAD);
        }
        (halves(matrix, r, block), x)
    })
}

/// The codes of the two groups of a block.
#[inline(always)]
pub(crate) fn halves<'a>(matrix: &Matrix<'a>, r: usize, block: usize) -> &'a [[u8; PLANE]; 2] {
    matrix.block(r, block).as_chunks().0.try_into().expect("a block is two groups")
}

/// Two more than the weights of each of the codes of the bytes.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn raised_weights(codes: &[u8; PLANE]) -> [__m256i; CODES_PER_BYTE] {
    let low = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 3, 4, 0, 1, 3, 4, 0, 1, 3, 4, 0, 1, 3, 4));
    let high = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 0, 0, 0, 1, 1, 1, 1, 3, 3, 3, 3, 4, 4, 4, 4));
    let codes = load_32_bytes(codes);
    let nibbles = _mm256_set1_epi8(0xf);
    let (first, second) =
        (_mm256_and_si256(codes, nibbles), _mm256_and_si256(_mm256_srli_epi16::<4>(codes), nibbles));
    [
        _mm256_shuffle_epi8(low, first),
        _mm256_shuffle_epi8(high, first),
        _mm256_shuffle_epi8(low, second),
        _mm256_shuffle_epi8(high, second),
    ]
}

/// The product of a row, from the sums of its raised weights times each digit.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn round<const L: usize>(x: &Activations, sums: [__m256i; L]) -> f32 {
    let mut digits = [0; L];
    for (digit, sum) in digits.iter_mut().zip(sums) {
        *digit = add_integer_lanes(sum);
    }
    x.round(join(digits, x.sum()))
}
