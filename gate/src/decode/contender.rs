//! Ways to compute a token, and the limit beside them.

use std::fmt;

use qk256_kernels::avx_vnni::AvxVnni;
use qk256_kernels::avx2::{AHEAD, Avx2};
use qk256_kernels::parallel::{band_rows, bands};
use qk256_kernels::{Digits, Matrix, SizeError};

use super::Scope;
use super::model::Input;

/// What is computed: ways to the same product give the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Product {
    /// Nothing: the codes are read.
    Read,
    /// `gemv`.
    F32,
    /// `gemv_fixed` with N digits.
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
    /// Bytes between what is worked on and what is asked for, one of [`DISTANCES`].
    pub(super) ahead: usize,
    isa: Option<Isa>,
    /// `None` for one thread: the caller's.
    pool: Option<rayon::ThreadPool>,
}

/// Distances of prefetches, 0 being none.
const DISTANCES: [usize; 5] = [0, 2 * 1024, 4 * 1024, AHEAD, 16 * 1024];

/// A product, and whether AVX-VNNI does it.
const WAYS: [(Product, bool); 5] = [
    (Product::F32, false),
    (Product::Fixed(Digits::One), false),
    (Product::Fixed(Digits::One), true),
    (Product::Fixed(Digits::Four), false),
    (Product::Fixed(Digits::Four), true),
];

/// The limit and every way of `scope` that this CPU has.
pub(super) fn contenders(scope: Scope) -> Vec<Contender> {
    let (avx2, vnni) = (Avx2::new(), AvxVnni::new());
    let (threads, distances): (&[usize], &[usize]) = match scope {
        Scope::All => (&[1, 2], &[AHEAD, 0]),
        Scope::AsCalled => (&[1, 2], &[AHEAD]),
        Scope::Distances => (&[1], &DISTANCES),
    };
    let mut contenders = Vec::new();
    for &threads in threads {
        let contender = |product, ahead, isa| {
            let pool = (threads > 1).then(|| rayon::ThreadPoolBuilder::new().num_threads(threads).build());
            let pool = pool.map(|pool| pool.expect("two threads can be had"));
            Contender { product, threads, ahead, isa, pool }
        };
        contenders.push(contender(Product::Read, AHEAD, None));
        for (product, with_vnni) in WAYS {
            let isa = if with_vnni { vnni.map(Isa::AvxVnni) } else { avx2.map(Isa::Avx2) };
            let is_asked = scope != Scope::Distances || product != Product::Fixed(Digits::Four);
            if isa.is_some() && is_asked {
                contenders.extend(distances.iter().map(|&ahead| contender(product, ahead, isa)));
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
        match self.ahead {
            0 => self.multiply_ahead::<0>(matrix, input, y),
            2048 => self.multiply_ahead::<2048>(matrix, input, y),
            4096 => self.multiply_ahead::<4096>(matrix, input, y),
            AHEAD => self.multiply_ahead::<AHEAD>(matrix, input, y),
            16384 => self.multiply_ahead::<16384>(matrix, input, y),
            other => unreachable!("{other} is not among the distances"),
        }
    }

    fn multiply_ahead<const BYTES: usize>(
        &self,
        matrix: &Matrix<'_>,
        input: &Input,
        y: &mut [f32],
    ) -> Result<(), SizeError> {
        match (self.isa, self.product) {
            (Some(Isa::Avx2(isa)), Product::F32) => isa.gemv_ahead::<BYTES>(matrix, &input.x, y),
            (Some(Isa::Avx2(isa)), _) => isa.gemv_fixed_ahead::<BYTES>(matrix, &input.fixed, y),
            (Some(Isa::AvxVnni(isa)), _) => isa.gemv_fixed_ahead::<BYTES>(matrix, &input.fixed, y),
            (None, _) => unreachable!("the limit multiplies nothing"),
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
