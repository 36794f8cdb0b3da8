//! Values to codes and scales, with the least squared error that the format allows.
//!
//! For a block of `n` values `v` and a scale `s >= 0` the error is the sum of `(v - s * w)^2` over weights
//! `w` of -2, -1, 1 and 2. A weight has the sign of its value, since the other sign is never nearer; so with
//! `a = |v|` each weight is worth `m`, 1 or 2. At a given `s` the better `m` is 2 where `a > 1.5 * s`: the
//! twos belong to the `k` largest `a`, for some `k` from 0 to `n`.
//!
//! For a given `k` let `p` be the sum of `m * a` and `q` that of `m * m`:
//!
//! ```text
//! p = 2 * (sum of the k largest a) + (sum of the others)        q = 4 * k + (n - k)
//! error(s) = sum of a * a  -  (2 * s * p - s * s * q)
//! ```
//!
//! The bracket, the gain, is a parabola with its top, `p * p / q`, at `s = p / q`. It is symmetric, so the
//! best f32 is the one nearest to `p / q`; where there are twos it may not exceed `f32::MAX / 2`, lest the
//! weight times the scale overflow, and nearer to the top is better there too. Trying every `k` from 0 to
//! `n`, in f64 and with running sums over the sorted `a`, finds the least error of all codes and scales.

use std::error::Error;
use std::fmt;

use crate::format::{BLOCK_BYTES, BLOCK_LEN, CODES_PER_BYTE, blocks, packed_bytes};
use crate::size::{Buffer, SizeError, at_least, product};

/// The codes of -2, -1, 1 and 2.
const MINUS_TWO: u8 = 0;
const MINUS_ONE: u8 = 1;
const ONE: u8 = 2;
const TWO: u8 = 3;

/// Quantizes a vector: whole blocks of codes to the front of `packed`, a scale for each to the front of
/// `scales`.
///
/// Codes and scale of a block have the least squared error possible, as far as f64 can resolve, and of equal errors the fewest twos;
/// only the values that exist count. Zeros
/// of either sign get the code of +1, and so does the padding of the last block. A scale is finite, never
/// negative, and `+0.0` for a block of zeros; weight times scale never overflows.
///
/// # Errors
/// [`QuantizeError::Size`] if `packed` is shorter than `64 * ceil(values.len() / 256)` or `scales` than
/// `ceil(values.len() / 256)`; [`QuantizeError::NotFinite`] if a value is an infinity or NaN. Nothing is
/// written then.
///
/// ```
/// let mut packed = [0; 64];
/// let mut scales = [0.0];
/// qk256_kernels::quantize(&[-1.0, -0.5, 0.5, 1.0], &mut packed, &mut scales)?;
/// assert_eq!((packed[0], scales[0]), (0b11_10_01_00, 0.5));
/// # Ok::<(), qk256_kernels::QuantizeError>(())
/// ```
pub fn quantize(values: &[f32], packed: &mut [u8], scales: &mut [f32]) -> Result<(), QuantizeError> {
    quantize_matrix(values, 1, values.len(), packed, scales)
}

/// Quantizes `rows` rows of `cols` values each, row-major, each row as [`quantize`] does.
///
/// The rows of `packed` follow each other without a gap: the stride is `64 * ceil(cols / 256)` bytes. There
/// are `ceil(cols / 256)` scales a row, row-major.
///
/// # Errors
/// [`QuantizeError::Size`] if `values`, `packed` or `scales` is shorter than that, or a length overflows;
/// [`QuantizeError::NotFinite`] if one of the `rows * cols` values is an infinity or NaN. Nothing is written
/// then.
pub fn quantize_matrix(
    values: &[f32],
    rows: usize,
    cols: usize,
    packed: &mut [u8],
    scales: &mut [f32],
) -> Result<(), QuantizeError> {
    let len = product(Buffer::Values, rows, cols)?;
    at_least(Buffer::Values, len, values.len())?;
    at_least(Buffer::Packed, product(Buffer::Packed, rows, packed_bytes(cols))?, packed.len())?;
    at_least(Buffer::Scales, product(Buffer::Scales, rows, blocks(cols))?, scales.len())?;
    let values = &values[..len];
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        return Err(QuantizeError::NotFinite { index });
    }
    let rows = values.chunks(cols.max(1));
    let values = rows.flat_map(|row| row.chunks(BLOCK_LEN));
    for ((values, block), scale) in values.zip(packed.as_chunks_mut().0).zip(scales) {
        *scale = quantize_block(values, block);
    }
    Ok(())
}

/// Why values could not be quantised. Nothing has been written when a function returns this.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuantizeError {
    /// A buffer is too short.
    Size(SizeError),
    /// A value is an infinity or NaN.
    NotFinite {
        /// The index of the first such value.
        index: usize,
    },
}

impl From<SizeError> for QuantizeError {
    fn from(error: SizeError) -> Self {
        QuantizeError::Size(error)
    }
}

impl fmt::Display for QuantizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QuantizeError::Size(error) => error.fmt(f),
            QuantizeError::NotFinite { index } => write!(f, "the value at index {index} is not finite"),
        }
    }
}

impl Error for QuantizeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            QuantizeError::Size(error) => Some(error),
            QuantizeError::NotFinite { .. } => None,
        }
    }
}

/// Writes the best codes for one block of at most [`BLOCK_LEN`] finite values and returns their scale.
fn quantize_block(values: &[f32], block: &mut [u8; BLOCK_BYTES]) -> f32 {
    let mut order = [0; BLOCK_LEN];
    let order = &mut order[..values.len()];
    for (i, index) in order.iter_mut().enumerate() {
        *index = i;
    }
    order.sort_by(|&i, &j| values[j].abs().total_cmp(&values[i].abs()));
    let best = best_fit(order.iter().map(|&i| f64::from(values[i].abs())));

    let mut codes = [ONE; BLOCK_LEN];
    for (rank, &i) in order.iter().enumerate() {
        codes[i] = match (values[i] < 0.0, rank < best.twos) {
            (true, true) => MINUS_TWO,
            (true, false) => MINUS_ONE,
            (false, false) => ONE,
            (false, true) => TWO,
        };
    }
    for (byte, [a, b, c, d]) in block.iter_mut().zip(codes.as_chunks::<CODES_PER_BYTE>().0) {
        *byte = a | b << 2 | c << 4 | d << 6;
    }
    best.scale
}

/// A scale, and the number of values, counted from the largest, that have a weight of 2 or -2.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Fit {
    scale: f32,
    twos: usize,
}

/// The fit of least squared error for the magnitudes `a`, which do not increase.
fn best_fit(a: impl ExactSizeIterator<Item = f64> + Clone) -> Fit {
    let n = a.len() as f64;
    let (mut p, mut q): (f64, f64) = (a.clone().sum(), n);
    let (mut best, mut best_gain) = (Fit { scale: 0.0, twos: 0 }, 0.0);
    // Each value is once the next to be worth 2; after the last there is one more fit to try.
    for (twos, next) in a.map(Some).chain([None]).enumerate() {
        let limit = if twos == 0 { f32::MAX } else { f32::MAX / 2.0 };
        let scale = ((p / q) as f32).min(limit);
        let gain = gain(f64::from(scale), p, q);
        if gain > best_gain {
            (best, best_gain) = (Fit { scale, twos }, gain);
        }
        p += next.unwrap_or(0.0);
        q += 3.0;
    }
    best
}

/// By how much the scale `s` makes the error less than no scale at all: `2 * s * p - s * s * q`.
fn gain(s: f64, p: f64, q: f64) -> f64 {
    s * (2.0 * p - s * q)
}
