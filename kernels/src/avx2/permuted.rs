//! `gemv` two rows at a time, with a copy of `x` in the order of shifted codes.
//!
//! A load of 32 bytes has a dword of 16 codes in each lane: lane `j` those of the columns `16 * j` and on. Shifted right by
//! `2 * m` bits, each lane has the code of column `16 * j + m` at its low end, where the look-up wants it. So the vector `m`
//! of the copy of a group has `x[16 * j + m]` in lane `j`. Loads that start one, two and three bytes later take the place of the
//! shifts by 8, 16 and 24 bits: of 16 vectors only 12 are shifted.
//!
//! Register `a` has the partial sums `(0, a)` to `(7, a)`. Those of two rows would fill all registers, so there are two
//! passes over a pair of rows, for `a` from 0 to 3 and from 4 to 7: the even and the odd bytes.

use std::arch::x86_64::*;

use super::cursor::{Cursor, GROUP, GROUP_BYTES};
use super::lanes::{LANES, add_lanes, load, load_32_bytes, store};
use super::lut::look_up;
use crate::format::{BLOCK_BYTES, BLOCK_LEN, blocks};
use crate::matrix::Matrix;

/// Vectors of a group: one for each code of a dword.
const VECTORS: usize = GROUP / LANES;

/// Partial sums of a row in one pass, by their second number.
pub(super) type Partials = [__m256; 4];

/// A copy of `x` in whole blocks, at cache lines: vector `m` of each group has `x[16 * j + m]` in lane `j`.
pub(super) struct PermutedX {
    blocks: Vec<[Group; BLOCK_LEN / GROUP]>,
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Group([[f32; LANES]; VECTORS]);

impl PermutedX {
    /// Copies `x` and fills the last block up with zeros.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn new(x: &[f32]) -> Self {
        let mut blocks = vec![[Group([[0.0; LANES]; VECTORS]); 2]; blocks(x.len())];
        let (whole, rest) = x.as_chunks::<GROUP>();
        let mut groups = blocks.as_flattened_mut().iter_mut();
        for (x, group) in whole.iter().zip(groups.by_ref()) {
            group.fill(x);
        }
        if let Some(group) = groups.next() {
            let mut padded = [0.0; GROUP];
            padded[..rest.len()].copy_from_slice(rest);
            group.fill(&padded);
        }
        Self { blocks }
    }
}

impl Group {
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn fill(&mut self, x: &[f32; GROUP]) {
        let (x, _) = x.as_chunks::<LANES>();
        for half in 0..2 {
            let mut rows = [_mm256_setzero_ps(); LANES];
            for (j, row) in rows.iter_mut().enumerate() {
                *row = load(&x[2 * j + half]);
            }
            for (vector, column) in self.0[LANES * half..].iter_mut().zip(transpose(rows)) {
                store(vector, column);
            }
        }
    }
}

/// Lane `j` of row `m` from lane `m` of row `j`.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn transpose(rows: [__m256; LANES]) -> [__m256; LANES] {
    let mut pairs = rows;
    for i in [0, 2, 4, 6] {
        pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
    }
    let mut fours = pairs;
    for i in [0, 4] {
        fours[i] = _mm256_shuffle_ps::<0x44>(pairs[i], pairs[i + 2]);
        fours[i + 1] = _mm256_shuffle_ps::<0xee>(pairs[i], pairs[i + 2]);
        fours[i + 2] = _mm256_shuffle_ps::<0x44>(pairs[i + 1], pairs[i + 3]);
        fours[i + 3] = _mm256_shuffle_ps::<0xee>(pairs[i + 1], pairs[i + 3]);
    }
    let mut columns = fours;
    for i in 0..4 {
        columns[i] = _mm256_permute2f128_ps::<0x20>(fours[i], fours[i + 4]);
        columns[i + 4] = _mm256_permute2f128_ps::<0x31>(fours[i], fours[i + 4]);
    }
    columns
}

/// Writes the products of the rows `2 * i` and `2 * i + 1` and `x` to `y[i]`. There is at least one row more: the loads reach
/// three bytes beyond a row.
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
pub(super) fn pairs<const SCALED: bool, const AHEAD: usize>(
    matrix: &Matrix<'_>,
    x: &PermutedX,
    y: &mut [[f32; 2]],
) {
    for (pair, y) in y.iter_mut().enumerate() {
        let cursors = [start(matrix, 2 * pair), start(matrix, 2 * pair + 1)];
        let [low, other_low] = pass::<0, SCALED, AHEAD>(cursors, x);
        let [high, other_high] = pass::<1, SCALED, 0>(cursors, x);
        *y = [add_partials(low, high), add_partials(other_low, other_high)];
    }
}

/// The start of row `r`, out of line: what finding it keeps in registers would crowd the loops.
#[inline(never)]
fn start<'a>(matrix: &Matrix<'a>, r: usize) -> Cursor<'a> {
    Cursor::new(matrix, r)
}

/// The partial sums of a pass over two rows: of the even bytes of a group if `P` is 0, of the odd ones if it is 1.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn pass<const P: usize, const SCALED: bool, const AHEAD: usize>(
    mut cursors: [Cursor<'_>; 2],
    x: &PermutedX,
) -> [Partials; 2] {
    let mut partials = [[_mm256_setzero_ps(); 4]; 2];
    for (block, [low, high]) in x.blocks.iter().enumerate() {
        let tables = [cursors[0].table::<SCALED>(block), cursors[1].table::<SCALED>(block)];
        let [a, b] = [windows(cursors[0].codes()), windows(cursors[1].codes())];
        add_group::<P>(&mut partials, &tables, [a[0], b[0]], low);
        add_group::<P>(&mut partials, &tables, [a[1], b[1]], high);
        for cursor in &mut cursors {
            cursor.prefetch::<AHEAD>();
            cursor.advance::<BLOCK_BYTES>();
        }
    }
    partials
}

/// The bytes of a group and the three behind it, which may be of another group, of another row or of nobody.
type Window = [u8; GROUP_BYTES + 3];

/// Both groups of a block.
#[inline(always)]
fn windows(codes: &[u8; BLOCK_BYTES + 3]) -> [&Window; 2] {
    let window = |start| codes[start..].first_chunk().expect("three bytes are behind a block");
    [window(0), window(GROUP_BYTES)]
}

/// Adds the products of one half of a group.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_group<const P: usize>(
    partials: &mut [Partials; 2],
    tables: &[__m256; 2],
    windows: [&Window; 2],
    x: &Group,
) {
    for byte in [P, P + 2] {
        let mut codes = [_mm256_setzero_si256(); 2];
        for (codes, window) in codes.iter_mut().zip(windows) {
            *codes = load_32_bytes(window[byte..].first_chunk().expect("three bytes are behind a group"));
        }
        for code in 0..4 {
            let x_vector = load(&x.0[4 * byte + code]);
            for (row, partials) in partials.iter_mut().enumerate() {
                let weights = look_up(tables[row], shift_codes(codes[row], code));
                partials[code] = _mm256_fmadd_ps(weights, x_vector, partials[code]);
            }
        }
    }
}

/// Brings code number `code` of each lane's lowest byte to the low end.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn shift_codes(codes: __m256i, code: usize) -> __m256i {
    match code {
        0 => codes,
        1 => _mm256_srli_epi32::<2>(codes),
        2 => _mm256_srli_epi32::<4>(codes),
        _ => _mm256_srli_epi32::<6>(codes),
    }
}

/// The sum of the partial sums, in the order of [`gemv`](super::gemv): the lanes of all registers at once.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(super) fn add_partials([a, b, c, d]: Partials, [e, f, g, h]: Partials) -> f32 {
    let (ab, cd) = (
        add_2_apart(add_4_apart(a, e), add_4_apart(b, f)),
        add_2_apart(add_4_apart(c, g), add_4_apart(d, h)),
    );
    add_lanes(_mm256_add_ps(_mm256_shuffle_ps::<0x88>(ab, cd), _mm256_shuffle_ps::<0xdd>(ab, cd)))
}

/// Adds lanes 4 apart: the sums of `a` in the low half, those of `b` in the high one.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_4_apart(a: __m256, b: __m256) -> __m256 {
    _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b))
}

/// Adds lanes 2 apart in each half: the sums of `a` in its low quarters, those of `b` in the high ones.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn add_2_apart(a: __m256, b: __m256) -> __m256 {
    _mm256_add_ps(_mm256_shuffle_ps::<0x44>(a, b), _mm256_shuffle_ps::<0xee>(a, b))
}
