//! Every kernel of this project, declared once: checks, properties, fuzz targets and benchmarks derive from this table.

use qk256_kernels::{Digits, Kernels, Level, Matrix, SizeError};

use crate::kernel::{Arguments, Kernel, Outcome};
use crate::operation::Operation;

/// A kernel of `qk256-kernels` for one operation.
#[derive(Clone, Copy, Debug)]
struct Own {
    name: &'static str,
    level: Level,
    operation: Operation,
    path: Path,
    /// `None` where this CPU cannot run the level.
    kernels: Option<Kernels>,
}

/// How a level is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    /// As any program calls it.
    Plain,
    /// `gemv` of AVX2 with x as it is, whatever the number of rows.
    Natural,
    /// `gemv` of AVX2 with x permuted, whatever the number of rows.
    PermutedX,
    /// On all threads of the pool, in bands of [`BAND_ROWS`] rows.
    Threads,
}

/// Few, so that small matrices have several bands, and odd, so that bands cut tiles in two.
const BAND_ROWS: usize = 7;

/// Paths of a level that a plain call takes by itself where they pay, each a kernel of its own, so that all shapes take all of them.
const PATHS: [(&str, Level, Operation, Path); 4] = [
    ("avx2_natural", Level::Avx2, Operation::Gemv, Path::Natural),
    ("avx2_permuted", Level::Avx2, Operation::Gemv, Path::PermutedX),
    ("avx2_threads", Level::Avx2, Operation::Gemv, Path::Threads),
    ("avx2_threads", Level::Avx2, Operation::GemvFixed, Path::Threads),
];

/// The kernels of `qk256-kernels`, whether this CPU can run them or not: every level for every operation that it has code of
/// its own for, and the paths.
pub fn kernels() -> Vec<Box<dyn Kernel>> {
    let own = |name, level, operation, path| {
        let kernels = Kernels::new(level).ok();
        Box::new(Own { name, level, operation, path, kernels }) as Box<dyn Kernel>
    };
    let of = |operation| {
        let levels = Level::ALL.iter().filter(move |&&level| code_of(level, operation) == level);
        let levels = levels.map(move |&level| own(level.name(), level, operation, Path::Plain));
        let paths = PATHS.into_iter().filter(move |&(_, _, of, _)| of == operation);
        levels.chain(paths.map(move |(name, level, _, path)| own(name, level, operation, path)))
    };
    Operation::ALL.into_iter().flat_map(of).collect()
}

/// The level whose code a level runs for an operation: itself, but for operations that it shares with another, which need no
/// second check. AVX-VNNI has an instruction for sums of integers; all else is done by the kernels of `avx2`. There is one quantiser
/// for all of them.
pub fn code_of(level: Level, operation: Operation) -> Level {
    match level {
        _ if operation == Operation::Quantize => Level::Scalar,
        Level::AvxVnni if operation != Operation::GemvFixed => Level::Avx2,
        level => level,
    }
}

/// The level that a program gets on this CPU if it leaves the choice to the library.
pub fn chosen() -> Level {
    Kernels::detect().level()
}

/// Whether `kernel` is what a call of its operation comes to on this CPU if the choice is left to the library.
pub fn is_chosen(kernel: &dyn Kernel) -> bool {
    kernel.name() == code_of(chosen(), kernel.operation()).name()
}

/// The name of the normative kernels.
pub const SCALAR: &str = "scalar";

/// What the names of honest scalar code start with: a speed-up is quoted over the best of these.
pub const FAST_SCALAR: &str = "fast_scalar";

impl Kernel for Own {
    fn name(&self) -> &str {
        self.name
    }

    fn operation(&self) -> Operation {
        self.operation
    }

    fn required_features(&self) -> &[&str] {
        self.level.required_features()
    }

    fn shares_work(&self) -> bool {
        self.path == Path::Threads
    }

    fn call(&self, arguments: Arguments<'_>) -> Outcome {
        let Some(kernels) = self.kernels else { return Outcome::Unsupported };
        let Arguments { packed, codes, scales, x, out_bytes, out, rows, cols, row_stride, digits } =
            arguments;
        outcome(match self.operation {
            Operation::Unpack => kernels.unpack(packed, out_bytes),
            Operation::Lut => kernels.lut(codes, out),
            Operation::Dequantize => kernels.dequantize(packed, scales.unwrap_or_default(), out),
            Operation::Gemv => {
                let matrix = Matrix::new(packed, rows, cols, row_stride).and_then(|matrix| match scales {
                    Some(scales) => matrix.with_scales(scales),
                    None => Ok(matrix),
                });
                matrix.and_then(|matrix| self.gemv(kernels, &matrix, x, out))
            }
            Operation::Quantize => {
                let Ok(()) = qk256_kernels::quantize(x, out_bytes, out) else { return Outcome::Refused };
                Ok(())
            }
            Operation::GemvFixed => {
                let matrix = Matrix::new(packed, rows, cols, row_stride);
                let (Ok(matrix), Some(x), Some(digits)) = (matrix, x.get(..cols), Digits::new(digits)) else {
                    return Outcome::Refused;
                };
                let Ok(x) = kernels.activations(x, digits) else { return Outcome::Refused };
                match self.path {
                    Path::Threads => kernels.par_gemv_fixed_in_bands(BAND_ROWS, &matrix, &x, out),
                    _ => kernels.gemv_fixed(&matrix, &x, out),
                }
            }
        })
    }
}

impl Own {
    #[inline]
    fn gemv(&self, kernels: Kernels, matrix: &Matrix<'_>, x: &[f32], y: &mut [f32]) -> Result<(), SizeError> {
        // First what is timed against scalar code, for which a nanosecond counts.
        match self.path {
            Path::Plain => kernels.gemv(matrix, x, y),
            Path::Threads => kernels.par_gemv_in_bands(BAND_ROWS, matrix, x, y),
            path => gemv_by(path, kernels, matrix, x, y),
        }
    }
}

/// `gemv` by a path of AVX2, which `kernels` have.
#[cfg(target_arch = "x86_64")]
fn gemv_by(
    path: Path,
    kernels: Kernels,
    matrix: &Matrix<'_>,
    x: &[f32],
    y: &mut [f32],
) -> Result<(), SizeError> {
    let avx2 = kernels.avx2().expect("the paths are those of AVX2");
    if path == Path::Natural { avx2.gemv_natural(matrix, x, y) } else { avx2.gemv_permuted(matrix, x, y) }
}

/// Elsewhere there is no AVX2, so no kernel with such a path is ever called.
#[cfg(not(target_arch = "x86_64"))]
fn gemv_by(path: Path, _: Kernels, _: &Matrix<'_>, _: &[f32], _: &mut [f32]) -> Result<(), SizeError> {
    unreachable!("{path:?} is a path of AVX2")
}

fn outcome(result: Result<(), SizeError>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        Err(_) => Outcome::Refused,
    }
}
