//! Fixed point: what activations are rounded to, and that every level gives the same exact sums.

mod common;

use common::{Random, bits, supported};
use qk256_kernels::{
    Activations, ActivationsError, BLOCK_BYTES, Digits, Kernels, Level, Matrix, SizeError, blocks, scalar,
};

#[test]
fn every_level_gives_the_bits_of_scalar() {
    let mut random = Random(1);
    for cols in (0..=70).chain([127, 128, 129, 255, 256, 257, 384, 385, 1023, 1024, 1025, 1153, 2048, 5000]) {
        for rows in 0..=5 {
            let stride = blocks(cols) * BLOCK_BYTES + 3;
            let packed = random.bytes(1 + rows * stride);
            let matrix = Matrix::new(&packed[1..], rows, cols, stride).unwrap();
            for digits in Digits::ALL {
                let x = Kernels::detect().activations(&random.floats(cols), digits).unwrap();
                let mut expected = vec![f32::NAN; rows];
                scalar::gemv_fixed(&matrix, &x, &mut expected).unwrap();
                for kernels in supported() {
                    let mut y = vec![f32::NAN; rows];
                    kernels.gemv_fixed(&matrix, &x, &mut y).unwrap();
                    assert_eq!(bits(&y), bits(&expected), "{}, {digits:?}, {rows} x {cols}", kernels.level());
                }
            }
        }
    }
}

/// All digits at their extremes, all weights too: 16- and 32-bit sums are as large as they get.
#[test]
fn no_sum_overflows() {
    let cols = 9000;
    for digits in Digits::ALL {
        for (byte, weight) in [(0x00, -2.0), (0xff, 2.0)] {
            for sign in [1.0, -1.0] {
                // The largest element is all digits 127; the others are all digits -128, or as near to it as f32 goes.
                let least = -128.0 * (256.0_f32.powi(digits.count() as i32) - 1.0) / 255.0 * sign;
                let mut x = vec![least * 127.0 / 128.0; cols];
                x[cols / 2] = -least;
                let packed = vec![byte; blocks(cols) * BLOCK_BYTES];
                let matrix = Matrix::new(&packed, 1, cols, 0).unwrap();
                let x = Kernels::detect().activations(&x, digits).unwrap();
                let exact: f64 =
                    (0..cols).map(|c| x.integer(c) as f64).sum::<f64>() * 2_f64.powi(x.exponent()) * weight;
                for kernels in supported() {
                    let mut y = [f32::NAN];
                    kernels.gemv_fixed(&matrix, &x, &mut y).unwrap();
                    assert_eq!(
                        y[0],
                        exact as f32,
                        "{}, {digits:?}, byte {byte:#x}, sign {sign}",
                        kernels.level()
                    );
                }
            }
        }
    }
}

/// A set of vectors: ordinary, of many magnitudes, subnormal, near the largest f32, with zeros.
fn vectors() -> Vec<Vec<f32>> {
    let mut random = Random(7);
    let unit = random.floats(300);
    let at = |scale: f32| unit.iter().map(|x| x * scale).collect::<Vec<f32>>();
    let wide = (0..300).map(|_| f32::from_bits(random.next() as u32 & 0xbfff_ffff)).collect();
    let subnormal = (0..300).map(|_| f32::from_bits(random.next() as u32 & 0x807f_ffff)).collect();
    let sparse = (0..300).map(|c| if c % 7 == 0 { unit[c] } else { -0.0 }).collect();
    let edges = EDGES.iter().flat_map(|&bits| [f32::from_bits(bits), -f32::from_bits(bits)]).collect();
    vec![
        at(1.0),
        at(10.0),
        at(1e-40),
        at(f32::MAX),
        wide,
        subnormal,
        sparse,
        edges,
        vec![f32::MAX, -f32::MAX, f32::MIN_POSITIVE],
        vec![f32::from_bits(1)],
        vec![0.0, -0.0],
        vec![],
    ]
}

/// Zero, the ends of the subnormals and of the normal numbers, and what lies around powers of two.
const EDGES: [u32; 10] =
    [0, 1, 2, 0x007f_ffff, 0x0080_0000, 0x0080_0001, 0x3f7f_ffff, 0x3f80_0000, 0x7f00_0000, 0x7f7f_ffff];

/// What the integers are multiples of.
fn unit(x: &Activations) -> f64 {
    2_f64.powi(x.exponent())
}

#[test]
fn integers_are_within_half_a_step_of_x_at_the_smallest_exponent_that_holds_it() {
    for x in vectors() {
        let max = x.iter().fold(0.0_f64, |max, &x| max.max(f64::from(x).abs()));
        for digits in Digits::ALL {
            let fixed = Kernels::detect().activations(&x, digits).unwrap();
            let step = unit(&fixed);
            for (c, &x) in x.iter().enumerate() {
                let (x, integer) = (f64::from(x) / step, fixed.integer(c));
                assert_eq!(integer as f64, x.round_ties_even(), "{digits:?}, column {c}");
                assert!(integer.abs() <= digits.largest(), "{digits:?}, column {c}: {integer}");
            }
            let (here, below) = (digits.largest() as f64 * step, digits.largest() as f64 * step / 2.0);
            assert!(max <= here && (max > below || fixed.exponent() == -149), "{digits:?}, {max:e}");
        }
    }
}

#[test]
fn activations_are_the_same_at_every_level() {
    let scalar = Kernels::new(Level::Scalar).unwrap();
    let lengths = (0..=9).chain([127, 128, 129, 255, 256, 257, 300]);
    let long = vectors().into_iter().filter(|x| x.len() == 300).collect::<Vec<_>>();
    let cut = lengths.flat_map(|len| long.iter().map(move |x| &x[..len]));
    for x in cut.chain(vectors().iter().map(Vec::as_slice)) {
        for digits in Digits::ALL {
            let expected = scalar.activations(x, digits).unwrap();
            for kernels in supported() {
                let context = format!("{}, {digits:?}, {} columns", kernels.level(), x.len());
                assert_eq!(kernels.activations(x, digits).unwrap(), expected, "{context}");
                let within = kernels.activations_within(x, expected.error_bound()).unwrap();
                assert!(within.digits() <= digits, "{context}");
            }
        }
    }
}

#[test]
fn every_exponent_of_an_f32_is_rounded() {
    for field in 0..255 {
        for fraction in [0, 1, 0x40_0000, 0x7e_fefe, 0x7f_ffff] {
            let x = f32::from_bits(field << 23 | fraction);
            for digits in Digits::ALL {
                let fixed = Kernels::detect().activations(&[x, -x], digits).unwrap();
                let integer = (f64::from(x) / unit(&fixed)).round_ties_even() as i64;
                assert_eq!((fixed.integer(0), fixed.integer(1)), (integer, -integer), "{x:e}, {digits:?}");
                // Two columns, of which each may be doubled by its weight.
                let lost = (integer as f64 * unit(&fixed) - f64::from(x)).abs();
                assert!(lost <= fixed.error_bound() / 4.0, "{x:e}, {digits:?}");
            }
        }
    }
}

/// Lower digits reach -128, which has no counterpart, and carry.
#[test]
fn integers_survive_whatever_their_digits_are() {
    for digits in Digits::ALL {
        let highest = 1 << (8 * (digits.count() - 1));
        let ones = digits.largest() / 127;
        // Of four digits at 127 an f32 holds the upper three.
        let all_127 = if digits == Digits::Four { digits.largest() & !0xff } else { digits.largest() };
        let lower_least = 127 * highest - 128 * (ones - highest);
        let integers = [all_127, lower_least, 128 * (ones >> 8), 64 * highest, 127, 1, 0];
        let x: Vec<f32> = integers.iter().flat_map(|&integer| [integer as f32, -(integer as f32)]).collect();
        let fixed = Kernels::detect().activations(&x, digits).unwrap();
        assert_eq!(fixed.exponent(), 0, "{digits:?}");
        for (c, integer) in integers.iter().flat_map(|&integer| [integer, -integer]).enumerate() {
            assert_eq!(fixed.integer(c), integer, "{digits:?}, column {c}");
        }
    }
}

#[test]
fn a_tolerance_gets_the_fewest_digits_that_meet_it() {
    for x in vectors() {
        let bounds =
            Digits::ALL.map(|digits| Kernels::detect().activations(&x, digits).unwrap().error_bound());
        for tolerance in bounds.into_iter().flat_map(|bound| [bound, bound * 1.5]) {
            let fixed = Kernels::detect().activations_within(&x, tolerance).unwrap();
            assert!(fixed.error_bound() <= tolerance);
            let fewer = Digits::ALL.into_iter().zip(bounds).filter(|&(digits, _)| digits < fixed.digits());
            for (digits, bound) in fewer {
                assert!(bound > tolerance, "{digits:?} would do for {tolerance:e}");
            }
        }
        let out_of_reach = [bounds[3] / 2.0, f64::NAN, -1.0]
            .into_iter()
            .filter(|below| below.is_nan() || *below < bounds[3]);
        for tolerance in out_of_reach {
            let error = Kernels::detect().activations_within(&x, tolerance).unwrap_err();
            let ActivationsError::OutOfReach { tolerance: named, bound } = error else {
                panic!("{tolerance:e}: {error}")
            };
            assert_eq!((named.to_bits(), bound), (tolerance.to_bits(), bounds[3]));
            let text = error.to_string();
            assert!(
                text.contains(&format!("{tolerance:e}")) && text.contains(&format!("{bound:e}")),
                "{text}"
            );
        }
    }
}

#[test]
fn what_fixed_point_has_no_room_for_is_refused_by_name() {
    for value in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(0x7f80_0001)] {
        let mut x = vec![1.0; 300];
        (x[131], x[200]) = (value, f32::NAN);
        for digits in Digits::ALL {
            let error = Kernels::detect().activations(&x, digits).unwrap_err();
            let ActivationsError::NotFinite { index: 131, value: named } = error else { panic!("{error}") };
            assert_eq!(named.to_bits(), value.to_bits());
            assert!(error.to_string().starts_with("x[131] is "), "{error}");
        }
        assert!(matches!(
            Kernels::detect().activations_within(&x, 1.0),
            Err(ActivationsError::NotFinite { index: 131, .. })
        ));
    }
    let x = vec![0.0; Activations::MAX_COLS + 1];
    let cols = x.len();
    assert_eq!(
        Kernels::detect().activations(&x, Digits::One),
        Err(ActivationsError::TooManyColumns { cols })
    );
    assert_eq!(Kernels::detect().activations_within(&x, 1.0), Err(ActivationsError::TooManyColumns { cols }));
    assert!(Kernels::detect().activations(&x[1..], Digits::One).is_ok());
}

#[test]
fn activations_in_old_memory_are_those_in_new_memory() {
    let mut reused = Kernels::detect().activations(&[], Digits::One).unwrap();
    for x in vectors().into_iter().chain(vectors().into_iter().rev()) {
        for digits in Digits::ALL {
            Kernels::detect().assign_activations(&mut reused, &x, digits).unwrap();
            assert_eq!(
                reused,
                Kernels::detect().activations(&x, digits).unwrap(),
                "{digits:?}, {} columns",
                x.len()
            );
        }
    }
    let before = reused.clone();
    Kernels::detect().assign_activations(&mut reused, &[1.0, f32::NAN], Digits::Four).unwrap_err();
    assert_eq!(reused, before, "a refusal leaves activations as they were");
}

#[test]
fn a_product_refuses_scales_other_columns_and_a_short_y() {
    let packed = [0; 2 * BLOCK_BYTES];
    let x = Kernels::detect().activations(&[1.0; 10], Digits::Two).unwrap();
    let matrix = |cols| Matrix::new(&packed, 2, cols, BLOCK_BYTES).unwrap();
    let scaled = matrix(10).with_scales(&[1.0; 2]).unwrap();
    for kernels in supported() {
        let mut y = [f32::NAN; 2];
        let level = kernels.level();
        assert_eq!(kernels.gemv_fixed(&scaled, &x, &mut y), Err(SizeError::Scaled), "{level}");
        for cols in [9, 11] {
            let refused = Err(SizeError::OtherColumns { needed: cols, actual: 10 });
            assert_eq!(kernels.gemv_fixed(&matrix(cols), &x, &mut y), refused, "{level}");
        }
        let short = kernels.gemv_fixed(&matrix(10), &x, &mut y[..1]);
        assert!(matches!(short, Err(SizeError::TooShort { needed: 2, actual: 1, .. })), "{level}: {short:?}");
        assert!(y.iter().all(|y| y.is_nan()), "{level} writes although it refuses");
    }
}
