//! What host and worker say to each other, a line of JSON each.

use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::check::{Budget, KernelReport, Kind, Plan, Support};
use crate::judge::WorstError;
use crate::operation::Operation;
use crate::order::Revealed;
use crate::rung::{Failure, Rung};

/// What the worker is asked for. Kernels are named by their place in [`Response::Loaded`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Examine kernels by the cases `start..end` of a plan, but for the first kernels of the first case.
    Steps {
        plan: PlanWords,
        start: u64,
        end: u64,
        /// The first kernel that is called with the first case.
        from_kernel: usize,
        /// Kernels that are not called.
        dropped: Vec<usize>,
    },
    /// Examine a kernel by one case.
    Examine { kernel: usize, case: String },
    /// Reveal the order in which a row of a matrix is added up.
    Reveal { kernel: usize, rows: usize, cols: usize, row: usize, scaled: bool },
    /// See what a kernel executes.
    Trace { kernel: usize },
    /// Time a kernel beside our own.
    Time { kernel: usize, milliseconds: u64 },
}

/// What the worker answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Response {
    /// The first word of a worker: the library's kernels.
    Loaded { name: String, refuses_wrong_sizes: bool, operations: Vec<String> },
    /// The library is no guest, and why.
    NotLoaded(String),
    /// A violation; more may follow.
    Found { step: u64, kernel: usize, failure: Failure },
    /// The cases are done.
    Done { counts: Vec<Counts>, without_memory: u64 },
    /// What became of one case.
    Examined { skipped: Option<String>, rungs: Vec<String>, failures: Vec<Failure> },
    /// The order, or why there is no tree.
    Revealed(Result<RevealedWords, String>),
    /// The widest registers seen in use.
    Traced(Option<String>),
    /// Kernels and their times, the guest first.
    Timed(Vec<Timed>),
    /// A request could not be done.
    Failed(String),
}

/// An order in words and pictures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RevealedWords {
    words: String,
    dot: String,
    svg: String,
    differing: Vec<String>,
}

impl From<Revealed> for RevealedWords {
    fn from(Revealed { words, dot, svg, differing }: Revealed) -> Self {
        Self { words, dot, svg, differing }
    }
}

impl From<RevealedWords> for Revealed {
    fn from(RevealedWords { words, dot, svg, differing }: RevealedWords) -> Self {
        Self { words, dot, svg, differing }
    }
}

/// A plan in words.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PlanWords {
    seed: u64,
    seeds: u64,
    /// `None` where time decides.
    cases: Option<u64>,
    operations: Vec<String>,
}

impl PlanWords {
    pub(super) fn of(plan: &Plan, operations: &[Operation]) -> Self {
        let cases = match plan.budget {
            Budget::Cases(cases) => Some(cases),
            Budget::Time(_) => None,
        };
        let operations = operations.iter().map(ToString::to_string).collect();
        Self { seed: plan.seed, seeds: plan.seeds, cases, operations }
    }

    pub(super) fn plan(&self) -> Plan {
        let budget = self.cases.map_or(Budget::Time(std::time::Duration::MAX), Budget::Cases);
        Plan { seeds: self.seeds, ..Plan::new(self.seed, budget) }
    }

    pub(super) fn operations(&self) -> Vec<Operation> {
        self.operations.iter().filter_map(|name| name.parse().ok()).collect()
    }
}

/// What a worker has counted of one kernel.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Counts {
    cases: u64,
    wrong_sizes: u64,
    unsupported: u64,
    failed: u64,
    support: Vec<(Kind, Support)>,
    refused: u64,
    smallest_refused: Option<(String, String)>,
    /// In the order of [`Rung::ALL`].
    rungs: Vec<u64>,
    worst: Option<(f64, f64, String)>,
    unexplained: bool,
    share: f64,
    depth: Option<(usize, usize)>,
}

impl Counts {
    pub(super) fn of(report: &KernelReport<'_>, unexplained: bool, depth: Option<(usize, usize)>) -> Self {
        let worst = report.worst.as_ref();
        Self {
            cases: report.cases,
            wrong_sizes: report.wrong_sizes,
            unsupported: report.unsupported,
            failed: report.failed,
            support: report.support.iter().map(|(&kind, &support)| (kind, support)).collect(),
            refused: report.refused,
            smallest_refused: report
                .smallest_refused
                .as_ref()
                .map(|(case, why)| (case.to_string(), why.clone())),
            rungs: Rung::ALL.into_iter().map(|rung| report.rungs.of(rung)).collect(),
            worst: worst.map(|(worst, case)| (worst.absolute, worst.ulps, case.to_string())),
            unexplained,
            share: report.share,
            depth,
        }
    }

    pub(super) fn add_to(&self, report: &mut KernelReport<'_>) {
        report.cases += self.cases;
        report.wrong_sizes += self.wrong_sizes;
        report.unsupported += self.unsupported;
        report.failed += self.failed;
        for (kind, support) in &self.support {
            let all = report.support.entry(*kind).or_default();
            all.done += support.done;
            all.unsupported += support.unsupported;
        }
        report.refused += self.refused;
        if let Some((case, why)) = &self.smallest_refused
            && let Ok(case) = case.parse()
        {
            report.take_refused(&case, why);
        }
        report.unexplained |= self.unexplained;
        report.share = report.share.max(self.share);
        report.depth = report.depth.max(self.depth);
        for (rung, &times) in Rung::ALL.into_iter().zip(&self.rungs) {
            report.rungs.add(rung, times);
        }
        if let Some((absolute, ulps, case)) = &self.worst
            && let Ok(case) = case.parse::<Case>()
        {
            report.take_worst(WorstError { absolute: *absolute, ulps: *ulps }, &case);
        }
    }
}

/// The time of a kernel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Timed {
    pub(super) name: String,
    pub(super) nanoseconds: f64,
    /// Median, first and last decile of the speed-up over the in-order scalar kernel.
    pub(super) over_scalar: [f64; 3],
    /// The same over the fastest of the honest scalar kernels.
    pub(super) over_fast_scalar: [f64; 3],
}
