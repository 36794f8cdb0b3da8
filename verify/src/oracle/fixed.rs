//! `gemv_fixed` as docs/format.md defines it, and how far that is from the exact sum.

use super::exact::{ExactSum, Wide, power_of_two, split};
use super::{RowTruth, SLACK};

/// Columns up to which four digits keep the flat bound of oracle 4, with [`FLAT_FIXED_X`] and [`FLAT_FIXED_Y`].
pub const FLAT_FIXED_COLUMNS: usize = 4096;

/// The largest activation, in magnitude, for which they do.
pub const FLAT_FIXED_X: f32 = 10.0;

/// The largest exact sum, in magnitude, for which they do: beyond, the neighbours of an f32 are too far away.
pub const FLAT_FIXED_Y: f64 = 1024.0;

/// The digits of which the flat bound is asked.
const FLAT_DIGITS: u8 = 4;

/// The exponent of the smallest f32. Nothing is rounded at it.
const SMALLEST_EXPONENT: i32 = -149;

/// Finite activations, and the integers that they are rounded to: `integer * 2^exponent`.
pub(super) struct FixedPoint<'a> {
    x: &'a [f32],
    integers: Vec<i64>,
    exponent: i32,
    /// Integers whose products with 2 to an exponent are x as it was, where there are small ones.
    unrounded: Option<(Vec<i64>, i32)>,
    flat: bool,
}

impl<'a> FixedPoint<'a> {
    pub(super) fn of(x: &'a [f32], digits: u8) -> Self {
        let max = x.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
        let largest = 127 * (256_i64.pow(digits.into()) - 1) / 255;
        let fits = |&e: &i32| f64::from(max) <= largest as f64 * power_of_two(e);
        let exponent = (SMALLEST_EXPONENT..).find(fits).expect("some power of two is above every f32");
        let integer = |&x: &f32| (f64::from(x) * power_of_two(-exponent)).round_ties_even() as i64;
        let flat = digits == FLAT_DIGITS && max <= FLAT_FIXED_X && x.len() <= FLAT_FIXED_COLUMNS;
        let integers: Vec<i64> = x.iter().map(integer).collect();
        let is_same = |(&x, &integer): (&f32, &i64)| integer as f64 * power_of_two(exponent) == f64::from(x);
        let is_integer = |&x: &f32| x as i32 as f32 == x;
        let unrounded = if x.iter().zip(&integers).all(is_same) {
            Some((integers.clone(), exponent))
        } else {
            x.iter().all(is_integer).then(|| (x.iter().map(|&x| x as i64).collect(), 0))
        };
        Self { x, integers, exponent, unrounded, flat }
    }

    /// What the product with a row of these weights must be.
    pub(super) fn truth(&self, weights: &[i8]) -> RowTruth {
        let sum_of = |integers: &[i64]| -> i64 {
            integers.iter().zip(weights).map(|(integer, &weight)| i64::from(weight) * integer).sum()
        };
        let sum = sum_of(&self.integers);
        let y = round_once(sum, self.exponent);
        let whole = self.unrounded.as_ref().map(|(integers, exponent)| (sum_of(integers), *exponent));
        let exact =
            if let Some((sum, exponent)) = whole.filter(|(sum, _)| sum.abs() < 1 << f64::MANTISSA_DIGITS) {
                Wide { high: sum as f64 * power_of_two(exponent), low: 0.0 }
            } else {
                let mut exact = ExactSum::default();
                self.x.iter().zip(weights).for_each(|(&x, &weight)| exact.add(weight, x, 1.0));
                exact.value()
            };
        let flat = self.flat && exact.high.abs() <= FLAT_FIXED_Y;
        RowTruth::Fixed { bits: y.to_bits(), exact, bound: self.bound(y), flat }
    }

    /// Oracle 5: a weight of 2 doubles what rounding takes from an activation, half of `2^exponent` at most; and then y is
    /// rounded.
    fn bound(&self, y: f32) -> f64 {
        if y.is_infinite() {
            return f64::INFINITY;
        }
        let of_x = match self.exponent {
            SMALLEST_EXPONENT => 0.0,
            exponent => self.x.len() as f64 * power_of_two(exponent),
        };
        let (_, last_place) = split(y);
        (of_x + power_of_two(last_place - 1)) * SLACK
    }
}

/// The f32 nearest to `sum * 2^exponent`, ties to even. An exponent of -149 or more.
fn round_once(sum: i64, exponent: i32) -> f32 {
    let magnitude = sum.unsigned_abs();
    // Bits that a significand has no room for. Among the subnormals there are none, as all f32 are multiples of 2^-149.
    let extra = (u64::BITS - magnitude.leading_zeros()).saturating_sub(f32::MANTISSA_DIGITS);
    let (kept, step) = (magnitude >> extra, 1 << extra);
    let twice_the_rest = 2 * (magnitude % step);
    let up = twice_the_rest > step || (twice_the_rest == step && kept % 2 == 1);
    // Exact, but for what is beyond the largest f32 and becomes infinite.
    let value = ((kept + u64::from(up)) * step) as f64 * power_of_two(exponent);
    (value * sum.signum() as f64) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_the_nearest_that_the_digits_hold() {
        for (digits, x, exponent, integers) in [
            (1, &[127.0, 0.5, 1.5, -2.5][..], 0, &[127, 0, 2, -2][..]),
            (1, &[127.5, 1.0, 3.0, -5.0], 1, &[64, 0, 2, -2]),
            (1, &[-254.0, 3.0], 1, &[-127, 2]),
            (2, &[1.0], -14, &[1 << 14]),
            (4, &[f32::from_bits(1), -f32::from_bits(0x7f_ffff)], -149, &[1, -0x7f_ffff]),
            (1, &[f32::from_bits(127)], -149, &[127]),
            (1, &[f32::from_bits(128)], -148, &[64]),
            (1, &[f32::MAX], 122, &[64]),
            (4, &[0.0, -0.0], -149, &[0, 0]),
            (3, &[], -149, &[]),
        ] {
            let fixed = FixedPoint::of(x, digits);
            assert_eq!(
                (fixed.exponent, &fixed.integers[..]),
                (exponent, integers),
                "{digits} digits of {x:?}"
            );
        }
    }

    #[test]
    fn a_sum_is_rounded_once_to_the_nearest_f32() {
        for (sum, exponent, expected) in [
            (0, 5, 0.0),
            (-3, -1, -1.5),
            ((1 << 24) + 1, 0, 16_777_216.0),
            ((1 << 24) + 3, 0, 16_777_220.0),
            (-(1 << 25) - 3, -149, f32::from_bits(0x0180_0001).copysign(-1.0)),
            ((1 << 30) + 65, 0, 1_073_741_952.0),
            (1, -149, f32::from_bits(1)),
            (0x00ff_ffff, 104, f32::MAX),
            (0x01ff_ffff, 103, f32::INFINITY),
            (0x03ff_fffd, 102, f32::MAX),
            (-127, 122, f32::NEG_INFINITY),
        ] {
            assert_eq!(round_once(sum, exponent).to_bits(), expected.to_bits(), "{sum} * 2^{exponent}");
        }
    }

    #[test]
    fn rows_are_demanded_bit_for_bit_and_within_the_error_of_rounding_x_and_y() {
        // 126.5 and 0.5 are ties: off by a half each, doubled by weights of 2.
        let x = FixedPoint::of(&[126.5, 0.5, -3.0], 1);
        let RowTruth::Fixed { bits, exact, bound, flat } = x.truth(&[2, 2, -1]) else {
            panic!("a row in fixed point")
        };
        assert_eq!((f32::from_bits(bits), exact.high, flat), (255.0, 257.0, false));
        assert_eq!(bound, (3.0 + 2_f64.powi(-17)) * SLACK);
    }

    /// The path that adds in integers, with x rounded and not, and the one that adds without any rounding.
    #[test]
    fn the_exact_sum_is_that_of_x_as_it_was_whichever_way_it_is_taken() {
        for (digits, x, exact) in [
            (4, &[126.5, 0.25, -3.0][..], 256.5),
            (1, &[1000.0, 3.0, -5.0], 2011.0),
            (1, &[1000.5, 3.0, -5.0], 2012.0),
            (2, &[1e30, 1.0, -1.0], 2e30_f32.into()),
        ] {
            let truth = FixedPoint::of(x, digits).truth(&[2, 2, -1]);
            let RowTruth::Fixed { exact: sum, .. } = truth else { panic!("a row in fixed point") };
            assert_eq!(sum.high as f32, (exact + 0.0_f64) as f32, "{digits} digits of {x:?}");
        }
    }

    #[test]
    fn the_flat_bound_is_asked_where_the_error_cannot_exceed_it() {
        for (digits, columns, value, flat) in [
            (4, 4096, 0.25, true),
            (4, 4096, 0.2500001, false),
            (3, 4096, 0.25, false),
            (4, 4097, 0.125, false),
            (4, 102, 10.0, true),
            (4, 100, 10.000001, false),
        ] {
            let x = vec![value; columns];
            let truth = FixedPoint::of(&x, digits).truth(&vec![1; columns]);
            let RowTruth::Fixed { bound, flat: asked, .. } = truth else { panic!("a row in fixed point") };
            assert_eq!(asked, flat, "{digits} digits, {columns} columns of {value}");
            assert!(!asked || bound < super::super::FLAT_BOUND, "{bound:e}");
        }
    }
}
