//! Every kernel of this project, declared once: checks, properties, fuzz targets and benchmarks derive from this table.

use qk256_kernels::{Kernels, Level, Matrix, SizeError};

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

/// The kernels of `qk256-kernels`: every level for every operation, whether this CPU has it or not.
pub fn kernels() -> Vec<Box<dyn Kernel>> {
    let levels = |operation| {
        Level::ALL.iter().map(move |&level| Own { level, operation, kernels: Kernels::new(level).ok() })
    };
    Operation::ALL.into_iter().flat_map(levels).map(|own| Box::new(own) as Box<dyn Kernel>).collect()
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
        })
    }
}

fn outcome(result: Result<(), SizeError>) -> Outcome {
    match result {
        Ok(()) => Outcome::Done,
        Err(_) => Outcome::Refused,
    }
}
