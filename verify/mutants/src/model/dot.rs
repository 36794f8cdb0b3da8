//! A product with quantised activations: integers within a run of columns that share their scales, f32 beyond.

use qk256_verify::activations::{Activations, I8, Q8_0, Q8_K, Sums};
use qk256_verify::buffer::Buffer;
use qk256_verify::operation::Operation;
use qk256_verify::shape::Shape;
use qk256_verify::{Arguments, Outcome};

use super::packing::{self, Packing, float, half, place};

/// What a product reads and writes.
pub(crate) struct Operands<'a> {
    pub(crate) packing: Packing,
    pub(crate) kind: &'static Activations,
    pub(crate) packed: &'a [u8],
    pub(crate) activations: &'a [u8],
    pub(crate) y: &'a mut [f32],
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) row_stride: usize,
}

impl<'a> Operands<'a> {
    /// Whatever the sizes are.
    pub(crate) fn unchecked(way: &Way, arguments: Arguments<'a>) -> Self {
        let Arguments { packed, activations, out, rows, cols, row_stride, .. } = arguments;
        Self { packing: way.packing, kind: way.kind, packed, activations, y: out, rows, cols, row_stride }
    }

    /// `None` for wrong sizes.
    pub(crate) fn of(way: &Way, arguments: Arguments<'a>) -> Option<Self> {
        let this = Self::unchecked(way, arguments);
        this.is_right().then_some(this)
    }

    /// Whether all sizes are right.
    pub(crate) fn is_right(&self) -> bool {
        let is_short = Buffer::ALL.into_iter().any(|buffer| self.is_short(buffer));
        self.is_whole() && self.shape().stride_is_legal() && !is_short
    }

    /// Whether the columns are whole blocks of weights and of activations.
    pub(crate) fn is_whole(&self) -> bool {
        [self.packing.block_len(), self.kind.block_len].into_iter().all(|len| self.cols.is_multiple_of(len))
    }

    /// Whether less of `buffer` was given than is needed.
    pub(crate) fn is_short(&self, buffer: Buffer) -> bool {
        let given = match buffer {
            Buffer::Packed => self.packed.len(),
            Buffer::Activations => self.activations.len(),
            Buffer::Out => self.y.len(),
            _ => return false,
        };
        (given as u128) < Operation::Dot.needed(self.shape(), buffer)
    }

    pub(crate) fn shape(&self) -> Shape {
        let shape = Shape::matrix(self.packing.format, self.rows, self.cols, self.row_stride);
        Shape { activations: self.kind, ..shape }
    }

    /// The bytes from the start of a row on.
    pub(crate) fn row(&self, row: usize) -> &[u8] {
        &self.packed[row * self.row_stride..]
    }

    /// Columns of a run.
    pub(crate) fn run_len(&self) -> usize {
        let of_weights = self.packing.block_len();
        if self.kind.scale.is_some() { of_weights.min(self.kind.block_len) } else { of_weights }
    }

    /// Runs of a row.
    pub(crate) fn runs(&self) -> usize {
        self.cols / self.run_len()
    }

    /// The block of weights that a run is of, or the first of them.
    pub(crate) fn block(&self, run: usize) -> usize {
        run * self.run_len() / self.packing.block_len()
    }

    pub(crate) fn code(&self, row: usize, column: usize) -> i32 {
        self.packing.code(self.row(row), column)
    }

    /// The bytes from block number `block` of the activations on.
    pub(crate) fn block_of_x(&self, block: usize) -> &[u8] {
        &self.activations[block * self.kind.block_bytes..]
    }

    /// The integer of an activation.
    pub(crate) fn value(&self, column: usize) -> i32 {
        let (block, at) = place(column, self.kind.block_len);
        i32::from(self.block_of_x(block)[self.kind.values_at.unwrap_or_default() + at] as i8)
    }

    /// The sum of group number `group` of 16 activations, as it is stored.
    pub(crate) fn sum_of_16(&self, group: usize) -> i32 {
        let Some(Sums::Groups(at)) = self.kind.sums else { return 0 };
        let at = at + 2 * (group % 16);
        let block = self.block_of_x(group / 16);
        i32::from(i16::from_le_bytes([block[at], block[at + 1]]))
    }

    /// The scale of the activations of a run; 1 where there is none.
    pub(crate) fn scale_of_x(&self, run: usize) -> f32 {
        let block = self.block_of_x(run * self.run_len() / self.kind.block_len);
        match self.kind.scale {
            Some(_) if self.kind.name == "q8_k" => float(block),
            Some(_) => half(block),
            None => 1.0,
        }
    }

    /// The scale of the weights of a run.
    pub(crate) fn scale(&self, row: usize, run: usize) -> f32 {
        self.packing.scale(self.row(row), self.block(run))
    }

    /// Of `q2_k` the minima of the groups of a block, each times the sum of its activations.
    pub(crate) fn minima(&self, row: usize, block: usize, of_group: fn(&[u8], usize) -> u8) -> f32 {
        let bytes = self.packing.block(self.row(row), block);
        let group = |group| i32::from(of_group(bytes, group)) * self.sum_of_16(16 * block + group);
        (0..16).map(group).sum::<i32>() as f32
    }

    /// Of `q2_k` the same with its scales: what is taken off the product of a block.
    pub(crate) fn minimum(&self, row: usize, block: usize, of_group: fn(&[u8], usize) -> u8) -> f32 {
        let of_minima = half(&self.packing.block(self.row(row), block)[82..]);
        of_minima * self.scale_of_x(block) * self.minima(row, block, of_group)
    }
}

/// What a run of columns comes to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// The sum of integers.
    pub(crate) integer: i64,
    /// The scale of the weights.
    pub(crate) scale: f32,
    /// The scale of the activations.
    pub(crate) scale_of_x: f32,
    /// What is taken off afterwards.
    pub(crate) minimum: f32,
}

impl Run {
    /// What it adds to the row.
    pub(crate) fn scaled(&self) -> f32 {
        self.scale * self.scale_of_x * self.integer as f32 - self.minimum
    }
}

/// How a product is made, step by step.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    pub(crate) packing: Packing,
    pub(crate) kind: &'static Activations,
    /// The runs of a row that are added.
    pub(crate) runs: fn(&Operands<'_>) -> usize,
    /// The integer weight of a row and column.
    pub(crate) weight: fn(&Operands<'_>, usize, usize) -> i32,
    /// The integer activation of a column.
    pub(crate) value: fn(&Operands<'_>, usize) -> i32,
    /// The sum of products of weights and activations of run number N.
    pub(crate) integer: fn(&Operands<'_>, usize, &[(i32, i32)]) -> i64,
    /// The scale of the weights of a row and run.
    pub(crate) scale: fn(&Operands<'_>, usize, usize) -> f32,
    /// The scale of the activations of a run.
    pub(crate) scale_of_x: fn(&Operands<'_>, usize) -> f32,
    /// What is taken off a row and run afterwards.
    pub(crate) minimum: fn(&Operands<'_>, usize, usize) -> f32,
    /// The result of a row, by its runs.
    pub(crate) reduce: fn(&Operands<'_>, usize, &[Run]) -> f32,
}

/// Each step as it must be, for weights and activations that have scales.
const SCALED: Way = Way {
    packing: packing::Q4_0,
    kind: &Q8_0,
    runs: |operands| operands.runs(),
    weight: |operands, row, column| operands.code(row, column) - operands.packing.offset,
    value: |operands, column| operands.value(column),
    integer: |_, _, terms| sum(terms),
    scale: |operands, row, run| operands.scale(row, run),
    scale_of_x: |operands, run| operands.scale_of_x(run),
    minimum: |_, _, _| 0.0,
    reduce: |_, _, runs| runs.iter().fold(0.0, |sum, run| sum + run.scaled()),
};

/// The same for activations without a scale: one sum of integers, and one scale a row at most.
const UNSCALED: Way = Way {
    kind: &I8,
    reduce: |_, _, runs| {
        let total: i64 = runs.iter().map(|run| run.integer).sum();
        runs.first().map_or(0.0, |run| run.scale * total as f32)
    },
    ..SCALED
};

pub(crate) const Q4_0: Way = SCALED;
pub(crate) const Q2_0: Way = Way { packing: packing::Q2_0, ..SCALED };
pub(crate) const Q1_0: Way = Way { packing: packing::Q1_0, ..SCALED };
pub(crate) const TQ2_0: Way = Way { packing: packing::TQ2_0, kind: &Q8_K, ..SCALED };
pub(crate) const I2_S: Way = Way { packing: packing::I2_S, ..UNSCALED };
pub(crate) const IQ2_BN: Way = Way { packing: packing::IQ2_BN, ..UNSCALED };
pub(crate) const Q2_K: Way = Way {
    packing: packing::Q2_K,
    kind: &Q8_K,
    minimum: |operands, row, run| operands.minimum(row, run, |block, group| block[group] >> 4),
    ..SCALED
};

/// The sum of products.
pub(crate) fn sum(terms: &[(i32, i32)]) -> i64 {
    terms.iter().map(|&(weight, value)| i64::from(weight) * i64::from(value)).sum()
}

impl Way {
    pub(crate) fn product(self, arguments: Arguments<'_>) -> Outcome {
        self.product_after(arguments, |_| {})
    }

    /// The same, after some other deed.
    pub(crate) fn product_after(
        self,
        arguments: Arguments<'_>,
        deed: impl FnOnce(&mut Operands<'_>),
    ) -> Outcome {
        let Some(mut operands) = Operands::of(&self, arguments) else { return Outcome::Refused };
        deed(&mut operands);
        self.write(&mut operands);
        Outcome::Done
    }

    /// Writes every row.
    pub(crate) fn write(&self, operands: &mut Operands<'_>) {
        for row in 0..operands.rows {
            operands.y[row] = self.row(operands, row);
        }
    }

    /// The result of a row.
    pub(crate) fn row(&self, operands: &Operands<'_>, row: usize) -> f32 {
        let runs: Vec<Run> = (0..(self.runs)(operands)).map(|run| self.run(operands, row, run)).collect();
        (self.reduce)(operands, row, &runs)
    }

    fn run(&self, operands: &Operands<'_>, row: usize, run: usize) -> Run {
        let len = operands.run_len();
        let columns = run * len..(run + 1) * len;
        let term = |column| ((self.weight)(operands, row, column), (self.value)(operands, column));
        let terms: Vec<(i32, i32)> = columns.map(term).collect();
        Run {
            integer: (self.integer)(operands, run, &terms),
            scale: (self.scale)(operands, row, run),
            scale_of_x: (self.scale_of_x)(operands, run),
            minimum: (self.minimum)(operands, row, run),
        }
    }
}
