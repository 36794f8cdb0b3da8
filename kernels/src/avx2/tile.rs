//! Two rows and `N` vectors at a time: each weight is looked up once for all vectors, each `x` loaded once for both rows.
//!
//! A tile is prepared: the codes of both rows are copied four times, shifted right by 0, 2, 4 and 6 bits. Then 32 bytes of
//! a copy, from any byte on, have the codes of eight columns that are 16 apart at the low ends of their lanes, and a look-up
//! reads its indices from memory: 3 shifts for 128 columns where [`permuted`](super::permuted) makes 12.
//!
//! Columns are divided into chunks whose `x` stays in the first cache while a band of rows is multiplied by it. The partial
//! sums of the band wait in memory from one chunk to the next.
//!
//! The order of summation is that of [`gemv`](super::gemv). A register has the partial sums `(0, a)` to `(7, a)` of a row and
//! a vector, and a pass over a chunk those of `A` numbers `a`: `2 * N * A` registers, eight where it can be.

use std::arch::x86_64::*;

use super::cursor::{GROUP, GROUP_BYTES};
use super::lanes::{LANES, load, load_32_bytes, store, store_32_bytes};
use super::lut::{look_up, scaled_table, table};
use super::permuted::{add_partials, shift_codes, transpose};
use super::prefetch::prefetch;
use crate::batch::{Batch, Products};
use crate::format::{BLOCK_BYTES, BLOCK_LEN, CODES_PER_BYTE, blocks};
use crate::matrix::Matrix;

/// The most vectors of a tile: with more, sums would not fit into registers.
pub(super) const MAX_VECTORS: usize = 4;

/// Rows of a tile.
pub(super) const ROWS: usize = 2;

/// Blocks of a chunk: 20 KiB of `x` of four vectors. Measured (docs/kernels.md), as are the next two.
const CHUNK: usize = 5;

/// Tiles of a band.
const BAND: usize = 16;

/// Rows between the codes that are copied and those that are asked for.
const ROWS_AHEAD: usize = 4;

/// Groups of a block.
const GROUPS: usize = BLOCK_LEN / GROUP;

/// Second numbers of a partial sum. The columns `a` and `a + 8` of 16 share number `a`.
const NUMBERS: usize = 8;

/// Bytes of codes between two columns of 16 that share a number.
const HALF: usize = NUMBERS / CODES_PER_BYTE;

/// Bytes of one copy of the codes of a block of all rows.
const COPY: usize = ROWS * BLOCK_BYTES;

/// The bytes of a copy that a pass reads: the high bytes of the last lane belong to others and do not matter.
const WINDOW: usize = COPY + HALF;

/// A block of all rows, prepared.
#[derive(Clone)]
#[repr(align(64))]
struct Tile {
    /// The weights of each row, times its scale.
    tables: [[f32; LANES]; ROWS],
    /// For each code of a byte, shifted to the low end of it: the bytes of each row. What follows is there to be read.
    codes: Copies,
}

/// The copies of the codes of a block of all rows.
type Copies = [u8; CODES_PER_BYTE * COPY + BLOCK_BYTES];

/// What a pass multiplies a block by: for each group, half of 16 columns and number, a vector of eight columns 16 apart of each
/// of the `N` vectors.
#[derive(Clone)]
#[repr(align(64))]
struct Permuted<const N: usize, const A: usize>([[[[[f32; LANES]; N]; A]; 2]; GROUPS]);

/// Sums of a pass, by row and vector.
type Sums<const N: usize, const A: usize> = [[[__m256; A]; N]; ROWS];

/// Writes the products of all rows and the `N` vectors from `first` on. There are at least [`ROWS`] rows and one column, and
/// whole blocks of columns if there are scales.
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
pub(super) fn product<const N: usize, const A: usize>(
    matrix: &Matrix<'_>,
    x: &Batch<'_>,
    y: &mut Products<'_>,
    first: usize,
) {
    let passes = NUMBERS / A;
    let x = permute::<N, A>(x, first);
    let mut tiles = unscaled(matrix.blocks_per_row().min(CHUNK));
    let mut sums = vec![[[[_mm256_setzero_ps(); A]; N]; ROWS]; BAND * passes];
    for band in (0..matrix.rows()).step_by(BAND * ROWS) {
        let rows = (band..matrix.rows().min(band + BAND * ROWS)).step_by(ROWS);
        // The last tile may do again what the one before has done.
        let rows = rows.map(|row| row.min(matrix.rows() - ROWS));
        for (chunk, x) in x.chunks(CHUNK * passes).enumerate() {
            let tiles = &mut tiles[..x.len() / passes];
            for (row, sums) in rows.clone().zip(sums.chunks_exact_mut(passes)) {
                prepare(tiles, matrix, row, chunk * CHUNK);
                add_chunk(sums, tiles, x, chunk == 0);
            }
        }
        for (row, sums) in rows.zip(sums.chunks_exact(passes)) {
            finish(sums, y, first, row);
        }
    }
}

/// The `N` vectors from `first` on in the order in which passes read them, chunk by chunk, their last block filled up with
/// zeros.
#[target_feature(enable = "avx2,fma")]
fn permute<const N: usize, const A: usize>(x: &Batch<'_>, first: usize) -> Vec<Permuted<N, A>> {
    let blocks = blocks(x.cols());
    let mut permuted = vec![Permuted([[[[[0.0; _]; _]; _]; _]; _]); NUMBERS / A * blocks];
    for n in 0..N {
        let (groups, rest) = x.vector(first + n).as_chunks::<GROUP>();
        for (group, x) in groups.iter().enumerate() {
            permute_group(&mut permuted, blocks, group, n, x);
        }
        if !rest.is_empty() {
            let mut padded = [0.0; GROUP];
            padded[..rest.len()].copy_from_slice(rest);
            permute_group(&mut permuted, blocks, groups.len(), n, &padded);
        }
    }
    permuted
}

/// Puts a group of vector `n` into its places.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn permute_group<const N: usize, const A: usize>(
    permuted: &mut [Permuted<N, A>],
    blocks: usize,
    group: usize,
    n: usize,
    x: &[f32; GROUP],
) {
    let (x, _) = x.as_chunks::<LANES>();
    let chunk = group / GROUPS / CHUNK * CHUNK;
    for half in 0..2 {
        let mut rows = [_mm256_setzero_ps(); LANES];
        for (j, row) in rows.iter_mut().enumerate() {
            *row = load(&x[2 * j + half]);
        }
        for (a, column) in transpose(rows).into_iter().enumerate() {
            let pass = chunk * (NUMBERS / A) + a / A * (blocks - chunk).min(CHUNK);
            let block = &mut permuted[pass + group / GROUPS - chunk];
            store(&mut block.0[group % GROUPS][half][a % A][n], column);
        }
    }
}

/// Tiles of the weights of the format.
#[target_feature(enable = "avx2,fma")]
fn unscaled(len: usize) -> Vec<Tile> {
    let mut weights = [0.0; LANES];
    store(&mut weights, table());
    vec![Tile { tables: [weights; _], codes: [0; _] }; len]
}

/// Prepares blocks from `first_block` on of the rows from `first` on.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn prepare(tiles: &mut [Tile], matrix: &Matrix<'_>, first: usize, first_block: usize) {
    for r in 0..ROWS {
        let row = first + r;
        if let Some(scales) = matrix.row_scales(row) {
            for (tile, &scale) in tiles.iter_mut().zip(&scales[first_block..]) {
                store(&mut tile.tables[r], scaled_table(scale));
            }
        }
        let ahead = matrix.block_start((row + ROWS_AHEAD).min(matrix.rows() - 1), first_block);
        let codes = &matrix.packed()[matrix.block_start(row, first_block)..];
        let (codes, _) = codes[..tiles.len() * BLOCK_BYTES].as_chunks();
        for (block, (tile, codes)) in tiles.iter_mut().zip(codes).enumerate() {
            prefetch(matrix.packed(), ahead + block * BLOCK_BYTES);
            copy_shifted(&mut tile.codes, r, codes);
        }
    }
}

/// Writes the copies of a block of row `r` of a tile.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn copy_shifted(copies: &mut Copies, r: usize, codes: &[u8; BLOCK_BYTES]) {
    let (groups, _) = codes.as_chunks::<GROUP_BYTES>();
    for (group, codes) in groups.iter().enumerate() {
        let codes = load_32_bytes(codes);
        for code in 0..CODES_PER_BYTE {
            let start = code * COPY + r * BLOCK_BYTES + group * GROUP_BYTES;
            let copy = copies[start..].first_chunk_mut().expect("the copies are whole blocks");
            store_32_bytes(copy, shift_codes(codes, code));
        }
    }
}

/// Adds the products of a chunk to the sums of all passes, or to zeros if it is the first chunk.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_chunk<const N: usize, const A: usize>(
    sums: &mut [Sums<N, A>],
    tiles: &[Tile],
    x: &[Permuted<N, A>],
    is_first: bool,
) {
    for (pass, (sums, x)) in sums.iter_mut().zip(x.chunks_exact(tiles.len())).enumerate() {
        let before = if is_first { [[[_mm256_setzero_ps(); A]; N]; ROWS] } else { *sums };
        *sums = add_blocks(before, tiles, pass * A, x);
    }
}

/// Adds the products of the numbers from `number` on.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_blocks<const N: usize, const A: usize>(
    mut sums: Sums<N, A>,
    tiles: &[Tile],
    number: usize,
    x: &[Permuted<N, A>],
) -> Sums<N, A> {
    let start = number % CODES_PER_BYTE * COPY + number / CODES_PER_BYTE;
    for (tile, x) in tiles.iter().zip(x) {
        for a in 0..A {
            let window = tile.codes[start + a * COPY..].first_chunk().expect("bytes follow the copies");
            add_block(&mut sums, &tile.tables, window, a, x);
        }
    }
    sums
}

/// Adds the products of one number of a block.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_block<const N: usize, const A: usize>(
    sums: &mut Sums<N, A>,
    tables: &[[f32; LANES]; ROWS],
    codes: &[u8; WINDOW],
    a: usize,
    x: &Permuted<N, A>,
) {
    for (group, x) in x.0.iter().enumerate() {
        for (half, x) in x.iter().enumerate() {
            let mut weights = [_mm256_setzero_ps(); ROWS];
            for (r, weights) in weights.iter_mut().enumerate() {
                let start = r * BLOCK_BYTES + group * GROUP_BYTES + half * HALF;
                let codes = codes[start..].first_chunk().expect("a window ends behind the last group");
                *weights = look_up(load(&tables[r]), load_32_bytes(codes));
            }
            for (n, x) in x[a].iter().enumerate() {
                let x = load(x);
                for (r, weights) in weights.iter().enumerate() {
                    sums[r][n][a] = _mm256_fmadd_ps(*weights, x, sums[r][n][a]);
                }
            }
        }
    }
}

/// Writes the products of the rows from `row` on and the vectors from `first` on.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn finish<const N: usize, const A: usize>(
    passes: &[Sums<N, A>],
    y: &mut Products<'_>,
    first: usize,
    row: usize,
) {
    for (n, vector) in (first..first + N).enumerate() {
        let y = &mut y.product(vector)[row..][..ROWS];
        for (r, y) in y.iter_mut().enumerate() {
            let [a, b, c, d, e, f, g, h]: [_; NUMBERS] =
                std::array::from_fn(|number| passes[number / A][r][n][number % A]);
            *y = add_partials([a, b, c, d], [e, f, g, h]);
        }
    }
}
