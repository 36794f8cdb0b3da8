//! How far f32 sums stray from the exact sum, and from each other, held against the flat bound.

use qk256_kernels::{Kernels, Level, Matrix};
use qk256_verify::Operation;
use qk256_verify::oracle::{ExactSum, FLAT_BOUND, Wide};
use qk256_verify::registry::code_of;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::{percent, signed_unit, stream};

/// Vectors x of a data set.
const VECTORS: usize = 500;

/// Rows that each vector is multiplied by.
const ROWS: usize = 32;

/// Independent activations; the codes are uniform.
struct Data {
    name: &'static str,
    cols: usize,
    draw: fn(&mut ChaCha8Rng) -> f32,
}

const DATA: [Data; 8] = [
    Data { name: "[-10, 10]", cols: 2048, draw: |rng| 10.0 * signed_unit(rng) },
    Data { name: "N(0, 1)", cols: 4096, draw: normal },
    Data { name: "[-1, 1]", cols: 2048, draw: signed_unit },
    Data { name: "[-1, 1]", cols: 1024, draw: signed_unit },
    Data { name: "unit, 1/8", cols: 2048, draw: |rng| 0.125 * signed_unit(rng) },
    Data { name: "unit, 1/4", cols: 1024, draw: |rng| 0.25 * signed_unit(rng) },
    Data { name: "unit, 1/2", cols: 512, draw: |rng| 0.5 * signed_unit(rng) },
    Data { name: "unit, 1", cols: 256, draw: signed_unit },
];

/// Box and Muller's transform of two uniform draws.
pub(super) fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let mut uniform = || (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    let (radius, angle) = ((-2.0 * (1.0 - uniform()).ln()).sqrt(), std::f64::consts::TAU * uniform());
    (radius * angle.cos()) as f32
}

/// Prints the table, over `factor` times as many vectors.
pub(super) fn print(factor: usize) {
    let vectors = VECTORS * factor;
    println!("\nErrors of f32 gemv over {} rows; a miss is an error above {FLAT_BOUND:e}.", vectors * ROWS);
    println!("An alarm is a result further than that from scalar's, a false one if it is no miss.");
    println!("\nx           cols  kernel             misses      worst   alarms  false alarms");
    let levels = Level::ALL.iter().filter(|&&level| code_of(level, Operation::Gemv) == level);
    let kernels: Vec<Kernels> = levels.filter_map(|&level| Kernels::new(level).ok()).collect();
    for (seed, data) in (2..).zip(&DATA) {
        let tallies = measure(data, &kernels, seed, vectors);
        for (kernel, tally) in kernels.iter().zip(tallies) {
            let of_rows = |count| percent(count, (vectors * ROWS) as u64);
            println!(
                "{:10} {:5}  {:16} {:6.2} %   {:8.1e} {:6.2} %      {:6.2} %",
                data.name,
                data.cols,
                kernel.level(),
                of_rows(tally.misses),
                tally.worst,
                of_rows(tally.alarms),
                of_rows(tally.false_alarms)
            );
        }
    }
}

/// What became of the rows of one kernel.
#[derive(Clone, Default)]
struct Tally {
    misses: u64,
    worst: f64,
    alarms: u64,
    false_alarms: u64,
}

/// A tally for each kernel; the first is the one that alarms compare with.
fn measure(data: &Data, kernels: &[Kernels], seed: u64, vectors: usize) -> Vec<Tally> {
    let mut rng = stream(seed);
    let mut tallies = vec![Tally::default(); kernels.len()];
    let stride = data.cols / 4;
    let mut packed = vec![0; ROWS * stride];
    let mut results = vec![vec![0.0; ROWS]; kernels.len()];
    for _ in 0..vectors {
        rng.fill_bytes(&mut packed);
        let x: Vec<f32> = (0..data.cols).map(|_| (data.draw)(&mut rng)).collect();
        let matrix = Matrix::new(&packed, ROWS, data.cols, stride).expect("whole blocks, dense");
        for (kernel, y) in kernels.iter().zip(&mut results) {
            kernel.gemv(&matrix, &x, y).expect("the sizes fit");
        }
        for row in 0..ROWS {
            let exact = exact(&packed[row * stride..][..stride], &x);
            for (tally, y) in tallies.iter_mut().zip(&results) {
                tally.add(y[row], results[0][row], exact.distance(y[row]));
            }
        }
    }
    tallies
}

/// The exact sum of a row.
pub(super) fn exact(row: &[u8], x: &[f32]) -> Wide {
    let mut sum = ExactSum::default();
    for (c, &x) in x.iter().enumerate() {
        let code = row[c / 4] >> (2 * (c % 4)) & 3;
        sum.add([-2, -1, 1, 2][usize::from(code)], x, 1.0);
    }
    sum.value()
}

impl Tally {
    fn add(&mut self, y: f32, scalar: f32, error: f64) {
        let misses = error > FLAT_BOUND;
        let alarm = (f64::from(y) - f64::from(scalar)).abs() > FLAT_BOUND;
        self.misses += u64::from(misses);
        self.worst = self.worst.max(error);
        self.alarms += u64::from(alarm);
        self.false_alarms += u64::from(alarm && !misses);
    }
}
