//! Fixed point: what activations are rounded to, and that every level gives the same exact sums.

use qk256_kernels::{Activations, BLOCK_BYTES, Digits, Kernels, Level, Matrix, blocks, scalar};

/// SplitMix64: numbers without a pattern, the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    fn floats(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
    }
}

fn supported() -> Vec<Kernels> {
    let kernels = Level::ALL.iter().map(|&level| Kernels::new(level));
    kernels
        .filter_map(|kernels| kernels.inspect_err(|refusal| eprintln!("skipped: {refusal}")).ok())
        .collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn every_level_gives_the_bits_of_scalar() {
    let mut random = Random(1);
    for cols in (0..=70).chain([127, 128, 129, 255, 256, 257, 384, 385, 1023, 1024, 1025, 1153, 2048, 5000]) {
        for rows in 0..=5 {
            let stride = blocks(cols) * BLOCK_BYTES + 3;
            let packed = random.bytes(1 + rows * stride);
            let matrix = Matrix::new(&packed[1..], rows, cols, stride).unwrap();
            for digits in Digits::ALL {
                let x = Activations::new(&random.floats(cols), digits).unwrap();
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
                let x = Activations::new(&x, digits).unwrap();
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
