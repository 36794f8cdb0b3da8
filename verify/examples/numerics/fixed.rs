//! How far sums in fixed point stray from the exact sum, held against their bound and beside f32 sums.

use qk256_kernels::{Activations, Digits, Kernels, Level, Matrix};
use qk256_verify::oracle::Wide;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::flat::{exact, normal};
use super::{signed_unit, stream};

/// Vectors x of a data set.
const VECTORS: usize = 100;

/// Rows that each vector is multiplied by.
const ROWS: usize = 32;

/// Independent activations by name; the codes are uniform.
type Data = (&'static str, usize, fn(&mut ChaCha8Rng) -> f32);

const DATA: [Data; 3] = [
    ("[-10, 10]", 4096, |rng| 10.0 * signed_unit(rng)),
    ("N(0, 1)", 4096, normal),
    ("[-1, 1]", 1024, signed_unit),
];

/// Prints the table, and how near a row can come to the bound.
pub(super) fn print() {
    println!("\nErrors of gemv_fixed over {} rows, and of gemv in f32.", VECTORS * ROWS);
    println!("\nx           cols  digits   worst error   bound of x   worst share of the whole bound");
    for (seed, data) in (20..).zip(&DATA) {
        let (digits, [scalar, fastest]) = measure(data, seed);
        let (name, cols, _) = data;
        for (digits, tally) in Digits::ALL.into_iter().zip(digits) {
            assert!(tally.share <= 1.0, "the bound is a theorem");
            let (worst, bound, share) = (tally.worst, tally.of_x, tally.share);
            println!("{name:10} {cols:5}  {:6}   {worst:11.1e}   {bound:10.1e}   {share:.4}", digits.count());
        }
        println!(
            "{name:10} {cols:5}  f32: {scalar:.1e} from left to right, {fastest:.1e} by the fastest kernel"
        );
    }
    println!("\n127 and 4095 ties of one side, weight 2, one digit: {:.4} of the bound", ties());
}

/// Errors of one number of digits.
#[derive(Clone, Copy, Default)]
struct Tally {
    worst: f64,
    /// The largest bound of what rounding x may come to.
    of_x: f64,
    /// The largest error, as a part of its bound.
    share: f64,
}

impl Tally {
    fn add(&mut self, x: &Activations, y: f32, exact: Wide) {
        let error = exact.distance(y);
        let half_an_ulp = f64::from(y.abs().next_up() - y.abs()) / 2.0;
        self.worst = self.worst.max(error);
        self.of_x = self.of_x.max(x.error_bound());
        self.share = self.share.max(error / (x.error_bound() + half_an_ulp));
    }
}

/// A tally for each number of digits, and the worst errors of scalar f32 sums and of those of the fastest kernel.
fn measure(&(_, cols, draw): &Data, seed: u64) -> ([Tally; 4], [f64; 2]) {
    let mut rng = stream(seed);
    let (mut tallies, mut floats) = ([Tally::default(); 4], [0.0; 2]);
    let mut packed = vec![0; ROWS * cols / 4];
    let mut y = [0.0; ROWS];
    for _ in 0..VECTORS {
        rng.fill_bytes(&mut packed);
        let x: Vec<f32> = (0..cols).map(|_| draw(&mut rng)).collect();
        let matrix = Matrix::new(&packed, ROWS, cols, cols / 4).expect("whole blocks, dense");
        let exact: Vec<Wide> = packed.chunks(cols / 4).map(|row| exact(row, &x)).collect();
        for (digits, tally) in Digits::ALL.into_iter().zip(&mut tallies) {
            let x = Kernels::detect().activations(&x, digits).expect("finite");
            Kernels::detect().gemv_fixed(&matrix, &x, &mut y).expect("the sizes fit");
            y.iter().zip(&exact).for_each(|(&y, &exact)| tally.add(&x, y, exact));
        }
        let scalar = Kernels::new(Level::Scalar).expect("scalar code runs everywhere");
        for (kernels, worst) in [scalar, Kernels::detect()].iter().zip(&mut floats) {
            kernels.gemv(&matrix, &x, &mut y).expect("the sizes fit");
            *worst = y.iter().zip(&exact).fold(*worst, |worst, (&y, exact)| exact.distance(y).max(worst));
        }
    }
    (tallies, floats)
}

/// The error of a row in which every element but the largest is a tie that is rounded towards zero.
fn ties() -> f64 {
    let mut x = vec![0.5; 4096];
    x[0] = 127.0;
    let packed = vec![0xff; 1024];
    let matrix = Matrix::new(&packed, 1, x.len(), 0).expect("one row");
    let rounded = Kernels::detect().activations(&x, Digits::One).expect("finite");
    let (mut y, mut tally) = ([0.0], Tally::default());
    Kernels::detect().gemv_fixed(&matrix, &rounded, &mut y).expect("the sizes fit");
    tally.add(&rounded, y[0], exact(&packed, &x));
    tally.share
}
