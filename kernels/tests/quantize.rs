//! Quantization finds the least squared error that a block of codes and a scale can have.

use std::error::Error;

use qk256_kernels::{BLOCK_BYTES, QuantizeError, SizeError, blocks, quantize, quantize_matrix, scalar};

/// Values without a pattern: SplitMix64, then a cube for a heavy tail.
fn values(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed;
    let mut uniform = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| uniform().powi(3)).collect()
}

fn quantized(values: &[f32]) -> (Vec<u8>, Vec<f32>) {
    let mut packed = vec![0x55; blocks(values.len()) * BLOCK_BYTES];
    let mut scales = vec![f32::NAN; blocks(values.len())];
    quantize(values, &mut packed, &mut scales).unwrap();
    (packed, scales)
}

/// The squared error of codes and scales, in f64.
fn error(values: &[f32], packed: &[u8], scales: &[f32]) -> f64 {
    let mut out = vec![0.0; values.len()];
    scalar::dequantize(packed, scales, &mut out).unwrap();
    values.iter().zip(out).map(|(v, w)| (f64::from(*v) - f64::from(w)).powi(2)).sum()
}

/// The least squared error of one block at a given scale: each value takes the nearest weight.
fn error_at(values: &[f32], scale: f64) -> f64 {
    let nearest =
        |v: f64| [-2.0, -1.0, 1.0, 2.0].map(|w| (v - w * scale).powi(2)).into_iter().fold(f64::MAX, f64::min);
    values.iter().map(|v| nearest(f64::from(*v))).sum()
}

#[test]
fn no_codes_and_no_scale_are_better() {
    for (seed, len) in [1, 2, 3, 5, 17, 64, 255, 256].into_iter().cycle().take(64).enumerate() {
        let values = values(seed as u64, len);
        let (packed, scales) = quantized(&values);
        let found = error(&values, &packed, &scales);
        let scale = f64::from(scales[0]);
        let everywhere = (0..=4000).map(|i| f64::from(i) / 2000.0);
        let nearby = (-200..=200).map(|i| scale * (1.0 + f64::from(i) * 1e-5));
        for other in everywhere.chain(nearby) {
            let least = error_at(&values, other);
            assert!(
                found <= least * (1.0 + 1e-6) + 1e-12,
                "{len} values: {found} at {scale}, {least} at {other}"
            );
        }
    }
}

#[test]
fn every_choice_of_twos_is_matched_or_beaten() {
    for seed in 0..8 {
        let values = values(seed, 10);
        let (packed, scales) = quantized(&values);
        let found = error(&values, &packed, &scales);
        for twos in 0..1_u32 << values.len() {
            let weight = |i: usize| if twos >> i & 1 == 1 { 2.0 } else { 1.0 };
            let magnitudes = || values.iter().enumerate().map(|(i, v)| (weight(i), f64::from(v.abs())));
            let p: f64 = magnitudes().map(|(m, a)| m * a).sum();
            let q: f64 = magnitudes().map(|(m, _)| m * m).sum();
            let least: f64 = magnitudes().map(|(m, a)| (a - m * p / q).powi(2)).sum();
            assert!(found <= least * (1.0 + 1e-6) + 1e-12, "seed {seed}, twos {twos:b}: {found}, {least}");
        }
    }
}

#[test]
fn values_that_the_format_holds_come_back() {
    for scale in [1.0, 0.37, f32::from_bits(1), f32::MAX / 2.0] {
        let mut values: Vec<f32> = (0..300).map(|i| scale * [-2.0, -1.0, 1.0, 2.0][i * i % 7 % 4]).collect();
        values[299] = 2.0 * scale;
        let (packed, scales) = quantized(&values);
        let mut out = vec![0.0; values.len()];
        scalar::dequantize(&packed, &scales, &mut out).unwrap();
        assert_eq!(out, values, "scale {scale:e}");
    }
}

#[test]
fn weight_times_scale_never_overflows() {
    let max = f32::MAX;
    let cases = [
        vec![max; 256],
        vec![-max; 3],
        [vec![max], vec![0.6 * max; 200]].concat(),
        vec![max, 0.9 * max, 0.0],
    ];
    for values in cases {
        let (packed, scales) = quantized(&values);
        let mut out = vec![0.0; values.len()];
        scalar::dequantize(&packed, &scales, &mut out).unwrap();
        assert!(out.iter().all(|w| w.is_finite()), "{values:?} became {out:?}");
    }
}

#[test]
fn zeros_and_padding_are_plus_one_and_the_scale_of_zeros_is_zero() {
    let (packed, scales) = quantized(&[0.0, -0.0, 0.0]);
    assert_eq!((packed, scales[0].to_bits()), (vec![0b10_10_10_10; 64], 0));
    let (packed, scales) = quantized(&[-3.0, 0.0, -0.0, 3.0, -3.0]);
    assert_eq!(packed[0] & 0b00_11_11_00, 0b00_10_10_00);
    assert_eq!(packed[1] >> 2, 0b10_10_10);
    assert!(scales[0] > 0.0);
    assert_eq!(quantized(&[]), (vec![], vec![]));
}

#[test]
fn ties_go_to_the_fewest_twos() {
    for (values, twos, scale) in [
        (vec![3.0], 0, 3.0),
        (vec![-0.1; 256], 0, 0.1),
        // Three twos at 28 have the error of eleven at 20.
        ([vec![24.0; 5], vec![50.0; 3], vec![-35.0; 8]].concat(), 3, 28.0),
    ] {
        let (packed, scales) = quantized(&values);
        let is_two = |&at: &usize| matches!(packed[at / 4] >> (2 * (at % 4)) & 3, 0 | 3);
        assert_eq!(((0..values.len()).filter(is_two).count(), scales[0]), (twos, scale), "{values:?}");
    }
}

#[test]
fn a_matrix_is_quantized_row_by_row() {
    let (rows, cols) = (3, 300);
    let values = values(9, rows * cols);
    let (mut packed, mut scales) = (vec![0; rows * 128 + 1], vec![0.0; rows * 2 + 1]);
    quantize_matrix(&values, rows, cols, &mut packed, &mut scales).unwrap();
    for (r, row) in values.chunks(cols).enumerate() {
        assert_eq!(quantized(row), (packed[128 * r..][..128].to_vec(), scales[2 * r..][..2].to_vec()));
    }
    assert_eq!((packed[rows * 128], scales[rows * 2]), (0, 0.0));
}

#[test]
fn what_cannot_be_quantized_is_refused_before_anything_is_written() {
    let short =
        |buffer: &str, needed, actual| format!("`{buffer}` is too short: {needed} needed, {actual} given");
    let values = |index: usize, value| {
        let mut values = vec![1.0; 600];
        values[index] = value;
        values
    };
    #[rustfmt::skip]
    let cases = [
        // values, rows, cols, packed, scales, refusal
        (values(0, 1.0), 2, 301, 256, 4, short("values", 602, 600)),
        (values(0, 1.0), 2, 300, 255, 4, short("packed", 256, 255)),
        (values(0, 1.0), 2, 300, 256, 3, short("scales", 4, 3)),
        (values(0, 1.0), usize::MAX, 2, 256, 4, "the length that `values` would need does not fit in a usize".into()),
        (values(599, f32::NAN), 2, 300, 256, 4, "the value at index 599 is not finite".into()),
        (values(301, f32::NEG_INFINITY), 2, 300, 256, 4, "the value at index 301 is not finite".into()),
    ];
    for (values, rows, cols, packed, scales, refusal) in cases {
        let (mut packed, mut scales) = (vec![9; packed], vec![7.0; scales]);
        let error = quantize_matrix(&values, rows, cols, &mut packed, &mut scales).unwrap_err();
        assert_eq!(error.to_string(), refusal);
        assert!(
            packed.iter().all(|byte| *byte == 9) && scales.iter().all(|scale| *scale == 7.0),
            "{refusal}"
        );
    }
    let error = quantize(&[1.0], &mut [], &mut [0.0]).unwrap_err();
    assert!(matches!(error, QuantizeError::Size(SizeError::TooShort { needed: 64, .. })));
    assert_eq!(error.source().map(ToString::to_string), Some(short("packed", 64, 0)));
}
