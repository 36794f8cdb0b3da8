//! A sum of f32 products without any rounding.

/// Bits of a limb that carry value; the rest of the i64 takes carries.
const LIMB_BITS: u32 = 32;

/// Weight of the lowest limb is 2^-LOWEST. The smallest product of weight, f32 and f32 is 2^-149 * 2^-149.
const LOWEST: i32 = 298;

/// Limbs: the largest product is below 2^(1 + 128 + 128), and 2^64 of them fit.
const LIMBS: usize = 20;

/// Additions after which a limb could overflow: each adds less than 2^32 to an i64.
const ADDS_BEFORE_CARRY: u32 = 1 << 30;

/// The exact real sum of finite terms `weight * x * scale`: a fixed-point number wide enough for all of them.
///
/// The idea is Kulisch's long accumulator (Computer Arithmetic and Validity, 2008, chapter 8): no term is ever rounded, so
/// the order of the terms cannot matter.
#[derive(Clone, Debug)]
pub struct ExactSum {
    limbs: [i64; LIMBS],
    adds: u32,
}

impl Default for ExactSum {
    fn default() -> Self {
        Self { limbs: [0; LIMBS], adds: 0 }
    }
}

impl ExactSum {
    /// Adds `weight * x * scale`.
    ///
    /// # Panics
    /// If `x` or `scale` is not finite.
    pub fn add(&mut self, weight: i8, x: f32, scale: f32) {
        let ((x, x_exponent), (scale, scale_exponent)) = (split(x), split(scale));
        // At most 2 * 2^24 * 2^24 in magnitude.
        let product = i64::from(weight) * x * scale;
        let position = (x_exponent + scale_exponent + LOWEST) as u32;
        let (limb, shift) = ((position / LIMB_BITS) as usize, position % LIMB_BITS);
        let shifted = u128::from(product.unsigned_abs()) << shift;
        let sign = product.signum();
        for part in 0..3 {
            let bits = (shifted >> (LIMB_BITS * part as u32)) as u32;
            self.limbs[limb + part] += sign * i64::from(bits);
        }
        self.adds += 1;
        if self.adds == ADDS_BEFORE_CARRY {
            self.carry();
        }
    }

    /// Adds the product of two numbers of up to 53 bits each, multiples of 2^-149 both, or of 2^-298 together.
    ///
    /// # Panics
    /// If one is not finite, or too small or too large for the sum.
    pub fn add_product(&mut self, a: f64, b: f64) {
        let ((a, a_exponent), (b, b_exponent)) = (split_f64(a), split_f64(b));
        if a == 0 || b == 0 {
            return;
        }
        // At most 2^53 * 2^53 in magnitude.
        self.add_integer(i128::from(a) * i128::from(b), a_exponent + b_exponent);
    }

    /// Adds an integer times a power of two.
    fn add_integer(&mut self, integer: i128, exponent: i32) {
        // Where it is small, its lowest bits are zero.
        let zeros = if integer == 0 { return } else { integer.trailing_zeros() };
        let (integer, exponent) = (integer >> zeros, exponent + zeros as i32);
        let position = u32::try_from(exponent + LOWEST).expect("no term is below the lowest limb");
        let (limb, shift) = ((position / LIMB_BITS) as usize, position % LIMB_BITS);
        let (low, sign) = (integer.unsigned_abs(), if integer < 0 { -1 } else { 1 });
        // 128 bits and a shift of up to 31: five limbs.
        let parts = [low << shift, if shift == 0 { 0 } else { low >> (u128::BITS - shift) }];
        for part in 0..5 {
            let bits = (parts[part / 4] >> (LIMB_BITS * (part as u32 % 4))) as u32;
            if bits != 0 {
                self.limbs[limb + part] += sign * i64::from(bits);
            }
        }
        self.adds += 1;
        if self.adds == ADDS_BEFORE_CARRY {
            self.carry();
        }
    }

    /// The sum of products, each of a number of `a` and the one of `b` at its place.
    ///
    /// # Panics
    /// As [`add_product`](Self::add_product).
    pub(super) fn of_products(a: &Factors, b: &Factors) -> Self {
        let mut sum = Self::default();
        let len = a.numbers.len().min(b.numbers.len());
        let bits = |a: &Aligned, b: &Aligned| a.bits + b.bits + len.max(1).ilog2() + 1;
        match (&a.aligned, &b.aligned) {
            (Some(a), Some(b)) if bits(a, b) < i64::BITS => {
                let products = a.integers.iter().zip(&b.integers).map(|(a, b)| a * b);
                sum.add_integer(products.sum::<i64>().into(), a.exponent + b.exponent);
            }
            (Some(a), Some(b)) if bits(a, b) < i128::BITS => {
                let products =
                    a.integers.iter().zip(&b.integers).map(|(&a, &b)| i128::from(a) * i128::from(b));
                sum.add_integer(products.sum(), a.exponent + b.exponent);
            }
            _ => a.numbers.iter().zip(&b.numbers).for_each(|(&a, &b)| sum.add_product(a, b)),
        }
        sum
    }

    /// The sum as an unevaluated pair `high + low`, within 2^-100 of its magnitude. `high` is the nearest f64.
    pub fn value(&self) -> Wide {
        let mut sum = self.clone();
        sum.carry();
        // The top limb now has the sign of the sum and the others are in [0, 2^32): negate a negative sum, so that no
        // limb cancels another.
        let negative = sum.limbs[LIMBS - 1] < 0;
        if negative {
            sum.limbs.iter_mut().for_each(|limb| *limb = -*limb);
            sum.carry();
        }
        let mut wide = Wide::default();
        for (at, &limb) in sum.limbs.iter().enumerate().rev() {
            let weight = LIMB_BITS as i32 * at as i32 - LOWEST;
            wide = wide.plus(limb as f64 * power_of_two(weight));
        }
        if negative { Wide { high: -wide.high, low: -wide.low } } else { wide }
    }

    fn carry(&mut self) {
        for at in 0..LIMBS - 1 {
            let carry = self.limbs[at] >> LIMB_BITS;
            self.limbs[at] -= carry << LIMB_BITS;
            self.limbs[at + 1] += carry;
        }
        self.adds = 0;
    }
}

/// Numbers that are multiplied, and what makes the sum of the products fast: all as integers times one power of two.
#[derive(Debug)]
pub(super) struct Factors {
    pub(super) numbers: Vec<f64>,
    aligned: Option<Aligned>,
}

#[derive(Debug)]
struct Aligned {
    integers: Vec<i64>,
    exponent: i32,
    /// Bits of the largest.
    bits: u32,
}

impl Factors {
    pub(super) fn of(numbers: Vec<f64>) -> Self {
        let aligned = Aligned::of(&numbers);
        Self { numbers, aligned }
    }
}

impl Aligned {
    /// `None` where one is not finite, or they are of sizes too different.
    fn of(numbers: &[f64]) -> Option<Self> {
        let largest = numbers.iter().fold(0.0, |largest: f64, number| largest.max(number.abs()));
        if largest == 0.0 && numbers.iter().all(|&number| number == 0.0) {
            return Some(Self { integers: vec![0; numbers.len()], exponent: 0, bits: 0 });
        }
        // The largest becomes an integer of as many bits as there are beside the sign. All powers of two here are normal numbers.
        let exponent = exponent_of(largest) - (i64::BITS as i32 - 2);
        if !(-LARGEST_EXPONENT..=LARGEST_EXPONENT).contains(&exponent) {
            return None;
        }
        let (unit, inverse) = (power_of_two(exponent), power_of_two(-exponent));
        let mut integers: Vec<i64> = numbers.iter().map(|number| (number * inverse) as i64).collect();
        // Of at most 53 bits each, so that this rounds nothing but what is no integer.
        let mut is_integer =
            numbers.iter().zip(&integers).map(|(number, &integer)| integer as f64 * unit == *number);
        if !is_integer.all(|is_integer| is_integer) {
            return None;
        }
        let zeros = integers.iter().fold(0, |all, integer| all | integer).trailing_zeros();
        integers.iter_mut().for_each(|integer| *integer >>= zeros);
        Some(Self { integers, exponent: exponent + zeros as i32, bits: i64::BITS - 1 - zeros })
    }
}

/// Exponents of units from which no number times its inverse leaves the normal numbers unnoticed.
const LARGEST_EXPONENT: i32 = 900;

/// The exponent of a normal number's leading bit; that of the bits' field for others.
fn exponent_of(number: f64) -> i32 {
    (number.to_bits() >> 52 & 0x7ff) as i32 - 1023
}

/// A real number as the unevaluated sum of two f64, `low` at most half an ulp of `high`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Wide {
    /// The nearest f64.
    pub high: f64,
    /// What it leaves.
    pub low: f64,
}

impl Wide {
    /// Adds a number. Knuth's two-sum gives the rounding error of each addition (The Art of Computer Programming, volume
    /// 2, section 4.2.2, theorem B).
    fn plus(self, term: f64) -> Self {
        let sum = self.high + term;
        let shadow = sum - self.high;
        let low = self.low + ((self.high - (sum - shadow)) + (term - shadow));
        let high = sum + low;
        Self { high, low: low - (high - sum) }
    }

    /// Distance to an f32, within a few units in the last place of an f64.
    pub fn distance(self, value: f32) -> f64 {
        ((self.high - f64::from(value)) + self.low).abs()
    }

    /// The nearest f32, ties to even; infinite when out of range.
    pub fn to_f32(self) -> f32 {
        let near = self.high as f32;
        let rest = self.high - f64::from(near);
        // `high as f32` rounds once; `low` can matter only where `high` lies exactly between two f32.
        let towards = if self.low > 0.0 { near.next_up() } else { near.next_down() };
        let on_tie = rest != 0.0 && rest == f64::from(towards) - self.high;
        if self.low != 0.0 && on_tie { towards } else { near }
    }
}

/// A finite f32 as integer times power of two: `value = integer * 2^exponent`.
///
/// # Panics
/// If `value` is not finite.
pub(super) fn split(value: f32) -> (i64, i32) {
    let bits = value.to_bits();
    let (field, fraction) = ((bits >> 23 & 0xff) as i32, i64::from(bits & 0x007f_ffff));
    assert_ne!(field, 0xff, "an exact sum takes finite terms only");
    let (integer, exponent) = if field == 0 { (fraction, -149) } else { (fraction | 1 << 23, field - 150) };
    (if bits >> 31 == 1 { -integer } else { integer }, exponent)
}

/// A finite f64 as an odd integer, or zero, times a power of two.
///
/// # Panics
/// If `value` is not finite, or subnormal.
fn split_f64(value: f64) -> (i64, i32) {
    if value == 0.0 {
        return (0, 0);
    }
    assert!(value.is_normal(), "an exact sum takes finite terms only");
    let bits = value.to_bits();
    let (field, fraction) = ((bits >> 52 & 0x7ff) as i32, (bits & ((1 << 52) - 1) | 1 << 52) as i64);
    let zeros = fraction.trailing_zeros();
    let (integer, exponent) = (fraction >> zeros, field - 1075 + zeros as i32);
    (if bits >> 63 == 1 { -integer } else { integer }, exponent)
}

/// Exponent of the lowest set bit of a finite number that is not zero.
pub(super) fn lowest_bit(value: f32) -> i32 {
    let (integer, exponent) = split(value);
    exponent + integer.trailing_zeros() as i32
}

/// Whether a finite number is a power of two, of either sign.
pub(super) fn is_power_of_two(value: f32) -> bool {
    let (integer, _) = split(value);
    integer.unsigned_abs().is_power_of_two()
}

/// 2^exponent, for exponents of normal f64.
pub(super) fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::{Rng, SeedableRng};

    use super::*;

    fn sum(terms: &[(i8, f32, f32)]) -> Wide {
        let mut sum = ExactSum::default();
        terms.iter().for_each(|&(weight, x, scale)| sum.add(weight, x, scale));
        sum.value()
    }

    #[test]
    fn sums_lose_nothing_between_the_largest_and_the_smallest_term() {
        let tiny = f32::from_bits(1);
        for (terms, expected) in [
            (&[(2, f32::MAX, f32::MAX), (1, tiny, tiny), (-2, f32::MAX, f32::MAX)][..], power_of_two(-298)),
            (&[(-2, f32::MAX, 1.0), (-1, 1.0, 1.0), (2, f32::MAX, 1.0)], -1.0),
            (&[(1, 1.5, -0.5), (-2, 0.25, 1.0)], -1.25),
            (&[(1, -tiny, 1.0)], -power_of_two(-149)),
            (&[], 0.0),
        ] {
            assert_eq!(sum(terms), Wide { high: expected, low: 0.0 }, "{terms:?}");
        }
    }

    #[test]
    fn products_of_wide_numbers_are_added_without_rounding() {
        let mut sum = ExactSum::default();
        let (wide, tiny) = (2_f64.powi(52) + 1.0, power_of_two(-149));
        // 2^104 + 2^53 + 1, less 2^104 and 2^53.
        for (a, b) in [
            (wide, wide),
            (-(2_f64.powi(52)), 2_f64.powi(52)),
            (-2.0, 2_f64.powi(52)),
            (tiny, tiny),
            (0.0, 3.0),
        ] {
            sum.add_product(a, b);
        }
        assert_eq!(sum.value(), Wide { high: 1.0, low: power_of_two(-298) });
    }

    #[test]
    fn a_value_between_two_f32_rounds_to_the_nearer_one() {
        let half_ulp = power_of_two(-24) as f32;
        let tiny = f32::from_bits(1);
        for (terms, expected) in [
            (&[(1, 1.0, 1.0), (1, half_ulp, 1.0)][..], 1.0),
            (&[(1, 1.0, 1.0), (1, half_ulp, 1.0), (1, tiny, tiny)], 1.0_f32.next_up()),
            (&[(1, 1.0_f32.next_up(), 1.0), (1, half_ulp, 1.0)], 1.0 + 4.0 * half_ulp),
            (&[(1, 1.0_f32.next_up(), 1.0), (1, half_ulp, 1.0), (-1, tiny, tiny)], 1.0_f32.next_up()),
            (&[(-1, 1.0, 1.0), (-1, half_ulp, 1.0), (-1, tiny, tiny)], -1.0_f32.next_up()),
            (&[(2, f32::MAX, 1.0)], f32::INFINITY),
        ] {
            assert_eq!(sum(terms).to_f32(), expected, "{terms:?}");
        }
    }

    #[test]
    fn many_terms_sum_as_integers_do() {
        let terms: Vec<(i8, f32, f32)> =
            (0..5000).map(|at| ([-2, -1, 1, 2][at * 7 % 4], (at * 37 % 1000) as f32, 0.5)).collect();
        let integer: i64 = terms.iter().map(|&(weight, x, _)| i64::from(weight) * x as i64).sum();
        assert_eq!(sum(&terms), Wide { high: integer as f64 / 2.0, low: 0.0 });
    }

    #[test]
    fn factors_become_integers_where_64_bits_hold_them_and_sum_as_their_products_do() {
        let two = |exponent| power_of_two(exponent);
        for (numbers, is_aligned) in [
            (&[0.0, -0.0][..], true),
            (&[-two(62), 1.0, 0.0], true),
            (&[two(63), 1.0], false),
            (&[-3.0 * two(-149), two(-88)], true),
            (&[two(-298), two(-235)], false),
            (&[1.0, f64::INFINITY], false),
            (&[1.0, f64::NAN], false),
            (&[f64::NAN], false),
        ] {
            assert_eq!(Aligned::of(numbers).is_some(), is_aligned, "{numbers:?}");
        }
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for range in [1, 8, 30, 60, 120, 250] {
            let mut numbers = || {
                let number = |draw: u32, size: u32| {
                    let exponent = (size % range) as i32 - range as i32 / 2;
                    f64::from(draw as i32 >> 8) * two(exponent)
                };
                (0..300).map(|_| number(rng.next_u32(), rng.next_u32())).collect::<Vec<f64>>()
            };
            let (a, b) = (numbers(), numbers());
            let mut sum = ExactSum::default();
            a.iter().zip(&b).for_each(|(&a, &b)| sum.add_product(a, b));
            assert_eq!(
                ExactSum::of_products(&Factors::of(a), &Factors::of(b)).value(),
                sum.value(),
                "{range}"
            );
        }
    }
}
