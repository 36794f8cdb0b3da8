//! `gemm` gives, for each vector, the bits that `gemv` of the same level gives for that vector alone.

mod common;

use common::{Random, bits, supported};
use qk256_kernels::{BLOCK_BYTES, Batch, Buffer, Kernels, Matrix, SizeError, blocks};

const ROWS: [usize; 13] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 33, 96, 97];
const COLS: [usize; 21] =
    [0, 1, 7, 8, 16, 17, 63, 64, 65, 127, 128, 129, 255, 256, 257, 300, 513, 1023, 1024, 1025, 2050];
/// Wide enough for tiles, and whole blocks, which tiles with scales need.
const WIDE: [usize; 3] = [1280, 2560, 4352];

/// The element of `y` that nothing may change: a NaN that no product gives.
const UNTOUCHED: f32 = f32::from_bits(0x7fc0_1234);

/// Holds `gemm` of each batch up to 9 to the bits of `gemv`, with odd strides and slack behind `x` and `y`.
fn check(kernels: &Kernels, matrix: &Matrix<'_>, x: &[f32], x_stride: usize) {
    let (rows, cols) = (matrix.rows(), matrix.cols());
    for batch in 0..=9 {
        let y_stride = rows + 1 + batch % 3;
        let needed = if batch == 0 { 0 } else { (batch - 1) * y_stride + rows };
        let mut y = vec![UNTOUCHED; needed + 5];
        let mut expected = y.clone();
        let vectors = Batch::new(x, batch, cols, x_stride).unwrap();
        for b in 0..batch {
            kernels.gemv(matrix, vectors.vector(b), &mut expected[b * y_stride..][..rows]).unwrap();
        }
        kernels.gemm(matrix, &vectors, &mut y, y_stride).unwrap();
        assert_eq!(bits(&y), bits(&expected), "{}, {rows} x {cols}, batch {batch}", kernels.level());
    }
}

#[test]
fn each_vector_gives_the_bits_of_gemv_and_nothing_between_products_is_written() {
    let mut random = Random(11);
    for cols in COLS.into_iter().chain(WIDE) {
        let (row_stride, x_stride) = (blocks(cols) * BLOCK_BYTES + 3, cols + 3);
        let packed = random.bytes(1 + 97 * row_stride);
        let (scales, x) = (random.floats(97 * blocks(cols)), random.floats(1 + 9 * x_stride));
        for rows in ROWS {
            let matrix = Matrix::new(&packed[1..], rows, cols, row_stride).unwrap();
            for matrix in [matrix, matrix.with_scales(&scales).unwrap()] {
                for kernels in supported() {
                    check(&kernels, &matrix, &x[1..], x_stride);
                }
            }
        }
    }
}

#[test]
fn special_values_stay_with_their_vector() {
    let mut random = Random(12);
    let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(1), -0.0];
    let canonical = |y: &[f32]| y.iter().map(|y| if y.is_nan() { f32::NAN } else { *y }).collect::<Vec<_>>();
    let rows = 97;
    for cols in [300, 2048, 2050] {
        let stride = blocks(cols) * BLOCK_BYTES;
        let (packed, mut x) = (random.bytes(rows * stride), random.floats(9 * cols));
        for (b, value) in values.into_iter().enumerate() {
            x[(b + 1) * cols + 50 * b] = value;
        }
        let (vectors, huge) = (Batch::new(&x, 9, cols, cols).unwrap(), vec![f32::MAX; rows * blocks(cols)]);
        let matrix = Matrix::new(&packed, rows, cols, stride).unwrap();
        for matrix in [matrix, matrix.with_scales(&huge).unwrap()] {
            for kernels in supported() {
                let (mut y, mut expected) = (vec![7.0; 9 * rows], vec![7.0; 9 * rows]);
                for b in 0..9 {
                    kernels.gemv(&matrix, vectors.vector(b), &mut expected[b * rows..][..rows]).unwrap();
                }
                kernels.gemm(&matrix, &vectors, &mut y, rows).unwrap();
                let context = format!("{}, {rows} x {cols}", kernels.level());
                assert_eq!(bits(&canonical(&y)), bits(&canonical(&expected)), "{context}");
            }
        }
    }
}

#[test]
fn rows_without_columns_give_zero_and_a_matrix_without_rows_writes_nothing() {
    for kernels in supported() {
        let mut y = [UNTOUCHED; 9];
        let x = Batch::new(&[], 2, 0, 0).unwrap();
        kernels.gemm(&Matrix::new(&[], 3, 0, 0).unwrap(), &x, &mut y, 4).unwrap();
        let (zero, untouched) = (0, UNTOUCHED.to_bits());
        let expected = [zero, zero, zero, untouched, zero, zero, zero, untouched, untouched];
        assert_eq!(bits(&y), expected, "{}", kernels.level());
        let endless = Batch::new(&[], usize::MAX, 0, 0).unwrap();
        kernels.gemm(&Matrix::new(&[], 0, 0, 0).unwrap(), &endless, &mut [], 0).unwrap();
    }
}

#[test]
fn wrong_sizes_are_refused_before_anything_is_written() {
    let (packed, x) = ([0; 3 * BLOCK_BYTES], [1.0; 40]);
    let matrix = Matrix::new(&packed, 3, 9, BLOCK_BYTES).unwrap();
    let (fit, other) = (Batch::new(&x, 3, 9, 10).unwrap(), Batch::new(&x, 3, 8, 10).unwrap());
    let buffer = Buffer::Y;
    #[rustfmt::skip]
    let cases = [
        // vectors, elements of y, stride of y, refusal
        (&fit, 10, 4, SizeError::TooShort { buffer, needed: 11, actual: 10 }),
        (&fit, 11, 2, SizeError::SmallVectorStride { buffer, needed: 3, actual: 2 }),
        (&fit, 11, usize::MAX, SizeError::Overflow { buffer }),
        (&other, 11, 4, SizeError::OtherColumns { needed: 9, actual: 8 }),
    ];
    for kernels in supported() {
        for (x, len, stride, refusal) in &cases {
            let mut y = [7.0; 11];
            let outcome = kernels.gemm(&matrix, x, &mut y[..*len], *stride);
            assert_eq!(outcome.as_ref(), Err(refusal), "{}", kernels.level());
            assert_eq!(y, [7.0; 11], "{}", kernels.level());
        }
        assert_eq!(kernels.gemm(&matrix, &fit, &mut [7.0; 11], 4), Ok(()), "{}", kernels.level());
    }
}
