//! What the gate demands: one table.

use std::fmt;

use qk256_verify::Operation;
use qk256_verify::registry::{FAST_SCALAR, SCALAR};

/// A bar for one kernel on several shapes and over several others.
#[derive(Debug)]
pub(super) struct Demand {
    operation: Operation,
    /// Rows and columns.
    shapes: &'static [(usize, usize)],
    candidate: &'static str,
    /// What kernels' names start with; the fastest such kernel of a race is the one to beat.
    bases: &'static [&'static str],
    /// The smallest speed-up.
    at_least: f64,
    why: &'static str,
}

/// The candidate of every demand.
const AVX2: &str = "avx2";

/// The honest bases: the definition, and the best that the compiler makes of scalar code.
const BOTH: &[&str] = &[SCALAR, FAST_SCALAR];

/// Below a register, where setting anything up costs more than it gains, and around the widths of a packed dword and of an
/// unrolled step.
const SMALL: &[(usize, usize)] =
    &[(1, 1), (1, 4), (1, 7), (1, 8), (1, 15), (1, 16), (1, 31), (1, 33), (1, 64)];

/// What "not slower" is when a call takes 10 to 20 ns: one or two of them are what the same code differs by at another
/// address.
const NOT_SLOWER: f64 = 0.9;

const DEMANDS: &[Demand] = &[
    Demand {
        operation: Operation::Dequantize,
        shapes: &[(1, 1024)],
        candidate: AVX2,
        bases: BOTH,
        at_least: 3.0,
        why: "four blocks, output within the first-level cache: the speed of the code itself",
    },
    Demand {
        operation: Operation::Dequantize,
        shapes: &[(1, 256), (1, 512), (1, 2048), (1, 4096)],
        candidate: AVX2,
        bases: BOTH,
        at_least: 2.5,
        why: "one block to 16 KiB of output",
    },
    Demand {
        operation: Operation::Dequantize,
        shapes: &[(1, 16384)],
        candidate: AVX2,
        bases: BOTH,
        at_least: 2.0,
        why: "64 KiB of output: stores past the first-level cache set the limit",
    },
    Demand {
        operation: Operation::Gemv,
        shapes: &[(1, 1024), (2560, 2560), (6912, 2560), (2560, 6912)],
        candidate: AVX2,
        bases: BOTH,
        at_least: 3.0,
        why: "one row, and the shapes of a model of 2 billion weights",
    },
    small(Operation::Unpack),
    small(Operation::Lut),
    small(Operation::Dequantize),
    small(Operation::Gemv),
];

const fn small(operation: Operation) -> Demand {
    Demand {
        operation,
        shapes: SMALL,
        candidate: AVX2,
        bases: &[SCALAR],
        at_least: NOT_SLOWER,
        why: "a caller must not have to choose a kernel by length",
    }
}

/// One speed-up that must be met.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) candidate: &'static str,
    /// What the names of the kernels start with, the fastest of which is the base.
    pub(super) base: &'static str,
    pub(super) at_least: f64,
    pub(super) why: &'static str,
}

/// All rows that one race decides.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Contest {
    pub(super) operation: Operation,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) demanded: Vec<Row>,
}

impl fmt::Display for Contest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.operation.is_matrix() {
            write!(f, "{} {}x{}", self.operation, self.rows, self.cols)
        } else {
            write!(f, "{} {}", self.operation, self.cols)
        }
    }
}

/// Every demand, by the races that decide them.
pub(super) fn contests() -> Vec<Contest> {
    let contest = |demand: &Demand, &(rows, cols): &(usize, usize)| {
        let row =
            |&base| Row { candidate: demand.candidate, base, at_least: demand.at_least, why: demand.why };
        Contest { operation: demand.operation, rows, cols, demanded: demand.bases.iter().map(row).collect() }
    };
    DEMANDS.iter().flat_map(|demand| demand.shapes.iter().map(move |shape| contest(demand, shape))).collect()
}
