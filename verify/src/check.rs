//! A run of many cases over many kernels: what `qk256 check` does before it times anything.

mod causes;
mod report;
mod steps;
mod vacuous;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::case::{Case, MaterializeError};
use crate::domain::Domain;
use crate::exhaustive::{self, ALL_SCALES};
use crate::finding::Finding;
use crate::kernel::Kernel;
use crate::operation::Exhaustive;
use crate::property::{Cause, Failure, Property};
use crate::timing::Workload;
use crate::trace::{Trace, trace};
use crate::trial::Harness;

pub(crate) use causes::Causes;
pub use report::{Counts, KernelReport, Kind, Refusal, Report, Support, SweepReport, Worst};
pub(crate) use steps::Steps;
pub use vacuous::Vacuous;

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
    /// Whether a run that time ends goes on until every edge of each sweep was met.
    pub edges: bool,
    /// Whether vectors of 2^31 and 2^32 elements are tried first. That takes a minute or more, whatever the budget.
    pub huge: bool,
    /// Whether each finding is given by the smallest case that still shows it; otherwise by the case that it was met on.
    pub minimize: bool,
}

impl Plan {
    /// A plan whose findings are minimised.
    pub const fn new(seed: u64, budget: Budget) -> Self {
        Self { seed, budget, seeds: 1, exhaustive: false, edges: false, huge: false, minimize: true }
    }
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
    /// These findings.
    pub found: &'r [Finding],
    /// Whether the report will have them as they are. Those of plugins are on the cases that they were seen on, which are made smaller
    /// when the run is over.
    pub is_final: bool,
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
    if let Err(Ended::NoData(error)) = run.whole(&domains(kernels.iter().map(|kernel| kernel.domain())), plan)
    {
        return Err(error);
    }
    let mut report = run.report;
    report.notes.extend(harness.unseen().map(str::to_owned));
    for kernel in
        report.kernels.iter_mut().filter(|kernel| kernel.counts.cases > 0 && kernel.counts.failed == 0)
    {
        kernel.counts.take_order(harness, kernel.kernel);
        kernel.trace = traced(kernel.kernel);
    }
    Ok(report)
}

/// The domains of kernels, each once, operation by operation.
pub(crate) fn domains(of_kernels: impl Iterator<Item = Domain>) -> Vec<Domain> {
    let mut domains: Vec<Domain> = Vec::new();
    for domain in of_kernels {
        if !domains.contains(&domain) {
            domains.push(domain);
        }
    }
    domains.sort_by_key(|domain| domain.operation);
    domains
}

/// What `kernel` executes on a small call, after one that is not seen: what the first alone does, such as looking up symbols,
/// is not the kernel's way of working. Threads that do part of the work are not seen.
pub(crate) fn traced(kernel: &dyn Kernel) -> Trace {
    if kernel.shares_work() {
        return Trace::default();
    }
    let domain = kernel.domain();
    let (rows, cols) = domain.operation.spec().traced_shape;
    let mut workload = Workload::new(domain, rows, cols, false);
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
    fn whole(&mut self, domains: &[Domain], plan: &Plan) -> Result<(), Ended> {
        let steps = Steps::new(plan, domains, self.harness.weights(), self.harness.faults());
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
            let case = Harness::first_case(kernel.domain());
            let prepared = self.harness.prepare(&case)?;
            let trial = self.harness.examine_first_calls(kernel, &prepared);
            let report = &mut self.report.kernels[place];
            report.counts.properties.merge(&trial.properties);
            report.counts.failed += u64::from(!trial.passed());
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
            let exhaustive = kernel.operation().spec().exhaustive.filter(|_| kernel.domain().is_plain());
            let wrong = match exhaustive {
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
        let failed = self.report.kernels[place].counts.failed;
        self.case(case, 1.0)?;
        if self.report.kernels[place].counts.failed == failed {
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
        let progress =
            Progress { fraction, cases: self.report.cases, findings: found.len(), found, is_final: true };
        match (self.watch)(progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Ended::Watcher),
        }
    }

    /// Examines every kernel of the case's domain that this CPU can run.
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
            if report.is_skipped() || report.kernel.domain() != case.domain() {
                continue;
            }
            let trial = self.harness.examine(report.kernel, &prepared);
            report.counts.take(case, prepared.is_legal(), &trial);
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
