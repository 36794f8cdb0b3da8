//! What the gate demands: one table.

use std::fmt;

use qk256_verify::registry::{FAST_SCALAR, SCALAR};
use qk256_verify::{Case, Operation};

use crate::limit::{FMA_PEAK, STORE_FILL};

/// Bars for one kernel on several shapes.
#[derive(Debug)]
pub(super) struct Demand {
    operation: Operation,
    /// Of `gemv_fixed`; the others have none.
    digits: u8,
    /// Rows and columns.
    shapes: &'static [(usize, usize)],
    candidate: &'static str,
    /// What kernels' labels start with, and the smallest speed-up over the fastest such kernel of the race.
    bars: &'static [(&'static str, f64)],
    why: &'static str,
}

/// The candidates of most demands.
const AVX2: &str = "avx2";

/// The same with AVX-VNNI.
const AVX_VNNI: &str = "avx_vnni";

/// The f32 kernels beside those in fixed point, by their labels ([`label`](super::label)).
const GEMV_SCALAR: &str = "gemv scalar";
const GEMV_AVX2: &str = "gemv avx2";
const GEMV_FMA_PEAK: &str = "gemv fma_peak";

/// The shapes of a model of 2 billion weights.
const MODEL: &[(usize, usize)] = &[(2560, 2560), (6912, 2560), (2560, 6912)];

/// Below a register, where setting anything up costs more than it gains, and around the widths of a packed dword and of an
/// unrolled step.
const SMALL: &[(usize, usize)] =
    &[(1, 1), (1, 4), (1, 7), (1, 8), (1, 15), (1, 16), (1, 31), (1, 33), (1, 64)];

/// What "not slower" is when a call takes 10 to 20 ns: one or two of them are what the same code differs by at another
/// address.
const NOT_SLOWER: f64 = 0.9;

/// The lowest bars are what the project promises to everybody. The higher ones of the same shape keep what was reached
/// (docs/kernels.md), with room for the moods of a machine.
const DEMANDS: &[Demand] = &[
    Demand {
        operation: Operation::Dequantize,
        digits: 0,
        shapes: &[(1, 1024)],
        candidate: AVX2,
        bars: &[(SCALAR, 3.0), (FAST_SCALAR, 3.0), (FAST_SCALAR, 5.5), (STORE_FILL, 0.6)],
        why: "four blocks, output within the first-level cache: the speed of the code itself",
    },
    Demand {
        operation: Operation::Dequantize,
        digits: 0,
        shapes: &[(1, 256), (1, 512), (1, 2048), (1, 4096)],
        candidate: AVX2,
        bars: &[(SCALAR, 2.5), (FAST_SCALAR, 2.5)],
        why: "one block to 16 KiB of output",
    },
    Demand {
        operation: Operation::Dequantize,
        digits: 0,
        shapes: &[(1, 16384)],
        candidate: AVX2,
        bars: &[(SCALAR, 2.0), (FAST_SCALAR, 2.0), (STORE_FILL, 0.7)],
        why: "64 KiB of output: stores past the first-level cache set the limit",
    },
    Demand {
        operation: Operation::Unpack,
        digits: 0,
        shapes: &[(1, 1024)],
        candidate: AVX2,
        bars: &[(SCALAR, 4.0), (STORE_FILL, 0.4)],
        why: "the stage by itself",
    },
    Demand {
        operation: Operation::Lut,
        digits: 0,
        shapes: &[(1, 1024)],
        candidate: AVX2,
        bars: &[(SCALAR, 3.0), (STORE_FILL, 0.4)],
        why: "the stage by itself",
    },
    Demand {
        operation: Operation::Gemv,
        digits: 0,
        shapes: &[(1, 1024)],
        candidate: AVX2,
        bars: &[(SCALAR, 3.0), (FAST_SCALAR, 3.0), (FAST_SCALAR, 4.0), (SCALAR, 12.0)],
        why: "one row: nothing can be shared",
    },
    Demand {
        operation: Operation::Gemv,
        digits: 0,
        shapes: MODEL,
        candidate: AVX2,
        bars: &[(SCALAR, 3.0), (FAST_SCALAR, 3.0), (FAST_SCALAR, 5.0), (SCALAR, 15.0), (FMA_PEAK, 0.45)],
        why: "the shapes of a model of 2 billion weights",
    },
    Demand {
        operation: Operation::GemvFixed,
        digits: 4,
        shapes: MODEL,
        candidate: AVX2,
        bars: &[(GEMV_SCALAR, 3.0), (GEMV_AVX2, 0.8), (GEMV_FMA_PEAK, 0.42)],
        why: "results that are right to the last bit must not cost much",
    },
    Demand {
        operation: Operation::GemvFixed,
        digits: 4,
        shapes: MODEL,
        candidate: AVX_VNNI,
        bars: &[(GEMV_SCALAR, 3.0), (GEMV_AVX2, 1.0), (GEMV_FMA_PEAK, 0.6)],
        why: "where the CPU has AVX-VNNI, they are to be had for less than nothing",
    },
    Demand {
        operation: Operation::GemvFixed,
        digits: 1,
        shapes: MODEL,
        candidate: AVX2,
        bars: &[(GEMV_SCALAR, 35.0), (GEMV_AVX2, 2.2), (GEMV_FMA_PEAK, 1.2)],
        why: "int8 activations: what decoding is about",
    },
    Demand {
        operation: Operation::GemvFixed,
        digits: 1,
        shapes: MODEL,
        candidate: AVX_VNNI,
        bars: &[(GEMV_SCALAR, 45.0), (AVX2, 1.1), (GEMV_FMA_PEAK, 1.6)],
        why: "int8 activations, and an instruction made for them",
    },
    small(Operation::Unpack),
    small(Operation::Lut),
    small(Operation::Dequantize),
    small(Operation::Gemv),
];

const fn small(operation: Operation) -> Demand {
    Demand {
        operation,
        digits: 0,
        shapes: SMALL,
        candidate: AVX2,
        bars: &[(SCALAR, NOT_SLOWER)],
        why: "a caller must not have to choose a kernel by length",
    }
}

/// One speed-up that must be met.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) candidate: &'static str,
    /// What the labels of the kernels start with, the fastest of which is the base.
    pub(super) base: &'static str,
    pub(super) at_least: f64,
    pub(super) why: &'static str,
}

/// All rows that one race decides.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Contest {
    pub(super) case: Case,
    pub(super) demanded: Vec<Row>,
}

impl Contest {
    /// Whether a CPU with AVX2 and FMA has all that the candidates need.
    pub(super) fn is_of_avx2(&self) -> bool {
        self.demanded.iter().all(|row| row.candidate == AVX2)
    }
}

impl fmt::Display for Contest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case { operation, rows, cols, digits, .. } = self.case;
        match operation {
            _ if operation.has_digits() => write!(f, "{operation} {rows}x{cols}-{digits}"),
            _ if operation.is_matrix() => write!(f, "{operation} {rows}x{cols}"),
            _ => write!(f, "{operation} {cols}"),
        }
    }
}

/// Every demand, by the races that decide them.
pub(super) fn contests() -> Vec<Contest> {
    let contest = |demand: &Demand, &(rows, cols): &(usize, usize)| {
        let mut case = Case::new(demand.operation, rows, cols);
        if demand.operation.has_digits() {
            case.digits = demand.digits;
        }
        let row = |&(base, at_least)| Row { candidate: demand.candidate, base, at_least, why: demand.why };
        Contest { case, demanded: demand.bars.iter().map(row).collect() }
    };
    DEMANDS.iter().flat_map(|demand| demand.shapes.iter().map(move |shape| contest(demand, shape))).collect()
}

#[cfg(test)]
mod tests {
    use qk256_verify::registry;

    use super::*;

    #[test]
    fn what_is_required_with_avx2_is_what_needs_nothing_beside() {
        let contests = contests();
        for contest in &contests {
            let kernels = registry::kernels();
            let candidate = kernels.iter().find(|kernel| {
                (kernel.operation(), kernel.name()) == (contest.case.operation, contest.demanded[0].candidate)
            });
            let needed = candidate.expect("the registry has every candidate").required_features().to_owned();
            assert_eq!(needed == ["avx2", "fma"], contest.is_of_avx2(), "{contest}: {needed:?}");
        }
        assert!(contests.iter().any(Contest::is_of_avx2) && !contests.iter().all(Contest::is_of_avx2));
    }
}
