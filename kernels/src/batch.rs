//! Vectors of one product, side by side in a buffer: views whose sizes have been checked once and for all.

use crate::matrix::Matrix;
use crate::size::{Buffer, SizeError, at_least, product};

/// A batch of vectors that a matrix is multiplied by.
///
/// Vector `b` starts at element `b * stride` and has `cols` elements. The elements between the end of a vector and the next
/// belong to nobody.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Exactly the elements from the first vector's first to the last vector's last.
    x: &'a [f32],
    batch: usize,
    cols: usize,
    stride: usize,
}

impl<'a> Batch<'a> {
    /// Views the front of `x` as `batch` vectors of `cols` elements, `stride` elements apart.
    ///
    /// No vectors need no elements; otherwise `(batch - 1) * stride + cols` are needed. With one vector the stride is not
    /// looked at.
    ///
    /// # Errors
    /// [`SizeError::SmallVectorStride`] if there is more than one vector and vectors would overlap, [`SizeError::Overflow`] if
    /// the needed length overflows, [`SizeError::TooShort`] if `x` is shorter.
    #[inline]
    pub fn new(x: &'a [f32], batch: usize, cols: usize, stride: usize) -> Result<Self, SizeError> {
        let needed = elements(Buffer::X, batch, cols, stride)?;
        at_least(Buffer::X, needed, x.len())?;
        Ok(Self { x: &x[..needed], batch, cols, stride })
    }

    /// The number of vectors.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The elements of each vector.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Vector `b`: exactly its elements.
    ///
    /// # Panics
    /// If `b` is not less than [`batch`](Self::batch).
    #[inline]
    pub fn vector(&self, b: usize) -> &'a [f32] {
        assert!(b < self.batch, "vector {b} of {}", self.batch);
        &self.x[b * self.stride..][..self.cols]
    }
}

/// The place of the products of a matrix and a [`Batch`].
#[derive(Debug)]
pub(crate) struct Products<'y> {
    /// Exactly the elements from the first product's first to the last product's last.
    y: &'y mut [f32],
    batch: usize,
    rows: usize,
    stride: usize,
}

impl<'y> Products<'y> {
    /// Views the front of `y` as the products of `matrix` and `x`, `stride` elements apart, or refuses `x` or `y`.
    #[inline]
    pub(crate) fn new(
        matrix: &Matrix<'_>,
        x: &Batch<'_>,
        y: &'y mut [f32],
        stride: usize,
    ) -> Result<Self, SizeError> {
        if x.cols != matrix.cols() {
            return Err(SizeError::OtherColumns { needed: matrix.cols(), actual: x.cols });
        }
        let rows = matrix.rows();
        let needed = elements(Buffer::Y, x.batch, rows, stride)?;
        at_least(Buffer::Y, needed, y.len())?;
        // Where products have no elements, their number may be beyond all counting.
        let batch = if rows == 0 { 0 } else { x.batch };
        Ok(Self { y: &mut y[..needed], batch, rows, stride })
    }

    /// The number of products that have elements.
    #[inline]
    pub(crate) fn batch(&self) -> usize {
        self.batch
    }

    /// The product of vector `b`: an element a row.
    #[inline]
    pub(crate) fn product(&mut self, b: usize) -> &mut [f32] {
        assert!(b < self.batch, "product {b} of {}", self.batch);
        &mut self.y[b * self.stride..][..self.rows]
    }
}

/// The elements of `buffer` that `batch` vectors of `len` elements reach over.
#[inline]
fn elements(buffer: Buffer, batch: usize, len: usize, stride: usize) -> Result<usize, SizeError> {
    if batch > 1 && stride < len {
        return Err(SizeError::SmallVectorStride { buffer, needed: len, actual: stride });
    }
    match batch {
        0 => Ok(0),
        1 => Ok(len),
        _ => product(buffer, batch - 1, stride)?.checked_add(len).ok_or(SizeError::Overflow { buffer }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUGE: usize = usize::MAX;

    /// The refusal of a batch in the terms of `buffer`, for each case of the table.
    fn refused_where_it_does_not_fit(
        buffer: Buffer,
        refusal_of: impl Fn(usize, usize, usize, usize) -> Option<SizeError>,
    ) {
        let short = |needed, actual| Some(SizeError::TooShort { buffer, needed, actual });
        let stride = |needed, actual| Some(SizeError::SmallVectorStride { buffer, needed, actual });
        let overflow = Some(SizeError::Overflow { buffer });
        #[rustfmt::skip]
        let cases = [
            // elements, vectors, elements of a vector, stride, refusal
            (0, 0, 9, 0, None),
            (0, 0, 9, HUGE, None),
            (9, 1, 9, 0, None),
            (9, 1, 9, HUGE, None),
            (8, 1, 9, 9, short(9, 8)),
            (18, 2, 9, 9, None),
            (17, 2, 9, 9, short(18, 17)),
            (20, 2, 9, 11, None),
            (19, 2, 9, 11, short(20, 19)),
            (99, 2, 9, 8, stride(9, 8)),
            (31, 3, 9, 11, None),
            (99, 2, 9, HUGE - 9, short(HUGE, 99)),
            (99, 2, 9, HUGE - 8, overflow.clone()),
            (99, 3, 9, HUGE / 2 + 1, overflow.clone()),
            (99, HUGE, 9, 9, overflow),
            (0, HUGE, 0, 0, None),
            (4, 5, 0, 1, None),
            (3, 5, 0, 1, short(4, 3)),
        ];
        for (len, batch, of_each, stride, refusal) in cases {
            let context = format!("{len} elements of `{buffer}` for {batch} x {of_each}, stride {stride}");
            assert_eq!(refusal_of(len, batch, of_each, stride), refusal, "{context}");
        }
    }

    #[test]
    fn a_batch_is_refused_exactly_where_its_elements_do_not_fit() {
        refused_where_it_does_not_fit(Buffer::X, |len, batch, cols, stride| {
            Batch::new(&vec![0.0; len], batch, cols, stride).err()
        });
    }

    #[test]
    fn products_are_refused_exactly_where_their_elements_do_not_fit() {
        refused_where_it_does_not_fit(Buffer::Y, |len, batch, rows, stride| {
            let matrix = Matrix::new(&[], rows, 0, 0).unwrap();
            let x = Batch::new(&[], batch, 0, 0).unwrap();
            Products::new(&matrix, &x, &mut vec![0.0; len], stride).err()
        });
    }

    #[test]
    fn a_batch_of_other_columns_than_the_matrix_is_refused() {
        let matrix = Matrix::new(&[0; 64], 1, 9, 0).unwrap();
        for cols in [8, 10] {
            let x = Batch::new(&[0.0; 20], 2, cols, 10).unwrap();
            let refusal = Products::new(&matrix, &x, &mut [0.0; 2], 1).err();
            assert_eq!(refusal, Some(SizeError::OtherColumns { needed: 9, actual: cols }));
        }
    }

    #[test]
    fn a_vector_is_its_elements_and_nothing_between_vectors() {
        let x: Vec<f32> = (0..40).map(|i| i as f32).collect();
        let batch = Batch::new(&x, 3, 5, 7).unwrap();
        let matrix = Matrix::new(&[], 5, 0, 0).unwrap();
        let (none, mut y) = (Batch::new(&[], 3, 0, 0).unwrap(), x.clone());
        let mut products = Products::new(&matrix, &none, &mut y, 7).unwrap();
        for b in 0..3 {
            assert_eq!(batch.vector(b), &x[7 * b..][..5]);
            assert_eq!(products.product(b), &x[7 * b..][..5]);
        }
        assert_eq!((batch.batch(), batch.cols(), products.batch()), (3, 5, 3));
    }

    #[test]
    fn products_without_rows_are_none() {
        let matrix = Matrix::new(&[], 0, 0, 0).unwrap();
        let x = Batch::new(&[], HUGE, 0, 0).unwrap();
        assert_eq!(Products::new(&matrix, &x, &mut [], 0).unwrap().batch(), 0);
    }
}
