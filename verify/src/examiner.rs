//! Kernels that can be examined, wherever they are: what every command works on.

pub(crate) mod error;

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::check::{self, Plan, Progress, Report};
use crate::domain::Domain;
use crate::finding::Finding;
use crate::format::Format;
use crate::interrupt;
use crate::kernel::{Kernel, missing_features};
use crate::operation::Operation;
use crate::order::{Revealed, Subject};
use crate::parts;
use crate::property::{Failure, Property};
use crate::reference;
use crate::registry;
use crate::timing::{Speed, Workload, speeds};
use crate::trace;
use crate::trial::{Harness, Trial};
use crate::weights::Weights;

pub use error::ExamineError;

/// Kernels that can be examined: those of this project, in this process ([`InProcess`]), or those of libraries, in processes of their
/// own ([`Plugins`](crate::plugin::Plugins)).
pub trait Examiner {
    /// All kernels, in the order of reports; those that this CPU cannot run among them.
    fn kernels(&self) -> Vec<&dyn Kernel>;

    /// The weights that tensors of cases come from.
    fn weights(&self) -> Option<&Weights>;

    /// Examines some of the kernels as [`check`](check::check) does; where that is done by other processes, by N of them at a time.
    ///
    /// # Errors
    /// If nothing was examined: a case has no data, or the system gives no process.
    fn check<'a>(
        &'a self,
        kernels: &[&'a dyn Kernel],
        plan: &Plan,
        jobs: usize,
        watch: &mut (dyn FnMut(Progress<'_>) -> ControlFlow<()> + Send),
    ) -> Result<Report<'a>, ExamineError>;

    /// Examines one kernel by one case, before which the kernels were called N times with each of `earlier`.
    ///
    /// # Errors
    /// If a case has no data, or the system gives no process.
    fn examine(
        &self,
        kernel: &dyn Kernel,
        earlier: &[(u64, Case)],
        case: &Case,
    ) -> Result<Examined, ExamineError>;

    /// The finding for the smallest case on which `kernel` still violates the property of `finding`.
    ///
    /// # Errors
    /// If the system gives no process.
    fn minimize(&self, kernel: &dyn Kernel, finding: &Finding) -> Result<Finding, ExamineError>;

    /// How a gemv adds up a row, or in words why no tree explains it.
    ///
    /// # Errors
    /// If the row is none, or the kernel does not do the call.
    fn reveal(&self, kernel: &dyn Kernel, subject: Subject)
    -> Result<Result<Revealed, String>, ExamineError>;

    /// Times the kernels of a report in which nothing was found. What is found on the data that are timed on is added to the report,
    /// and so are faults of the harness.
    ///
    /// # Errors
    /// If the data cannot be made.
    fn time(&self, report: &mut Report<'_>) -> Result<Timing, ExamineError>;
}

/// What one case comes to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Examined {
    /// Why the kernel was not called, or that it does not do this.
    pub skipped: Option<String>,
    /// The properties that were applied.
    pub properties: Vec<Property>,
    /// What was violated.
    pub failures: Vec<Failure>,
}

impl Examined {
    /// What was seen of a case, and of the first calls of processes.
    pub(crate) fn of(mut trial: Trial, first_calls: Trial) -> Self {
        trial.properties.merge(&first_calls.properties);
        trial.failures.extend(first_calls.failures);
        Self {
            skipped: trial.skipped.map(str::to_owned),
            properties: trial.properties.applied().collect(),
            failures: trial.failures,
        }
    }
}

/// How fast the kernels of a report are.
#[derive(Clone, Debug, Default)]
pub struct Timing {
    /// One for each kernel of the report, in its order; `None` where it was not timed.
    pub speeds: Vec<Option<Speed>>,
    /// Kernels of this project that plugins were timed beside.
    pub references: Vec<Reference>,
}

/// A kernel of this project that plugins were timed beside.
#[derive(Clone, Debug)]
pub struct Reference {
    /// Its domain.
    pub domain: Domain,
    /// Its name.
    pub name: String,
    /// Its speed.
    pub speed: Speed,
}

impl Timing {
    /// Nothing timed of N kernels.
    pub fn none(kernels: usize) -> Self {
        Self { speeds: vec![None; kernels], references: Vec::new() }
    }
}

/// How long the kernels of an operation are timed.
pub(crate) const fn time_for(operation: Operation) -> Duration {
    Duration::from_millis(if operation.is_matrix() { 400 } else { 200 })
}

/// The kernels of this project, examined in this process.
#[derive(Debug)]
pub struct InProcess {
    kernels: Vec<Box<dyn Kernel>>,
    weights: Option<Weights>,
    harness: RefCell<Harness>,
    /// The program that examines some of them in a process of its own, if there is one.
    program: Option<Vec<String>>,
}

impl InProcess {
    /// The same, which has a check done by several processes of this program: each calls [`serve`](Self::serve).
    pub fn in_processes_of(self, program: Vec<String>) -> Self {
        Self { program: Some(program), ..self }
    }

    /// Does a part of a check that another process has asked for ([`parts::serve`]).
    ///
    /// # Errors
    /// As there.
    pub fn serve(&self) -> std::io::Result<()> {
        parts::serve(&self.kernels(), &mut self.harness.borrow_mut())
    }

    /// All of them, and the reference kernels of formats of files, for cases without tensors or with those of `weights`. No other thread may
    /// be at work in this process.
    pub fn new(weights: Option<Weights>, of_files: &[&'static Format]) -> Self {
        let mut harness = Harness::new(weights);
        harness.watch_process(true);
        let mut kernels = registry::kernels();
        kernels.extend(of_files.iter().flat_map(|format| reference::kernels_of_file(format)));
        Self::of(kernels, harness)
    }

    /// Other kernels, examined in this harness.
    pub fn of(kernels: Vec<Box<dyn Kernel>>, harness: Harness) -> Self {
        Self { kernels, weights: harness.weights().cloned(), harness: RefCell::new(harness), program: None }
    }

    /// The kernels of the workload's operation that may be timed: those of the report and the scalar ones, if they are right.
    fn racers(&self, report: &mut Report<'_>, workload: &Workload) -> Result<Vec<&dyn Kernel>, ExamineError> {
        let case = workload.case();
        let mut harness = self.harness.borrow_mut();
        let (mut racers, prepared) = (Vec::new(), harness.prepare(case)?);
        let timed = |kernel: &&dyn Kernel| kernel.domain() == case.domain() && !kernel.shares_work();
        for kernel in self.kernels.iter().map(Box::as_ref).filter(timed) {
            let name = kernel.name();
            let is_chosen = report
                .kernels
                .iter()
                .any(|row| row.kernel.name() == name && row.kernel.domain() == case.domain());
            let is_wrong = report
                .findings
                .iter()
                .any(|finding| finding.kernel == name && finding.case.domain() == case.domain());
            let is_missed = !missing_features(kernel.required_features()).is_empty();
            if is_wrong || is_missed || !(is_chosen || registry::is_scalar(kernel)) {
                continue;
            }
            let failures = harness.examine(kernel, &prepared).failures;
            if failures.is_empty() {
                racers.push(kernel);
            }
            let finding = |failure| Finding::new(kernel, case, harness.weights(), failure);
            report.findings.extend(failures.into_iter().map(finding));
        }
        Ok(racers)
    }
}

impl Examiner for InProcess {
    fn kernels(&self) -> Vec<&dyn Kernel> {
        self.kernels.iter().map(Box::as_ref).collect()
    }

    fn weights(&self) -> Option<&Weights> {
        self.weights.as_ref()
    }

    fn check<'a>(
        &'a self,
        kernels: &[&'a dyn Kernel],
        plan: &Plan,
        jobs: usize,
        watch: &mut (dyn FnMut(Progress<'_>) -> ControlFlow<()> + Send),
    ) -> Result<Report<'a>, ExamineError> {
        let is_one = kernels.iter().all(|kernel| kernel.domain() == kernels[0].domain());
        // valgrind does not follow the processes that its program starts.
        let is_split = jobs > 1 && !is_one && !trace::is_emulated();
        if let Some(program) = self.program.as_ref().filter(|_| is_split) {
            let place = |kernel: &&dyn Kernel| {
                let known = self.kernels.iter().position(|own| std::ptr::addr_eq(own.as_ref(), *kernel));
                known.expect("the kernels are among these")
            };
            let places: Vec<usize> = kernels.iter().map(place).collect();
            let all = self.kernels();
            let program = (&program[..], jobs);
            let report = parts::check_in_parts((&all, &places), program, plan, self.weights(), watch)?;
            if let Some(report) = report {
                return Ok(report);
            }
        }
        Ok(check::check(&mut self.harness.borrow_mut(), kernels, plan, watch)?)
    }

    fn examine(
        &self,
        kernel: &dyn Kernel,
        earlier: &[(u64, Case)],
        case: &Case,
    ) -> Result<Examined, ExamineError> {
        let missing = missing_features(kernel.required_features());
        if !missing.is_empty() {
            let skipped = Some(format!("this CPU lacks {}", missing.join(", ")));
            return Ok(Examined { skipped, properties: Vec::new(), failures: Vec::new() });
        }
        let mut harness = self.harness.borrow_mut();
        for (times, case) in earlier {
            let prepared = harness.prepare(case)?;
            let key = (kernel.name(), case.domain());
            for each in self.kernels.iter().filter(|each| (each.name(), each.domain()) == key) {
                (0..*times).for_each(|_| drop(harness.examine(each.as_ref(), &prepared)));
            }
        }
        let prepared = harness.prepare(case)?;
        let first_calls = match earlier {
            [] => harness.examine_first_calls(kernel, &prepared),
            _ => Trial::default(),
        };
        Ok(Examined::of(harness.examine(kernel, &prepared), first_calls))
    }

    fn minimize(&self, kernel: &dyn Kernel, finding: &Finding) -> Result<Finding, ExamineError> {
        Ok(self.harness.borrow_mut().minimize(kernel, finding))
    }

    fn reveal(
        &self,
        kernel: &dyn Kernel,
        subject: Subject,
    ) -> Result<Result<Revealed, String>, ExamineError> {
        Ok(Revealed::of(kernel, subject)?)
    }

    /// Each kernel against the scalar ones of its operation in turn.
    fn time(&self, report: &mut Report<'_>) -> Result<Timing, ExamineError> {
        let mut timing = Timing::none(report.kernels.len());
        for domain in check::domains(report.kernels.iter().map(|row| row.kernel.domain())) {
            // Alone it has no ratio, and its time says as much of the machine.
            let is_alone = self.kernels.iter().filter(|kernel| kernel.domain() == domain).count() == 1;
            if is_alone || interrupt::is_requested() {
                continue;
            }
            let mut workload = Workload::usual(domain);
            let racers = self.racers(report, &workload)?;
            if racers.is_empty() {
                continue;
            }
            let raced = speeds(&racers, &mut workload, time_for(domain.operation));
            for (row, speed) in report.kernels.iter().zip(&mut timing.speeds) {
                let key = (row.kernel.name(), row.kernel.domain());
                let mut raced = racers.iter().zip(&raced);
                let own = raced.find(|(racer, _)| (racer.name(), racer.domain()) == key);
                *speed = speed.or(own.map(|(_, speed)| *speed));
            }
        }
        Ok(timing)
    }
}
