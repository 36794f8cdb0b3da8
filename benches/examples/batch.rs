//! What a batch gains: the speed of AVX2 `gemm` over one `gemv` a vector, by vectors and scales.
//!
//! `cargo run --release -p qk256-benches --example batch -- 2560 2560`

use std::time::{Duration, Instant};

use qk256_kernels::{BLOCK_BYTES, Batch, Kernels, Level, Matrix, SizeError, blocks};

/// Vectors of the largest batch.
const MOST: usize = 4;

/// Rounds in which both are timed in turn.
const ROUNDS: usize = 61;

/// Least multiplications of a round.
const WORK: usize = 8_000_000;

fn main() -> Result<(), SizeError> {
    let Ok(kernels) = Kernels::new(Level::Avx2) else {
        println!("skipped: this CPU lacks AVX2 or FMA");
        return Ok(());
    };
    let sizes: Vec<usize> = std::env::args().skip(1).map_while(|size| size.parse().ok()).collect();
    let [rows, cols] = sizes[..] else {
        println!("usage: batch ROWS COLS");
        return Ok(());
    };
    println!("vectors  scales  speed-up (quartiles)");
    let stride = blocks(cols) * BLOCK_BYTES;
    // Any bytes are codes: those of a multiplicative hash (Knuth, The Art of Computer Programming, volume 3, section 6.4).
    let packed: Vec<u8> =
        (0..(rows * stride) as u32).map(|i| (i.wrapping_mul(0x9e37_79b1) >> 24) as u8).collect();
    let scales: Vec<f32> = (0..rows * blocks(cols)).map(|i| 0.5 + (i % 7) as f32 / 8.0).collect();
    let x: Vec<f32> = (0..MOST * cols).map(|i| (i * 37 % 1001) as f32 / 100.0 - 5.0).collect();
    let plain = Matrix::new(&packed, rows, cols, stride)?;
    for (word, matrix) in [("no", plain), ("yes", plain.with_scales(&scales)?)] {
        for batch in 2..=MOST {
            let x = Batch::new(&x, batch, cols, cols)?;
            let [low, median, high] = speed_up(kernels, &matrix, &x)?;
            println!("{batch:>7}  {word:>6}  {median:.2} ({low:.2} to {high:.2})");
        }
    }
    Ok(())
}

/// The quartiles of the time of one `gemv` a vector, over that of `gemm`. Their bits are the same, which is looked at first.
fn speed_up(kernels: Kernels, matrix: &Matrix<'_>, x: &Batch<'_>) -> Result<[f64; 3], SizeError> {
    let rows = matrix.rows();
    let mut together = vec![0.0; x.batch() * rows];
    let mut apart = together.clone();
    let gemm = |y: &mut [f32]| kernels.gemm(matrix, x, y, rows);
    let gemvs = |y: &mut [f32]| {
        (0..x.batch()).try_for_each(|b| kernels.gemv(matrix, x.vector(b), &mut y[b * rows..][..rows]))
    };
    gemm(&mut together)?;
    gemvs(&mut apart)?;
    assert!(together.iter().zip(&apart).all(|(a, b)| a.to_bits() == b.to_bits()), "gemm and gemv differ");
    let calls = WORK.div_ceil(x.batch() * rows * matrix.cols().max(1));
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let slow = time(calls, || gemvs(&mut apart))?;
        let fast = time(calls, || gemm(&mut together))?;
        ratios.push(slow.as_secs_f64() / fast.as_secs_f64());
    }
    ratios.sort_by(f64::total_cmp);
    Ok([1, 2, 3].map(|quarter| ratios[ROUNDS * quarter / 4]))
}

fn time(calls: usize, mut call: impl FnMut() -> Result<(), SizeError>) -> Result<Duration, SizeError> {
    let start = Instant::now();
    (0..calls).try_for_each(|_| call())?;
    Ok(start.elapsed())
}
