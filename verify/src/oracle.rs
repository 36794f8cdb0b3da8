//! What a call must give: exact values, independent of every kernel.
//!
//! The oracle decodes the format for itself, from docs/format.md, and calls nothing of `qk256-kernels`.

mod exact;
mod fixed;
mod integers;
mod quantize;

pub use exact::{ExactSum, Wide};
pub use fixed::{FLAT_FIXED_COLUMNS, FLAT_FIXED_X, FLAT_FIXED_Y};
pub use quantize::{BlockTruth, Choice};

use crate::inputs::Inputs;
use crate::operation::{Elements, Truth};
use exact::{is_power_of_two, lowest_bit, power_of_two};
use fixed::FixedPoint;
use integers::Integers;

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

/// What the outputs of a legal call must be.
#[derive(Clone, Debug)]
pub enum Expected {
    /// Bit-identical, any NaN for a NaN: codes (widened) or f32 bits.
    Bits(Vec<u32>),
    /// One demand for each row of a product.
    Rows(Vec<RowTruth>),
    /// One demand for each block of quantised values.
    Blocks(Vec<BlockTruth>),
}

impl Expected {
    /// Whether every output is known to the bit, in every order of summation.
    pub(crate) fn is_exact(&self) -> bool {
        let is_known = |row: &RowTruth| !matches!(row, RowTruth::Near { .. } | RowTruth::MayOverflow);
        match self {
            Self::Bits(_) | Self::Blocks(_) => true,
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
    /// Oracle 1: bit-identical. Whoever is, is within the bounds as well: these are theorems, held beside the bits so
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
}

impl Spread {
    /// Oracle 5: gamma_d times the sum of absolute terms with d the most additions that a term goes through, `depth` where that is
    /// known and otherwise the most possible; with scales two roundings more, of a product and of a block, and what products may
    /// lose to underflow (Higham, Accuracy and Stability of Numerical Algorithms, second edition, section 3.1 and equation 2.8).
    pub fn bound(&self, depth: Option<usize>) -> f64 {
        let roundings = depth.unwrap_or(self.columns) as f64 + if self.scaled { 2.0 } else { 0.0 };
        let nu = roundings * UNIT_ROUNDOFF;
        let underflow = if self.scaled { self.columns as f64 * power_of_two(-149) } else { 0.0 };
        if nu >= 1.0 {
            return f64::INFINITY;
        }
        (nu / (1.0 - nu) * (self.absolute + underflow) + underflow) * SLACK
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
    let rows = 0..inputs.shape.rows;
    match inputs.operation.spec().truth {
        Truth::Elements(element) => {
            let elements = Elements {
                format: inputs.shape.format,
                packed: inputs.packed.kept(),
                codes: &inputs.codes,
                scales: inputs.scales.as_deref().unwrap_or(&[]),
            };
            Expected::Bits((0..outputs).map(|at| element(&elements, at)).collect())
        }
        Truth::Sums => {
            let integers = Integers::of(inputs);
            let truth = |row| match &integers {
                Some(integers) => RowTruth::Exact(integers.sum(row)),
                None => Row::of(inputs, row).truth(),
            };
            Expected::Rows(rows.map(truth).collect())
        }
        Truth::FixedSums => {
            let x = FixedPoint::of(&inputs.x[..inputs.shape.cols], inputs.digits);
            Expected::Rows(rows.map(|row| x.truth(&Row::of(inputs, row).weights)).collect())
        }
        Truth::Quantized => {
            Expected::Blocks(inputs.x.chunks(inputs.shape.format.block_len).map(BlockTruth::of).collect())
        }
    }
}

/// The codes of a row of a gemv, one a column.
pub(crate) fn codes(inputs: &Inputs, row: usize) -> Vec<u8> {
    let packed = inputs.packed.from_row(inputs.shape, row);
    inputs.shape.format.codes(packed, inputs.shape.cols).collect()
}

/// One row of a gemv: its terms are `weight(code) * x * scale`.
struct Row<'a> {
    block_len: usize,
    /// One a column.
    weights: Vec<i8>,
    x: &'a [f32],
    /// One a block; `None` stands for ones.
    scales: Option<&'a [f32]>,
    flat: bool,
}

impl<'a> Row<'a> {
    fn of(inputs: &'a Inputs, row: usize) -> Self {
        let shape = inputs.shape;
        let blocks = shape.blocks();
        Self {
            block_len: shape.format.block_len,
            weights: shape.format.weights(inputs.packed.from_row(shape, row), shape.cols),
            x: &inputs.x[..shape.cols],
            scales: inputs.scales.as_deref().map(|scales| &scales[row * blocks..][..blocks]),
            flat: inputs.flat && shape.cols <= FLAT_COLUMNS,
        }
    }

    fn truth(&self) -> RowTruth {
        if let Some(special) = self.special() {
            return special;
        }
        let terms = Terms::of(self);
        if terms.overflow {
            RowTruth::MayOverflow
        } else if terms.order_is_free() {
            RowTruth::Exact(terms.sum.value().to_f32())
        } else {
            let exact = terms.sum.value();
            let (absolute, columns, scaled) = (terms.absolute, self.x.len(), self.scales.is_some());
            RowTruth::Near { exact, spread: Spread { absolute, columns, scaled }, flat: self.flat }
        }
    }

    fn scale(&self, column: usize) -> f32 {
        self.scales.map_or(1.0, |scales| scales[column / self.block_len])
    }

    /// The demand of oracle 6, if any term is not finite.
    fn special(&self) -> Option<RowTruth> {
        let scales = self.scales.unwrap_or(&[]);
        if self.x.iter().chain(scales).all(|value| value.is_finite()) {
            return None;
        }
        let (mut nan, mut positive, mut negative) = (false, false, false);
        let mut finite = Terms::default();
        for (column, &x) in self.x.iter().enumerate() {
            if column > 0 && column.is_multiple_of(self.block_len) {
                finite.close_block();
            }
            let (weight, scale) = (self.weights[column], self.scale(column));
            if x.is_finite() && scale.is_finite() {
                finite.add(weight, x, scale);
            } else {
                let product = f32::from(weight) * x * scale;
                nan |= product.is_nan();
                positive |= product == f32::INFINITY;
                negative |= product == f32::NEG_INFINITY;
            }
        }
        finite.close_block();
        // An infinite scale on a block sum gives an infinity even where its terms disagree in sign or vanish.
        let block_may_differ = scales.iter().any(|scale| scale.is_infinite());
        let certain_nan = self.x.iter().chain(scales).any(|value| value.is_nan());
        Some(match (nan || (positive && negative), positive) {
            (true, _) if certain_nan || !block_may_differ => RowTruth::Nan,
            (true, _) => RowTruth::NotFinite,
            // Finite terms that overflow to the other infinity would make a NaN.
            (false, _) if finite.overflow => RowTruth::MayOverflow,
            (false, true) => RowTruth::Infinite(f32::INFINITY),
            (false, false) => RowTruth::Infinite(f32::NEG_INFINITY),
        })
    }
}

/// The finite terms of a row, and what is needed to say how far any order of summation can stray.
#[derive(Default)]
struct Terms {
    sum: ExactSum,
    /// Sum of |weight * x * scale|.
    absolute: f64,
    /// Sum of |weight * x| in the present block, and its scale.
    block_absolute: f64,
    block_scale: f32,
    /// Whether an intermediate of some order of operations may leave the range of f32.
    overflow: bool,
    /// Terms that are not zero.
    nonzero: usize,
    /// The lowest bit of any x in the present block, of any x * scale, and the rounding that they leave.
    block_lowest: Option<i32>,
    lowest: Option<i32>,
    inexact_block: bool,
}

impl Terms {
    fn of(row: &Row<'_>) -> Self {
        let mut terms = Self::default();
        for (column, &x) in row.x.iter().enumerate() {
            if column > 0 && column.is_multiple_of(row.block_len) {
                terms.close_block();
            }
            terms.add(row.weights[column], x, row.scale(column));
        }
        terms.close_block();
        terms
    }

    fn add(&mut self, weight: i8, x: f32, scale: f32) {
        self.block_scale = scale;
        self.sum.add(weight, x, scale);
        let product = f64::from(weight.unsigned_abs()) * f64::from(x.abs());
        self.block_absolute += product;
        self.absolute += product * f64::from(scale.abs());
        self.nonzero += usize::from(x != 0.0 && scale != 0.0);
        if x != 0.0 {
            let lowest = lowest_bit(x);
            self.block_lowest = Some(self.block_lowest.map_or(lowest, |low| low.min(lowest)));
        }
    }

    /// Takes the finished block into account. Its terms may have been scaled one by one or as a sum.
    fn close_block(&mut self) {
        let scale = f64::from(self.block_scale.abs());
        let largest = self.block_absolute.max(self.block_absolute * scale).max(2.0 * scale);
        self.overflow |= largest > OVERFLOW_GUARD || self.absolute > OVERFLOW_GUARD;
        if let Some(low) = self.block_lowest.take().filter(|_| scale != 0.0) {
            self.inexact_block |= self.block_absolute > 2_f64.powi(24) * power_of_two(low);
            let scaled = low + lowest_bit(self.block_scale);
            self.inexact_block |= !is_power_of_two(self.block_scale);
            self.lowest = Some(self.lowest.map_or(scaled, |lowest| lowest.min(scaled)));
        }
        self.block_absolute = 0.0;
    }

    /// Oracle 2: whether every order of summation gives the exact sum, or there is nothing to order.
    fn order_is_free(&self) -> bool {
        let Some(lowest) = self.lowest else { return true };
        let integers = !self.inexact_block && self.absolute <= 2_f64.powi(24) * power_of_two(lowest);
        // One term: weight times x and weight times scale are exact, so there is one rounding, in any order. It must not
        // happen among subnormals, where it could happen twice.
        let single = self.nonzero == 1 && self.absolute >= 4.0 * f64::from(f32::MIN_POSITIVE);
        (integers && lowest >= -149) || single
    }
}
