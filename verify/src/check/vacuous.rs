//! Runs that found nothing because they looked at nothing.

use std::fmt;

use super::{KernelReport, Report};

/// Of the cases of its operation, the least part that a kernel must have been called with.
const LEAST_SHARE: f64 = 0.25;

/// Cases of which that share is asked: of fewer it says little.
const ENOUGH_CASES: u64 = 40;

/// Why a run without findings shows nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vacuous {
    /// None of the kernels can run on this CPU, or there are none.
    Nothing,
    /// A kernel that this CPU can run was never called.
    NotReached(String),
    /// A kernel was called and its results were held against no oracle.
    NotCompared(String),
    /// A kernel did too few of the cases.
    MostlyUnsupported {
        /// The kernel.
        kernel: String,
        /// Cases that it did.
        done: u64,
        /// Cases that there were for its operation.
        of: u64,
    },
    /// A kernel that needs CPU features executes the code of one that needs none.
    SameFunction {
        /// The kernel.
        kernel: String,
        /// The plain one.
        plain: String,
    },
}

impl fmt::Display for Vacuous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing was checked: this CPU can run none of the chosen kernels"),
            Self::NotReached(kernel) => write!(f, "{kernel} was never called: give the run more time"),
            Self::NotCompared(kernel) => {
                write!(f, "{kernel} was held against no oracle: give the run more time")
            }
            Self::MostlyUnsupported { kernel, done, of } => write!(
                f,
                "{kernel} did {done} of {of} cases and does not support the others: too few to say that it is right"
            ),
            Self::SameFunction { kernel, plain } => write!(
                f,
                "{kernel} executes the same instructions as {plain}: it is not the kernel that it says it is"
            ),
        }
    }
}

impl Report<'_> {
    /// Why the report, if it has no findings, shows nothing; `None` if it does show something of every kernel that this CPU can
    /// run.
    pub fn vacuous(&self) -> Option<Vacuous> {
        let run = || self.kernels.iter().filter(|kernel| !kernel.is_skipped());
        if run().next().is_none() {
            return Some(Vacuous::Nothing);
        }
        run().find_map(|kernel| kernel.vacuous().or_else(|| self.same_as_plain(kernel)))
    }

    fn same_as_plain(&self, kernel: &KernelReport<'_>) -> Option<Vacuous> {
        let needs = |report: &KernelReport<'_>| report.kernel.required_features().len();
        let plain = self.kernels.iter().find(|other| {
            other.kernel.operation() == kernel.kernel.operation()
                && needs(other) == 0
                && needs(kernel) > 0
                && kernel.trace.is_same_function(&other.trace)
        })?;
        Some(Vacuous::SameFunction { kernel: kernel.label(), plain: plain.label() })
    }
}

impl KernelReport<'_> {
    /// Name and operation.
    pub fn label(&self) -> String {
        format!("{:?}", self.kernel)
    }

    fn vacuous(&self) -> Option<Vacuous> {
        let of = self.cases + self.unsupported;
        if of == 0 {
            return Some(Vacuous::NotReached(self.label()));
        }
        if of >= ENOUGH_CASES && (self.cases as f64) < LEAST_SHARE * of as f64 {
            return Some(Vacuous::MostlyUnsupported { kernel: self.label(), done: self.cases, of });
        }
        let compared = self.rungs.applied().any(|rung| rung.number().is_some());
        (!compared).then(|| Vacuous::NotCompared(self.label()))
    }
}
