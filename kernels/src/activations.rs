//! Activations in fixed point: what `gemv_fixed` multiplies a matrix by.
//!
//! A vector `x` is rounded once, to integers `X` times one power of two for all of it, and each integer is written
//! with one to four signed digits of base 256. From there on sums are sums of integers: they do not round, so no
//! order of summation, no instruction set and no number of threads changes a bit of the result.
//!
//! # The rounding
//! `L` digits hold the integers up to [`Digits::largest`], `M = 127 * (256^L - 1) / 255`, of either sign. The
//! exponent `e` is the smallest from -149 on with `max |x| <= M * 2^e`, and `X = x / 2^e`, to nearest, ties to even.
//! At `e = -149` nothing is rounded, since every f32 is a multiple of `2^-149`.
//!
//! # The error
//! Rounding moves an element by `2^e / 2` at most, and no weight is larger than 2, so the sum of `n` terms is off by
//! `n * 2^e` at most: [`Activations::error_bound`]. As `e` is the smallest that will do, `max |x| > M * 2^(e - 1)`, and the
//! bound is below `2 * n * max |x| / M`, or `1.004 * n * max |x| * 2^-(8 L - 2)` from two digits on (1.008 with one). Storing
//! `y` rounds once more, by half a unit in the last place of `y`.

pub(crate) mod rounding;

use std::error::Error;
use std::fmt;

use crate::format::CODES_PER_BYTE;
use rounding::Rounding;

/// Columns of a group: those of 32 bytes of codes.
pub(crate) const GROUP: usize = PLANE * CODES_PER_BYTE;

/// Columns of a plane: one for each byte of a group.
pub(crate) const PLANE: usize = 32;

/// One digit of the columns `4 * i + k` of a group, for one `k` and all `i`: a byte for each byte of codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(align(32))]
pub(crate) struct Plane(pub(crate) [i8; PLANE]);

/// The digits of a group: by code of a byte, then from the lowest digit to the highest.
pub(crate) type Group<const L: usize> = [[Plane; L]; CODES_PER_BYTE];

/// The smallest exponent of two that is used: that of the smallest f32.
const SMALLEST_EXPONENT: i32 = -149;

/// Base-256 digits that each activation is rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Digits {
    /// The precision of int8 activations with one scale for all.
    One = 1,
    /// 15 bits and a sign, of the largest activation.
    Two,
    /// 23 bits and a sign: about that of an f32 as large as the largest activation.
    Three,
    /// 31 bits and a sign.
    Four,
}

impl Digits {
    /// Every number of digits, the fewest first.
    pub const ALL: [Self; 4] = [Self::One, Self::Two, Self::Three, Self::Four];

    /// So many digits, if that is one to four.
    pub fn new(count: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|digits| digits.count() == count)
    }

    /// How many they are.
    pub const fn count(self) -> usize {
        self as usize
    }

    /// The largest integer that they are used for: `127 * (256^L - 1) / 255`, each digit 127.
    pub const fn largest(self) -> i64 {
        127 * ((1 << (8 * self.count())) - 1) / 255
    }

    /// The smallest `e` from -149 on with `max <= largest * 2^e`.
    fn exponent(self, max: f32) -> i32 {
        // `largest` lies in [2^(8 L - 2), 2^(8 L - 1)): scaled into this range, `max` fits or needs one step more.
        let least = exponent(max) - (8 * self.count() as i32 - 2);
        let fits = f64::from(max) <= self.largest() as f64 * power_of_two(least);
        (if fits { least } else { least + 1 }).max(SMALLEST_EXPONENT)
    }
}

/// A vector of activations in fixed point, permuted for the kernels.
///
/// [`Kernels::activations`](crate::Kernels::activations) makes one, with the instructions of its level. The activations
/// are the same at every level, and every level takes those of any other.
///
/// ```
/// use qk256_kernels::{Digits, Kernels, Matrix};
///
/// let packed = [0b11_10_01_00; 64];
/// let matrix = Matrix::new(&packed, 1, 4, 64)?; // -2, -1, 1, 2
/// let kernels = Kernels::detect();
/// let x = kernels.activations_within(&[0.1, 0.2, 0.3, 0.4], 1e-6)?;
/// assert_eq!(x.digits(), Digits::Three);
///
/// let mut y = [0.0];
/// kernels.gemv_fixed(&matrix, &x, &mut y)?;
/// assert!((f64::from(y[0]) - 0.7).abs() <= x.error_bound() + f64::from(f32::EPSILON));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Activations {
    digits: Digits,
    cols: usize,
    exponent: i32,
    /// The sum of the integers.
    sum: i64,
    /// By group, then as in [`Group`]. The columns past the last are zeros.
    planes: Vec<Plane>,
}

impl Activations {
    /// The most columns: no 32-bit sum of one digit can overflow up to here, in whatever order.
    pub const MAX_COLS: usize = 1 << 22;

    /// The number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The digits of each column.
    pub fn digits(&self) -> Digits {
        self.digits
    }

    /// The power of two that every integer is multiplied by, 2 to this.
    pub fn exponent(&self) -> i32 {
        self.exponent
    }

    /// The integer of column `c`: the column's rounded value is `integer(c) * 2^exponent()`.
    ///
    /// # Panics
    /// If `c` is not less than [`cols`](Self::cols).
    pub fn integer(&self, c: usize) -> i64 {
        assert!(c < self.cols, "column {c} of {}", self.cols);
        let count = self.digits.count();
        let plane = (c / GROUP * CODES_PER_BYTE + c % CODES_PER_BYTE) * count;
        let digits = self.planes[plane..][..count].iter().rev();
        digits.fold(0, |high, plane| high * 256 + i64::from(plane.0[c % GROUP / CODES_PER_BYTE]))
    }

    /// How far the sum of `weight * x` of any row of a matrix may be from that with the rounded `x`: `cols * 2^exponent`, or 0
    /// where nothing is rounded. The result of a `gemv_fixed` is off by half a unit in its last place beside.
    pub fn error_bound(&self) -> f64 {
        error_bound(self.cols, self.exponent)
    }
}

/// How a level makes them, by its own passes over `x`: [`Kernels`](crate::Kernels) documents each.
impl Activations {
    pub(crate) fn new(by: &dyn Rounding, x: &[f32], digits: Digits) -> Result<Self, ActivationsError> {
        let mut activations = Self { digits, cols: 0, exponent: 0, sum: 0, planes: Vec::new() };
        activations.assign(by, x, digits)?;
        Ok(activations)
    }

    pub(crate) fn within(by: &dyn Rounding, x: &[f32], tolerance: f64) -> Result<Self, ActivationsError> {
        let max = largest_magnitude(by, x)?;
        let bound = |digits: Digits| error_bound(x.len(), digits.exponent(max));
        match Digits::ALL.into_iter().find(|&digits| bound(digits) <= tolerance) {
            Some(digits) => Self::new(by, x, digits),
            None => Err(ActivationsError::OutOfReach { tolerance, bound: bound(Digits::Four) }),
        }
    }

    pub(crate) fn assign(
        &mut self,
        by: &dyn Rounding,
        x: &[f32],
        digits: Digits,
    ) -> Result<(), ActivationsError> {
        let exponent = digits.exponent(largest_magnitude(by, x)?);
        self.planes.clear();
        self.planes.resize(x.len().div_ceil(GROUP) * CODES_PER_BYTE * digits.count(), Plane([0; PLANE]));
        self.sum = by.lay_out(x, power_of_two(-exponent), digits, &mut self.planes);
        (self.digits, self.cols, self.exponent) = (digits, x.len(), exponent);
        Ok(())
    }
}

/// What the kernels need.
impl Activations {
    /// The groups of 128 columns, the last filled up with zeros.
    ///
    /// # Panics
    /// If `L` is not the number of digits.
    #[inline]
    pub(crate) fn groups<const L: usize>(&self) -> &[Group<L>] {
        assert_eq!(L, self.digits.count(), "a kernel is for one number of digits");
        self.planes.as_chunks().0.as_chunks().0
    }

    /// The sum of the integers of all columns.
    #[inline]
    pub(crate) fn sum(&self) -> i64 {
        self.sum
    }

    /// `sum * 2^exponent`, rounded once: what scaling loses beyond 24 bits the conversion has lost before, since a result
    /// among the subnormals, a multiple of `2^-149`, has fewer.
    #[inline]
    pub(crate) fn round(&self, sum: i64) -> f32 {
        sum as f32 * power_of_two(self.exponent) as f32
    }
}

/// The sum of weight times integer of a row, from the sums of weight plus two times digit, by digit, and the sum of the
/// integers. Weights are raised by two because the instructions for bytes take one factor unsigned.
#[inline]
pub(crate) fn join<const L: usize>(sums: [i32; L], integers: i64) -> i64 {
    sums.into_iter().rev().fold(0, |high, sum| high * 256 + i64::from(sum)) - 2 * integers
}

/// The largest magnitude of `x`, `+0.0` where there is none.
fn largest_magnitude(by: &dyn Rounding, x: &[f32]) -> Result<f32, ActivationsError> {
    if x.len() > Activations::MAX_COLS {
        return Err(ActivationsError::TooManyColumns { cols: x.len() });
    }
    let max = by.max_magnitude(x);
    if max.is_finite() {
        return Ok(max);
    }
    let index = x.iter().position(|x| !x.is_finite()).expect("the largest is among them");
    Err(ActivationsError::NotFinite { index, value: x[index] })
}

fn error_bound(cols: usize, exponent: i32) -> f64 {
    if exponent == SMALLEST_EXPONENT { 0.0 } else { cols as f64 * power_of_two(exponent) }
}

/// The `e` with `2^e <= value < 2^(e + 1)`, of a finite number above zero; below every exponent for zero.
fn exponent(value: f32) -> i32 {
    // Every f32 above zero is a normal f64.
    (f64::from(value).to_bits() >> 52) as i32 - 1023
}

/// 2 to `exponent`, a normal f64; 0 below those.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((1023 + exponent).max(0) as u64) << 52)
}

/// Why a vector has no fixed point.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ActivationsError {
    /// An element is NaN or infinite.
    NotFinite {
        /// The first such element.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// There are more columns than [`Activations::MAX_COLS`].
    TooManyColumns {
        /// The columns that there are.
        cols: usize,
    },
    /// No number of digits meets the tolerance.
    OutOfReach {
        /// What was asked for.
        tolerance: f64,
        /// The bound of four digits.
        bound: f64,
    },
}

impl fmt::Display for ActivationsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFinite { index, value } => {
                write!(f, "x[{index}] is {value}: fixed point has finite numbers only")
            }
            Self::TooManyColumns { cols } => {
                write!(
                    f,
                    "`x` is too long for fixed point: {cols} columns, at most {}",
                    Activations::MAX_COLS
                )
            }
            Self::OutOfReach { tolerance, bound } => {
                write!(f, "a tolerance of {tolerance:e} is out of reach: four digits are within {bound:e}")
            }
        }
    }
}

impl Error for ActivationsError {}
