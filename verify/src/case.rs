//! A case: a small value with a one-line text form that determines one call, bit for bit, on every machine.

mod covering;
mod file;
mod generate;
mod materialize;
mod models;
mod shrink;
mod sweep;
mod text;
mod values;

pub use file::{FileError, parse_file};
pub use generate::{from_seed, nth};
pub use materialize::{MAX_BUFFER_BYTES, MAX_SPARSE_BYTES, MaterializeError};
pub use shrink::shrink;
pub use sweep::{Coverage, Sweep};
pub use text::ParseError;

use crate::operation::{BLOCK_BYTES, BLOCK_ELEMENTS, Buffer, DIGITS, Operation, PerBuffer, Shape, Threads};
use crate::weights::TensorRows;

/// One call, described. Bulk data come from ChaCha by `seed`; `patches` are laid over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What is called.
    pub operation: Operation,
    /// Rows of the matrix; 1 for a vector operation.
    pub rows: usize,
    /// Columns of the matrix, or the length of the vector.
    pub cols: usize,
    /// Row stride in bytes beyond the blocks that a row owns; negative is a stride too small.
    pub stride: i64,
    /// Whether a gemv has block scales. `dequantize` always has, the others never.
    pub scaled: bool,
    /// Digits that x of a `gemv_fixed` is rounded to, legal if one of [`DIGITS`]; the most for the others.
    pub digits: u8,
    /// Elements by which each buffer starts past a 32-byte boundary in the aligned placement.
    pub offset: PerBuffer<u8>,
    /// Elements by which each buffer is longer than needed; negative is a buffer too short.
    pub slack: PerBuffer<i64>,
    /// Where codes come from.
    pub codes: Codes,
    /// Where x and scales come from.
    pub distribution: Distribution,
    /// How scales relate to each other.
    pub scales: Scales,
    /// Seed of all bulk data.
    pub seed: u64,
    /// Concurrent callers.
    pub threads: Threads,
    /// KiB of stack that the kernel is called on; 0 is the stack of the caller.
    pub stack: u16,
    /// Whether the kernel is called once only, and its result held against the oracle: no relations, no other addresses.
    pub once: bool,
    /// Part of a weights file that gives codes and scales in the place of `codes` and `distribution`.
    pub tensor: Option<TensorRows>,
    /// Bits that every element has that an input needs, in the place of its data; the low byte only where elements are bytes.
    pub fill: PerBuffer<Option<u32>>,
    /// Elements overwritten with given bits.
    pub patches: Vec<Patch>,
}

impl Case {
    /// The plainest case of a shape: dense, aligned, independent unit-range data.
    pub fn new(operation: Operation, rows: usize, cols: usize) -> Self {
        Self {
            operation,
            rows,
            cols,
            stride: 0,
            scaled: operation == Operation::Dequantize,
            digits: *DIGITS.end(),
            offset: PerBuffer::default(),
            slack: PerBuffer::default(),
            codes: Codes::Random,
            distribution: Distribution::Unit,
            scales: Scales::Independent,
            seed: 0,
            threads: Threads::ONE,
            stack: 0,
            once: false,
            tensor: None,
            fill: PerBuffer::default(),
            patches: Vec::new(),
        }
    }

    /// Dimensions as they are passed to the kernel. A row stride wraps, as a caller's own arithmetic would.
    pub fn shape(&self) -> Shape {
        let row_bytes = self.cols.div_ceil(BLOCK_ELEMENTS).wrapping_mul(BLOCK_BYTES);
        Shape {
            rows: self.rows,
            cols: self.cols,
            row_stride: row_bytes.wrapping_add_signed(self.stride as isize),
        }
    }

    /// The buffers of the call that have an address of their own.
    pub fn buffers(&self) -> impl Iterator<Item = Buffer> + use<> {
        self.operation.inputs(self.scaled).iter().chain(self.operation.outputs()).copied()
    }

    /// Drops what the case says of buffers that its operation does not read.
    pub(crate) fn fit(&mut self) {
        let (read, written) = (self.operation.inputs(self.scaled), self.operation.outputs());
        for buffer in Buffer::ALL.into_iter().filter(|buffer| !read.contains(buffer)) {
            if !written.contains(&buffer) {
                (self.offset[buffer], self.slack[buffer]) = (0, 0);
            }
            self.fill[buffer] = None;
        }
        if let Some(buffer) = self.operation.stating_length() {
            self.slack[buffer] = 0;
        }
        if !self.operation.reads_codes() {
            self.codes = Codes::Random;
        }
        if !self.scaled {
            self.scales = Scales::Independent;
        }
    }

    /// This call with the data of another case, as far as they fit.
    pub(crate) fn with_data_of(&self, other: &Self) -> Self {
        let Self { codes, distribution, scales, seed, tensor, fill, patches, .. } = other.clone();
        let mut case = Self { codes, distribution, scales, seed, tensor, fill, patches, ..self.clone() };
        case.fit_patches();
        case
    }

    /// The buffers whose length may differ from what is needed: all but the one that states the number of elements.
    pub fn resizable_buffers(&self) -> impl Iterator<Item = Buffer> + use<> {
        let fixed = self.operation.stating_length();
        self.buffers().filter(move |&buffer| Some(buffer) != fixed)
    }
}

/// Where codes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codes {
    /// Independent and uniform.
    Random,
    /// The same code everywhere.
    Uniform(u8),
    /// 0, 1, 2, 3, 0, 1 and so on along each row.
    Ramp,
    /// 0, 3, 0, 3 and so on along each row.
    Stripes,
    /// Each packed byte, and each byte of `lut`, is its block's number plus 37 times its place in the block, modulo 256: in 256
    /// blocks every byte stands at every place.
    Bytes,
}

impl Codes {
    pub(crate) const ALL: [Self; 8] = [
        Self::Random,
        Self::Uniform(0),
        Self::Uniform(1),
        Self::Uniform(2),
        Self::Uniform(3),
        Self::Ramp,
        Self::Stripes,
        Self::Bytes,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Uniform(0) => "all0",
            Self::Uniform(1) => "all1",
            Self::Uniform(2) => "all2",
            Self::Uniform(_) => "all3",
            Self::Ramp => "ramp",
            Self::Stripes => "stripes",
            Self::Bytes => "bytes",
        }
    }

    /// The packed byte at `place` of a row; `None` where codes are random.
    const fn byte(self, place: usize) -> Option<u8> {
        match self {
            Self::Random => None,
            Self::Uniform(code) => Some((code & 3) * 0b0101_0101),
            Self::Ramp => Some(0b1110_0100),
            Self::Stripes => Some(0b1100_1100),
            Self::Bytes => Some(every_byte(place / BLOCK_BYTES, place % BLOCK_BYTES)),
        }
    }
}

/// The byte at a place of a block of `codes=bytes`.
pub(crate) const fn every_byte(block: usize, place: usize) -> u8 {
    (block + 37 * place) as u8
}

/// How scales relate to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scales {
    /// Each is drawn for itself.
    Independent,
    /// All are the first that is drawn.
    Equal,
    /// The first two that are drawn, in turn.
    Alternating,
}

impl Scales {
    const ALL: [Self; 3] = [Self::Independent, Self::Equal, Self::Alternating];

    const fn name(self) -> &'static str {
        match self {
            Self::Independent => "independent",
            Self::Equal => "equal",
            Self::Alternating => "alternating",
        }
    }
}

/// Where x and scales come from. Each distribution serves one or more properties of the ladder (docs/verification.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// x uniform on [-a, a], where a is 1 up to 256 columns, then 1/2, 1/4 from 513 and 1/8 from 1025 on; scales 1. Oracle 4.
    Unit,
    /// x uniform on [-10, 10]; scales positive with full mantissas, 2^-7 to 2^-3. Oracle 5.
    Ten,
    /// Integer x, scales powers of two, so that every order of summation is exact. Oracle 2.
    Integer,
    /// x is zero but for one column, which has arbitrary bits, special values among them; scales have full mantissas. Oracle 2
    /// and 6.
    OneHot,
    /// Exponents from 2^-60 to 2^60 with full mantissas; scales 2^-20 to 2^20. Oracle 5.
    Wide,
    /// Subnormal x; scales 1, 2, subnormal, or around 1 with full mantissas. Oracle 2 and 5.
    Subnormal,
    /// As `Ten` with a few NaN, infinities, -0.0, subnormals and the largest finite values. Oracle 6.
    Special,
    /// x zero, of either sign, in half of the blocks and in many groups of 32 columns of the others; otherwise as `Ten`.
    Sparse,
    /// x with full mantissas, so large that sums are just below what may overflow; scales as of `Ten`. Oracle 5.
    Huge,
    /// One large x, one a little above half of its last place, and many that are smaller still, times one power of two: what is
    /// lost of them adds up. Scales 1. Oracle 5.
    Absorbing,
    /// x and scales zero: all that matters is in the patches.
    Raw,
    /// Nearly every digit of x 127 or -128 and of one sign, at any exponent; scales 1. Where sums of digits overflow, if
    /// anywhere.
    Extreme,
    /// In each block of 256 x is of few magnitudes, those of the format, those between which a quantiser decides, or such that two
    /// choices of codes have exactly the same error; scales 1.
    Levels,
    /// In each block of 256 one x is far larger than the others, or all are near the largest f32, or the smallest; scales 1.
    Outliers,
    /// Every x the largest integer of this many bits, and of one sign: narrow sums overflow there, where those of mixed signs do not.
    /// In rows so long that such sums would round in f32, the lowest bits are zero. Scales 1. Oracle 2.
    Full(u8),
}

impl Distribution {
    const ALL: &[Self] = &[
        Self::Unit,
        Self::Ten,
        Self::Integer,
        Self::OneHot,
        Self::Wide,
        Self::Subnormal,
        Self::Special,
        Self::Sparse,
        Self::Huge,
        Self::Absorbing,
        Self::Raw,
        Self::Extreme,
        Self::Levels,
        Self::Outliers,
        Self::Full(7),
        Self::Full(8),
        Self::Full(15),
        Self::Full(16),
        Self::Full(23),
    ];

    /// Those whose x are the largest integers of some number of bits.
    pub(crate) fn full() -> &'static [Self] {
        &Self::ALL[Self::ALL.len() - 5..]
    }

    /// The distributions of `quantize`: all but [`Extreme`](Self::Extreme).
    const OF_VALUES: &[Self] = &[
        Self::Unit,
        Self::Ten,
        Self::Integer,
        Self::OneHot,
        Self::Wide,
        Self::Subnormal,
        Self::Special,
        Self::Sparse,
        Self::Huge,
        Self::Absorbing,
        Self::Raw,
        Self::Levels,
        Self::Outliers,
    ];

    /// The distributions that the generator draws from. Of the last one is about digits, two are about values to quantise, and the others are full.
    fn drawn(operation: Operation) -> &'static [Self] {
        match operation {
            Operation::Quantize => Self::OF_VALUES,
            Operation::GemvFixed => &Self::ALL[..Self::ALL.len() - Self::full().len() - 2],
            _ => &Self::ALL[..Self::ALL.len() - Self::full().len() - 3],
        }
    }

    /// The name in cases.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Ten => "ten",
            Self::Integer => "integer",
            Self::OneHot => "onehot",
            Self::Wide => "wide",
            Self::Subnormal => "subnormal",
            Self::Special => "special",
            Self::Sparse => "sparse",
            Self::Huge => "huge",
            Self::Absorbing => "absorbing",
            Self::Raw => "raw",
            Self::Extreme => "extreme",
            Self::Levels => "levels",
            Self::Outliers => "outliers",
            Self::Full(7) => "full7",
            Self::Full(8) => "full8",
            Self::Full(15) => "full15",
            Self::Full(16) => "full16",
            Self::Full(_) => "full23",
        }
    }
}

/// Consecutive elements of a buffer, given by their bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// The buffer, an input of the operation.
    pub buffer: Buffer,
    /// First element overwritten.
    pub index: usize,
    /// Bits of the elements; the low byte only where elements are bytes.
    pub bits: Vec<u32>,
}
