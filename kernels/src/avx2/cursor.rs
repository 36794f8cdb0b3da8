//! A walk along a row, from its start.

use std::arch::x86_64::*;

use super::lut::{scaled_table, table};
use super::prefetch::prefetch;
use crate::format::CODES_PER_BYTE;
use crate::matrix::Matrix;

/// Columns of a group: each of the 64 partial sums gets two of them.
pub(super) const GROUP: usize = 128;

/// Bytes of codes of a group: eight dwords, one for each first number of a partial sum.
pub(super) const GROUP_BYTES: usize = GROUP / CODES_PER_BYTE;

/// What is still to come of a row.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    /// From here to the end of the matrix.
    codes: &'a [u8],
    /// One for each block of the row; empty where there are none.
    scales: &'a [f32],
}

impl<'a> Cursor<'a> {
    /// The start of row `r`.
    // Always: a call for each row is felt where rows are short.
    #[inline(always)]
    pub(super) fn new(matrix: &Matrix<'a>, r: usize) -> Self {
        Self {
            codes: &matrix.packed()[matrix.block_start(r, 0)..],
            scales: matrix.row_scales(r).unwrap_or_default(),
        }
    }

    /// Asks for what lies `AHEAD` bytes ahead, unless that is 0.
    #[inline]
    pub(super) fn prefetch<const AHEAD: usize>(&self) {
        if AHEAD > 0 {
            prefetch(self.codes, AHEAD);
        }
    }

    /// The next `N` bytes.
    ///
    /// # Panics
    /// If the matrix ends before.
    #[inline]
    pub(super) fn codes<const N: usize>(&self) -> &'a [u8; N] {
        self.codes.first_chunk().expect("the row goes on, or there are bytes behind it")
    }

    /// Goes on by `N` bytes.
    #[inline]
    pub(super) fn advance<const N: usize>(&mut self) {
        self.codes = &self.codes[N..];
    }

    /// The weights of a block of the row: those of the format, or, if they are `SCALED`, times its scale.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn table<const SCALED: bool>(&self, block: usize) -> __m256 {
        if SCALED { scaled_table(self.scales[block]) } else { table() }
    }
}
