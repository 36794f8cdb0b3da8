//! A check of this project's kernels in several processes, each with the kernels of some domains.
//!
//! The kernels of a domain share cases, so that they stay together. A process examines its kernels as [`check`](check::check) does, and
//! sends what it finds, and in the end its counts, as lines of JSON.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::Write;
use std::ops::ControlFlow;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::case::{Case, Sweep};
use crate::check::{self, Counts, KernelReport, Plan, Progress, Report, SweepReport, domains};
use crate::child::{Answer, Child, Errors, Patience, line, terminate};
use crate::domain::Domain;
use crate::examiner::error::ExamineError;
use crate::finding::Finding;
use crate::interrupt;
use crate::kernel::{Kernel, missing_features};
use crate::property::Failure;
use crate::trace::{Trace, Width};
use crate::trial::Harness;
use crate::weights::Weights;

/// Time between two words of progress of a process.
const PROGRESS: Duration = Duration::from_millis(50);

/// What a process is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Request {
    Check(Part),
    /// The CPU features that it lacks, of all that kernels need.
    MissingFeatures,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Part {
    plan: Plan,
    /// The places of its kernels among all.
    kernels: Vec<usize>,
}

/// What a process says.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Message {
    At {
        #[serde(with = "crate::number")]
        fraction: f64,
        cases: u64,
    },
    /// A finding of a kernel, by its place among those of the part.
    Found {
        kernel: usize,
        case: Box<Case>,
        failure: Box<Failure>,
        seconds: Option<f64>,
    },
    Done(Box<Summary>),
    Failed(String),
}

/// What a part comes to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Summary {
    cases: u64,
    without_memory: u64,
    /// Of each domain: the cases of its sweep that were run.
    sweeps: Vec<SweepCounts>,
    /// Of each kernel: what was counted, whether all was tried that can be, and what it executes.
    kernels: Vec<(Counts, bool, Option<Width>)>,
    notes: Vec<String>,
}

/// Edges, pairs and shapes of a sweep, each those that were met and all.
type SweepCounts = [[usize; 2]; 3];

/// Does the part that is asked for on standard input, with kernels of all of which the part names some, and answers on standard output.
///
/// # Errors
/// If the request cannot be read, or the answers not be written.
pub fn serve(kernels: &[&dyn Kernel], harness: &mut Harness) -> std::io::Result<()> {
    let mut request = String::new();
    std::io::stdin().read_line(&mut request)?;
    let mut out = std::io::stdout();
    let Part { plan, kernels: places } = match serde_json::from_str(&request)? {
        Request::Check(part) => part,
        Request::MissingFeatures => return out.write_all(&line(&missing_of_any(kernels))),
    };
    let own: Vec<&dyn Kernel> = places.iter().filter_map(|&place| kernels.get(place).copied()).collect();
    let mut say = |message: &Message| out.write_all(&line(message)).and_then(|()| out.flush());
    let (mut sent, mut last) = (0, Instant::now());
    let report = check::check(harness, &own, &plan, &mut |at| {
        for finding in &at.found[sent..] {
            // Where nobody listens any more, the process ends by that.
            let _ = say(&found(&own, finding));
        }
        sent = at.found.len();
        if last.elapsed() >= PROGRESS {
            last = Instant::now();
            let _ = say(&Message::At { fraction: at.fraction, cases: at.cases });
        }
        if interrupt::is_requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    match report {
        Ok(report) => {
            report.findings[sent..].iter().try_for_each(|finding| say(&found(&own, finding)))?;
            say(&Message::Done(Box::new(summary(report))))
        }
        Err(error) => say(&Message::Failed(error.to_string())),
    }
}

/// The CPU features that this process lacks, of all that `kernels` need.
fn missing_of_any(kernels: &[&dyn Kernel]) -> Vec<String> {
    let missing = kernels.iter().flat_map(|kernel| missing_features(kernel.required_features()));
    missing.map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect()
}

fn found(own: &[&dyn Kernel], finding: &Finding) -> Message {
    let is_of =
        |kernel: &&dyn Kernel| kernel.name() == finding.kernel && kernel.domain() == finding.case.domain();
    let kernel = own.iter().position(is_of).unwrap_or_default();
    let Finding { case, failure, seconds, .. } = finding.clone();
    Message::Found { kernel, case: Box::new(case), failure: Box::new(failure), seconds }
}

fn summary(report: Report<'_>) -> Summary {
    let sweep = |sweep: &SweepReport| {
        [[sweep.edges, sweep.all_edges], [sweep.pairs, sweep.all_pairs], [sweep.shapes, sweep.all_shapes]]
    };
    Summary {
        cases: report.cases,
        without_memory: report.without_memory,
        sweeps: report.sweeps.iter().map(sweep).collect(),
        kernels: report
            .kernels
            .into_iter()
            .map(|row| (row.counts, row.exhausted, row.trace.width()))
            .collect(),
        notes: report.notes,
    }
}

/// The parts of a check under way.
struct Parts<'a, 'w> {
    kernels: Vec<&'a dyn Kernel>,
    weights: Option<&'w Weights>,
    state: Mutex<State<'w>>,
}

struct State<'w> {
    /// How far each part is, and its cases.
    at: Vec<(f64, u64)>,
    findings: Vec<Finding>,
    is_over: bool,
    watch: &'w mut (dyn FnMut(Progress<'_>) -> ControlFlow<()> + Send),
}

/// Examines those of `all` that stand at `places`, in up to `jobs` processes of `program`, which calls [`serve`]. `None`: they see
/// another CPU than this process does.
///
/// # Errors
/// If the system gives no process, a case has no data, or a kernel ends its process.
pub(crate) fn check_in_parts<'a>(
    (all, places): (&[&'a dyn Kernel], &[usize]),
    (program, jobs): (&[String], usize),
    plan: &Plan,
    weights: Option<&Weights>,
    watch: &mut (dyn FnMut(Progress<'_>) -> ControlFlow<()> + Send),
) -> Result<Option<Report<'a>>, ExamineError> {
    if !is_same_cpu(all, program)? {
        return Ok(None);
    }
    let kernels: Vec<&dyn Kernel> = places.iter().map(|&at| all[at]).collect();
    let split = split(&kernels, jobs);
    let at = vec![(0.0, 0); split.len()];
    let state = Mutex::new(State { at, findings: Vec::new(), is_over: false, watch });
    let parts = Parts { kernels: kernels.clone(), weights, state };
    let summaries: Vec<Result<Summary, ExamineError>> = std::thread::scope(|scope| {
        let runs = split.iter().enumerate().map(|(number, own)| {
            let request = Part { plan: *plan, kernels: own.iter().map(|&at| places[at]).collect() };
            let parts = &parts;
            scope.spawn(move || parts.run(number, own, program, request))
        });
        let runs: Vec<_> = runs.collect();
        runs.into_iter().map(|run| run.join().expect("it does not panic")).collect()
    });
    let mut report = Report::blank(plan.seed);
    report.kernels.extend(kernels.iter().map(|&kernel| KernelReport::blank(kernel)));
    for (own, summary) in split.iter().zip(summaries) {
        add(&mut report, own, summary?);
    }
    let order: Vec<Domain> = domains(kernels.iter().map(|kernel| kernel.domain()));
    report.sweeps.sort_by_key(|sweep| order.iter().position(|domain| *domain == sweep.domain));
    report.findings = parts.state.into_inner().unwrap_or_else(PoisonError::into_inner).findings;
    Ok(Some(report))
}

/// Whether a process that is started sees the CPU that this one does. An emulator does not emulate the processes that its program starts.
fn is_same_cpu(kernels: &[&dyn Kernel], program: &[String]) -> Result<bool, ExamineError> {
    let mut child = start(program)?;
    child.ask(&Request::MissingFeatures);
    let Answer::Line(line) = child.receive(&Patience::ENDLESS) else { return Err(ExamineError::Crashed) };
    let missing: Vec<String> =
        serde_json::from_str(&line).map_err(|error| ExamineError::Failed(error.into()))?;
    Ok(missing == missing_of_any(kernels))
}

fn start(program: &[String]) -> Result<Child, ExamineError> {
    let mut command = Command::new(&program[0]);
    Child::start(command.args(&program[1..]), Errors::Shown)
        .map_err(|error| ExamineError::Failed(error.into()))
}

/// The places of kernels for each process: domain by domain to the one that has the least to do so far.
fn split(kernels: &[&dyn Kernel], jobs: usize) -> Vec<Vec<usize>> {
    let mut by_work = domains(kernels.iter().map(|kernel| kernel.domain()));
    // Of a case data and oracle take about as long as a kernel, and a matrix takes five times as long as a vector. Measured.
    let work = |domain: &Domain| {
        let of_case = 1 + kernels.iter().filter(|kernel| kernel.domain() == *domain).count() as u64;
        let of_rows = if domain.operation.is_matrix() { 5 } else { 1 };
        Sweep::of(*domain).edges_len() * of_case * of_rows
    };
    by_work.sort_by_key(|domain| std::cmp::Reverse(work(domain)));
    let mut parts: Vec<(u64, Vec<usize>)> = vec![(0, Vec::new()); jobs.clamp(1, by_work.len().max(1))];
    for domain in by_work {
        let least = parts.iter_mut().min_by_key(|part| part.0).expect("there is a part");
        least.0 += work(&domain);
        least.1.extend((0..kernels.len()).filter(|&at| kernels[at].domain() == domain));
    }
    parts
        .into_iter()
        .map(|(_, mut own)| {
            own.sort_unstable();
            own
        })
        .collect()
}

/// Adds what a part came to.
fn add(report: &mut Report<'_>, own: &[usize], summary: Summary) {
    report.cases += summary.cases;
    report.without_memory += summary.without_memory;
    report
        .notes
        .extend(summary.notes.into_iter().filter(|note| !report.notes.contains(note)).collect::<Vec<_>>());
    for (&at, (counts, exhausted, width)) in own.iter().zip(summary.kernels) {
        let row = &mut report.kernels[at];
        (row.counts, row.exhausted, row.trace) = (counts, exhausted, Trace::of_width(width));
    }
    let of_part = domains(own.iter().map(|&at| report.kernels[at].kernel.domain()));
    let sweep = |(domain, [edges, pairs, shapes]): (Domain, SweepCounts)| SweepReport {
        domain,
        edges: edges[0],
        all_edges: edges[1],
        pairs: pairs[0],
        all_pairs: pairs[1],
        shapes: shapes[0],
        all_shapes: shapes[1],
    };
    report.sweeps.extend(of_part.into_iter().zip(summary.sweeps).map(sweep));
}

impl Parts<'_, '_> {
    /// Has a process do a part.
    fn run(
        &self,
        number: usize,
        own: &[usize],
        program: &[String],
        request: Part,
    ) -> Result<Summary, ExamineError> {
        let mut child = start(program)?;
        child.ask(&Request::Check(request));
        let id = child.id();
        // It is asked to end, and then says what it has done so far.
        let is_asked = Cell::new(false);
        let heartbeat = || {
            if !is_asked.get() && (interrupt::is_requested() || self.is_over()) {
                is_asked.set(true);
                terminate(id);
            }
            None
        };
        let patience = Patience { heartbeat: &heartbeat, ..Patience::ENDLESS };
        loop {
            let line = match child.receive(&patience) {
                Answer::Line(line) => line,
                // Asked to end before it was ready to say what it has done.
                _ if is_asked.get() => return Ok(Summary::default()),
                _ => return Err(ExamineError::Crashed),
            };
            let message = serde_json::from_str(&line).map_err(|error| ExamineError::Failed(error.into()))?;
            match message {
                Message::At { fraction, cases } => self.see(|state| state.at[number] = (fraction, cases)),
                Message::Found { kernel, case, failure, seconds } => {
                    let finding = Finding::new(self.kernels[own[kernel]], &case, self.weights, *failure);
                    self.see(|state| state.findings.push(Finding { seconds, ..finding }));
                }
                Message::Done(summary) => return Ok(*summary),
                Message::Failed(why) => return Err(ExamineError::Failed(why.into())),
            }
        }
    }

    fn is_over(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_over
    }

    /// Notes something, and tells the watcher.
    fn see(&self, note: impl FnOnce(&mut State<'_>)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        note(&mut state);
        if state.is_over {
            return;
        }
        let fraction = state.at.iter().map(|at| at.0).sum::<f64>() / state.at.len() as f64;
        let cases = state.at.iter().map(|at| at.1).sum();
        let State { findings, watch, is_over, .. } = &mut *state;
        let progress =
            Progress { fraction, cases, findings: findings.len(), found: findings, is_final: true };
        *is_over = watch(progress).is_break();
    }
}
