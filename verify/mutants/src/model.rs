//! The shape that such kernels have, in pieces that can be replaced one at a time.

pub(crate) mod dot;
pub(crate) mod fixed;
pub(crate) mod gemm;
pub(crate) mod packing;
pub(crate) mod quantize;
pub(crate) mod stray;
pub(crate) mod vector;

use std::ops::Range;

use qk256_verify::buffer::Buffer;
use qk256_verify::format::QK256;
use qk256_verify::operation::Operation;
use qk256_verify::shape::Shape;
use qk256_verify::{Arguments, Outcome};

/// Elements of a block.
pub(crate) const BLOCK_ELEMENTS: usize = QK256.block_len;

/// Bytes of a block.
pub(crate) const BLOCK_BYTES: usize = QK256.block_bytes;

/// Codes of a byte.
pub(crate) const CODES_PER_BYTE: usize = QK256.plain().expect("QK256 is plain").codes_per_byte();

/// Lanes of a vector of f32.
pub(crate) const LANES: usize = 8;

/// Partial sums of a row: four vectors.
pub(crate) const SUMS: usize = 4 * LANES;

/// The largest matrix that a kernel of this crate reads whole or copies. Rows may lie gigabytes apart.
pub(crate) const READ_WHOLE: usize = 1 << 20;

/// The code of element `at` of some packed bytes.
pub(crate) fn code(packed: &[u8], at: usize) -> u8 {
    packed[at / CODES_PER_BYTE] >> (2 * (at % CODES_PER_BYTE)) & 3
}

/// The weight of a code's low two bits.
pub(crate) fn weight(code: u8) -> f32 {
    [-2.0, -1.0, 1.0, 2.0][usize::from(code & 3)]
}

/// `value` with only `bits` bits of mantissa behind the leading one: 10 are those of f16, 7 those of bf16.
pub(crate) fn rounded(value: f32, bits: u32) -> f32 {
    if !value.is_finite() {
        return value;
    }
    let (all, lost) = (value.to_bits(), 23 - bits);
    let half = (1 << (lost - 1)) - 1 + (all >> lost & 1);
    f32::from_bits((all + half) & !((1 << lost) - 1))
}

/// `value`, or a zero of its sign where it is subnormal.
pub(crate) fn flushed(value: f32) -> f32 {
    if value.is_subnormal() { 0.0_f32.copysign(value) } else { value }
}

/// The operands of a matrix-vector product.
pub(crate) struct Product<'a> {
    pub(crate) packed: &'a [u8],
    pub(crate) scales: Option<&'a [f32]>,
    pub(crate) x: &'a [f32],
    pub(crate) y: &'a mut [f32],
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) row_stride: usize,
}

impl<'a> Product<'a> {
    /// Whatever the sizes are.
    pub(crate) fn unchecked(arguments: Arguments<'a>) -> Self {
        let Arguments { packed, scales, x, out, rows, cols, row_stride, .. } = arguments;
        Self { packed, scales, x, y: out, rows, cols, row_stride }
    }

    /// `None` for wrong sizes.
    pub(crate) fn of(arguments: Arguments<'a>) -> Option<Self> {
        Self::unchecked(arguments).checked()
    }

    /// `None` for wrong sizes.
    pub(crate) fn checked(self) -> Option<Self> {
        let short = Buffer::ALL.into_iter().any(|buffer| self.is_short(buffer));
        (self.shape().stride_is_legal() && !short).then_some(self)
    }

    pub(crate) fn shape(&self) -> Shape {
        Shape::matrix(&QK256, self.rows, self.cols, self.row_stride)
    }

    /// Whether less of `buffer` was given than is needed.
    pub(crate) fn is_short(&self, buffer: Buffer) -> bool {
        let given = match buffer {
            Buffer::Packed => self.packed.len(),
            Buffer::Scales => self.scales.map_or(usize::MAX, <[f32]>::len),
            Buffer::X => self.x.len(),
            Buffer::Out => self.y.len(),
            Buffer::Codes | Buffer::OutScales | Buffer::Activations | Buffer::Prepared => return false,
        };
        (given as u128) < Operation::Gemv.needed(self.shape(), buffer)
    }

    pub(crate) fn blocks(&self) -> usize {
        self.cols.div_ceil(BLOCK_ELEMENTS)
    }

    /// The columns of each block.
    pub(crate) fn block_columns(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let cols = self.cols;
        (0..cols).step_by(BLOCK_ELEMENTS).map(move |first| first..cols.min(first + BLOCK_ELEMENTS))
    }

    pub(crate) fn row_bytes(&self) -> usize {
        self.blocks() * BLOCK_BYTES
    }

    /// Whether there is something between rows.
    pub(crate) fn has_gaps(&self) -> bool {
        self.rows > 1 && self.row_stride > self.row_bytes()
    }

    pub(crate) fn code(&self, row: usize, column: usize) -> u8 {
        self.code_from(row * self.row_stride, column)
    }

    /// The code of a column of a row that starts at byte `start`.
    pub(crate) fn code_from(&self, start: usize, column: usize) -> u8 {
        code(&self.packed[start..], column)
    }

    pub(crate) fn weight(&self, row: usize, column: usize) -> f32 {
        weight(self.code(row, column))
    }

    /// The scale of a column; 1 where there are none.
    pub(crate) fn scale(&self, row: usize, column: usize) -> f32 {
        self.scales.map_or(1.0, |scales| scales[row * self.blocks() + column / BLOCK_ELEMENTS])
    }

    /// The product of one column.
    pub(crate) fn term(&self, row: usize, column: usize) -> f32 {
        self.weight(row, column) * self.scale(row, column) * self.x[column]
    }

    /// The terms of these columns, added in their order.
    pub(crate) fn sum(&self, row: usize, columns: impl Iterator<Item = usize>) -> f32 {
        columns.fold(0.0, |sum, column| sum + self.term(row, column))
    }

    pub(crate) fn in_order(&self, row: usize) -> f32 {
        self.sum(row, 0..self.cols)
    }

    pub(crate) fn is_last(&self, row: usize) -> bool {
        row + 1 == self.rows
    }
}

/// A gemv whose row `r` is `row(operands, r)`.
pub(crate) fn gemv(arguments: Arguments<'_>, row: impl FnMut(&Product<'_>, usize) -> f32) -> Outcome {
    let Some(mut product) = Product::of(arguments) else { return Outcome::Refused };
    write_rows(&mut product, row);
    Outcome::Done
}

/// Writes `row(operands, r)` for each row.
pub(crate) fn write_rows(product: &mut Product<'_>, mut row: impl FnMut(&Product<'_>, usize) -> f32) {
    for r in 0..product.rows {
        product.y[r] = row(product, r);
    }
}

/// A gemv as SIMD kernels do it: 32 columns a step into four vectors of eight sums, which a tree brings together.
#[derive(Clone, Copy)]
pub(crate) struct Simd {
    /// The sums with which a row begins, by the row and the sums that the row before left.
    pub(crate) begin: fn(&Product<'_>, usize, &[f32; SUMS]) -> [f32; SUMS],
    /// The columns of a row that are added up.
    pub(crate) columns: fn(&Product<'_>, usize) -> usize,
    /// The code of a row and column.
    pub(crate) code: fn(&Product<'_>, usize, usize) -> u8,
    /// The activation of a row and column.
    pub(crate) x: fn(&Product<'_>, usize, usize) -> f32,
    /// The scale of a row and block.
    pub(crate) scale: fn(&Product<'_>, &[f32], usize, usize) -> f32,
    /// The product of a weight, an activation and a scale.
    pub(crate) term: fn(f32, f32, f32) -> f32,
    pub(crate) add: fn(f32, f32) -> f32,
    /// The result of a row, by its sums.
    pub(crate) reduce: fn(&Product<'_>, usize, &[f32; SUMS]) -> f32,
    /// What is written, by the row and its sum.
    pub(crate) finish: fn(&Product<'_>, usize, f32) -> f32,
}

/// Each piece as it must be.
pub(crate) const SIMD: Simd = Simd {
    begin: |_, _, _| [0.0; SUMS],
    columns: |product, _| product.cols,
    code: |product, row, column| product.code(row, column),
    x: |product, _, column| product.x[column],
    scale: |product, scales, row, block| scales[row * product.blocks() + block],
    term: |weight, x, scale| weight * scale * x,
    add: |a, b| a + b,
    reduce: |_, _, sums| tree(sums),
    finish: |_, _, sum| sum,
};

impl Simd {
    pub(crate) fn product(&self, arguments: Arguments<'_>) -> Outcome {
        self.product_after(arguments, |_| {})
    }

    /// The same, after some other deed.
    pub(crate) fn product_after(
        &self,
        arguments: Arguments<'_>,
        deed: impl FnOnce(&mut Product<'_>),
    ) -> Outcome {
        let Some(mut product) = Product::of(arguments) else { return Outcome::Refused };
        deed(&mut product);
        self.write(&mut product);
        Outcome::Done
    }

    /// Writes every row.
    pub(crate) fn write(&self, product: &mut Product<'_>) {
        let mut sums = [0.0; SUMS];
        for row in 0..product.rows {
            sums = (self.begin)(product, row, &sums);
            product.y[row] = self.row(product, row, &mut sums);
        }
    }

    /// The result of a row, its sums added to those given.
    fn row(&self, product: &Product<'_>, row: usize, sums: &mut [f32; SUMS]) -> f32 {
        let mut scale = 1.0;
        for column in 0..(self.columns)(product, row) {
            if let Some(scales) = product.scales.filter(|_| column.is_multiple_of(BLOCK_ELEMENTS)) {
                scale = (self.scale)(product, scales, row, column / BLOCK_ELEMENTS);
            }
            let (code, x) = ((self.code)(product, row, column), (self.x)(product, row, column));
            let sum = &mut sums[column % SUMS];
            *sum = (self.add)(*sum, (self.term)(weight(code), x, scale));
        }
        (self.finish)(product, row, (self.reduce)(product, row, sums))
    }
}

/// The sum of all sums: vectors in pairs, then halves of a vector, then of a half.
pub(crate) fn tree(sums: &[f32; SUMS]) -> f32 {
    let mut sums = *sums;
    let mut half = SUMS / 2;
    while half > 0 {
        (0..half).for_each(|at| sums[at] += sums[at + half]);
        half /= 2;
    }
    sums[0]
}
