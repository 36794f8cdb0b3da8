//! Every kernel of this project, declared once: checks, properties, fuzz targets and benchmarks derive from this table.

use qk256_kernels::{Activations, Digits, Kernels, Level, Matrix, SizeError};

use crate::kernel::{Arguments, Kernel, Outcome};
use crate::operation::Operation;

/// A level of `qk256-kernels` as a kernel for one operation.
#[derive(Clone, Copy, Debug)]
struct Own {
    level: Level,
    operation: Operation,
    /// `None` where this CPU cannot run the level.
    kernels: Option<Kernels>,
}

/// The kernels of `qk256-kernels`: every level for every operation that it has code of its own for, whether this CPU can
/// run it or not.
pub fn kernels() -> Vec<Box<dyn Kernel>> {
    let levels = |operation| {
        let levels = Level::ALL.iter().filter(move |&&level| has_own_code(level, operation));
        levels.map(move |&level| Own { level, operation, kernels: Kernels::new(level).ok() })
    };
    Operation::ALL.into_iter().flat_map(levels).map(|own| Box::new(own) as Box<dyn Kernel>).collect()
}

/// Whether a level does an operation with code of its own. AVX-VNNI has an instruction for sums of integers; all else is
/// done by the kernels of `avx2`, which need no second check.
pub fn has_own_code(level: Level, operation: Operation) -> bool {
    level != Level::AvxVnni || operation == Operation::GemvFixed
}

/// The name of the normative kernels.
pub const SCALAR: &str = "scalar";

/// What the names of honest scalar code start with: a speed-up is quoted over the best of these.
pub const FAST_SCALAR: &str = "fast_scalar";

impl Kernel for Own {
    fn name(&self) -> &str {
        self.level.name()
    }

    fn operation(&self) -> Operation {
        self.operation
    }

    fn required_features(&self) -> &[&str] {
        self.level.required_features()
    }

    fn call(&self, arguments: Arguments<'_>) -> Outcome {
        let Some(kernels) = self.kernels else { return Outcome::Unsupported };
        outcome(match arguments {
            Arguments::Unpack { packed, codes } => kernels.unpack(packed, codes),
            Arguments::Lut { codes, weights } => kernels.lut(codes, weights),
            Arguments::Dequantize { packed, scales, out } => kernels.dequantize(packed, scales, out),
            Arguments::Gemv { packed, scales, x, y, rows, cols, row_stride } => {
                let matrix = Matrix::new(packed, rows, cols, row_stride).and_then(|matrix| match scales {
                    Some(scales) => matrix.with_scales(scales),
                    None => Ok(matrix),
                });
                matrix.and_then(|matrix| kernels.gemv(&matrix, x, y))
            }
            Arguments::GemvFixed { packed, x, digits, y, rows, cols, row_stride } => {
                let matrix = Matrix::new(packed, rows, cols, row_stride);
                let (Ok(matrix), Some(x), Some(digits)) = (matrix, x.get(..cols), Digits::new(digits)) else {
                    return Outcome::Refused;
                };
                let Ok(x) = Activations::new(x, digits) else { return Outcome::Refused };
                kernels.gemv_fixed(&matrix, &x, y)
            }
        })
    }
}

fn outcome(result: Result<(), SizeError>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        Err(_) => Outcome::Refused,
    }
}
