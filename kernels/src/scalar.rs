//! The definition of every operation, in order and without haste.

use crate::activations::{Activations, rounding};
use crate::batch::{Batch, Products};
use crate::format::{BLOCK_LEN, CODES_PER_BYTE, INTEGER_WEIGHTS, Packed, WEIGHTS, blocks};
use crate::functions::Functions;
use crate::matrix::Matrix;
use crate::size::{Buffer, SizeError, at_least};

/// What every level falls back to in the end.
pub(crate) const FUNCTIONS: Functions = Functions {
    unpack,
    lut,
    dequantize,
    gemv,
    gemm,
    gemv_fixed,
    max_magnitude: rounding::compare_magnitudes,
    lay_out: rounding::lay_out,
};

/// Writes the code of element `i`, 0 to 3, to `codes[i]`.
///
/// # Errors
/// [`SizeError::TooShort`] if `packed` does not hold whole blocks for `codes.len()` elements.
pub fn unpack(packed: &[u8], codes: &mut [u8]) -> Result<(), SizeError> {
    let packed = Packed::new(packed, codes.len())?;
    for (i, out) in codes.iter_mut().enumerate() {
        *out = code(packed.bytes(), i);
    }
    Ok(())
}

/// Writes `WEIGHTS[codes[i] & 3]` to `weights[i]`: only the low two bits of a code count.
///
/// # Errors
/// [`SizeError::TooShort`] if there are fewer codes than weights are asked for.
pub fn lut(codes: &[u8], weights: &mut [f32]) -> Result<(), SizeError> {
    at_least(Buffer::Codes, weights.len(), codes.len())?;
    for (weight, code) in weights.iter_mut().zip(codes) {
        *weight = WEIGHTS[usize::from(code & 3)];
    }
    Ok(())
}

/// Writes the weight of element `i` times `scales[i / 256]` to `out[i]`.
///
/// # Errors
/// [`SizeError::TooShort`] if `packed` does not hold whole blocks for `out.len()` elements, or `scales` not a
/// scale for each of these blocks.
pub fn dequantize(packed: &[u8], scales: &[f32], out: &mut [f32]) -> Result<(), SizeError> {
    let packed = Packed::new(packed, out.len())?;
    at_least(Buffer::Scales, blocks(out.len()), scales.len())?;
    for (i, out) in out.iter_mut().enumerate() {
        *out = weight(packed.bytes(), i) * scales[i / BLOCK_LEN];
    }
    Ok(())
}

/// Writes the product of row `r` and `x` to `y[r]`: one f32 sum from left to right, from `+0.0` on.
///
/// Where there are scales the weights are those that [`dequantize`] gives, weight times scale.
///
/// # Errors
/// [`SizeError::TooShort`] if `x` is shorter than the columns or `y` than the rows.
pub fn gemv(matrix: &Matrix<'_>, x: &[f32], y: &mut [f32]) -> Result<(), SizeError> {
    let (x, y) = matrix.fit(x, y)?;
    for (r, y) in y.iter_mut().enumerate() {
        *y = dot(matrix.row(r), matrix.row_scales(r), x);
    }
    Ok(())
}

/// Writes the product of row `r` and vector `b` of `x` to `y[b * y_stride + r]`, as [`gemv`] computes it.
///
/// With more than one vector `y` needs `(batch - 1) * y_stride + rows` elements. With one, `rows`, and `y_stride` is not looked
/// at. The elements between the products are not written.
///
/// # Errors
/// [`SizeError::OtherColumns`] if the vectors have not as many elements as the matrix has columns,
/// [`SizeError::SmallVectorStride`] if products would overlap, [`SizeError::Overflow`] if the length that `y` needs overflows,
/// [`SizeError::TooShort`] if `y` is shorter.
pub fn gemm(matrix: &Matrix<'_>, x: &Batch<'_>, y: &mut [f32], y_stride: usize) -> Result<(), SizeError> {
    let mut y = Products::new(matrix, x, y, y_stride)?;
    for b in 0..y.batch() {
        gemv(matrix, x.vector(b), y.product(b))?;
    }
    Ok(())
}

/// Writes the product of row `r` and the fixed-point `x` to `y[r]`: an exact integer sum, rounded once.
///
/// # Errors
/// [`SizeError::OtherColumns`] if `x` has not as many columns as the matrix, [`SizeError::Scaled`] if the matrix has
/// scales, [`SizeError::TooShort`] if `y` is shorter than the rows.
pub fn gemv_fixed(matrix: &Matrix<'_>, x: &Activations, y: &mut [f32]) -> Result<(), SizeError> {
    let y = matrix.fit_fixed(x, y)?;
    for (r, y) in y.iter_mut().enumerate() {
        let row = matrix.row(r);
        let term = |c| i64::from(INTEGER_WEIGHTS[usize::from(code(row, c))]) * x.integer(c);
        *y = x.round((0..x.cols()).map(term).sum());
    }
    Ok(())
}

/// The product of a row and `x`.
fn dot(row: &[u8], scales: Option<&[f32]>, x: &[f32]) -> f32 {
    let mut sum = 0.0;
    for (c, x) in x.iter().enumerate() {
        let scale = scales.map_or(1.0, |scales| scales[c / BLOCK_LEN]);
        sum += weight(row, c) * scale * x;
    }
    sum
}

/// The weight of element `i`.
fn weight(packed: &[u8], i: usize) -> f32 {
    WEIGHTS[usize::from(code(packed, i))]
}

/// The code of element `i`.
fn code(packed: &[u8], i: usize) -> u8 {
    (packed[i / CODES_PER_BYTE] >> (2 * (i % CODES_PER_BYTE))) & 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_lie_least_significant_first() {
        let mut packed = [0; 128];
        packed[0] = 0b11_10_01_00;
        packed[1] = 0b00_01_10_11;
        packed[64] = 0b01;
        let mut codes = [9; 258];
        unpack(&packed, &mut codes).unwrap();
        assert_eq!(codes[..9], [0, 1, 2, 3, 3, 2, 1, 0, 0]);
        assert_eq!(codes[255..], [0, 1, 0]);
    }

    #[test]
    fn only_the_low_two_bits_of_a_code_count() {
        let codes: Vec<u8> = (0..=255).collect();
        let mut weights = [0.0; 256];
        lut(&codes, &mut weights).unwrap();
        for (i, weight) in weights.into_iter().enumerate() {
            assert_eq!(weight, [-2.0, -1.0, 1.0, 2.0][i % 4]);
        }
    }

    #[test]
    fn each_block_has_its_scale() {
        let mut out = [0.0; 257];
        dequantize(&[0b11_10_01_00; 128], &[0.5, -4.0], &mut out).unwrap();
        assert_eq!(out[..4], [-1.0, -0.5, 0.5, 1.0]);
        assert_eq!(out[256], 8.0);
    }

    #[test]
    fn gemv_sums_left_to_right_and_scales_blocks() {
        let packed = [0b10_10_10_10; 128];
        let mut x = [0.0; 257];
        x[..3].copy_from_slice(&[1e8, 1.0, -1e8]);
        x[256] = 3.0;
        let matrix = Matrix::new(&packed, 1, 257, 0).unwrap();
        let mut y = [f32::NAN; 2];
        gemv(&matrix, &x, &mut y).unwrap();
        assert_eq!(y[0], 3.0, "1e8 swallows the 1");
        assert!(y[1].is_nan(), "past the rows nothing is written");
        x[1] = 8.0;
        gemv(&matrix.with_scales(&[0.5, 10.0]).unwrap(), &x, &mut y).unwrap();
        assert_eq!(y[0], 34.0);
    }

    #[test]
    fn a_row_without_columns_gives_zero() {
        let mut y = [f32::NAN; 3];
        let matrix = Matrix::new(&[], 3, 0, 0).unwrap();
        gemv(&matrix, &[], &mut y).unwrap();
        assert_eq!(y.map(f32::to_bits), [0; 3]);
    }
}
