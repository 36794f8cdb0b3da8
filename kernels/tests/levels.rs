//! Every level gives what the scalar definition gives, and minds nothing but its arguments.

mod common;

use common::{Random, bits, supported};
use qk256_kernels::{BLOCK_BYTES, Kernels, Matrix, SizeError, WEIGHTS, blocks, scalar};

/// Lengths around every step of every kernel, up to three blocks.
const LENGTHS: [usize; 16] = [100, 127, 128, 129, 200, 240, 255, 256, 257, 271, 300, 511, 512, 513, 700, 768];

fn lengths() -> impl Iterator<Item = usize> {
    (0..=70).chain(LENGTHS)
}

#[test]
fn unpack_gives_the_codes_and_writes_nothing_past_them() {
    let packed = Random(1).bytes(4 * BLOCK_BYTES);
    for kernels in supported() {
        for len in lengths() {
            let (mut codes, mut expected) = (vec![0xaa; len + 40], vec![0xaa; len + 40]);
            scalar::unpack(&packed[1..], &mut expected[3..][..len]).unwrap();
            kernels.unpack(&packed[1..], &mut codes[3..][..len]).unwrap();
            assert_eq!(codes, expected, "{}, {len} elements", kernels.level());
        }
    }
}

#[test]
fn lut_looks_at_the_low_two_bits_and_writes_nothing_past_its_output() {
    let codes = Random(2).bytes(800);
    for kernels in supported() {
        for len in lengths() {
            let (mut weights, mut expected) = (vec![7.0; len + 40], vec![7.0; len + 40]);
            scalar::lut(&codes[1..], &mut expected[3..][..len]).unwrap();
            kernels.lut(&codes[1..], &mut weights[3..][..len]).unwrap();
            assert_eq!(weights, expected, "{}, {len} elements", kernels.level());
        }
    }
}

#[test]
fn dequantize_rounds_like_one_multiplication_whatever_the_scale() {
    let packed = Random(3).bytes(4 * BLOCK_BYTES);
    let scales = [0.1, -0.0, f32::MIN_POSITIVE / 3.0, f32::MAX, f32::NEG_INFINITY, 1.0 / 3.0];
    for kernels in supported() {
        for len in lengths() {
            for scales in scales.windows(3) {
                let (mut out, mut expected) = (vec![7.0; len + 40], vec![7.0; len + 40]);
                scalar::dequantize(&packed[1..], scales, &mut expected[3..][..len]).unwrap();
                kernels.dequantize(&packed[1..], scales, &mut out[3..][..len]).unwrap();
                assert_eq!(bits(&out), bits(&expected), "{}, {len} elements", kernels.level());
            }
            let mut out = vec![7.0; len];
            kernels.dequantize(&packed, &[f32::NAN; 3], &mut out).unwrap();
            assert!(out.iter().all(|value| value.is_nan()), "{}, {len} elements", kernels.level());
        }
    }
}

/// A matrix with gaps between its rows, its scales powers of two, and an `x` of small integers: every order
/// of summation gives the same bits.
#[test]
fn gemv_is_exact_where_every_partial_sum_is() {
    let mut random = Random(4);
    for cols in lengths() {
        for rows in 0..=5 {
            let stride = blocks(cols) * BLOCK_BYTES + 3;
            let packed = random.bytes(1 + rows * stride);
            let scales: Vec<f32> = (0..rows * blocks(cols)).map(|i| [0.5, -1.0, 2.0, 0.25][i % 4]).collect();
            let mut x = random.integers(cols);
            x.push(f32::NAN);
            let matrix = Matrix::new(&packed[1..], rows, cols, stride).unwrap();
            for matrix in [matrix, matrix.with_scales(&scales).unwrap()] {
                let mut expected = vec![f32::NAN; rows];
                scalar::gemv(&matrix, &x, &mut expected).unwrap();
                for kernels in supported() {
                    let mut y = vec![f32::NAN; rows];
                    kernels.gemv(&matrix, &x, &mut y).unwrap();
                    assert_eq!(y, expected, "{}, {rows} x {cols}", kernels.level());
                }
            }
        }
    }
}

#[test]
fn gemv_ignores_codes_past_the_last_column_and_y_past_the_last_row() {
    let mut random = Random(5);
    for kernels in supported() {
        for cols in lengths() {
            let mut packed = random.bytes(3 * blocks(cols) * BLOCK_BYTES);
            let mut x = random.floats(cols);
            x.extend([f32::INFINITY; 9]);
            let product = |packed: &[u8]| {
                let mut y = [7.0; 5];
                let matrix = Matrix::new(packed, 3, cols, blocks(cols) * BLOCK_BYTES).unwrap();
                kernels.gemv(&matrix, &x, &mut y).unwrap();
                assert_eq!(y[3..], [7.0; 2], "{}, {cols} columns", kernels.level());
                bits(&y)
            };
            let before = product(&packed);
            for row in packed.chunks_mut((blocks(cols) * BLOCK_BYTES).max(1)) {
                for i in cols..256 * blocks(cols) {
                    row[i / 4] ^= 3 << (2 * (i % 4));
                }
            }
            assert_eq!(product(&packed), before, "{}, {cols} columns", kernels.level());
        }
    }
}

#[test]
fn a_rows_bits_do_not_depend_on_where_it_stands() {
    let mut random = Random(6);
    for cols in lengths() {
        let stride = blocks(cols) * BLOCK_BYTES;
        let (packed, x) = (random.bytes(7 * stride), random.floats(cols));
        let scales = random.floats(7 * blocks(cols));
        let matrix = Matrix::new(&packed, 7, cols, stride).unwrap();
        for matrix in [matrix, matrix.with_scales(&scales).unwrap()] {
            for kernels in supported() {
                let mut together = [f32::NAN; 7];
                kernels.gemv(&matrix, &x, &mut together).unwrap();
                for (r, expected) in together.into_iter().enumerate() {
                    let row = Matrix::new(matrix.row(r), 1, cols, 0).unwrap();
                    let row = matrix.row_scales(r).map_or(row, |scales| row.with_scales(scales).unwrap());
                    let mut alone = [f32::NAN];
                    kernels.gemv(&row, &x, &mut alone).unwrap();
                    let place = format!("{}, row {r} of {cols} columns", kernels.level());
                    assert_eq!(alone[0].to_bits(), expected.to_bits(), "{place}");
                }
            }
        }
    }
}

#[test]
fn the_path_of_a_gemv_and_the_number_of_rows_do_not_change_a_bit() {
    let several = |kernels: &Kernels| kernels.level().gemv_paths().next().is_some();
    let mut random = Random(7);
    for kernels in supported().into_iter().filter(several) {
        for cols in lengths().chain([1000, 1024, 1100]) {
            let stride = blocks(cols) * BLOCK_BYTES;
            let (packed, x) = (random.bytes(40 * stride), random.floats(cols));
            let scales: Vec<f32> = random.floats(40 * blocks(cols));
            for scaled in [false, true] {
                let matrix = |rows| {
                    let matrix = Matrix::new(&packed, rows, cols, stride).unwrap();
                    if scaled { matrix.with_scales(&scales).unwrap() } else { matrix }
                };
                let mut expected = [f32::NAN; 40];
                kernels.gemv_by(0, &matrix(40), &x, &mut expected).unwrap();
                for rows in (0..6).chain([31, 32, 33, 40]) {
                    let paths =
                        kernels.level().gemv_paths().enumerate().map(|(path, name)| (Some(path), name));
                    for (path, name) in paths.chain([(None, "plain")]) {
                        let mut y = [f32::NAN; 40];
                        match path {
                            Some(path) => kernels.gemv_by(path, &matrix(rows), &x, &mut y).unwrap(),
                            None => kernels.gemv(&matrix(rows), &x, &mut y).unwrap(),
                        }
                        let context =
                            format!("{} {name}, {rows} x {cols}, scaled: {scaled}", kernels.level());
                        assert_eq!(bits(&y[..rows]), bits(&expected[..rows]), "{context}");
                        assert!(y[rows..].iter().all(|y| y.is_nan()), "{context}");
                    }
                }
            }
        }
    }
}

#[test]
fn special_values_of_x_come_through() {
    for kernels in supported() {
        for cols in lengths().filter(|&cols| cols > 1) {
            let packed = vec![0b10_10_10_10; blocks(cols) * BLOCK_BYTES];
            let matrix = Matrix::new(&packed, 1, cols, 0).unwrap();
            let product = |place: usize, value: f32, fill: f32| {
                let mut x = vec![fill; cols];
                x[place] = value;
                let mut y = [0.0];
                kernels.gemv(&matrix, &x, &mut y).unwrap();
                y[0]
            };
            for place in [0, cols / 2, cols - 1] {
                let context = format!("{}, column {place} of {cols}", kernels.level());
                assert!(product(place, f32::NAN, 1.0).is_nan(), "{context}");
                assert!(product(place, f32::INFINITY, f32::NEG_INFINITY).is_nan(), "{context}");
                assert_eq!(product(place, f32::NEG_INFINITY, 1.0), f32::NEG_INFINITY, "{context}");
                assert_eq!(product(place, f32::from_bits(1), 0.0), f32::from_bits(1), "{context}");
                assert_eq!(product(place, f32::MAX, -0.0), f32::MAX, "{context}");
            }
        }
    }
}

/// The codes of the columns have weight 1, those of the padding each weight in turn.
#[test]
fn a_huge_scale_times_padding_does_not_matter() {
    for kernels in supported() {
        for (cols, padding) in
            lengths().filter(|&cols| cols > 0).flat_map(|cols| (0..4).map(move |p| (cols, p)))
        {
            let mut packed = vec![0b10_10_10_10; blocks(cols) * BLOCK_BYTES];
            for i in cols..256 * blocks(cols) {
                packed[i / 4] ^= (padding ^ 2) << (2 * (i % 4));
            }
            let product = |scale: f32, x: f32| {
                let scales = vec![scale; blocks(cols)];
                let matrix = Matrix::new(&packed, 1, cols, 0).unwrap().with_scales(&scales).unwrap();
                let mut y = [0.0];
                kernels.gemv(&matrix, &vec![x; cols], &mut y).unwrap();
                y[0]
            };
            let context = format!("{}, {cols} columns, padding {padding}", kernels.level());
            assert_eq!(product(f32::NEG_INFINITY, 0.5), f32::NEG_INFINITY, "{context}");
            assert_eq!(product(2.0_f32.powi(127), 2.0_f32.powi(-127)), cols as f32, "{context}");
            assert!(product(f32::NAN, 1.0).is_nan(), "{context}");
        }
    }
}

#[test]
fn wrong_sizes_are_refused_before_anything_is_written() {
    let packed = [0; BLOCK_BYTES];
    let matrix = Matrix::new(&packed, 1, 9, 0).unwrap();
    for kernels in supported() {
        let (mut codes, mut out, mut y) = ([9; 257], [7.0; 257], [7.0; 1]);
        #[rustfmt::skip]
        let refusals = [
            ("unpack", kernels.unpack(&packed, &mut codes), "packed", 128, 64),
            ("lut", kernels.lut(&codes[..256], &mut out), "codes", 257, 256),
            ("dequantize", kernels.dequantize(&packed, &[1.0; 2], &mut out), "packed", 128, 64),
            ("dequantize", kernels.dequantize(&packed, &[], &mut out[..1]), "scales", 1, 0),
            ("gemv", kernels.gemv(&matrix, &[1.0; 8], &mut y), "x", 9, 8),
            ("gemv", kernels.gemv(&matrix, &[1.0; 9], &mut []), "y", 1, 0),
        ];
        for (operation, outcome, name, needed, actual) in refusals {
            let context = format!("{}, {operation}", kernels.level());
            match outcome {
                Err(SizeError::TooShort { buffer, needed: n, actual: a }) => {
                    assert_eq!((buffer.name(), n, a), (name, needed, actual), "{context}");
                }
                other => panic!("{context}: {other:?}"),
            }
        }
        assert!(codes == [9; 257] && out == [7.0; 257] && y == [7.0], "{}", kernels.level());
    }
}

#[test]
fn the_weights_are_the_formats() {
    assert_eq!(WEIGHTS, [-2.0, -1.0, 1.0, 2.0]);
}
