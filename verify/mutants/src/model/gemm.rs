//! A product of a matrix and a batch of vectors, whose steps can be replaced.

use qk256_verify::buffer::Buffer;
use qk256_verify::operation::Operation;
use qk256_verify::shape::Shape;
use qk256_verify::{Arguments, Outcome};

use super::packing::Packing;

/// What a product reads and writes.
pub(crate) struct Batch<'a> {
    pub(crate) packing: Packing,
    pub(crate) packed: &'a [u8],
    pub(crate) scales: Option<&'a [f32]>,
    pub(crate) x: &'a [f32],
    pub(crate) y: &'a mut [f32],
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) row_stride: usize,
    pub(crate) batch: usize,
    pub(crate) x_stride: usize,
    pub(crate) out_stride: usize,
}

impl<'a> Batch<'a> {
    /// Whatever the sizes are.
    pub(crate) fn unchecked(packing: Packing, arguments: Arguments<'a>) -> Self {
        let Arguments {
            packed, scales, x, out: y, rows, cols, row_stride, batch, x_stride, out_stride, ..
        } = arguments;
        Self { packing, packed, scales, x, y, rows, cols, row_stride, batch, x_stride, out_stride }
    }

    /// `None` for wrong sizes.
    pub(crate) fn of(packing: Packing, arguments: Arguments<'a>) -> Option<Self> {
        let this = Self::unchecked(packing, arguments);
        this.is_right().then_some(this)
    }

    /// Whether all sizes are right.
    pub(crate) fn is_right(&self) -> bool {
        let is_short = Buffer::ALL.into_iter().any(|buffer| self.is_short(buffer));
        self.shape().stride_is_legal() && !is_short
    }

    pub(crate) fn shape(&self) -> Shape {
        Shape {
            batch: self.batch,
            x_stride: self.x_stride,
            out_stride: self.out_stride,
            ..Shape::matrix(self.packing.format, self.rows, self.cols, self.row_stride)
        }
    }

    /// Whether less of `buffer` was given than is needed.
    pub(crate) fn is_short(&self, buffer: Buffer) -> bool {
        let given = match buffer {
            Buffer::Packed => self.packed.len(),
            Buffer::Scales => self.scales.map_or(usize::MAX, <[f32]>::len),
            Buffer::X => self.x.len(),
            Buffer::Out => self.y.len(),
            _ => return false,
        };
        (given as u128) < Operation::Gemm.needed(self.shape(), buffer)
    }

    pub(crate) fn blocks(&self) -> usize {
        self.packing.format.blocks(self.cols)
    }

    /// The bytes from the start of a row on.
    pub(crate) fn row(&self, row: usize) -> &[u8] {
        &self.packed[row * self.row_stride..]
    }

    /// The integer weight of a row and column.
    pub(crate) fn weight(&self, row: usize, column: usize) -> f32 {
        (self.packing.code(self.row(row), column) - self.packing.offset) as f32
    }

    /// The scale of a row and block; 1 where there is none.
    pub(crate) fn scale(&self, row: usize, block: usize) -> f32 {
        let inner = || self.packing.scale(self.row(row), block);
        self.scales.map_or_else(inner, |scales| scales[row * self.blocks() + block])
    }

    /// An activation of a vector.
    pub(crate) fn x(&self, vector: usize, column: usize) -> f32 {
        self.x[vector * self.x_stride + column]
    }

    /// Where the result of a vector and row is written.
    pub(crate) fn place(&self, vector: usize, row: usize) -> usize {
        vector * self.out_stride + row
    }

    /// The columns of a block.
    pub(crate) fn columns(&self, block: usize) -> std::ops::Range<usize> {
        let len = self.packing.block_len();
        block * len..self.cols.min((block + 1) * len)
    }

    /// The product of a vector and some columns of a row, added in their order, without scales.
    pub(crate) fn sum(&self, vector: usize, row: usize, columns: impl Iterator<Item = usize>) -> f32 {
        columns.fold(0.0, |sum, column| sum + self.weight(row, column) * self.x(vector, column))
    }

    /// The product of a vector and a row: within a block in order, then over the blocks.
    pub(crate) fn in_order(&self, vector: usize, row: usize) -> f32 {
        (0..self.blocks())
            .fold(0.0, |sum, block| sum + self.sum(vector, row, self.columns(block)) * self.scale(row, block))
    }
}

/// How a product is made, step by step.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    pub(crate) packing: Packing,
    /// The vectors that are multiplied.
    pub(crate) vectors: fn(&Batch<'_>) -> usize,
    /// The rows of a vector that are written.
    pub(crate) rows: fn(&Batch<'_>, usize) -> usize,
    /// The columns of a vector that are added.
    pub(crate) columns: fn(&Batch<'_>, usize) -> usize,
    /// The weight for a vector, row and column.
    pub(crate) weight: fn(&Batch<'_>, usize, usize, usize) -> f32,
    /// The activation of a vector and column.
    pub(crate) x: fn(&Batch<'_>, usize, usize) -> f32,
    /// The scale for a vector, row and block.
    pub(crate) scale: fn(&Batch<'_>, usize, usize, usize) -> f32,
    /// Where the result of a vector and row goes.
    pub(crate) place: fn(&Batch<'_>, usize, usize) -> usize,
    /// What is written, by vector, row and sum.
    pub(crate) finish: fn(&Batch<'_>, usize, usize, f32) -> f32,
}

/// Each step as it must be.
pub(crate) const RIGHT_WAY: Way = Way {
    packing: super::packing::QK256,
    vectors: |batch| batch.batch,
    rows: |batch, _| batch.rows,
    columns: |batch, _| batch.cols,
    weight: |batch, _, row, column| batch.weight(row, column),
    x: |batch, vector, column| batch.x(vector, column),
    scale: |batch, _, row, block| batch.scale(row, block),
    place: |batch, vector, row| batch.place(vector, row),
    finish: |_, _, _, sum| sum,
};

impl Way {
    pub(crate) fn product(self, arguments: Arguments<'_>) -> Outcome {
        self.product_after(arguments, |_| {})
    }

    /// The same, after some other deed.
    pub(crate) fn product_after(
        self,
        arguments: Arguments<'_>,
        deed: impl FnOnce(&mut Batch<'_>),
    ) -> Outcome {
        let Some(mut batch) = Batch::of(self.packing, arguments) else { return Outcome::Refused };
        deed(&mut batch);
        self.write(&mut batch);
        Outcome::Done
    }

    /// Writes every result.
    pub(crate) fn write(&self, batch: &mut Batch<'_>) {
        for vector in 0..(self.vectors)(batch) {
            for row in 0..(self.rows)(batch, vector) {
                let result = (self.finish)(batch, vector, row, self.sum(batch, vector, row));
                batch.y[(self.place)(batch, vector, row)] = result;
            }
        }
    }

    /// The product of a vector and a row.
    pub(crate) fn sum(&self, batch: &Batch<'_>, vector: usize, row: usize) -> f32 {
        let last = (self.columns)(batch, vector);
        let term = |column| (self.weight)(batch, vector, row, column) * (self.x)(batch, vector, column);
        let block = |block| {
            let columns = batch.columns(block).filter(|&column| column < last);
            columns.map(term).fold(0.0, |sum, term| sum + term) * (self.scale)(batch, vector, row, block)
        };
        (0..batch.blocks()).map(block).fold(0.0, |sum, block| sum + block)
    }
}

/// A gemm whose result of a vector and row is `result(operands, vector, row)`.
pub(crate) fn gemm(
    packing: Packing,
    arguments: Arguments<'_>,
    mut result: impl FnMut(&Batch<'_>, usize, usize) -> f32,
) -> Outcome {
    let Some(batch) = Batch::of(packing, arguments) else { return Outcome::Refused };
    for vector in 0..batch.batch {
        for row in 0..batch.rows {
            batch.y[batch.place(vector, row)] = result(&batch, vector, row);
        }
    }
    Outcome::Done
}
