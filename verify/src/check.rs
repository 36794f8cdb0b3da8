//! A run of many cases over many kernels: what `qk256 check` does before it times anything.

mod causes;
mod steps;
mod vacuous;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::case::{Case, Coverage, MaterializeError};
use crate::exhaustive::{self, ALL_SCALES};
use crate::finding::Finding;
use crate::judge::WorstError;
use crate::kernel::{Kernel, missing_features};
use crate::operation::{Exhaustive, Operation};
use crate::property::{Cause, Failure, Property, PropertyCounts};
use crate::timing::Workload;
use crate::trace::{Trace, trace};
use crate::trial::{Harness, Trial};

pub(crate) use causes::Causes;
pub(crate) use steps::Steps;
pub use vacuous::{Kind, Support, Vacuous};

/// Rows of the matrices whose wiring is tried: more than one of every tile that our kernels have.
const WIRED_ROWS: usize = 33;

/// Scales between two words of progress.
const SCALES_AT_A_TIME: u64 = 1 << 26;

/// How long a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Budget {
    /// Until this much time has passed. Tensors are checked whole, whatever they take.
    Time(Duration),
    /// This many seeded cases for each operation.
    Cases(u64),
}

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// How long the run goes on.
    pub budget: Budget,
    /// Seeds from `seed` on whose drawn cases are run, each as many as the budget says; the sweep is run once.
    pub seeds: u64,
    /// Whether what can be tried whole is: every scale of `dequantize`, every column of every row of `gemv`. That takes minutes,
    /// whatever the budget.
    pub exhaustive: bool,
    /// Whether vectors of 2^31 and 2^32 elements are tried first. That takes a minute or more, whatever the budget.
    pub huge: bool,
    /// Whether each finding is given by the smallest case that still shows it; otherwise by the case that it was met on.
    pub minimize: bool,
}

impl Plan {
    /// A plan whose findings are minimised.
    pub const fn new(seed: u64, budget: Budget) -> Self {
        Self { seed, budget, seeds: 1, exhaustive: false, huge: false, minimize: true }
    }
}

/// What became of one kernel.
#[derive(Debug)]
pub struct KernelReport<'a> {
    /// The kernel.
    pub kernel: &'a dyn Kernel,
    /// Features that this CPU lacks: with any, the kernel was not called.
    pub missing: Vec<String>,
    /// The function that a library does not export, if so: there is no kernel to call.
    pub not_exported: Option<String>,
    /// Cases that the kernel was called with.
    pub cases: u64,
    /// Those of them that had to be refused.
    pub wrong_sizes: u64,
    /// Cases that the kernel says it does not support, or was not asked.
    pub unsupported: u64,
    /// What the kernel supports, of legal cases with elements.
    pub support: BTreeMap<Kind, Support>,
    /// Legal cases that the kernel must do and refuses, or does not support.
    pub refused: u64,
    /// The smallest of them, and why it is legal.
    pub smallest_refused: Option<(Case, String)>,
    /// How often each property was applied.
    pub properties: PropertyCounts,
    /// Why a plugin was not called any more, if so: it crashed its process too often.
    pub given_up: Option<String>,
    /// Whether all that can be tried whole was, and is right.
    pub exhausted: bool,
    /// What the kernel was seen to execute on a small call; nothing of kernels that failed or share their work.
    pub trace: Trace,
    /// Whether rows were met whose order of summation no model explains, so that oracle 3 did not apply to them.
    pub unexplained: bool,
    /// The largest part of its bound that an error on oracle 5 came to.
    pub share: f64,
    /// Of the longest rows without scales whose order of summation is known: columns, and the most additions of a term.
    pub depth: Option<(usize, usize)>,
    /// The largest error on the data of oracle 4, with its case.
    pub worst: Option<(WorstError, Case)>,
    /// Cases that violated something.
    pub failed: u64,
}

impl<'a> KernelReport<'a> {
    /// A report of nothing yet.
    pub(crate) fn blank(kernel: &'a dyn Kernel) -> Self {
        Self {
            kernel,
            missing: missing_features(kernel.required_features()).into_iter().map(str::to_owned).collect(),
            not_exported: None,
            cases: 0,
            wrong_sizes: 0,
            unsupported: 0,
            support: BTreeMap::new(),
            refused: 0,
            smallest_refused: None,
            properties: PropertyCounts::default(),
            given_up: None,
            exhausted: false,
            trace: Trace::default(),
            unexplained: false,
            share: 0.0,
            depth: None,
            worst: None,
            failed: 0,
        }
    }

    /// Counts what became of a case.
    pub(crate) fn take(&mut self, case: &Case, is_legal: bool, trial: &Trial) {
        if let Some(kind) = Kind::of(case).filter(|_| is_legal) {
            let support = self.support.entry(kind).or_default();
            support.done += u64::from(trial.is_done());
            support.unsupported += u64::from(trial.skipped.is_some());
        }
        let mut failures = trial.failures.iter().filter(|_| is_legal).flat_map(Failure::all);
        let refusal = failures.find(|failure| matches!(failure.cause, Cause::Refused | Cause::Unsupported));
        if let Some(refusal) = refusal {
            self.refused += 1;
            self.take_refused(case, &refusal.detail());
        }
        if trial.skipped.is_some() {
            self.unsupported += 1;
            return;
        }
        self.cases += 1;
        self.wrong_sizes += u64::from(!is_legal);
        self.properties.merge(&trial.properties);
        self.failed += u64::from(!trial.passed());
        self.share = self.share.max(trial.share);
        if trial.properties.of(Property::Flat) > 0 {
            self.take_worst(trial.worst, case);
        }
    }

    /// Keeps the smaller case.
    pub(crate) fn take_refused(&mut self, case: &Case, why: &str) {
        let size = |case: &Case| (case.rows * case.cols, case.cols, case.to_string().len());
        if self.smallest_refused.as_ref().is_none_or(|(known, _)| size(case) < size(known)) {
            self.smallest_refused = Some((case.clone(), why.to_owned()));
        }
    }

    /// Keeps the larger error.
    pub(crate) fn take_worst(&mut self, worst: WorstError, case: &Case) {
        if self.worst.as_ref().is_none_or(|(known, _)| worst.absolute > known.absolute) {
            self.worst = Some((worst, case.clone()));
        }
    }

    /// Why the kernel was not called, if so: the CPU lacks something that it needs, or its library does not export it.
    pub fn why_skipped(&self) -> Option<String> {
        let lacks = || format!("this CPU lacks {}", self.missing.join(", "));
        let library = self.not_exported.as_ref().map(|name| format!("the library does not export {name}"));
        library.or_else(|| (!self.missing.is_empty()).then(lacks))
    }

    /// Whether the kernel was not called because there is none, or none that this CPU can run.
    pub fn is_skipped(&self) -> bool {
        !self.missing.is_empty() || self.not_exported.is_some()
    }
}

/// What a run found.
#[derive(Debug)]
pub struct Report<'a> {
    /// The seed of the run.
    pub seed: u64,
    /// Cases made.
    pub cases: u64,
    /// What was met of the sweep of each operation.
    pub sweeps: Vec<SweepReport>,
    /// Cases left out because the system gives no sparse memory.
    pub without_memory: u64,
    /// One for each kernel of the run, in its order.
    pub kernels: Vec<KernelReport<'a>>,
    /// One for each cause of failure of each kernel, minimised where the plan says so.
    pub findings: Vec<Finding>,
    /// What happened to processes of plugins that was not the kernels' doing, each with how often.
    pub notes: Vec<String>,
    /// Faults of the harness itself: what they concern was not checked.
    pub harness_faults: Vec<String>,
}

impl Report<'_> {
    /// A report of nothing yet, of no kernels.
    pub(crate) fn blank(seed: u64) -> Self {
        Self {
            seed,
            cases: 0,
            sweeps: Vec::new(),
            without_memory: 0,
            kernels: Vec::new(),
            findings: Vec::new(),
            notes: Vec::new(),
            harness_faults: Vec::new(),
        }
    }
}

/// How much of a sweep was run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepReport {
    /// The operation whose sweep it is.
    pub operation: Operation,
    /// Edges and pairs of edges in the cases that were run.
    pub met: Coverage,
    /// Those of the whole sweep.
    pub whole: Coverage,
}

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'r> {
    /// From 0 to 1.
    pub fraction: f64,
    /// Cases made.
    pub cases: u64,
    /// How many findings there are so far.
    pub findings: usize,
    /// These findings; those of plugins on the cases that they were seen on, which are made smaller when the run is over.
    pub found: &'r [Finding],
}

/// Examines `kernels` by every tensor of the harness's weights, then by seeded cases until the budget is used up.
///
/// `watch` is called with how far the run is, after each case and after each finding; it ends the run by [`ControlFlow::Break`],
/// and the report is of what was done until then.
///
/// # Errors
/// If a tensor cannot be read or quantised. Seeded cases always have data.
pub fn check<'a>(
    harness: &mut Harness,
    kernels: &[&'a dyn Kernel],
    plan: &Plan,
    watch: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<Report<'a>, MaterializeError> {
    let mut report = Report::blank(plan.seed);
    report.kernels.extend(kernels.iter().map(|&kernel| KernelReport::blank(kernel)));
    let (minimize, start, causes) = (plan.minimize, Instant::now(), Causes::default());
    let mut run = Run { harness, report, minimize, watch, start, causes };
    let operations: Vec<Operation> = Operation::ALL
        .into_iter()
        .filter(|&op| kernels.iter().any(|kernel| kernel.operation() == op))
        .collect();
    if let Err(Ended::NoData(error)) = run.whole(&operations, plan) {
        return Err(error);
    }
    let mut report = run.report;
    report.notes.extend(harness.unseen().map(str::to_owned));
    for kernel in report.kernels.iter_mut().filter(|kernel| kernel.cases > 0 && kernel.failed == 0) {
        kernel.unexplained = harness.has_unexplained_order(kernel.kernel);
        kernel.depth = harness.known_depth(kernel.kernel);
        kernel.trace = traced(kernel.kernel);
    }
    Ok(report)
}

/// What `kernel` executes on a small call, after one that is not seen: what the first alone does, such as looking up symbols,
/// is not the kernel's way of working. Threads that do part of the work are not seen.
pub(crate) fn traced(kernel: &dyn Kernel) -> Trace {
    if kernel.shares_work() {
        return Trace::default();
    }
    let operation = kernel.operation();
    let (rows, cols) = operation.spec().traced_shape;
    let mut workload = Workload::new(operation, rows, cols, false);
    workload.run(kernel);
    trace(|| {
        workload.run(kernel);
    })
}

/// Why a run is over before its budget is used up.
enum Ended {
    /// The watcher has seen enough.
    Watcher,
    /// A case has no data.
    NoData(MaterializeError),
}

impl From<MaterializeError> for Ended {
    fn from(error: MaterializeError) -> Self {
        Self::NoData(error)
    }
}

/// A run under way.
struct Run<'h, 'a> {
    harness: &'h mut Harness,
    report: Report<'a>,
    minimize: bool,
    watch: &'h mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
    start: Instant,
    /// What findings were made of.
    causes: Causes,
}

impl Run<'_, '_> {
    fn whole(&mut self, operations: &[Operation], plan: &Plan) -> Result<(), Ended> {
        let steps = Steps::new(plan, operations, self.harness.weights(), self.harness.faults());
        self.first_calls()?;
        let mut done = 0;
        let mut ended = Ok(());
        while let Some(case) = steps.case(done) {
            let fraction = steps.fraction(done, self.start.elapsed());
            if fraction >= 1.0 {
                break;
            }
            ended = self.case(&case, fraction);
            if ended.is_err() {
                break;
            }
            done += 1;
        }
        self.report.sweeps = steps.sweeps(done);
        ended?;
        if plan.exhaustive {
            self.exhaustive()?;
        }
        self.report(1.0)
    }

    /// Examines the first calls of processes, before any kernel is called in this one.
    fn first_calls(&mut self) -> Result<(), Ended> {
        for place in 0..self.report.kernels.len() {
            let kernel = self.report.kernels[place].kernel;
            if !self.report.kernels[place].missing.is_empty() {
                continue;
            }
            let case = Harness::first_case(kernel.operation());
            let prepared = self.harness.prepare(&case)?;
            let trial = self.harness.examine_first_calls(kernel, &prepared);
            let report = &mut self.report.kernels[place];
            report.properties.merge(&trial.properties);
            report.failed += u64::from(!trial.passed());
            for failure in trial.failures {
                let finding = Finding::new(kernel, &case, None, failure);
                self.causes.made(place, &finding);
                self.report.findings.push(Finding { seconds: self.seconds(), ..finding });
                self.report(0.0)?;
            }
        }
        Ok(())
    }

    /// Tries what can be tried whole.
    fn exhaustive(&mut self) -> Result<(), Ended> {
        for place in 0..self.report.kernels.len() {
            let KernelReport { kernel, ref missing, .. } = self.report.kernels[place];
            if !missing.is_empty() || kernel.shares_work() {
                continue;
            }
            let wrong = match kernel.operation().spec().exhaustive {
                Some(Exhaustive::Scales) => self.every_scale(kernel)?,
                Some(Exhaustive::Wiring) => {
                    exhaustive::wrong_wiring(kernel, exhaustive::WIRED_COLS, WIRED_ROWS)
                }
                None => continue,
            };
            match wrong {
                Some(case) => self.record_failure(place, kernel, &case)?,
                None => {
                    // Not where the watcher ends the run before all was tried.
                    self.report(1.0)?;
                    self.report.kernels[place].exhausted = true;
                }
            }
        }
        Ok(())
    }

    /// Makes a finding of a case that came out wrong when all were tried, also if it comes out right when it is tried again.
    fn record_failure(&mut self, place: usize, kernel: &dyn Kernel, case: &Case) -> Result<(), Ended> {
        let failed = self.report.kernels[place].failed;
        self.case(case, 1.0)?;
        if self.report.kernels[place].failed == failed {
            let detail =
                "the output was wrong when everything was tried, and is right when only this is".to_owned();
            let failure = Failure::new(Property::Repeat, Cause::Nondeterministic, detail);
            let finding = Finding::new(kernel, case, None, failure);
            self.report.findings.push(Finding { seconds: self.seconds(), ..finding });
        }
        self.report(1.0)
    }

    fn every_scale(&mut self, kernel: &dyn Kernel) -> Result<Option<Case>, Ended> {
        for start in (0..ALL_SCALES).step_by(SCALES_AT_A_TIME as usize) {
            if let Some(case) = exhaustive::wrong_scale(kernel, start..start + SCALES_AT_A_TIME) {
                return Ok(Some(case));
            }
            self.report(start as f64 / ALL_SCALES as f64)?;
        }
        Ok(None)
    }

    fn report(&mut self, fraction: f64) -> Result<(), Ended> {
        let found = self.report.findings.as_slice();
        let progress = Progress { fraction, cases: self.report.cases, findings: found.len(), found };
        match (self.watch)(progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Ended::Watcher),
        }
    }

    /// Examines every kernel of the case's operation that this CPU can run.
    fn case(&mut self, case: &Case, fraction: f64) -> Result<(), Ended> {
        let prepared = match self.harness.prepare(case) {
            Err(MaterializeError::NoSparseMemory { .. }) => {
                self.report.without_memory += 1;
                return Ok(());
            }
            prepared => prepared?,
        };
        self.report.cases += 1;
        for place in 0..self.report.kernels.len() {
            let report = &mut self.report.kernels[place];
            if report.is_skipped() || report.kernel.operation() != case.operation {
                continue;
            }
            let trial = self.harness.examine(report.kernel, &prepared);
            report.take(case, prepared.is_legal(), &trial);
            for failure in trial.failures {
                self.violated(place, case, failure, fraction)?;
            }
        }
        self.report(fraction)
    }

    /// Makes a finding of a failure whose cause was not met before, and reports it at once.
    fn violated(&mut self, place: usize, case: &Case, failure: Failure, fraction: f64) -> Result<(), Ended> {
        let (kernel, seconds) = (self.report.kernels[place].kernel, self.seconds());
        let harness = &mut *self.harness;
        let mut examine = |case: &Case| harness.failures(kernel, case).unwrap_or_default();
        let Some(failure) = self.causes.news(place, case, failure, &mut examine) else { return Ok(()) };
        let finding = Finding::new(kernel, case, harness.weights(), failure);
        let shown = if self.minimize { harness.minimize(kernel, &finding) } else { finding };
        self.causes.made(place, &shown);
        self.report.findings.push(Finding { seconds, ..shown });
        self.report(fraction)
    }

    /// Seconds since the run began.
    fn seconds(&self) -> Option<f64> {
        Some(self.start.elapsed().as_secs_f64())
    }
}
