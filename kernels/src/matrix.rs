//! A view of a packed matrix whose sizes have been checked once and for all.

use crate::activations::Activations;
use crate::format::{BLOCK_BYTES, blocks, packed_bytes};
use crate::size::{Buffer, SizeError, at_least, product};

/// A matrix of packed codes, with or without scales.
///
/// Row `r` starts at byte `r * row_stride` and owns `ceil(cols / 256)` whole blocks; the codes past `cols` in
/// the last of them are padding. The bytes between the end of a row and the next row belong to nobody.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// Exactly the bytes from the first row's first block to the last row's last.
    packed: &'a [u8],
    /// Exactly `rows * blocks(cols)`, row-major.
    scales: Option<&'a [f32]>,
    rows: usize,
    cols: usize,
    row_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Views the front of `packed` as `rows` rows of `cols` columns, `row_stride` bytes apart.
    ///
    /// No rows need no bytes; otherwise `(rows - 1) * row_stride + 64 * ceil(cols / 256)` are needed. With
    /// one row the stride is not looked at.
    ///
    /// # Errors
    /// [`SizeError::SmallStride`] if there is more than one row and rows would overlap,
    /// [`SizeError::Overflow`] if the needed length overflows, [`SizeError::TooShort`] if `packed` is
    /// shorter.
    #[inline]
    pub fn new(packed: &'a [u8], rows: usize, cols: usize, row_stride: usize) -> Result<Self, SizeError> {
        let needed = matrix_bytes(rows, cols, row_stride)?;
        at_least(Buffer::Packed, needed, packed.len())?;
        Ok(Self { packed: &packed[..needed], scales: None, rows, cols, row_stride })
    }

    /// The same matrix with `ceil(cols / 256)` scales a row, row-major.
    ///
    /// # Errors
    /// [`SizeError::Overflow`] if their number overflows, [`SizeError::TooShort`] if `scales` holds fewer.
    #[inline]
    pub fn with_scales(self, scales: &'a [f32]) -> Result<Self, SizeError> {
        let needed = product(Buffer::Scales, self.rows, self.blocks_per_row())?;
        at_least(Buffer::Scales, needed, scales.len())?;
        Ok(Self { scales: Some(&scales[..needed]), ..self })
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns, padding not included.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The blocks of each row: `ceil(cols / 256)`.
    pub fn blocks_per_row(&self) -> usize {
        blocks(self.cols)
    }

    /// The `rows` rows from `first` on, with their scales.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn band(&self, first: usize, rows: usize) -> Matrix<'a> {
        let end = first.checked_add(rows).filter(|&end| end <= self.rows);
        assert!(end.is_some(), "{rows} rows from row {first} on, of {}", self.rows);
        let blocks = self.blocks_per_row();
        let packed = match rows {
            0 => &[],
            _ => {
                &self.packed[self.block_start(first, 0)..]
                    [..(rows - 1) * self.row_stride + packed_bytes(self.cols)]
            }
        };
        let scales = self.scales.map(|scales| &scales[first * blocks..][..rows * blocks]);
        Matrix { packed, scales, rows, ..*self }
    }

    /// The packed bytes of row `r`: exactly its blocks.
    ///
    /// # Panics
    /// If `r` is not less than [`rows`](Self::rows).
    #[inline]
    pub fn row(&self, r: usize) -> &'a [u8] {
        assert!(r < self.rows, "row {r} of {}", self.rows);
        &self.packed[self.block_start(r, 0)..][..packed_bytes(self.cols)]
    }

    /// The scales of row `r`, one a block, where the matrix has scales.
    ///
    /// # Panics
    /// If `r` is not less than [`rows`](Self::rows).
    #[inline]
    pub fn row_scales(&self, r: usize) -> Option<&'a [f32]> {
        assert!(r < self.rows, "row {r} of {}", self.rows);
        let blocks = self.blocks_per_row();
        self.scales.map(|scales| &scales[r * blocks..][..blocks])
    }

    /// Cuts `x` to the columns and `y` to the rows, or refuses them.
    #[inline]
    pub(crate) fn fit<'x, 'y>(
        &self,
        x: &'x [f32],
        y: &'y mut [f32],
    ) -> Result<(&'x [f32], &'y mut [f32]), SizeError> {
        at_least(Buffer::X, self.cols, x.len())?;
        at_least(Buffer::Y, self.rows, y.len())?;
        Ok((&x[..self.cols], &mut y[..self.rows]))
    }

    /// Cuts `y` to the rows, or refuses it, `x`, or scales.
    #[inline]
    pub(crate) fn fit_fixed<'y>(
        &self,
        x: &Activations,
        y: &'y mut [f32],
    ) -> Result<&'y mut [f32], SizeError> {
        if self.scales.is_some() {
            return Err(SizeError::Scaled);
        }
        if x.cols() != self.cols {
            return Err(SizeError::OtherColumns { needed: self.cols, actual: x.cols() });
        }
        at_least(Buffer::Y, self.rows, y.len())?;
        Ok(&mut y[..self.rows])
    }
}

/// What kernels that walk over the blocks of several rows at once need.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "only the AVX2 kernels use tiles"))]
impl<'a> Matrix<'a> {
    /// All the bytes from the first row to the last, those between rows included.
    #[inline]
    pub(crate) fn packed(&self) -> &'a [u8] {
        self.packed
    }

    /// The place in [`packed`](Self::packed) of a block of row `r`.
    #[inline]
    pub(crate) fn block_start(&self, r: usize, block: usize) -> usize {
        r * self.row_stride + block * BLOCK_BYTES
    }

    /// The codes of a block of row `r`.
    #[inline]
    pub(crate) fn block(&self, r: usize, block: usize) -> &'a [u8; BLOCK_BYTES] {
        self.packed[self.block_start(r, block)..].first_chunk().expect("a row is whole blocks")
    }

    /// Whether there are scales.
    #[inline]
    pub(crate) fn is_scaled(&self) -> bool {
        self.scales.is_some()
    }

    /// The scale of a block of row `r`; 1 where there are no scales.
    #[inline]
    pub(crate) fn scale(&self, r: usize, block: usize) -> f32 {
        self.scales.map_or(1.0, |scales| scales[r * self.blocks_per_row() + block])
    }
}

/// The bytes that a matrix of this shape reaches over.
#[inline]
fn matrix_bytes(rows: usize, cols: usize, row_stride: usize) -> Result<usize, SizeError> {
    let row = packed_bytes(cols);
    if rows > 1 && row_stride < row {
        return Err(SizeError::SmallStride { needed: row, actual: row_stride });
    }
    match rows {
        0 => Ok(0),
        1 => Ok(row),
        _ => product(Buffer::Packed, rows - 1, row_stride)?
            .checked_add(row)
            .ok_or(SizeError::Overflow { buffer: Buffer::Packed }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUGE: usize = usize::MAX;

    fn short(buffer: Buffer, needed: usize, actual: usize) -> Option<SizeError> {
        Some(SizeError::TooShort { buffer, needed, actual })
    }

    #[test]
    fn a_matrix_is_refused_exactly_where_its_bytes_do_not_fit() {
        let overflow = Some(SizeError::Overflow { buffer: Buffer::Packed });
        let stride = |needed, actual| Some(SizeError::SmallStride { needed, actual });
        #[rustfmt::skip]
        let cases = [
            // bytes, rows, cols, stride, refusal
            (0, 0, 0, 0, None),
            (0, 0, HUGE, HUGE, None),
            (0, 1, 0, 0, None),
            (0, 5, 0, 0, None),
            (0, HUGE, 0, 0, None),
            (64, 1, 1, 0, None),
            (64, 1, 256, HUGE, None),
            (63, 1, 1, 64, short(Buffer::Packed, 64, 63)),
            (127, 1, 257, 0, short(Buffer::Packed, 128, 127)),
            (128, 2, 256, 64, None),
            (129, 2, 256, 64, None),
            (127, 2, 256, 64, short(Buffer::Packed, 128, 127)),
            (164, 2, 256, 100, None),
            (163, 2, 256, 100, short(Buffer::Packed, 164, 163)),
            (999, 2, 256, 63, stride(64, 63)),
            (999, 2, 257, 64, stride(128, 64)),
            (20, 3, 0, 10, None),
            (19, 3, 0, 10, short(Buffer::Packed, 20, 19)),
            (999, 3, 1, HUGE / 2, overflow.clone()),
            (999, 2, 1, HUGE, overflow.clone()),
            (999, 2, 1, HUGE - 64, short(Buffer::Packed, HUGE, 999)),
            (999, 2, 1, HUGE - 63, overflow.clone()),
            (999, HUGE, 1, 64, overflow),
            (999, 1, HUGE, 0, short(Buffer::Packed, HUGE / 4 + 1, 999)),
        ];
        let bytes = [0; 999];
        for (len, rows, cols, row_stride, refusal) in cases {
            let outcome = Matrix::new(&bytes[..len], rows, cols, row_stride).err();
            assert_eq!(outcome, refusal, "{len} bytes for {rows} x {cols}, stride {row_stride}");
        }
    }

    #[test]
    fn scales_are_one_a_block_of_each_row() {
        let bytes = [0; 999];
        let refusal = |rows, cols, scales: usize| {
            Matrix::new(&bytes, rows, cols, 128).unwrap().with_scales(&vec![1.0; scales]).err()
        };
        assert_eq!(refusal(0, HUGE, 0), None);
        assert_eq!(refusal(3, 0, 0), None);
        assert_eq!(refusal(3, 256, 3), None);
        assert_eq!(refusal(3, 257, 7), None);
        assert_eq!(refusal(3, 257, 5), short(Buffer::Scales, 6, 5));
        let scales = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        let matrix = Matrix::new(&bytes, 3, 257, 128).unwrap().with_scales(&scales).unwrap();
        for (r, block) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)] {
            assert_eq!(matrix.scale(r, block), (2 * r + block) as f32, "row {r}, block {block}");
        }
    }

    #[test]
    fn a_row_is_its_blocks_and_nothing_between_rows() {
        let bytes: Vec<u8> = (0..=255).collect();
        let scales = [1.0, 2.0, 3.0];
        let matrix = Matrix::new(&bytes, 3, 9, 70).unwrap().with_scales(&scales).unwrap();
        for r in 0..3 {
            assert_eq!(matrix.row(r), &bytes[70 * r..][..64]);
            assert_eq!(matrix.row_scales(r), Some(&scales[r..][..1]));
        }
        assert_eq!(matrix.packed().len(), 2 * 70 + 64);
        assert_eq!(Matrix::new(&bytes, 3, 9, 70).unwrap().row_scales(0), None);
    }

    #[test]
    fn a_band_is_its_rows_and_their_scales() {
        let bytes: Vec<u8> = (0..400).map(|i| i as u8).collect();
        let scales = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let matrix = Matrix::new(&bytes, 3, 257, 130).unwrap().with_scales(&scales).unwrap();
        let band = matrix.band(1, 2);
        assert_eq!((band.rows(), band.cols(), band.packed().len()), (2, 257, 130 + 128));
        for r in 0..2 {
            assert_eq!(band.row(r), matrix.row(r + 1), "row {r} of the band");
            assert_eq!(band.row_scales(r), matrix.row_scales(r + 1), "row {r} of the band");
        }
        assert_eq!(matrix.band(3, 0).packed(), &[0; 0]);
    }

    #[test]
    #[should_panic(expected = "2 rows from row 2 on, of 3")]
    fn a_band_ends_with_the_matrix() {
        Matrix::new(&[0; 300], 3, 9, 70).unwrap().band(2, 2);
    }

    #[test]
    fn x_covers_the_columns_and_y_the_rows() {
        let bytes = [0; 128];
        let matrix = Matrix::new(&bytes, 2, 9, 64).unwrap();
        let fit = |x: usize, y: usize| {
            matrix.fit(&vec![0.0; x], &mut vec![0.0; y]).map(|(x, y)| (x.len(), y.len())).err()
        };
        assert_eq!(fit(9, 2), None);
        assert_eq!(fit(10, 3), None);
        assert_eq!(fit(8, 2), short(Buffer::X, 9, 8));
        assert_eq!(fit(9, 1), short(Buffer::Y, 2, 1));
    }
}
