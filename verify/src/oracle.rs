//! What a call must give: exact values, independent of every kernel.
//!
//! The oracle decodes the format for itself, from docs/format.md, and calls nothing of `qk256-kernels`.

mod exact;
mod fixed;
mod integers;
mod packed;
mod product;
mod quantize;
mod row;

pub use exact::{ExactSum, Wide};
pub use fixed::{FLAT_FIXED_COLUMNS, FLAT_FIXED_X, FLAT_FIXED_Y};
pub use packed::{PackedFault, PackedTruth, Part};
pub use quantize::{BlockTruth, Choice};

use std::borrow::Cow;

use crate::format::Scale;
use crate::inputs::Inputs;
use crate::operation::{Elements, Truth};
use crate::requirements::Rounding;
use crate::shape::Shape;
use exact::power_of_two;
use fixed::FixedPoint;
use integers::Integers;
use product::{Operand, Weights};
use row::{Row, Vector};

/// The unit roundoff of f32.
const UNIT_ROUNDOFF: f64 = 1.0 / (1 << 24) as f64;

/// What bounds are raised by: they are computed in f64, which rounds them.
const SLACK: f64 = 1.0 + 1e-6;

/// Sums of absolute terms above this may overflow in some order of operations.
const OVERFLOW_GUARD: f64 = f32::MAX as f64 / 4.0;

/// The flat bound of oracle 4.
pub const FLAT_BOUND: f64 = 1e-4;

/// Columns up to which the flat bound holds.
pub const FLAT_COLUMNS: usize = 2048;

/// The largest weight, before scales, with which it holds.
const FLAT_WEIGHT: u8 = 2;

/// What the outputs of a legal call must be.
#[derive(Clone, Debug)]
pub enum Expected {
    /// Bit-identical, any NaN for a NaN: codes (widened) or f32 bits.
    Bits(Vec<u32>),
    /// One demand for each row of a product.
    Rows(Vec<RowTruth>),
    /// One demand for each block of quantised values.
    Blocks(Vec<BlockTruth>),
    /// One demand for each block of quantised values whose scales are among its bytes.
    Packed(Vec<PackedTruth>),
}

impl Expected {
    /// Whether every output is known to the bit, in every order of summation.
    pub(crate) fn is_exact(&self) -> bool {
        let is_known = |row: &RowTruth| !matches!(row, RowTruth::Near { .. } | RowTruth::MayOverflow);
        match self {
            Self::Bits(_) | Self::Blocks(_) | Self::Packed(_) => true,
            Self::Rows(rows) => rows.iter().all(is_known),
        }
    }
}

/// What is demanded of one row of a product, by the strictest oracle that applies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RowTruth {
    /// Oracle 2: no order of summation rounds, so the result is this, zeros of either sign alike.
    Exact(f32),
    /// Oracle 6: NaN.
    Nan,
    /// Oracle 6: this infinity.
    Infinite(f32),
    /// Oracle 6, where an infinite scale meets terms of both signs or zero: NaN or an infinity, as the scale is applied to
    /// the terms or to the block.
    NotFinite,
    /// Oracle 4 and 5: near this value.
    Near {
        /// The exact sum.
        exact: Wide,
        /// Oracle 5: what bounds the error of a sum.
        spread: Spread,
        /// Whether oracle 4 applies too.
        flat: bool,
    },
    /// Some order of operations may overflow: nothing is demanded of the value.
    MayOverflow,
    /// Oracle 1: bit-identical, which implies the bounds: these are theorems, held beside the bits so
    /// that a wrong definition cannot pass for a right one.
    Fixed {
        /// The bits of the sum in fixed point.
        bits: u32,
        /// The exact sum, of x as it was before it was rounded.
        exact: Wide,
        /// Oracle 5: what rounding x and y may come to; infinite where y overflows.
        bound: f64,
        /// Whether oracle 4 applies too.
        flat: bool,
    },
}

/// What the error of an f32 sum of a row depends on, beside the order of its additions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The sum of |weight * x * scale|.
    pub absolute: f64,
    /// The number of terms.
    pub columns: usize,
    /// Whether terms, or sums of blocks, are multiplied by scales.
    pub scaled: bool,
    /// Whether the product of a weight and an activation may be rounded: not where weights are powers of two.
    pub rounds_products: bool,
    /// The roundings that a term goes through, where the order does not say.
    pub roundings: Option<usize>,
    /// What the result may be off beside what additions round: by activations that are rounded inside of the kernel, and by underflow.
    pub extra: f64,
}

impl Spread {
    /// Oracle 5: gamma_d times the sum of absolute terms with d the most additions that a term goes through, `depth` where that is
    /// known and otherwise the most possible; with scales two roundings more, of a product and of a block, and what products may
    /// lose to underflow (Higham, Accuracy and Stability of Numerical Algorithms, second edition, section 3.1 and equation 2.8).
    pub fn bound(&self, depth: Option<usize>) -> f64 {
        let of_order = || {
            let of_products = usize::from(self.rounds_products) + if self.scaled { 2 } else { 0 };
            depth.unwrap_or(self.columns) + of_products
        };
        let roundings = self.roundings.unwrap_or_else(of_order) as f64;
        let nu = roundings * UNIT_ROUNDOFF;
        let underflow =
            if self.scaled || self.rounds_products { self.columns as f64 * power_of_two(-149) } else { 0.0 };
        if nu >= 1.0 {
            return f64::INFINITY;
        }
        (nu / (1.0 - nu) * (self.absolute + underflow) + underflow + self.extra) * SLACK
    }
}

/// Computes what a call with these legal inputs must give.
///
/// # Panics
/// If the sizes are not legal.
pub fn expected(inputs: &Inputs) -> Expected {
    assert!(inputs.is_legal(), "only a legal call has a result");
    // Of a vector whose data repeat, one period.
    let outputs = if inputs.period > 0 { inputs.out_len.min(inputs.period) } else { inputs.out_len };
    let (shape, rows) = (inputs.shape, 0..inputs.shape.rows);
    match inputs.operation.spec().truth {
        Truth::Elements(element) => {
            let (format, packed) = (inputs.shape.format, inputs.packed.kept());
            let unpacked = if packed.is_empty() { Vec::new() } else { format.codes(packed, outputs) };
            let is_decoded = format.has_inner_scales() && !packed.is_empty();
            let decoded = if is_decoded { format.decode(packed, outputs) } else { Vec::new() };
            let elements = Elements {
                format,
                codes: if packed.is_empty() { &inputs.codes } else { &unpacked },
                scales: inputs.scales.as_deref().unwrap_or(&[]),
                decoded: &decoded,
            };
            Expected::Bits((0..outputs).map(|at| element(&elements, at)).collect())
        }
        Truth::Sums => Expected::Rows(sums(inputs)),
        Truth::Products => {
            let operand = Operand::quantized(inputs);
            Expected::Rows(rows.map(|row| Weights::of(inputs, row).times(&operand)).collect())
        }
        Truth::FixedSums => {
            let x = FixedPoint::of(&inputs.x[..shape.cols], inputs.digits);
            Expected::Rows(rows.map(|row| x.truth(&weights(inputs, row))).collect())
        }
        Truth::Quantized if shape.format.has_inner_scales() => {
            let blocks = inputs.x.chunks(shape.format.block_len);
            Expected::Packed(blocks.map(|values| PackedTruth::of(shape.format, values)).collect())
        }
        Truth::Quantized => {
            Expected::Blocks(inputs.x.chunks(shape.format.block_len).map(BlockTruth::of).collect())
        }
    }
}

/// What the results of a product in f32 must be: the rows of each vector in turn.
fn sums(inputs: &Inputs) -> Vec<RowTruth> {
    let (shape, rounding) = (inputs.shape, inputs.requirements.rounds_x);
    // The weights of a row are decoded once for all vectors.
    if shape.format.plain().is_none() || rounding != Rounding::None {
        let operands = (0..shape.batch).map(|vector| Operand::floats(inputs.vector(vector), rounding));
        let operands: Vec<Operand> = operands.collect();
        return by_vectors(shape, |row| Weights::of(inputs, row), |weights, at| weights.times(&operands[at]));
    }
    match Integers::of(inputs) {
        Some(integers) => by_vectors(
            shape,
            |row| integers.row(row),
            |weights, vector| RowTruth::Exact(integers.sum(weights, vector)),
        ),
        None => {
            let vectors = (0..shape.batch).map(|at| Vector::of(inputs.vector(at), shape.format.block_len));
            let vectors: Vec<Vector<'_>> = vectors.collect();
            by_vectors(shape, |row| Row::of(inputs, row), |row, at| row.times(&vectors[at]))
        }
    }
}

/// The demand for each row times each vector: the rows of each vector in turn.
fn by_vectors<R>(
    shape: Shape,
    row: impl Fn(usize) -> R,
    truth: impl Fn(&R, usize) -> RowTruth,
) -> Vec<RowTruth> {
    let mut truths = vec![RowTruth::MayOverflow; shape.results()];
    for at in 0..shape.rows {
        let row = row(at);
        let of_row = truths.iter_mut().skip(at).step_by(shape.rows);
        of_row.enumerate().for_each(|(vector, to)| *to = truth(&row, vector));
    }
    truths
}

/// The weights of a row before scales, one a column.
fn weights(inputs: &Inputs, row: usize) -> Vec<i8> {
    let shape = inputs.shape;
    let bytes = if shape.cols == 0 { &[] } else { inputs.packed.from_row(shape, row) };
    shape.format.weights(bytes, shape.cols)
}

/// The scales of the blocks of a row, if there are some, as f32, which holds all that formats store.
fn block_scales(inputs: &Inputs, row: usize) -> Option<Cow<'_, [f32]>> {
    let (shape, blocks) = (inputs.shape, inputs.shape.blocks());
    if let Some(scales) = &inputs.scales {
        let own = &scales[shape.format.separate_scales(row, blocks)];
        let is_one_for_all = shape.format.scale() == Scale::Tensor;
        return Some(if is_one_for_all { vec![own[0]; blocks].into() } else { own.into() });
    }
    if !shape.format.has_inner_scales() {
        return None;
    }
    if blocks == 0 {
        return Some(Cow::Borrowed(&[]));
    }
    let bytes = inputs.packed.from_row(shape, row);
    let places = shape.format.scale_places(shape.cols);
    let mut scales: Vec<f32> = places.iter().map(|&(at, number)| number.read(&bytes[at..]) as f32).collect();
    if matches!(shape.format.scale(), Scale::BeforeRow(_)) {
        scales = vec![scales[0]; blocks];
    }
    Some(Cow::Owned(scales))
}

/// The scales of all blocks of all rows, and 1 where there are none.
pub(crate) fn all_scales(inputs: &Inputs) -> Vec<f32> {
    let of_rows = (0..inputs.shape.rows).filter_map(|row| block_scales(inputs, row));
    let scales: Vec<f32> = of_rows.flat_map(Cow::into_owned).collect();
    if scales.is_empty() { vec![1.0] } else { scales }
}

/// The scales of a row; none where there are none. One for all elements is one.
pub(crate) fn scales(inputs: &Inputs, row: usize) -> Vec<f32> {
    let mut scales = block_scales(inputs, row).map_or(Vec::new(), Cow::into_owned);
    if inputs.shape.format.scale().is_of_rows() {
        scales.truncate(1);
    }
    scales
}

/// The codes of a row of a gemv, one a column.
pub(crate) fn codes(inputs: &Inputs, row: usize) -> Vec<u8> {
    let packed = inputs.packed.from_row(inputs.shape, row);
    inputs.shape.format.codes(packed, inputs.shape.cols)
}
