//! Kernels of `gemv_fixed` that are wrong in one way each, and an unusual one that is right.

use qk256_verify::operation::{Buffer, Operation, Shape};
use qk256_verify::{Arguments, Outcome, Rung};

use crate::Row;

/// The arguments of a legal call.
struct Fixed<'a> {
    packed: &'a [u8],
    /// `cols` of them.
    x: &'a [f32],
    /// All that were given.
    whole_x: &'a [f32],
    digits: usize,
    y: &'a mut [f32],
    shape: Shape,
}

impl<'a> Fixed<'a> {
    /// `None` for wrong sizes.
    fn of(arguments: Arguments<'a>) -> Option<Self> {
        let Arguments::GemvFixed { packed, x, digits, y, rows, cols, row_stride } = arguments else {
            unreachable!("a kernel of gemv_fixed is called with its arguments")
        };
        let shape = Shape { rows, cols, row_stride };
        let needed = |buffer| shape.needed(Operation::GemvFixed, buffer);
        let legal = shape.stride_is_legal()
            && packed.len() as u128 >= needed(Buffer::Packed)
            && x.len() as u128 >= needed(Buffer::X)
            && y.len() as u128 >= needed(Buffer::Out);
        legal.then(|| Self { packed, x: &x[..cols], whole_x: x, digits, y, shape })
    }

    fn weight(&self, row: usize, column: usize) -> i64 {
        let code = self.packed[row * self.shape.row_stride + column / 4] >> (2 * (column % 4)) & 3;
        [-2, -1, 1, 2][usize::from(code)]
    }
}

/// How a kernel goes about it.
#[derive(Clone, Copy)]
struct Way {
    /// Digits used, of those asked for.
    digits: fn(usize) -> usize,
    /// The elements that decide on the exponent.
    scaled_by: for<'a> fn(&Fixed<'a>) -> &'a [f32],
    /// What is added to the exponent.
    step: i32,
    refuses: fn(f32) -> bool,
    round: fn(f64) -> f64,
    /// The sum of weights times integers, by these and the sum of the row before.
    sum: fn(&[(i64, i64)], i64) -> i64,
    value: fn(i64, f64) -> f32,
}

/// The way of docs/format.md.
const RIGHT_WAY: Way = Way {
    digits: |digits| digits,
    scaled_by: |fixed| fixed.x,
    step: 0,
    refuses: |x| !x.is_finite(),
    round: f64::round_ties_even,
    sum: |terms, _| terms.iter().map(|(weight, integer)| weight * integer).sum(),
    value: |sum, unit| (sum as f32 + 0.0) * unit as f32,
};

impl Way {
    fn product(self, arguments: Arguments<'_>) -> Outcome {
        let Some(fixed) = Fixed::of(arguments) else { return Outcome::Refused };
        if fixed.x.iter().any(|&x| (self.refuses)(x)) {
            return Outcome::Refused;
        }
        let largest = 127 * (256_i64.pow((self.digits)(fixed.digits) as u32) - 1) / 255;
        let max = (self.scaled_by)(&fixed).iter().fold(0.0_f32, |max, x| max.max(x.abs()));
        let fits = |&e: &i32| f64::from(max) <= largest as f64 * 2_f64.powi(e);
        let Some(exponent) = (-149..128).find(fits) else { return Outcome::Refused };
        let unit = 2_f64.powi(exponent + self.step);
        let integer = |x: &f32| (self.round)(f64::from(*x) / unit) as i64;
        let integers: Vec<i64> = fixed.x.iter().map(integer).collect();
        let mut last = 0;
        for row in 0..fixed.shape.rows {
            let term = |(column, &integer)| (fixed.weight(row, column), integer);
            let terms: Vec<_> = integers.iter().enumerate().map(term).collect();
            last = (self.sum)(&terms, last);
            fixed.y[row] = (self.value)(last, unit);
        }
        Outcome::Done
    }
}

/// A sum in which the lowest digits are added up in 16 bits over 2048 columns, as instructions for bytes do it: in 16
/// lanes, from weights raised by two.
fn narrow(terms: &[(i64, i64)], add: fn(i16, i16) -> i16) -> i64 {
    let mut sum = 0;
    for terms in terms.chunks(2048) {
        let mut lanes = [0_i16; 16];
        for (column, (weight, integer)) in terms.iter().enumerate() {
            let (low, lane) = (*integer as i8, &mut lanes[column % 128 / 8]);
            *lane = add(*lane, (weight + 2) as i16 * i16::from(low));
            sum += weight * (integer - i64::from(low)) - 2 * i64::from(low);
        }
        sum += lanes.iter().map(|&lane| i64::from(lane)).sum::<i64>();
    }
    sum
}

pub(crate) const WRONG: &[Row] = &[
    (Rung::BitExact, "a digit short", Operation::GemvFixed, |arguments| {
        Way { digits: |digits| digits.max(2) - 1, ..RIGHT_WAY }.product(arguments)
    }),
    (Rung::BitExact, "ties away from zero", Operation::GemvFixed, |arguments| {
        Way { round: f64::round, ..RIGHT_WAY }.product(arguments)
    }),
    (Rung::BitExact, "cut instead of rounded", Operation::GemvFixed, |arguments| {
        Way { round: f64::trunc, ..RIGHT_WAY }.product(arguments)
    }),
    (Rung::BitExact, "the exponent is one too large", Operation::GemvFixed, |arguments| {
        Way { step: 1, ..RIGHT_WAY }.product(arguments)
    }),
    (Rung::BitExact, "16-bit sums that saturate", Operation::GemvFixed, |arguments| {
        Way { sum: |terms, _| narrow(terms, i16::saturating_add), ..RIGHT_WAY }.product(arguments)
    }),
    (Rung::BitExact, "16-bit sums that wrap", Operation::GemvFixed, |arguments| {
        Way { sum: |terms, _| narrow(terms, i16::wrapping_add), ..RIGHT_WAY }.product(arguments)
    }),
    (Rung::BitExact, "rounded in two parts", Operation::GemvFixed, |arguments| {
        let value = |sum: i64, unit: f64| {
            let high = sum >> 8 << 8;
            (high as f32 + (sum - high) as f32) * unit as f32
        };
        Way { value, ..RIGHT_WAY }.product(arguments)
    }),
    (Rung::BitExact, "a negative zero", Operation::GemvFixed, |arguments| {
        let value = |sum: i64, unit: f64| if sum == 0 { -0.0 } else { sum as f32 * unit as f32 };
        Way { value, ..RIGHT_WAY }.product(arguments)
    }),
    (Rung::BitExact, "the last of 128 columns and one dropped", Operation::GemvFixed, |arguments| {
        let sum = |terms: &[(i64, i64)], _| {
            let kept = terms.len() - usize::from(terms.len() % 128 == 1);
            terms[..kept].iter().map(|(weight, integer)| weight * integer).sum()
        };
        Way { sum, ..RIGHT_WAY }.product(arguments)
    }),
    (Rung::Flat, "three digits where four are asked for", Operation::GemvFixed, |arguments| {
        Way { digits: |digits| digits.min(3), ..RIGHT_WAY }.product(arguments)
    }),
    (Rung::Bound, "three digits where four are asked for", Operation::GemvFixed, |arguments| {
        Way { digits: |digits| digits.min(3), ..RIGHT_WAY }.product(arguments)
    }),
    (Rung::Bound, "one digit always", Operation::GemvFixed, |arguments| {
        Way { digits: |_| 1, ..RIGHT_WAY }.product(arguments)
    }),
    (Rung::Sizes, "NaN taken for zero", Operation::GemvFixed, |arguments| {
        Way { refuses: f32::is_infinite, ..RIGHT_WAY }.product(arguments)
    }),
    (Rung::Sizes, "infinities clamped", Operation::GemvFixed, |arguments| {
        Way { refuses: f32::is_nan, scaled_by: |_| &[f32::MAX], ..RIGHT_WAY }.product(arguments)
    }),
    (Rung::Sizes, "subnormal x refused", Operation::GemvFixed, |arguments| {
        Way { refuses: |x| !x.is_finite() || x.is_subnormal(), ..RIGHT_WAY }.product(arguments)
    }),
    (Rung::RowOrder, "sums that start from those of the row before", Operation::GemvFixed, |arguments| {
        let sum = |terms: &[(i64, i64)], last| {
            terms.iter().fold(last, |sum, (weight, integer)| sum + weight * integer)
        };
        Way { sum, ..RIGHT_WAY }.product(arguments)
    }),
    (Rung::Padding, "an exponent for spare x as well", Operation::GemvFixed, |arguments| {
        Way { scaled_by: |fixed| fixed.whole_x, ..RIGHT_WAY }.product(arguments)
    }),
    (Rung::Complement, "a sum that is cut, not rounded", Operation::GemvFixed, |arguments| {
        // Below, not towards zero.
        let value = |sum: i64, unit: f64| {
            let near = sum as f32;
            let below = if f64::from(near) > sum as f64 { near.next_down() } else { near };
            below * unit as f32
        };
        Way { value, ..RIGHT_WAY }.product(arguments)
    }),
];

pub(crate) const RIGHT: &[Row] = &[
    (Rung::BitExact, "as defined", Operation::GemvFixed, |arguments| RIGHT_WAY.product(arguments)),
    (Rung::BitExact, "last column first, in 128 bits", Operation::GemvFixed, |arguments| {
        let sum = |terms: &[(i64, i64)], _| {
            let product = |(weight, integer): &(i64, i64)| i128::from(*weight) * i128::from(*integer);
            terms.iter().rev().map(product).sum::<i128>() as i64
        };
        Way { sum, ..RIGHT_WAY }.product(arguments)
    }),
];
