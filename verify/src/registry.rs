//! Every kernel of this project, declared once: checks, properties, fuzz targets and benchmarks derive from this table.

use qk256_kernels::{Batch, Digits, Kernels, Level, Matrix, SizeError};

use crate::domain::Domain;
use crate::kernel::{Arguments, Kernel, Outcome};
use crate::operation::Operation;
use crate::reference;
pub use crate::reference::SCALAR;

/// A kernel of `qk256-kernels` for one operation.
#[derive(Clone, Debug)]
struct Own {
    name: String,
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
    /// One of [`Level::gemv_paths`], by its number, whatever the number of rows.
    Gemv(usize),
    /// On all threads of the pool, in bands of [`BAND_ROWS`] rows.
    Threads,
}

/// Few, so that small matrices have several bands, and odd, so that bands cut tiles in two.
const BAND_ROWS: usize = 7;

/// The kernels of `qk256-kernels`, whether this CPU can run them or not: every level for every operation that it has code of
/// its own for, and the paths.
pub fn kernels() -> Vec<Box<dyn Kernel>> {
    let of = |operation| {
        let levels = Level::ALL.iter().filter(move |&&level| code_of(level, operation) == level);
        let plain = levels.clone().map(move |&level| Own::new(level, operation, None, Path::Plain));
        let paths = levels.flat_map(move |&level| paths(level, operation));
        plain.chain(paths).map(|own| Box::new(own) as Box<dyn Kernel>)
    };
    // Nobody multiplies qk256 by quantised activations.
    let own = Operation::ALL.into_iter().filter(|&operation| operation != Operation::Dot);
    own.flat_map(of).chain(reference::kernels()).collect()
}

/// The paths of a level that has several: those that a plain call takes by itself where they pay, and bands of rows, which may
/// change that choice. Each is a kernel of its own, so that all shapes take all of them.
fn paths(level: Level, operation: Operation) -> Vec<Own> {
    let own = |name, path| Own::new(level, operation, Some(name), path);
    let gemv = level.gemv_paths().enumerate().map(|(number, name)| own(name, Path::Gemv(number)));
    let mut paths = match operation {
        Operation::Gemv => gemv.collect(),
        _ => Vec::new(),
    };
    if level.gemv_paths().next().is_some() && matches!(operation, Operation::Gemv | Operation::GemvFixed) {
        paths.push(own("threads", Path::Threads));
    }
    paths
}

/// The level whose code a level runs for an operation: itself, but for operations that it shares with another, which need no
/// second check. There is one quantiser for all of them.
pub fn code_of(level: Level, operation: Operation) -> Level {
    level.code_of(operation.name())
}

/// The level that a program gets on this CPU if it leaves the choice to the library.
pub fn chosen() -> Level {
    Kernels::detect().level()
}

/// Whether `kernel` is what a call of its operation comes to on this CPU if the choice is left to the library.
pub fn is_chosen(kernel: &dyn Kernel) -> bool {
    kernel.name() == code_of(chosen(), kernel.operation()).name()
}

/// What the names of honest scalar code start with: a speed-up is quoted over the best of these.
pub const FAST_SCALAR: &str = "fast_scalar";

/// What the portable twin of a kernel of ggml is called.
pub const TWIN: &str = "ggml_generic";

/// Whether a kernel is one of the scalar ones that others are timed against.
pub(crate) fn is_scalar(kernel: &dyn Kernel) -> bool {
    kernel.library().is_none() && (kernel.name() == SCALAR || kernel.name().starts_with(FAST_SCALAR))
}

impl Kernel for Own {
    fn name(&self) -> &str {
        &self.name
    }

    fn domain(&self) -> Domain {
        Domain::new(self.operation)
    }

    fn required_features(&self) -> &[&str] {
        self.level.required_features()
    }

    fn shares_work(&self) -> bool {
        self.path == Path::Threads
    }

    fn call(&self, arguments: Arguments<'_>) -> Outcome {
        let Some(kernels) = self.kernels else { return Outcome::Unsupported };
        let Arguments { packed, codes, scales, x, out_bytes, out, rows, cols, row_stride, digits, .. } =
            arguments;
        let (batch, x_stride, out_stride) = (arguments.batch, arguments.x_stride, arguments.out_stride);
        let matrix = || {
            let matrix = Matrix::new(packed, rows, cols, row_stride)?;
            scales.map_or(Ok(matrix), |scales| matrix.with_scales(scales))
        };
        outcome(match self.operation {
            Operation::Unpack => kernels.unpack(packed, out_bytes),
            Operation::Lut => kernels.lut(codes, out),
            Operation::Dequantize => kernels.dequantize(packed, scales.unwrap_or_default(), out),
            Operation::Gemv => matrix().and_then(|matrix| self.gemv(kernels, &matrix, x, out)),
            Operation::Gemm => matrix().and_then(|matrix| {
                let x = Batch::new(x, batch, cols, x_stride)?;
                kernels.gemm(&matrix, &x, out, out_stride)
            }),
            Operation::Quantize => {
                let Ok(()) = qk256_kernels::quantize(x, out_bytes, out) else { return Outcome::Refused };
                Ok(())
            }
            Operation::Dot => return Outcome::Unsupported,
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
    fn new(level: Level, operation: Operation, suffix: Option<&str>, path: Path) -> Self {
        let name = suffix.map_or(level.name().to_owned(), |suffix| format!("{level}_{suffix}"));
        Self { name, level, operation, path, kernels: Kernels::new(level).ok() }
    }

    #[inline]
    fn gemv(&self, kernels: Kernels, matrix: &Matrix<'_>, x: &[f32], y: &mut [f32]) -> Result<(), SizeError> {
        // First what is timed against scalar code, for which a nanosecond counts.
        match self.path {
            Path::Plain => kernels.gemv(matrix, x, y),
            Path::Gemv(number) => kernels.gemv_by(number, matrix, x, y),
            Path::Threads => kernels.par_gemv_in_bands(BAND_ROWS, matrix, x, y),
        }
    }
}

fn outcome(result: Result<(), SizeError>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        Err(_) => Outcome::Refused,
    }
}
