//! Threads change no bit (feature `rayon`).

mod common;

use common::supported;
use qk256_kernels::{Digits, Kernels, Matrix, SizeError};

#[test]
fn every_band_and_every_number_of_threads_gives_the_bits_of_one_thread() {
    let (rows, cols, stride) = (403, 1000, 257);
    let packed: Vec<u8> = (0..rows * stride).map(|i| ((i * 2_654_435_761) >> 13) as u8).collect();
    let x: Vec<f32> = (0..cols).map(|i| ((i * 37) % 101) as f32 / 7.0 - 6.9).collect();
    let matrix = Matrix::new(&packed, rows, cols, stride).unwrap();
    let fixed = Kernels::detect().activations(&x, Digits::Two).unwrap();
    let bits = |y: &[f32]| y.iter().map(|y| y.to_bits()).collect::<Vec<_>>();
    for kernels in supported() {
        let (mut one, mut one_fixed) = (vec![f32::NAN; rows], vec![f32::NAN; rows]);
        kernels.gemv(&matrix, &x, &mut one).unwrap();
        kernels.gemv_fixed(&matrix, &fixed, &mut one_fixed).unwrap();
        for threads in 1..=3 {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for band in [1, 2, 7, 33, 402, 403, 1000, usize::MAX] {
                let context = format!("{}, {threads} threads, bands of {band} rows", kernels.level());
                let mut y = vec![f32::NAN; rows + 1];
                pool.install(|| kernels.par_gemv_in_bands(band, &matrix, &x, &mut y)).unwrap();
                assert_eq!(bits(&y[..rows]), bits(&one), "{context}");
                pool.install(|| kernels.par_gemv_fixed_in_bands(band, &matrix, &fixed, &mut y)).unwrap();
                assert_eq!(bits(&y[..rows]), bits(&one_fixed), "{context}");
                assert!(y[rows].is_nan(), "{context}");
            }
            let mut y = vec![f32::NAN; rows];
            pool.install(|| kernels.par_gemv(&matrix, &x, &mut y)).unwrap();
            assert_eq!(bits(&y), bits(&one), "{}, {threads} threads", kernels.level());
            pool.install(|| kernels.par_gemv_fixed(&matrix, &fixed, &mut y)).unwrap();
            assert_eq!(bits(&y), bits(&one_fixed), "{}, {threads} threads", kernels.level());
        }
    }
}

#[test]
fn wrong_sizes_are_refused_before_any_row_is_written() {
    let packed = [0; 64 * 40];
    let matrix = Matrix::new(&packed, 40, 9, 64).unwrap();
    let mut y = [7.0; 39];
    let refusal = Kernels::detect().par_gemv_in_bands(3, &matrix, &[1.0; 9], &mut y);
    assert!(matches!(refusal, Err(SizeError::TooShort { needed: 40, actual: 39, .. })), "{refusal:?}");
    assert_eq!(y, [7.0; 39]);
}
