//! A product in fixed point, in pieces that can be replaced one at a time.

use qk256_verify::operation::{DIGITS, MAX_FIXED_COLUMNS};
use qk256_verify::{Arguments, Outcome};

use super::Product;

/// The arguments of a legal call.
pub(crate) struct Fixed<'a> {
    pub(crate) product: Product<'a>,
    pub(crate) digits: usize,
}

impl<'a> Fixed<'a> {
    /// `None` for wrong sizes.
    fn of(arguments: Arguments<'a>, way: &Way) -> Option<Self> {
        let digits = arguments.digits;
        let product = Product::of(arguments)?;
        (product.cols <= way.most_columns && (way.takes_digits)(digits)).then_some(Self { product, digits })
    }

    /// The `cols` elements of x that matter.
    pub(crate) fn x(&self) -> &'a [f32] {
        &self.product.x[..self.product.cols]
    }
}

/// How a kernel goes about it.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    pub(crate) most_columns: usize,
    pub(crate) takes_digits: fn(usize) -> bool,
    /// Digits used, of those asked for.
    pub(crate) digits: fn(usize) -> usize,
    /// The elements that decide on the exponent.
    pub(crate) scaled_by: for<'a> fn(&'a Fixed<'_>) -> &'a [f32],
    /// The exponent that is used in the place of the right one.
    pub(crate) exponent: fn(&Fixed<'_>, i32) -> i32,
    pub(crate) refuses: fn(f32) -> bool,
    pub(crate) round: fn(&Fixed<'_>, f64) -> f64,
    /// The weight of a row and column.
    pub(crate) weight: fn(&Product<'_>, usize, usize) -> f32,
    /// The sum of weights times integers, by these and the sum of the row before.
    pub(crate) sum: fn(&[(i64, i64)], i64) -> i64,
    pub(crate) value: fn(i64, f64) -> f32,
}

/// The way of docs/format.md.
pub(crate) const RIGHT_WAY: Way = Way {
    most_columns: MAX_FIXED_COLUMNS,
    takes_digits: |digits| (usize::from(*DIGITS.start())..=usize::from(*DIGITS.end())).contains(&digits),
    digits: |digits| digits,
    scaled_by: |fixed| fixed.x(),
    exponent: |_, exponent| exponent,
    refuses: |x| !x.is_finite(),
    round: |_, x| x.round_ties_even(),
    weight: |product, row, column| product.weight(row, column),
    sum: |terms, _| terms.iter().map(|(weight, integer)| weight * integer).sum(),
    value: |sum, unit| (sum as f32 + 0.0) * unit as f32,
};

impl Way {
    pub(crate) fn product(&self, arguments: Arguments<'_>) -> Outcome {
        let Some(fixed) = Fixed::of(arguments, self) else { return Outcome::Refused };
        if fixed.x().iter().any(|&x| (self.refuses)(x)) {
            return Outcome::Refused;
        }
        let Some(unit) = self.unit(&fixed) else { return Outcome::Refused };
        let integer = |x: &f32| (self.round)(&fixed, f64::from(*x) / unit) as i64;
        let integers: Vec<i64> = fixed.x().iter().map(integer).collect();
        let mut last = 0;
        for row in 0..fixed.product.rows {
            let term = |(column, &integer)| ((self.weight)(&fixed.product, row, column) as i64, integer);
            let terms: Vec<_> = integers.iter().enumerate().map(term).collect();
            last = (self.sum)(&terms, last);
            fixed.product.y[row] = (self.value)(last, unit);
        }
        Outcome::Done
    }

    /// The power of two that integers are multiples of.
    fn unit(&self, fixed: &Fixed<'_>) -> Option<f64> {
        let largest = 127 * (256_i64.pow((self.digits)(fixed.digits) as u32) - 1) / 255;
        let max = (self.scaled_by)(fixed).iter().fold(0.0_f32, |max, x| max.max(x.abs()));
        let fits = |&e: &i32| f64::from(max) <= largest as f64 * 2_f64.powi(e);
        let exponent = (-149..128).find(fits)?;
        Some(2_f64.powi((self.exponent)(fixed, exponent)))
    }
}

/// A sum in which the lowest digits are added up in 16 bits over 2048 columns, as instructions for bytes do it: in 16
/// lanes, from weights raised by two.
pub(crate) fn narrow(terms: &[(i64, i64)], add: fn(i16, i16) -> i16) -> i64 {
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
