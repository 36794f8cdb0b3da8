//! The operations: what kernels compute. Each has a file that describes it ([`Spec`]), and a line below.

mod dequantize;
mod dot;
mod gemm;
mod gemv;
mod gemv_fixed;
mod lut;
mod quantize;
mod spec;
mod unpack;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::buffer::Buffer;
use crate::format::Scale;
use crate::shape::Shape;
pub use gemv_fixed::{DIGITS, MAX_FIXED_COLUMNS};
pub use spec::{Change, Count, Effect, Element, Elements, Exhaustive, Form, Scaling, Spec, Truth};

macro_rules! operations {
    ($($(#[$documentation:meta])* $name:ident: $file:ident,)*) => {
        /// What a kernel computes. docs/format.md defines each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Operation {
            $($(#[$documentation])* $name,)*
        }

        impl Operation {
            /// Every operation, in the order of reports.
            pub const ALL: [Self; [$(stringify!($name)),*].len()] = [$(Self::$name),*];

            /// Its description.
            pub const fn spec(self) -> &'static Spec {
                match self {
                    $(Self::$name => &$file::SPEC,)*
                }
            }
        }
    };
}

operations! {
    /// Packed bytes to 2-bit codes.
    Unpack: unpack,
    /// 2-bit codes to unscaled weights: the stage between unpack and multiply.
    Lut: lut,
    /// Packed bytes and scales to f32 weights.
    Dequantize: dequantize,
    /// Matrix-vector product in f32, with or without scales.
    Gemv: gemv,
    /// Matrix-vector product in fixed point: x rounded to digits, integer sums, one rounding at the end.
    GemvFixed: gemv_fixed,
    /// f32 values to packed codes and scales, with the least squared error.
    Quantize: quantize,
    /// Product of a matrix and a batch of f32 vectors, with or without scales.
    Gemm: gemm,
    /// Rows of weights times one vector of quantised activations.
    Dot: dot,
}

impl Operation {
    /// The name in cases, options and reports.
    pub const fn name(self) -> &'static str {
        self.spec().name
    }

    /// Whether the operation has rows and a stride; the others work on one vector.
    pub const fn is_matrix(self) -> bool {
        matches!(self.spec().form, Form::Matrix)
    }

    /// Whether a call may have scales in a buffer of their own or none.
    pub const fn may_be_scaled(self) -> bool {
        matches!(self.spec().scaling, Scaling::Optional)
    }

    /// Whether every call has scales, in a buffer of their own where the format has none.
    pub const fn is_always_scaled(self) -> bool {
        matches!(self.spec().scaling, Scaling::Always)
    }

    /// Whether there is a batch of vectors.
    pub const fn is_batched(self) -> bool {
        self.spec().is_batched
    }

    /// Whether rows consist of whole blocks, of weights and of activations.
    pub const fn whole_blocks(self) -> bool {
        self.spec().whole_blocks
    }

    /// Whether x is rounded to a number of digits that the case states.
    pub const fn has_digits(self) -> bool {
        self.spec().has_digits
    }

    /// Whether an x that is not finite must be refused.
    pub const fn needs_finite_x(self) -> bool {
        self.spec().needs_finite_x
    }

    /// Whether codes are among what it reads.
    pub fn reads_codes(self) -> bool {
        self.spec().inputs.iter().any(|buffer| matches!(buffer, Buffer::Packed | Buffer::Codes))
    }

    /// Whether the outputs are sums in f32, whose order is the kernel's own.
    pub const fn sums_floats(self) -> bool {
        matches!(self.spec().truth, Truth::Sums)
    }

    /// The buffer whose length says how many elements there are; `None` where rows and columns do.
    pub const fn stating_length(self) -> Option<Buffer> {
        match self.spec().form {
            Form::Matrix => None,
            Form::Vector(buffer) => Some(buffer),
        }
    }

    /// The buffers that the operation writes.
    pub const fn outputs(self) -> &'static [Buffer] {
        self.spec().outputs
    }

    /// The buffers that the operation reads.
    pub const fn inputs(self, scaled: bool) -> &'static [Buffer] {
        if scaled { self.spec().scaled_inputs } else { self.spec().inputs }
    }

    /// Bytes of one element of `buffer` in this operation.
    pub const fn width(self, buffer: Buffer) -> usize {
        match (buffer, self.spec().out.0) {
            (Buffer::Packed | Buffer::Codes | Buffer::Activations | Buffer::Prepared, _)
            | (Buffer::Out, Element::Byte) => size_of::<u8>(),
            _ => size_of::<f32>(),
        }
    }

    /// Elements of `buffer` that a call of `shape` needs, counted without wrapping.
    pub fn needed(self, shape: Shape, buffer: Buffer) -> u128 {
        let (rows, cols, blocks) = (shape.rows as u128, shape.cols as u128, shape.blocks() as u128);
        let count = match buffer {
            Buffer::Packed => Count::Matrix,
            // They are among the packed bytes.
            Buffer::OutScales if shape.format.has_inner_scales() => return 0,
            Buffer::Scales | Buffer::OutScales if shape.format.scale() == Scale::Tensor => return 1,
            Buffer::Scales | Buffer::OutScales => Count::Blocks,
            Buffer::Codes | Buffer::X => Count::Columns,
            Buffer::Activations => return shape.activations.bytes(shape.cols),
            Buffer::Out => self.spec().out.1,
            Buffer::Prepared => return 0,
        };
        match count {
            Count::Columns => shape.vectors(cols, shape.x_stride),
            Count::Rows => shape.vectors(rows, shape.out_stride),
            Count::Blocks => rows * blocks,
            Count::Matrix if rows == 0 => 0,
            Count::Matrix if shape.whole_last_stride && rows > 1 => rows * shape.row_stride as u128,
            Count::Matrix => (rows - 1) * shape.row_stride as u128 + shape.row_bytes() as u128,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownOperation(String);

impl std::error::Error for UnknownOperation {}

impl fmt::Display for UnknownOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Operation::ALL.map(Operation::name);
        let (last, others) = names.split_last().expect("there are operations");
        write!(f, "`{}` is not an operation; the operations are {} and {last}", self.0, others.join(", "))
    }
}

impl FromStr for Operation {
    type Err = UnknownOperation;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|op| op.name() == word).ok_or_else(|| UnknownOperation(word.to_owned()))
    }
}
