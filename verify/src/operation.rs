//! The words that cases, kernels and oracles share: operations, buffers and shapes.

use std::fmt;
use std::ops::{Index, IndexMut, RangeInclusive};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a kernel computes. docs/format.md defines each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// Packed bytes to 2-bit codes.
    Unpack,
    /// 2-bit codes to unscaled weights: the stage between unpack and multiply.
    Lut,
    /// Packed bytes and scales to f32 weights.
    Dequantize,
    /// Matrix-vector product in f32, with or without scales.
    Gemv,
    /// Matrix-vector product in fixed point: x rounded to digits, integer sums, one rounding at the end.
    GemvFixed,
    /// f32 values to packed codes and scales, with the least squared error.
    Quantize,
}

impl Operation {
    /// Every operation, in the order of reports.
    pub const ALL: [Self; 6] =
        [Self::Unpack, Self::Lut, Self::Dequantize, Self::Gemv, Self::GemvFixed, Self::Quantize];

    /// The name in cases, options and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unpack => "unpack",
            Self::Lut => "lut",
            Self::Dequantize => "dequantize",
            Self::Gemv => "gemv",
            Self::GemvFixed => "gemv_fixed",
            Self::Quantize => "quantize",
        }
    }

    /// Whether the operation has rows and a stride; the others work on one vector.
    pub const fn is_matrix(self) -> bool {
        matches!(self, Self::Gemv | Self::GemvFixed)
    }

    /// Whether a case may choose between scales and none.
    pub const fn may_be_scaled(self) -> bool {
        matches!(self, Self::Gemv)
    }

    /// Whether x is rounded to a number of digits that the case states.
    pub const fn has_digits(self) -> bool {
        matches!(self, Self::GemvFixed)
    }

    /// Whether an x that is not finite must be refused.
    pub const fn needs_finite_x(self) -> bool {
        matches!(self, Self::GemvFixed | Self::Quantize)
    }

    /// Whether codes are among what it reads.
    pub const fn reads_codes(self) -> bool {
        !matches!(self, Self::Quantize)
    }

    /// The buffer whose length says how many elements there are; `None` where rows and columns do.
    pub const fn stating_length(self) -> Option<Buffer> {
        match self {
            Self::Gemv | Self::GemvFixed => None,
            Self::Quantize => Some(Buffer::X),
            Self::Unpack | Self::Lut | Self::Dequantize => Some(Buffer::Out),
        }
    }

    /// The buffers that the operation writes.
    pub const fn outputs(self) -> &'static [Buffer] {
        match self {
            Self::Quantize => &[Buffer::Out, Buffer::OutScales],
            _ => &[Buffer::Out],
        }
    }

    /// The buffers that the operation reads.
    pub const fn inputs(self, scaled: bool) -> &'static [Buffer] {
        match (self, scaled) {
            (Self::Unpack, _) => &[Buffer::Packed],
            (Self::Lut, _) => &[Buffer::Codes],
            (Self::Dequantize, _) => &[Buffer::Packed, Buffer::Scales],
            (Self::Gemv, false) | (Self::GemvFixed, _) => &[Buffer::Packed, Buffer::X],
            (Self::Gemv, true) => &[Buffer::Packed, Buffer::Scales, Buffer::X],
            (Self::Quantize, _) => &[Buffer::X],
        }
    }

    /// Bytes of one element of `buffer` in this operation.
    pub const fn width(self, buffer: Buffer) -> usize {
        match (self, buffer) {
            (_, Buffer::Packed | Buffer::Codes) | (Self::Unpack | Self::Quantize, Buffer::Out) => 1,
            _ => 4,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an operation; the operations are unpack, lut, dequantize, gemv, gemv_fixed and quantize"
)]
pub struct UnknownOperation(String);

impl FromStr for Operation {
    type Err = UnknownOperation;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|op| op.name() == word).ok_or_else(|| UnknownOperation(word.to_owned()))
    }
}

/// One argument of a kernel that points to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Buffer {
    /// Packed 2-bit codes, bytes.
    Packed,
    /// One code a byte: what `lut` reads.
    Codes,
    /// Block scales, f32.
    Scales,
    /// Activations, f32; of `quantize` the values.
    X,
    /// Whatever the operation writes: codes (`unpack`), weights (`lut`, `dequantize`), y (`gemv`, `gemv_fixed`) or packed codes
    /// (`quantize`).
    Out,
    /// The second output of `quantize`: block scales, f32.
    OutScales,
}

impl Buffer {
    /// Every buffer, in the order of arguments.
    pub const ALL: [Self; 6] = [Self::Packed, Self::Codes, Self::Scales, Self::X, Self::Out, Self::OutScales];

    /// The buffers that some operation writes.
    pub const OUTPUTS: [Self; 2] = [Self::Out, Self::OutScales];

    /// The name in cases and findings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Packed => "packed",
            Self::Codes => "codes",
            Self::Scales => "scales",
            Self::X => "x",
            Self::Out => "out",
            Self::OutScales => "out_scales",
        }
    }

    /// Whether kernels write it.
    pub const fn is_output(self) -> bool {
        matches!(self, Self::Out | Self::OutScales)
    }

    /// The buffer of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|buffer| buffer.name() == name)
    }
}

/// One value for each buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerBuffer<T>([T; Buffer::ALL.len()]);

impl<T> Index<Buffer> for PerBuffer<T> {
    type Output = T;

    fn index(&self, buffer: Buffer) -> &T {
        &self.0[buffer as usize]
    }
}

impl<T> IndexMut<Buffer> for PerBuffer<T> {
    fn index_mut(&mut self, buffer: Buffer) -> &mut T {
        &mut self.0[buffer as usize]
    }
}

/// Elements of a block, as docs/format.md says. The harness states the format for itself, so that a wrong constant in
/// the kernels cannot hide in the oracle.
pub const BLOCK_ELEMENTS: usize = 256;

/// Packed bytes of a block.
pub const BLOCK_BYTES: usize = 64;

/// Codes of a packed byte, the first in the least significant bits.
pub const CODES_PER_BYTE: usize = BLOCK_ELEMENTS / BLOCK_BYTES;

/// Bytes below which offsets of buffers stay: those of a vector of 256 bits.
pub const OFFSET_BYTES: usize = 32;

/// The digits that x of a `gemv_fixed` may be rounded to.
pub const DIGITS: RangeInclusive<u8> = 1..=4;

/// The most columns of a `gemv_fixed`.
pub const MAX_FIXED_COLUMNS: usize = 1 << 22;

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

/// The dimensions of a call. A vector operation is a single row of `cols` elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
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
        self.cols.div_ceil(BLOCK_ELEMENTS)
    }

    /// Packed bytes that a row owns.
    pub const fn row_bytes(&self) -> usize {
        self.blocks() * BLOCK_BYTES
    }

    /// Whether the stride keeps rows apart. With one row it is not looked at.
    pub const fn stride_is_legal(&self) -> bool {
        self.rows <= 1 || self.row_stride >= self.row_bytes()
    }

    /// Elements of `buffer` that `operation` needs, counted without wrapping.
    pub fn needed(&self, operation: Operation, buffer: Buffer) -> u128 {
        let (rows, cols, blocks) = (self.rows as u128, self.cols as u128, self.blocks() as u128);
        match buffer {
            Buffer::Packed if self.rows == 0 => 0,
            Buffer::Packed => (rows - 1) * self.row_stride as u128 + self.row_bytes() as u128,
            Buffer::Scales | Buffer::OutScales => rows * blocks,
            Buffer::Codes | Buffer::X => cols,
            Buffer::Out if operation == Operation::Quantize => self.row_bytes() as u128,
            Buffer::Out if operation.is_matrix() => rows,
            Buffer::Out => cols,
        }
    }
}
