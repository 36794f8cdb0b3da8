//! FMA over several rows at once, which share the loads of `x`.
//!
//! Fewer than 17 columns are summed from left to right. The order of more is the same for every height of a tile: the column `c` goes to the partial sum `c %
//! 32`, from left to right and from `+0.0` on, its product and the sum rounded once; at the end of the row
//! the partial sums 8 apart are added, then those 16, 4, 2 and 1 apart.

use std::arch::x86_64::*;
use std::array;

use super::lanes::{LANES, add_lanes, keep, load, load_partial, mask};
use super::lut::{look_up, scaled_table, spread16};
use super::prefetch::{AHEAD, prefetch};
use crate::format::{BLOCK_LEN, WEIGHTS};
use crate::matrix::Matrix;

/// Columns that four bytes of codes cover, in two registers.
const HALF: usize = 2 * LANES;

/// Below so many columns [`few`] is faster than filling registers. Four bytes have the codes of all of them.
pub(super) const FEW: usize = HALF + 1;

/// Columns of a step: enough additions in flight to hide their latency.
const STEP: usize = 2 * HALF;

/// The codes of a block: by step, then by half.
type Codes = [[[u8; 4]; 2]; BLOCK_LEN / STEP];

/// A row's partial sums: by half of a step, then its first and its last eight columns.
type Partials = [[__m256; 2]; 2];

/// Writes the product of row `r` and `x` to `y[r]`: `x` has all columns, `y` all rows.
#[target_feature(enable = "avx2,fma")]
pub(super) fn gemv<const ROWS: usize>(matrix: &Matrix<'_>, x: &[f32], y: &mut [f32]) {
    let (tiles, rest) = y.as_chunks_mut::<ROWS>();
    let tiled = ROWS * tiles.len();
    for (first, y) in (0..).step_by(ROWS).zip(tiles) {
        *y = tile(matrix, first, x);
    }
    for (r, y) in (tiled..).zip(rest) {
        [*y] = tile(matrix, r, x);
    }
}

/// The codes of a block of each row, and the table of its weights times its scale.
struct Block<'a, const ROWS: usize> {
    codes: [&'a Codes; ROWS],
    tables: [__m256; ROWS],
}

impl<'a, const ROWS: usize> Block<'a, ROWS> {
    /// Block number `block` of the rows from `first` on.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn new(matrix: &Matrix<'a>, first: usize, block: usize) -> Self {
        let mut tables = [_mm256_setzero_ps(); ROWS];
        for (row, table) in tables.iter_mut().enumerate() {
            *table = scaled_table(matrix.scale(first + row, block));
        }
        Self { codes: codes(matrix, first, block), tables }
    }
}

/// The codes of block number `block` of the rows from `first` on.
#[inline(always)]
fn codes<'a, const ROWS: usize>(matrix: &Matrix<'a>, first: usize, block: usize) -> [&'a Codes; ROWS] {
    array::from_fn(|row| {
        let (steps, _) = matrix.block(first + row, block).as_chunks().0.as_chunks();
        steps.try_into().expect("a block is whole steps")
    })
}

/// The products of the `ROWS` rows from `first` on and `x`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn tile<const ROWS: usize>(matrix: &Matrix<'_>, first: usize, x: &[f32]) -> [f32; ROWS] {
    let (whole, rest) = x.as_chunks::<BLOCK_LEN>();
    let mut partials = [[[_mm256_setzero_ps(); 2]; 2]; ROWS];
    for (block, x) in whole.iter().enumerate() {
        for row in 0..ROWS {
            prefetch(matrix.packed(), matrix.block_start(first + row, block) + AHEAD);
        }
        add_steps(&mut partials, &Block::new(matrix, first, block), x.as_chunks().0);
    }
    if !rest.is_empty() {
        let block = Block::new(matrix, first, whole.len());
        let (whole, rest) = rest.as_chunks();
        add_steps(&mut partials, &block, whole);
        add_rest(&mut partials, &block, whole.len(), rest);
    }
    let mut sums = [0.0; ROWS];
    for (sum, [[a, b], [c, d]]) in sums.iter_mut().zip(partials) {
        *sum = add_lanes(_mm256_add_ps(_mm256_add_ps(a, b), _mm256_add_ps(c, d)));
    }
    sums
}

/// Adds the products of whole steps from the front of a block on.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_steps<const ROWS: usize>(partials: &mut [Partials; ROWS], block: &Block<'_, ROWS>, x: &[[f32; STEP]]) {
    for (step, x) in x.iter().enumerate() {
        let (x, _) = x.as_chunks();
        add_half::<ROWS, 0>(partials, block, step, [load(&x[0]), load(&x[1])]);
        add_half::<ROWS, 1>(partials, block, step, [load(&x[2]), load(&x[3])]);
    }
}

/// Adds the products of the front of a step, `x.len()` columns less than [`STEP`].
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_rest<const ROWS: usize>(
    partials: &mut [Partials; ROWS],
    block: &Block<'_, ROWS>,
    step: usize,
    x: &[f32],
) {
    match x.split_first_chunk::<HALF>() {
        None => add_part::<ROWS, 0>(partials, block, step, x),
        Some((x, rest)) => {
            let (x, _) = x.as_chunks();
            add_half::<ROWS, 0>(partials, block, step, [load(&x[0]), load(&x[1])]);
            add_part::<ROWS, 1>(partials, block, step, rest);
        }
    }
}

/// Adds the products of half number `H` of a step, 16 columns.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_half<const ROWS: usize, const H: usize>(
    partials: &mut [Partials; ROWS],
    block: &Block<'_, ROWS>,
    step: usize,
    x: [__m256; 2],
) {
    for (row, partials) in partials.iter_mut().enumerate() {
        let [low, high] = look_up16(block.tables[row], block.codes[row][step][H]);
        partials[H][0] = _mm256_fmadd_ps(low, x[0], partials[H][0]);
        partials[H][1] = _mm256_fmadd_ps(high, x[1], partials[H][1]);
    }
}

/// Adds the products of the front of half number `H` of a step, `x.len()` columns less than 16.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_part<const ROWS: usize, const H: usize>(
    partials: &mut [Partials; ROWS],
    block: &Block<'_, ROWS>,
    step: usize,
    x: &[f32],
) {
    if x.is_empty() {
        return;
    }
    let (low_x, high_x) = x.split_at(x.len().min(LANES));
    let masks = [mask(low_x.len()), mask(high_x.len())];
    let x = [load_partial(low_x), load_partial(high_x)];
    for (row, partials) in partials.iter_mut().enumerate() {
        let [low, high] = look_up16(block.tables[row], block.codes[row][step][H]);
        // Zeros of `x` alone would not do: a padding code times a huge scale is infinite.
        partials[H][0] = _mm256_fmadd_ps(keep(low, masks[0]), x[0], partials[H][0]);
        partials[H][1] = _mm256_fmadd_ps(keep(high, masks[1]), x[1], partials[H][1]);
    }
}

/// What the table gives for the 16 codes of four bytes: the first eight, and the last.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn look_up16(table: __m256, codes: [u8; 4]) -> [__m256; 2] {
    let codes = spread16(codes);
    // A shift here, a multiplication in `dequantize`: each kernel takes what its other work leaves idle.
    [look_up(table, codes), look_up(table, _mm256_srli_epi32::<16>(codes))]
}

/// `gemv` of less than [`FEW`] columns, from left to right.
#[inline]
pub(super) fn few(matrix: &Matrix<'_>, x: &[f32], y: &mut [f32]) {
    if x.is_empty() {
        return y.fill(0.0);
    }
    for (r, y) in y.iter_mut().enumerate() {
        let [a, b, c, d, ..] = *matrix.block(r, 0);
        let mut codes = u32::from_le_bytes([a, b, c, d]);
        let scale = matrix.scale(r, 0);
        *y = 0.0;
        for x in x {
            *y += WEIGHTS[(codes & 3) as usize] * scale * x;
            codes >>= 2;
        }
    }
}
