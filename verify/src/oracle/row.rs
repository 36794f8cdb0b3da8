//! One row of a product in f32: its exact sum, and how far any order of summation can stray from it.

use std::borrow::Cow;

use super::exact::{ExactSum, Factors, is_power_of_two, lowest_bit, power_of_two};
use super::{FLAT_COLUMNS, FLAT_WEIGHT, OVERFLOW_GUARD, RowTruth, Spread, block_scales, weights};
use crate::inputs::Inputs;

/// A vector of activations, and what is known of each block of it.
pub(super) struct Vector<'a> {
    x: &'a [f32],
    /// Zero in the place of what is not finite.
    finite: Factors,
    is_finite: bool,
    blocks: Vec<Block>,
}

/// The finite activations of a block.
struct Block {
    magnitudes: Vec<f64>,
    largest: f64,
    nonzero: usize,
    /// The lowest bit of any.
    lowest: Option<i32>,
}

impl<'a> Vector<'a> {
    pub(super) fn of(x: &'a [f32], block_len: usize) -> Self {
        let finite: Vec<f64> = x.iter().map(|&x| if x.is_finite() { x.into() } else { 0.0 }).collect();
        let blocks = finite.chunks(block_len).map(Block::of).collect();
        Self { x, finite: Factors::of(finite), is_finite: x.iter().all(|x| x.is_finite()), blocks }
    }
}

impl Block {
    fn of(x: &[f64]) -> Self {
        let magnitudes: Vec<f64> = x.iter().map(|x| x.abs()).collect();
        let nonzero = || x.iter().filter(|&&x| x != 0.0);
        Self {
            largest: magnitudes.iter().copied().fold(0.0, f64::max),
            nonzero: nonzero().count(),
            lowest: nonzero().map(|&x| lowest_bit(x as f32)).min(),
            magnitudes,
        }
    }
}

/// One row of weights: the terms of its product with x are `weight(code) * x * scale`.
pub(super) struct Row<'a> {
    block_len: usize,
    /// One a column.
    weights: Vec<i8>,
    /// One a block; `None` stands for ones.
    scales: Option<Cow<'a, [f32]>>,
    /// The weights times their scales, if these are finite.
    scaled: Option<Factors>,
    flat: bool,
    /// Whether the product of a weight and an activation may be rounded.
    rounds_products: bool,
}

impl<'a> Row<'a> {
    pub(super) fn of(inputs: &'a Inputs, row: usize) -> Self {
        let format = inputs.shape.format;
        let (weights, scales) = (weights(inputs, row), block_scales(inputs, row));
        Self {
            block_len: format.block_len,
            scaled: scaled(&weights, scales.as_deref().unwrap_or_default(), format.block_len),
            weights,
            scales,
            flat: inputs.flat && inputs.shape.cols <= FLAT_COLUMNS && format.largest_weight() <= FLAT_WEIGHT,
            rounds_products: !format.has_exact_products(),
        }
    }

    /// What the product with a vector must be.
    pub(super) fn times(&self, vector: &Vector<'_>) -> RowTruth {
        let terms = Terms::of(self, vector);
        let Some(scaled) = self.scaled.as_ref().filter(|_| vector.is_finite) else {
            return self.special(vector.x, &terms);
        };
        if terms.overflow {
            return RowTruth::MayOverflow;
        }
        let exact = ExactSum::of_products(scaled, &vector.finite).value();
        if terms.order_is_free(self.rounds_products) {
            return RowTruth::Exact(exact.to_f32());
        }
        let spread = Spread {
            absolute: terms.absolute,
            columns: vector.x.len(),
            scaled: self.scales.is_some(),
            rounds_products: self.rounds_products,
            roundings: None,
            extra: 0.0,
        };
        RowTruth::Near { exact, spread, flat: self.flat }
    }

    fn scale(&self, block: usize) -> f32 {
        self.scales.as_ref().map_or(1.0, |scales| scales[block])
    }

    /// The demand of oracle 6 where some term is not finite; `finite` are the others.
    fn special(&self, x: &[f32], finite: &Terms) -> RowTruth {
        let scales = self.scales.as_deref().unwrap_or(&[]);
        let Special { nan, positive, negative } = self.special_products(x);
        // An infinite scale on a block sum gives an infinity even where its terms disagree in sign or vanish.
        let block_may_differ = scales.iter().any(|scale| scale.is_infinite());
        let certain_nan = x.iter().chain(scales).any(|value| value.is_nan());
        match (nan || (positive && negative), positive) {
            (true, _) if certain_nan || !block_may_differ => RowTruth::Nan,
            (true, _) => RowTruth::NotFinite,
            // Finite terms that overflow to the other infinity would make a NaN.
            (false, _) if finite.overflow => RowTruth::MayOverflow,
            (false, true) => RowTruth::Infinite(f32::INFINITY),
            (false, false) => RowTruth::Infinite(f32::NEG_INFINITY),
        }
    }

    fn special_products(&self, x: &[f32]) -> Special {
        let mut special = Special::default();
        for (column, (&x, &weight)) in x.iter().zip(&self.weights).enumerate() {
            let scale = self.scale(column / self.block_len);
            if !x.is_finite() || !scale.is_finite() {
                special.add(f32::from(weight) * x * scale);
            }
        }
        special
    }
}

/// Weights times the scales of their blocks, of which there may be none, if these are finite.
fn scaled(weights: &[i8], scales: &[f32], block_len: usize) -> Option<Factors> {
    if !scales.iter().all(|scale| scale.is_finite()) {
        return None;
    }
    let mut scaled: Vec<f64> = weights.iter().copied().map(f64::from).collect();
    for (block, &scale) in scaled.chunks_mut(block_len).zip(scales) {
        block.iter_mut().for_each(|weight| *weight *= f64::from(scale));
    }
    Some(Factors::of(scaled))
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

/// What is needed of the finite terms of a row to say how far any order of summation can stray.
#[derive(Default)]
struct Terms {
    /// Sum of |weight * x * scale|.
    absolute: f64,
    /// Whether an intermediate of some order of operations may leave the range of f32.
    overflow: bool,
    /// Terms that are not zero.
    nonzero: usize,
    /// The lowest bit of any x * scale.
    lowest: Option<i32>,
    /// Whether a block may lose something to rounding, in some order, before or after it is scaled.
    inexact_block: bool,
}

impl Terms {
    fn of(row: &Row<'_>, vector: &Vector<'_>) -> Self {
        let mut terms = Self::default();
        for (at, (block, weights)) in vector.blocks.iter().zip(row.weights.chunks(row.block_len)).enumerate()
        {
            let scale = row.scale(at);
            if scale.is_finite() {
                terms.add(weights, block, scale);
            }
        }
        terms.overflow |= terms.absolute > OVERFLOW_GUARD;
        terms
    }

    /// Takes a block into account. Its terms may be scaled one by one or as a sum.
    fn add(&mut self, weights: &[i8], block: &Block, scale: f32) {
        let terms = weights.iter().zip(&block.magnitudes);
        let absolute: f64 = terms.map(|(weight, x)| f64::from(weight.unsigned_abs()) * x).sum();
        let magnitude = f64::from(scale.abs());
        self.absolute += absolute * magnitude;
        // A weight of zero may meet a product that is infinite.
        let largest = block.largest.max(2.0) * magnitude;
        self.overflow |= largest.max(absolute).max(absolute * magnitude) > OVERFLOW_GUARD;
        if scale == 0.0 {
            return;
        }
        self.nonzero += block.nonzero;
        if let Some(lowest) = block.lowest {
            self.inexact_block |= absolute > 2_f64.powi(24) * power_of_two(lowest);
            self.inexact_block |= !is_power_of_two(scale);
            let scaled = lowest + lowest_bit(scale);
            self.lowest = Some(self.lowest.map_or(scaled, |lowest| lowest.min(scaled)));
        }
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
