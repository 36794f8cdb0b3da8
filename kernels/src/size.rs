//! The one way in which a kernel refuses its arguments: sizes that do not fit.

use std::error::Error;
use std::fmt;

/// Why sizes were refused. Nothing has been read or written when a function returns this.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SizeError {
    /// A buffer is shorter than the shape needs.
    TooShort {
        /// The buffer in question.
        buffer: Buffer,
        /// The least length that would do, in the buffer's own items.
        needed: usize,
        /// The length that was given.
        actual: usize,
    },
    /// Two rows of a matrix would overlap. A matrix of one row is never refused for its stride.
    SmallStride {
        /// The bytes of one row: [`BLOCK_BYTES`](crate::BLOCK_BYTES) times its blocks.
        needed: usize,
        /// The stride that was given, in bytes.
        actual: usize,
    },
    /// Two vectors of a batch would overlap. A batch of one vector is never refused for its stride.
    SmallVectorStride {
        /// The buffer in question: `x` or `y`.
        buffer: Buffer,
        /// The elements of one vector.
        needed: usize,
        /// The stride that was given, in elements.
        actual: usize,
    },
    /// The length that a buffer would need does not fit in a `usize`.
    Overflow {
        /// The buffer in question.
        buffer: Buffer,
    },
    /// A matrix has scales where an operation takes none.
    Scaled,
    /// Activations, in fixed point or a batch of them, are of another number of columns than the matrix.
    OtherColumns {
        /// The columns of the matrix.
        needed: usize,
        /// The columns of the activations.
        actual: usize,
    },
}

/// The argument that a [`SizeError`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Buffer {
    /// Packed codes, in bytes.
    Packed,
    /// Unpacked codes, a byte each.
    Codes,
    /// Scales, an f32 a block.
    Scales,
    /// f32 values to quantise.
    Values,
    /// The vectors that a matrix is multiplied by.
    X,
    /// The products, an f32 a row each.
    Y,
}

/// Refuses a `buffer` of `actual` items where `needed` are needed.
#[inline]
pub(crate) fn at_least(buffer: Buffer, needed: usize, actual: usize) -> Result<(), SizeError> {
    if actual < needed { Err(SizeError::TooShort { buffer, needed, actual }) } else { Ok(()) }
}

/// The product of `a` and `b`, refused where it overflows; `buffer` is the one whose length it would be.
#[inline]
pub(crate) fn product(buffer: Buffer, a: usize, b: usize) -> Result<usize, SizeError> {
    a.checked_mul(b).ok_or(SizeError::Overflow { buffer })
}

impl Buffer {
    /// The name of the argument: `packed`, `codes`, `scales`, `values`, `x` or `y`.
    pub fn name(self) -> &'static str {
        match self {
            Buffer::Packed => "packed",
            Buffer::Codes => "codes",
            Buffer::Scales => "scales",
            Buffer::Values => "values",
            Buffer::X => "x",
            Buffer::Y => "y",
        }
    }
}

impl fmt::Display for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SizeError::TooShort { buffer, needed, actual } => {
                write!(f, "`{buffer}` is too short: {needed} needed, {actual} given")
            }
            SizeError::SmallStride { needed, actual } => {
                write!(f, "the row stride is too small: {needed} bytes needed, {actual} given")
            }
            SizeError::SmallVectorStride { buffer, needed, actual } => {
                write!(f, "the stride of `{buffer}` is too small: {needed} elements needed, {actual} given")
            }
            SizeError::Overflow { buffer } => {
                write!(f, "the length that `{buffer}` would need does not fit in a usize")
            }
            SizeError::Scaled => f.write_str("the matrix has scales, and the operation takes none"),
            SizeError::OtherColumns { needed, actual } => {
                write!(f, "the activations have {actual} columns, the matrix has {needed}")
            }
        }
    }
}

impl Error for SizeError {}
