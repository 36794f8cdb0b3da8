//! Rows whose every partial sum is an integer that f32 holds, in any order: their sums are taken in integers, which is fast.

use super::{block_scales, weights};
use crate::inputs::Inputs;

/// The largest integer up to which f32 holds all.
const LARGEST: i64 = 1 << f32::MANTISSA_DIGITS;

/// The operands of a gemv, in integers.
pub(super) struct Integers<'a> {
    inputs: &'a Inputs,
    x: Vec<i64>,
    /// One a block of a row; empty where there are none.
    scales: Vec<i64>,
}

impl<'a> Integers<'a> {
    /// `None` where a partial sum might be rounded, in some order.
    ///
    /// Every x and scale must be an integer, and scales powers of two. With `u` the lowest bit of any x, and `s` and `t` the smallest and
    /// the largest scale, every term is a multiple of `u * s`; the largest weight times the sum of all |x| times `t` must be at most `2^24 * u * s`.
    pub(super) fn of(inputs: &'a Inputs) -> Option<Self> {
        let shape = inputs.shape;
        let integers = |values: &[f32]| {
            let is_integer = |&value: &f32| value as i32 as f32 == value && value.abs() <= LARGEST as f32;
            let are_all = values.iter().all(is_integer);
            are_all.then(|| values.iter().map(|&value| i64::from(value as i32)).collect::<Vec<i64>>())
        };
        let mut x = Vec::with_capacity(shape.batch * shape.cols);
        for vector in 0..shape.batch {
            x.extend(integers(inputs.vector(vector))?);
        }
        let mut scales = Vec::new();
        for of_row in (0..shape.rows).filter_map(|row| block_scales(inputs, row)) {
            scales.extend(integers(&of_row)?);
        }
        let is_power_of_two = |scale: &i64| scale.unsigned_abs().is_power_of_two();
        if !scales.iter().all(is_power_of_two) {
            return None;
        }
        // The zeros below the lowest bit of any; none where all are zero.
        let zeros = x.iter().fold(0, |all, x| all | x).trailing_zeros();
        let unit = if zeros == i64::BITS { 0 } else { zeros };
        let magnitudes = || scales.iter().map(|scale| scale.abs());
        let (least, most) = (magnitudes().min().unwrap_or(1), magnitudes().max().unwrap_or(1));
        // No weight is larger than that of the largest code.
        let values = shape.format.values().unwrap_or_default().iter();
        let largest = values.map(|value| value.unsigned_abs()).max().unwrap_or(0);
        let of_vector = |x: &[i64]| x.iter().map(|x| x.abs()).sum::<i64>();
        let total = x.chunks(shape.cols.max(1)).map(of_vector).max().unwrap_or(0);
        let absolute = i128::from(largest) * i128::from(total) * i128::from(most);
        let is_exact = absolute <= i128::from(LARGEST) * (1 << unit) * i128::from(least);
        (is_exact && absolute <= i128::from(i64::MAX)).then_some(Self { inputs, x, scales })
    }

    /// The weights of a row, times their scales.
    pub(super) fn row(&self, row: usize) -> Vec<i64> {
        let shape = self.inputs.shape;
        let mut scaled: Vec<i64> = weights(self.inputs, row).into_iter().map(i64::from).collect();
        let scales = self.scales.get(row * shape.blocks()..).unwrap_or_default();
        for (block, scale) in scaled.chunks_mut(shape.format.block_len).zip(scales) {
            block.iter_mut().for_each(|weight| *weight *= scale);
        }
        scaled
    }

    /// The sum of such weights times a vector: of at most 24 significant bits.
    pub(super) fn sum(&self, weights: &[i64], vector: usize) -> f32 {
        let cols = self.inputs.shape.cols;
        let x = &self.x[vector * cols..][..cols];
        x.iter().zip(weights).map(|(x, weight)| weight * x).sum::<i64>() as f32
    }
}

#[cfg(test)]
mod tests {
    use super::super::RowTruth;
    use super::super::row::{Row, Vector};
    use super::*;
    use crate::case::Case;
    use crate::data::Distribution;
    use crate::operation::Operation;

    /// How many cases of a distribution are summed in integers; each must be what the sum without any rounding says.
    fn summed(distribution: Distribution, cols: usize) -> usize {
        let cases = (0..40).flat_map(|seed| {
            [false, true].map(|scaled| Case {
                seed,
                distribution,
                scaled,
                ..Case::new(Operation::Gemv, 3, cols)
            })
        });
        let holds = |case: &Case| {
            let inputs = case.materialize(None).expect("the case has data");
            let Some(integers) = Integers::of(&inputs) else { return false };
            (0..3).for_each(|row| {
                let sum = integers.sum(&integers.row(row), 0);
                let truth =
                    Row::of(&inputs, row).times(&Vector::of(&inputs.x, inputs.shape.format.block_len));
                assert_eq!(truth, RowTruth::Exact(sum), "{case}, row {row}");
            });
            true
        };
        cases.filter(holds).count()
    }

    #[test]
    fn sums_of_integers_are_those_of_the_exact_sum_and_nothing_else_is_taken_for_integers() {
        for cols in [1, 2, 7, 256, 257, 700, 5000] {
            assert_eq!(summed(Distribution::Integer, cols), 80, "{cols} columns");
            Distribution::full().iter().for_each(|&distribution| {
                assert_eq!(summed(distribution, cols), 80, "{distribution:?} {cols}")
            });
            [Distribution::Ten, Distribution::Wide, Distribution::Subnormal, Distribution::Special]
                .into_iter()
                .for_each(|distribution| {
                    assert!(
                        summed(distribution, cols) <= usize::from(cols < 3) * 40,
                        "{distribution:?} {cols}"
                    );
                });
        }
        assert_eq!(summed(Distribution::Integer, 0), 80, "no columns");
    }
}
