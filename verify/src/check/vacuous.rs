//! Runs that found nothing because they looked at nothing.

use std::fmt;

use super::report::{KernelReport, Kind, Report, Support};

/// Why a run without findings shows nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vacuous {
    /// None of the kernels can run on this CPU, or there are none.
    Nothing,
    /// A kernel that this CPU can run was never called.
    NotReached(String),
    /// A kernel was called and its results were held against no oracle.
    NotCompared(String),
    /// A kernel supports nothing of its operation, nor does another of its library support anything.
    Unsupported {
        /// The kernel.
        kernel: String,
        /// Cases that there were for its operation.
        of: u64,
    },
    /// A kernel supports some sizes of a kind and not others.
    SomeSizes {
        /// The kernel.
        kernel: String,
        /// The kind.
        kind: Kind,
        /// What it did with it.
        support: Support,
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
            Self::NotReached(kernel) => {
                write!(f, "{kernel} was never called: give the run more time (--for) or cases (--cases)")
            }
            Self::NotCompared(kernel) => {
                write!(
                    f,
                    "{kernel} was compared with no oracle: give the run more time (--for) or cases (--cases)"
                )
            }
            Self::Unsupported { kernel, of } => {
                write!(f, "{kernel} supports none of its {of} cases: nothing was checked")
            }
            Self::SomeSizes { kernel, kind, support: Support { done, unsupported } } => write!(
                f,
                "{kernel} supports only {done} of {} {kind}: it must support such calls with all sizes, or with none",
                done + unsupported
            ),
            Self::SameFunction { kernel, plain } => write!(
                f,
                "{kernel} executes the same instructions as {plain}: check which function is registered for it"
            ),
        }
    }
}

impl Report<'_> {
    /// Why the report, if it has no findings, shows nothing; `None` if it does show something of every kernel that this CPU can
    /// run, as far as the kernel goes.
    pub fn vacuous(&self) -> Option<Vacuous> {
        let run = || self.kernels.iter().filter(|kernel| !kernel.is_skipped());
        if run().next().is_none() {
            return Some(Vacuous::Nothing);
        }
        run().find_map(|kernel| self.vacuous_of(kernel).or_else(|| self.same_as_plain(kernel)))
    }

    fn vacuous_of(&self, kernel: &KernelReport<'_>) -> Option<Vacuous> {
        if !kernel.supports_nothing() {
            return kernel.vacuous();
        }
        let library = kernel.kernel.library();
        let does_more = |other: &KernelReport<'_>| {
            other.kernel.library() == library && other.counts.support.values().any(|support| support.done > 0)
        };
        let of = kernel.counts.cases + kernel.counts.unsupported;
        let is_part = library.is_some() && self.kernels.iter().any(does_more);
        (!is_part).then(|| Vacuous::Unsupported { kernel: kernel.label(), of })
    }

    fn same_as_plain(&self, kernel: &KernelReport<'_>) -> Option<Vacuous> {
        let needs = |report: &KernelReport<'_>| report.kernel.required_features().len();
        let plain = self.kernels.iter().find(|other| {
            other.kernel.domain() == kernel.kernel.domain()
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

    /// Whether the kernel answered every legal case that it does not support it.
    pub fn supports_nothing(&self) -> bool {
        !self.counts.support.is_empty()
            && self.counts.support.values().all(|each| each.done == 0 && each.unsupported > 0)
    }

    fn vacuous(&self) -> Option<Vacuous> {
        if self.counts.cases + self.counts.unsupported == 0 {
            return Some(Vacuous::NotReached(self.label()));
        }
        if let Some((&kind, &support)) =
            self.counts.support.iter().find(|(_, each)| each.done > 0 && each.unsupported > 0)
        {
            return Some(Vacuous::SomeSizes { kernel: self.label(), kind, support });
        }
        let compared = self.counts.properties.applied().any(|property| property.number().is_some());
        (!compared).then(|| Vacuous::NotCompared(self.label()))
    }
}
