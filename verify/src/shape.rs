//! The dimensions of a call.

use crate::format::Format;

/// The dimensions of a call. A vector operation is a single row of `cols` elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The format of the weights.
    pub format: &'static Format,
    /// Rows of the matrix.
    pub rows: usize,
    /// Elements of a row.
    pub cols: usize,
    /// Bytes from the start of a row to the start of the next.
    pub row_stride: usize,
}

impl Shape {
    /// Blocks that a row owns.
    pub const fn blocks(&self) -> usize {
        self.format.blocks(self.cols)
    }

    /// Packed bytes that a row owns.
    pub const fn row_bytes(&self) -> usize {
        self.blocks() * self.format.block_bytes
    }

    /// Whether the stride keeps rows apart. With one row it is not looked at.
    pub const fn stride_is_legal(&self) -> bool {
        self.rows <= 1 || self.row_stride >= self.row_bytes()
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
