//! What shows that a property is violated, as data. Only here it is put into words and JSON.

mod json;
mod words;

use serde::{Deserialize, Serialize};

use crate::buffer::Buffer;
use crate::inputs::Inputs;
use crate::memory::Violation;
use crate::number;
use crate::operation::Change;

/// What shows a failure. Its `Display` is the `detail` of reports, [`facts`](Self::facts) are the fields of a JSON report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Evidence {
    /// Outputs that are not what an oracle demands.
    Judged(Wrong),
    /// Rows that are not what the kernel's own order of summation gives.
    Order(Wrong),
    /// Quantised blocks that are not what an oracle demands: how many of how many, and the first.
    Blocks {
        /// Blocks that are wrong.
        wrong: u64,
        /// Blocks that were judged.
        of: u64,
        /// The first wrong one.
        first: Box<WrongBlock>,
    },
    /// An output that a further call gives, and what it must be by the result of the first.
    Further(Call, Miss),
    /// An output of a vector whose memory repeats, or another one that lies in the same memory.
    Repeated(Miss),
    /// An access that no kernel may make.
    Access(Violation),
    /// An input that holds another byte than before the call.
    Input {
        /// The input.
        buffer: Buffer,
        /// The first byte that is another one, counted from the start of the buffer.
        byte: usize,
        /// What it was.
        was: u8,
        /// What it is.
        is: u8,
    },
    /// Anything else.
    Words(String),
}

/// Outputs that are wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wrong {
    /// How many they are.
    pub wrong: u64,
    /// How many were judged.
    pub of: u64,
    /// The first of them.
    pub first: Miss,
    /// The one with the largest error, where that is another one.
    pub worst: Option<Box<Miss>>,
}

/// An output that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Miss {
    /// Where it stands.
    pub place: Place,
    /// What it is.
    pub got: Bits,
    /// What it must be.
    pub expected: Allowed,
}

/// The place of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// A row of a matrix, which has one.
    Row(usize),
    /// A row's result for one vector of a batch.
    Result {
        /// The vector.
        vector: usize,
        /// The row.
        row: usize,
        /// The element of the output.
        index: usize,
    },
    /// An element of a buffer.
    Element {
        /// The buffer.
        buffer: Buffer,
        /// The element's number.
        index: usize,
        /// Elements of a block of the format.
        block_len: usize,
    },
}

/// An output element: its bits, and how many bytes it has. One byte is a code, or packed codes; four are an f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bits {
    width: u8,
    bits: u32,
}

/// What an output may be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Allowed {
    /// These bits.
    Exactly(Bits),
    /// Whatever is within a bound of the exact number.
    Near {
        /// The f32 nearest to that.
        nearest: Bits,
        /// The bound of the error.
        #[serde(with = "number")]
        bound: f64,
        /// The error of what the kernel gave.
        #[serde(with = "number")]
        error: f64,
    },
    /// This infinity.
    Infinity(Bits),
    /// Any NaN.
    Nan,
    /// NaN or an infinity.
    NotFinite,
}

/// A quantised block that is wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WrongBlock {
    /// Its number.
    pub number: usize,
    /// The first element whose code is not that of the first right choice.
    pub code: Option<WrongCode>,
    /// Its scale, and that of the first right choice.
    pub scale: [Bits; 2],
    /// Its squared error.
    #[serde(with = "number")]
    pub error: f64,
    /// The least squared error that a block may have.
    #[serde(with = "number")]
    pub least: f64,
}

/// A code that a quantiser chose.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WrongCode {
    /// The element of the block.
    pub element: usize,
    /// The code, and the right one.
    pub codes: [u8; 2],
    /// The value that it stands for; none is padding.
    pub value: Option<Bits>,
}

/// How a further call differs from the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// It does not.
    Again,
    /// It does not; it is the call of this number.
    Number(usize),
    /// Other addresses, and other old contents of the output.
    Moved,
    /// Several threads call at once.
    AtOnce,
    /// Its inputs are changed.
    Changed(Change),
    /// Rows of the matrix, N of them, as a matrix of their own: the place is that in the whole matrix.
    FewRows(usize),
    /// One vector of the batch, alone: the place is that in the whole batch.
    OneVector,
}

impl From<String> for Evidence {
    fn from(words: String) -> Self {
        Self::Words(words)
    }
}

impl Bits {
    /// The bits of an element of `width` bytes.
    pub fn new(width: usize, bits: u32) -> Self {
        Self { width: width as u8, bits }
    }

    /// Those of a number.
    pub fn of(number: f32) -> Self {
        Self::new(size_of::<f32>(), number.to_bits())
    }

    fn number(self) -> f32 {
        f32::from_bits(self.bits)
    }
}

impl Miss {
    /// Output `at` of a call with these inputs, whose bits are `got` and must be `expected`.
    pub(crate) fn new(inputs: &Inputs, at: usize, got: u32, expected: u32) -> Self {
        let (buffer, index) = inputs.output_place(at);
        let bits = |bits| Bits::new(inputs.operation.width(buffer), bits);
        let block_len = inputs.shape.format.block_len;
        let place = match inputs.operation.is_matrix() {
            true => Place::of_result(inputs, at),
            false => Place::Element { buffer, index, block_len },
        };
        Self { place, got: bits(got), expected: Allowed::Exactly(bits(expected)) }
    }

    /// The error where there is a bound for it; what must have its bits, or be no number, is as wrong as can be.
    pub(crate) fn error(&self) -> f64 {
        match self.expected {
            Allowed::Near { error, .. } => error,
            _ => f64::INFINITY,
        }
    }
}

impl Place {
    /// The place of result number `at` of a product.
    pub(crate) fn of_result(inputs: &Inputs, at: usize) -> Self {
        if !inputs.operation.is_batched() || at >= inputs.shape.results() {
            return Self::Row(at);
        }
        let (vector, row) = inputs.shape.vector_and_row(at);
        Self::Result { vector, row, index: vector * inputs.shape.out_stride + row }
    }
}

/// The distance of f32 neighbours at the magnitude of a number.
pub(crate) fn ulp(number: f32) -> f64 {
    let near = number.abs();
    f64::from(near.next_up()) - f64::from(near)
}
