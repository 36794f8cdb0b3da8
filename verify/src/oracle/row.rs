//! One row of a product in f32: its exact sum, and how far any order of summation can stray from it.

use super::exact::{ExactSum, is_power_of_two, lowest_bit, power_of_two};
use std::borrow::Cow;

use super::{FLAT_COLUMNS, FLAT_WEIGHT, OVERFLOW_GUARD, RowTruth, Spread, block_scales};
use crate::inputs::Inputs;

/// One row of weights: the terms of its product with x are `weight(code) * x * scale`.
pub(super) struct Row<'a> {
    block_len: usize,
    /// One a column.
    pub(super) weights: Vec<i8>,
    /// One a block; `None` stands for ones.
    scales: Option<Cow<'a, [f32]>>,
    flat: bool,
    /// Whether the product of a weight and an activation may be rounded.
    rounds_products: bool,
}

impl<'a> Row<'a> {
    pub(super) fn of(inputs: &'a Inputs, row: usize) -> Self {
        let shape = inputs.shape;
        let bytes = if shape.cols == 0 { &[] } else { inputs.packed.from_row(shape, row) };
        Self {
            block_len: shape.format.block_len,
            weights: shape.format.weights(bytes, shape.cols),
            scales: block_scales(inputs, row),
            flat: inputs.flat && shape.cols <= FLAT_COLUMNS && shape.format.largest_weight() <= FLAT_WEIGHT,
            rounds_products: !shape.format.has_exact_products(),
        }
    }

    /// What the product with a vector must be.
    pub(super) fn times(&self, x: &[f32]) -> RowTruth {
        if let Some(special) = self.special(x) {
            return special;
        }
        let terms = Terms::of(self, x);
        if terms.overflow {
            RowTruth::MayOverflow
        } else if terms.order_is_free(self.rounds_products) {
            RowTruth::Exact(terms.sum.value().to_f32())
        } else {
            let exact = terms.sum.value();
            let (absolute, columns, scaled) = (terms.absolute, x.len(), self.scales.is_some());
            RowTruth::Near {
                exact,
                spread: Spread {
                    absolute,
                    columns,
                    scaled,
                    rounds_products: self.rounds_products,
                    roundings: None,
                    extra: 0.0,
                },
                flat: self.flat,
            }
        }
    }

    fn scale(&self, column: usize) -> f32 {
        self.scales.as_ref().map_or(1.0, |scales| scales[column / self.block_len])
    }

    /// The demand of oracle 6, if any term is not finite.
    fn special(&self, x: &[f32]) -> Option<RowTruth> {
        let scales = self.scales.as_deref().unwrap_or(&[]);
        if x.iter().chain(scales).all(|value| value.is_finite()) {
            return None;
        }
        let (finite, Special { nan, positive, negative }) = self.terms_apart(x);
        // An infinite scale on a block sum gives an infinity even where its terms disagree in sign or vanish.
        let block_may_differ = scales.iter().any(|scale| scale.is_infinite());
        let certain_nan = x.iter().chain(scales).any(|value| value.is_nan());
        Some(match (nan || (positive && negative), positive) {
            (true, _) if certain_nan || !block_may_differ => RowTruth::Nan,
            (true, _) => RowTruth::NotFinite,
            // Finite terms that overflow to the other infinity would make a NaN.
            (false, _) if finite.overflow => RowTruth::MayOverflow,
            (false, true) => RowTruth::Infinite(f32::INFINITY),
            (false, false) => RowTruth::Infinite(f32::NEG_INFINITY),
        })
    }

    /// The finite terms, and what the others are.
    fn terms_apart(&self, x: &[f32]) -> (Terms, Special) {
        let (mut finite, mut special) = (Terms::default(), Special::default());
        for (column, &x) in x.iter().enumerate() {
            if column > 0 && column.is_multiple_of(self.block_len) {
                finite.close_block();
            }
            let (weight, scale) = (self.weights[column], self.scale(column));
            if x.is_finite() && scale.is_finite() {
                finite.add(weight, x, scale);
            } else {
                special.add(f32::from(weight) * x * scale);
            }
        }
        finite.close_block();
        (finite, special)
    }
}

/// Which products there are that are not finite.
#[derive(Default)]
struct Special {
    nan: bool,
    positive: bool,
    negative: bool,
}

impl Special {
    fn add(&mut self, product: f32) {
        self.nan |= product.is_nan();
        self.positive |= product == f32::INFINITY;
        self.negative |= product == f32::NEG_INFINITY;
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
    fn of(row: &Row<'_>, x: &[f32]) -> Self {
        let mut terms = Self::default();
        for (column, &x) in x.iter().enumerate() {
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
        // A weight of zero may meet a product that is infinite.
        self.overflow |= f64::from(x.abs()) * f64::from(scale.abs()) > OVERFLOW_GUARD;
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
        let lowest = self.block_lowest.take();
        if let Some(lowest) = lowest.filter(|_| scale != 0.0) {
            self.take_lowest(lowest);
        }
        self.block_absolute = 0.0;
    }

    /// Notes what a block whose lowest bit is `lowest` may lose to rounding, in some order, before and after it is scaled.
    fn take_lowest(&mut self, lowest: i32) {
        self.inexact_block |= self.block_absolute > 2_f64.powi(24) * power_of_two(lowest);
        self.inexact_block |= !is_power_of_two(self.block_scale);
        let scaled = lowest + lowest_bit(self.block_scale);
        self.lowest = Some(self.lowest.map_or(scaled, |lowest| lowest.min(scaled)));
    }

    /// Oracle 2: whether every order of summation gives the exact sum, or there is nothing to order.
    fn order_is_free(&self, rounds_products: bool) -> bool {
        let Some(lowest) = self.lowest else { return true };
        let integers = !self.inexact_block && self.absolute <= 2_f64.powi(24) * power_of_two(lowest);
        // One term: weight times x and weight times scale are exact, so there is one rounding, in any order. It must not
        // happen among subnormals, where it could happen twice.
        let single =
            !rounds_products && self.nonzero == 1 && self.absolute >= 4.0 * f64::from(f32::MIN_POSITIVE);
        (integers && lowest >= -149) || single
    }
}
