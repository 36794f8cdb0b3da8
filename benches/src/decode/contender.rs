//! Ways to compute a token, and the limit beside them.

use std::fmt;

use qk256_kernels::avx_vnni::AvxVnni;
use qk256_kernels::avx2::{AHEAD, Avx2};
use qk256_kernels::parallel::{band_rows, bands};
use qk256_kernels::{Digits, Matrix, SizeError};

use super::model::Input;

/// What is computed: ways to the same product give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Product {
    /// Nothing: the codes are read.
    Read,
    /// `gemv`.
    F32,
    /// `gemv_fixed` with so many digits.
    Fixed(Digits),
}

/// The instructions that do it.
#[derive(Clone, Copy)]
enum Isa {
    Avx2(Avx2),
    AvxVnni(AvxVnni),
}

/// One way to compute a token.
pub(super) struct Contender {
    pub(super) product: Product,
    pub(super) threads: usize,
    pub(super) prefetch: bool,
    /// The smallest part of the rate of reading, with as many threads, that is demanded.
    pub(super) bar: Option<f64>,
    isa: Option<Isa>,
    /// `None` for one thread: the caller's.
    pool: Option<rayon::ThreadPool>,
}

/// Product, whether AVX-VNNI does it, prefetches, and the bars for one and for two threads.
const WAYS: [(Product, bool, bool, Option<[f64; 2]>); 8] = [
    (Product::F32, false, true, Some([0.2, 0.2])),
    (Product::F32, false, false, None),
    (Product::Fixed(Digits::One), false, true, Some([0.5, 0.5])),
    (Product::Fixed(Digits::One), false, false, None),
    (Product::Fixed(Digits::One), true, true, None),
    (Product::Fixed(Digits::One), true, false, None),
    (Product::Fixed(Digits::Four), false, true, None),
    (Product::Fixed(Digits::Four), true, true, None),
];

/// The limit and every way that this CPU has, with one thread and with two.
pub(super) fn contenders() -> Vec<Contender> {
    let (avx2, vnni) = (Avx2::new(), AvxVnni::new());
    let mut contenders = Vec::new();
    for threads in [1, 2] {
        let pool = || {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            (threads > 1).then(|| pool.build().expect("two threads can be had"))
        };
        let read = Product::Read;
        contenders.push(Contender {
            product: read,
            threads,
            prefetch: true,
            bar: None,
            isa: None,
            pool: pool(),
        });
        for (product, with_vnni, prefetch, bars) in WAYS {
            let isa = if with_vnni { vnni.map(Isa::AvxVnni) } else { avx2.map(Isa::Avx2) };
            let bar = bars.map(|bars| bars[threads - 1]);
            if isa.is_some() {
                contenders.push(Contender { product, threads, prefetch, bar, isa, pool: pool() });
            }
        }
    }
    contenders
}

impl Contender {
    /// Whether it is what the others are measured against.
    pub(super) fn is_limit(&self) -> bool {
        self.product == Product::Read
    }

    /// Runs `work` where [`multiply`](Self::multiply) finds its threads.
    pub(super) fn install(&self, work: impl FnOnce() + Send) {
        match &self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    /// Writes the product to `y`.
    pub(super) fn multiply(&self, matrix: &Matrix<'_>, input: &Input, y: &mut [f32]) {
        let done = match self.threads {
            1 => self.multiply_band(matrix, input, y),
            _ => bands(band_rows(matrix), matrix, y, |band, y| self.multiply_band(band, input, y)),
        };
        done.expect("the sizes are those of the model");
    }

    fn multiply_band(&self, matrix: &Matrix<'_>, input: &Input, y: &mut [f32]) -> Result<(), SizeError> {
        match (self.isa, self.product, self.prefetch) {
            (Some(Isa::Avx2(isa)), Product::F32, true) => isa.gemv_ahead::<AHEAD>(matrix, &input.x, y),
            (Some(Isa::Avx2(isa)), Product::F32, false) => isa.gemv_ahead::<0>(matrix, &input.x, y),
            (Some(Isa::Avx2(isa)), _, true) => isa.gemv_fixed_ahead::<AHEAD>(matrix, &input.fixed, y),
            (Some(Isa::Avx2(isa)), _, false) => isa.gemv_fixed_ahead::<0>(matrix, &input.fixed, y),
            (Some(Isa::AvxVnni(isa)), _, true) => isa.gemv_fixed_ahead::<AHEAD>(matrix, &input.fixed, y),
            (Some(Isa::AvxVnni(isa)), _, false) => isa.gemv_fixed_ahead::<0>(matrix, &input.fixed, y),
            (None, ..) => unreachable!("the limit multiplies nothing"),
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.isa {
            None => return f.write_str("read"),
            Some(Isa::Avx2(_)) => f.write_str("avx2")?,
            Some(Isa::AvxVnni(_)) => f.write_str("avx_vnni")?,
        }
        match self.product {
            Product::Fixed(Digits::One) => f.write_str(" gemv_fixed, 1 digit"),
            Product::Fixed(digits) => write!(f, " gemv_fixed, {} digits", digits.count()),
            _ => f.write_str(" gemv"),
        }
    }
}
