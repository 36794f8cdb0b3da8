//! The dimensions of a call.

use crate::activations::{Activations, F32};
use crate::format::Format;

/// The dimensions of a call. A vector operation is a single row of `cols` elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The format of the weights.
    pub format: &'static Format,
    /// The kind of activations.
    pub activations: &'static Activations,
    /// Rows of the matrix.
    pub rows: usize,
    /// Elements of a row.
    pub cols: usize,
    /// Bytes from the start of a row to the start of the next.
    pub row_stride: usize,
    /// Whether the last row owns a full stride too.
    pub whole_last_stride: bool,
    /// Vectors; one where there is no batch.
    pub batch: usize,
    /// Elements from the start of a vector to the start of the next.
    pub x_stride: usize,
    /// Elements from the result of a vector to that of the next.
    pub out_stride: usize,
}

impl Shape {
    /// A matrix and one vector of f32.
    pub const fn matrix(format: &'static Format, rows: usize, cols: usize, row_stride: usize) -> Self {
        Self {
            format,
            activations: &F32,
            rows,
            cols,
            row_stride,
            whole_last_stride: false,
            batch: 1,
            x_stride: cols,
            out_stride: rows,
        }
    }

    /// Blocks that a row owns.
    pub const fn blocks(&self) -> usize {
        self.format.blocks(self.cols)
    }

    /// Packed bytes that a row owns; none without columns. Wraps, as the arithmetic of a careless caller would.
    pub const fn row_bytes(&self) -> usize {
        if self.cols == 0 { 0 } else { self.format.row_bytes(self.cols) }
    }

    /// Whether the strides keep rows and vectors apart. With one they are not looked at.
    pub const fn stride_is_legal(&self) -> bool {
        (self.rows <= 1 || self.row_stride >= self.row_bytes())
            && (self.batch <= 1 || (self.x_stride >= self.cols && self.out_stride >= self.rows))
    }

    /// Elements of a buffer that holds `len` for each vector, these strides apart, counted without wrapping.
    pub const fn vectors(&self, len: u128, stride: usize) -> u128 {
        match self.batch {
            0 => 0,
            batch => (batch as u128 - 1) * stride as u128 + len,
        }
    }

    /// Results of all vectors: one a row for each.
    pub const fn results(&self) -> usize {
        self.rows * self.batch
    }

    /// The vector and the row that result number `at` is of.
    pub const fn vector_and_row(&self, at: usize) -> (usize, usize) {
        (at / self.rows, at % self.rows)
    }
}

/// How many threads call at one time: 1 to 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads(u8);

impl Threads {
    /// One caller.
    pub const ONE: Self = Self(1);

    /// The most.
    pub const MOST: Self = Self(8);

    /// `None` unless `count` is from 1 to 8.
    pub const fn new(count: u8) -> Option<Self> {
        if Self::ONE.0 <= count && count <= Self::MOST.0 { Some(Self(count)) } else { None }
    }

    /// The number of threads.
    pub const fn count(self) -> usize {
        self.0 as usize
    }
}
