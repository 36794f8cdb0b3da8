//! A check of guests: cases handed out to workers, deaths made findings, findings made small.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::OPERATIONS;
use super::abi::symbol_name;
use super::host::{Answer, Death, GuestError, Host, Worker, exists};
use super::message::{Counts, PlanWords, Request, Response};
use crate::case::{Case, shrink};
use crate::check::{KernelReport, Plan, Progress, Report, Steps};
use crate::finding::Finding;
use crate::kernel::{Arguments, Kernel, Outcome};
use crate::operation::Operation;
use crate::order::{Revealed, Subject};
use crate::parts::Real;
use crate::rung::{Failure, Rung};
use crate::timing::Ratio;
use crate::trace::{Trace, Width};
use crate::weights::Weights;

/// Cases that a worker is asked for at a time.
const CHUNK: u64 = 128;

/// Deaths of one kind after which a kernel is not called again.
const ENOUGH_DEATHS: usize = 8;

/// Time that shrinking a case may take on which a kernel takes its process down: each try is a process.
const SHRINK_TIME: Duration = Duration::from_secs(5);

/// Kernels of shared libraries, and how to call them.
#[derive(Debug)]
pub struct Guests {
    guests: Vec<Guest>,
    weights: Option<Weights>,
}

/// A library.
#[derive(Debug)]
struct Guest {
    host: Host,
    /// One for each operation of the ABI.
    faces: Vec<Face>,
}

/// A kernel of a library, as the host knows it: it cannot be called here.
#[derive(Debug)]
struct Face {
    name: String,
    library: PathBuf,
    operation: Operation,
    refuses_wrong_sizes: bool,
    /// Its place among the kernels of the worker; `None` if the library does not export it.
    place: Option<usize>,
}

impl Kernel for Face {
    fn name(&self) -> &str {
        &self.name
    }

    fn operation(&self) -> Operation {
        self.operation
    }

    fn refuses_wrong_sizes(&self) -> bool {
        self.refuses_wrong_sizes
    }

    fn library(&self) -> Option<&Path> {
        Some(&self.library)
    }

    fn call(&self, _: Arguments<'_>) -> Outcome {
        Outcome::Unsupported
    }
}

/// The speed of a kernel beside scalar ones.
#[derive(Clone, Debug)]
pub struct Speed {
    /// The kernel.
    pub name: String,
    /// Median time of a call, in nanoseconds.
    pub nanoseconds: f64,
    /// Over the in-order scalar kernel.
    pub over_scalar: Ratio,
    /// Over the fastest of the honest scalar kernels.
    pub over_fast_scalar: Ratio,
}

/// What one case comes to.
#[derive(Clone, Debug)]
pub struct Examined {
    /// Why the kernel was not called, or that it does not do this.
    pub skipped: Option<String>,
    /// The rungs that were applied.
    pub rungs: Vec<String>,
    /// What was violated.
    pub failures: Vec<Failure>,
}

impl Guests {
    /// Loads each library in a worker of its own, to see what it has.
    ///
    /// # Errors
    /// If one is no guest, or the system gives no process.
    pub fn open(hosts: Vec<Host>, weights: Option<Weights>) -> Result<Self, GuestError> {
        let guests = hosts.into_iter().map(Guest::open).collect::<Result<_, _>>()?;
        Ok(Self { guests, weights })
    }

    /// The kernels, those that libraries do not export included.
    pub fn kernels(&self) -> impl Iterator<Item = &dyn Kernel> {
        self.guests.iter().flat_map(|guest| guest.faces.iter().map(|face| face as &dyn Kernel))
    }

    /// Examines the kernels for which `wanted` holds as [`check`](crate::check::check) does, with so many workers a library.
    ///
    /// # Errors
    /// If the system gives no process, or a worker breaks off.
    pub fn check(
        &self,
        plan: &Plan,
        wanted: &dyn Fn(&dyn Kernel) -> bool,
        jobs: usize,
        watch: &mut (dyn FnMut(Progress<'_>) -> ControlFlow<()> + Send),
    ) -> Result<Report<'_>, GuestError> {
        let mut report = Report {
            seed: plan.seed,
            cases: 0,
            sweeps: Vec::new(),
            without_memory: 0,
            kernels: Vec::new(),
            findings: Vec::new(),
        };
        for guest in &self.guests {
            let faces: Vec<&Face> = guest.faces.iter().filter(|face| wanted(*face)).collect();
            let run = Run::new(guest, faces, *plan, self.weights.as_ref());
            run.whole(jobs.max(1), watch)?;
            run.finish(&mut report)?;
        }
        Ok(report)
    }

    /// Examines one kernel by one case.
    ///
    /// # Errors
    /// If the system gives no process, or the case has no data.
    pub fn examine(&self, kernel: &dyn Kernel, case: &Case) -> Result<Examined, GuestError> {
        let (guest, place) = self.place(kernel).ok_or_else(|| unknown(kernel))?;
        guest.examine(&mut None, place, case)
    }

    /// The finding for the smallest case on which `kernel` still violates the rung of `finding`.
    ///
    /// # Errors
    /// If the system gives no process.
    pub fn minimize(&self, kernel: &dyn Kernel, finding: &Finding) -> Result<Finding, GuestError> {
        let (guest, _) = self.place(kernel).ok_or_else(|| unknown(kernel))?;
        guest.minimize(kernel, finding, self.weights.as_ref())
    }

    /// How a gemv adds up a row, or in words why no tree explains it.
    ///
    /// # Errors
    /// If the system gives no process, the row is none, or the kernel takes its process down.
    pub fn reveal(
        &self,
        kernel: &dyn Kernel,
        subject: Subject,
    ) -> Result<Result<Revealed, String>, GuestError> {
        let (guest, place) = self.place(kernel).ok_or_else(|| unknown(kernel))?;
        let Subject { rows, cols, row, scaled } = subject;
        let (_, mut worker) = guest.host.start()?;
        match worker.ask(&Request::Reveal { kernel: place, rows, cols, row, scaled }, &mut |_| {})? {
            Answer::Response(Response::Revealed(revealed)) => Ok(revealed.map(Revealed::from)),
            Answer::Response(Response::Failed(why)) => Err(GuestError::Load(why)),
            Answer::Response(other) => Err(GuestError::Load(format!("the worker answers {other:?}"))),
            Answer::Death(death) => Err(GuestError::Load(death.failure.detail)),
        }
    }

    /// Times a kernel beside our own; the guest comes first. `None` if it does not survive that.
    ///
    /// # Errors
    /// If the system gives no process.
    pub fn time(&self, kernel: &dyn Kernel, budget: Duration) -> Result<Option<Vec<Speed>>, GuestError> {
        let Some((guest, place)) = self.place(kernel) else { return Ok(None) };
        let request = Request::Time { kernel: place, milliseconds: budget.as_millis() as u64 };
        let (_, mut worker) = guest.host.start()?;
        Ok(match worker.ask(&request, &mut |_| {})? {
            Answer::Response(Response::Timed(timed)) => {
                let ratio = |[median, low, high]: [f64; 3]| Ratio { median, low, high };
                let speed = |timed: super::message::Timed| Speed {
                    name: timed.name,
                    nanoseconds: timed.nanoseconds,
                    over_scalar: ratio(timed.over_scalar),
                    over_fast_scalar: ratio(timed.over_fast_scalar),
                };
                Some(timed.into_iter().map(speed).collect())
            }
            _ => None,
        })
    }

    fn place(&self, kernel: &dyn Kernel) -> Option<(&Guest, usize)> {
        self.guests.iter().find_map(|guest| {
            let face = guest.faces.iter().find(|face| {
                face.operation == kernel.operation() && Some(face.library.as_path()) == kernel.library()
            })?;
            Some((guest, face.place?))
        })
    }
}

fn unknown(kernel: &dyn Kernel) -> GuestError {
    GuestError::Load(format!("{kernel:?} is exported by none of the libraries"))
}

impl Guest {
    fn open(host: Host) -> Result<Self, GuestError> {
        exists(&host.library)?;
        let (loaded, _) = host.start()?;
        let Response::Loaded { name, refuses_wrong_sizes, operations } = loaded else {
            unreachable!("a worker that starts has loaded its library")
        };
        let face = |operation: Operation| Face {
            name: name.clone(),
            library: host.library.clone(),
            operation,
            refuses_wrong_sizes,
            place: operations.iter().position(|name| *name == operation.name()),
        };
        let faces = OPERATIONS.into_iter().map(face).collect();
        Ok(Self { faces, host })
    }

    /// Examines a kernel by a case, in the worker that is there or a new one.
    fn examine(
        &self,
        worker: &mut Option<Worker>,
        place: usize,
        case: &Case,
    ) -> Result<Examined, GuestError> {
        let mut alive = match worker.take() {
            Some(alive) => alive,
            None => self.host.start()?.1,
        };
        let request = Request::Examine { kernel: place, case: case.to_string() };
        match alive.ask(&request, &mut |_| {})? {
            Answer::Response(Response::Examined { skipped, rungs, failures }) => {
                *worker = Some(alive);
                let failures = failures.iter().filter_map(|words| words.failure()).collect();
                Ok(Examined { skipped, rungs, failures })
            }
            Answer::Response(Response::Failed(why)) => Err(GuestError::Load(why)),
            Answer::Response(other) => Err(GuestError::Load(format!("the worker answers {other:?}"))),
            Answer::Death(death) => {
                let rungs = vec![death.failure.rung.name().to_owned()];
                Ok(Examined { skipped: None, rungs, failures: vec![death.failure] })
            }
        }
    }

    fn minimize(
        &self,
        kernel: &dyn Kernel,
        finding: &Finding,
        weights: Option<&Weights>,
    ) -> Result<Finding, GuestError> {
        let place = self.faces.iter().find(|face| face.operation == kernel.operation());
        let Some(place) = place.and_then(|face| face.place) else { return Err(unknown(kernel)) };
        let (mut smallest, mut worker, mut trouble) = (finding.clone(), None, None);
        let start = Instant::now();
        shrink(&finding.case, |candidate| {
            if start.elapsed() > SHRINK_TIME {
                return false;
            }
            // What a kernel keeps from one call to the next must not decide: each try is a process.
            let found = match self.examine(&mut worker, place, candidate) {
                Ok(examined) => examined.failures,
                Err(GuestError::Load(_)) => Vec::new(),
                Err(error) => {
                    trouble = Some(error);
                    Vec::new()
                }
            };
            let again = found.into_iter().find(|failure| failure.rung == finding.rung);
            let holds = again.is_some();
            if let Some(failure) = again {
                smallest = Finding::new(kernel, candidate, weights, failure);
            }
            holds
        });
        trouble.map_or(Ok(smallest), Err)
    }
}

/// The check of one library under way.
struct Run<'g> {
    guest: &'g Guest,
    faces: Vec<&'g Face>,
    plan: Plan,
    operations: Vec<Operation>,
    steps: Steps,
    start: Instant,
    weights: Option<&'g Weights>,
    state: Mutex<State>,
}

/// What all threads of the host know.
#[derive(Default)]
struct State {
    next: u64,
    /// Pieces that a dead worker has left: first case and kernel, end.
    left: Vec<(u64, usize, u64)>,
    counts: BTreeMap<usize, Vec<Counts>>,
    without_memory: u64,
    /// Of each kernel and rung the violation by the earliest case.
    found: BTreeMap<(usize, Rung), (u64, Failure)>,
    deaths: BTreeMap<(usize, Rung), usize>,
    dropped: BTreeSet<usize>,
    stopped: bool,
    done: u64,
}

impl<'g> Run<'g> {
    fn new(guest: &'g Guest, faces: Vec<&'g Face>, plan: Plan, weights: Option<&'g Weights>) -> Self {
        let exported = |operation: &Operation| {
            faces.iter().any(|face| face.operation == *operation && face.place.is_some())
        };
        let operations: Vec<Operation> = OPERATIONS.into_iter().filter(exported).collect();
        let steps = Steps::new(&plan, &operations, weights, &Real);
        let wanted = |place: usize| faces.iter().any(|face| face.place == Some(place));
        let unwanted = guest.faces.iter().filter_map(|face| face.place).filter(|&place| !wanted(place));
        let state = State { dropped: unwanted.collect(), ..State::default() };
        let state = Mutex::new(state);
        Self { guest, faces, plan, operations, steps, start: Instant::now(), weights, state }
    }

    fn whole(
        &self,
        jobs: usize,
        watch: &mut (dyn FnMut(Progress<'_>) -> ControlFlow<()> + Send),
    ) -> Result<(), GuestError> {
        if self.operations.is_empty() {
            return Ok(());
        }
        let watch = Mutex::new(watch);
        let work = || -> Result<(), GuestError> {
            let mut worker = None;
            while let Some(piece) = self.take() {
                self.piece(&mut worker, piece)?;
                let state = self.lock();
                let fraction = self.steps.fraction(state.next, self.start.elapsed()).min(1.0);
                let progress =
                    Progress { fraction, cases: state.done, findings: state.found.len(), found: &[] };
                drop(state);
                let mut watch = watch.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if watch(progress).is_break() {
                    self.lock().stopped = true;
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
            let join = |worker: std::thread::ScopedJoinHandle<'_, _>| {
                worker.join().expect("the host does not panic")
            };
            workers.into_iter().map(join).collect::<Result<Vec<()>, _>>()
        })?;
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The next piece of work: what a dead worker has left, or the next cases.
    fn take(&self) -> Option<(u64, usize, u64)> {
        let mut state = self.lock();
        if state.stopped {
            return None;
        }
        if let Some(piece) = state.left.pop() {
            return Some(piece);
        }
        let start = state.next;
        if self.steps.fraction(start, self.start.elapsed()) >= 1.0 {
            return None;
        }
        let end = self.steps.len().unwrap_or(u64::MAX).min(start + CHUNK);
        state.next = end;
        (start < end).then_some((start, 0, end))
    }

    /// Has a worker do a piece of work.
    fn piece(&self, worker: &mut Option<Worker>, piece: (u64, usize, u64)) -> Result<(), GuestError> {
        let (start, from_kernel, end) = piece;
        let mut alive = match worker.take() {
            Some(alive) => alive,
            None => self.guest.host.start()?.1,
        };
        let dropped = self.lock().dropped.iter().copied().collect();
        let plan = PlanWords::of(&self.plan, &self.operations);
        let request = Request::Steps { plan, start, end, from_kernel, dropped };
        let answer = alive.ask(&request, &mut |response| {
            if let Response::Found { step, kernel, failure } = response
                && let Some(failure) = failure.failure()
            {
                self.found(*step, *kernel, failure);
            }
        })?;
        match answer {
            Answer::Response(Response::Done { counts, without_memory }) => {
                *worker = Some(alive);
                let mut state = self.lock();
                state.without_memory += without_memory;
                state.done += end - start;
                for (kernel, counts) in counts.into_iter().enumerate() {
                    state.counts.entry(kernel).or_default().push(counts);
                }
                Ok(())
            }
            Answer::Response(Response::Failed(why)) => Err(GuestError::Load(why)),
            Answer::Response(other) => Err(GuestError::Load(format!("the worker answers {other:?}"))),
            Answer::Death(death) => {
                self.died(death, piece);
                Ok(())
            }
        }
    }

    fn found(&self, step: u64, kernel: usize, failure: Failure) {
        let mut state = self.lock();
        let rung = failure.rung;
        let earliest = state.found.get(&(kernel, rung)).is_none_or(|&(known, _)| step < known);
        if earliest {
            state.found.insert((kernel, rung), (step, failure));
        }
    }

    /// A worker is gone with its counts: what came before the death is done once more, and what comes behind is still to do.
    fn died(&self, death: Death, (start, from_kernel, end): (u64, usize, u64)) {
        let Death { step, kernel, failure } = death;
        let rung = failure.rung;
        self.found(step, kernel, failure);
        let mut state = self.lock();
        let deaths = state.deaths.entry((kernel, rung)).or_default();
        *deaths += 1;
        if *deaths >= ENOUGH_DEATHS {
            state.dropped.insert(kernel);
        }
        if step + 1 < end {
            state.left.push((step + 1, 0, end));
        }
        state.left.push((step, kernel + 1, step + 1));
        // Not for ever: a kernel that dies of the number of calls dies again.
        if step > start && *state.deaths.get(&(kernel, rung)).unwrap_or(&0) < ENOUGH_DEATHS {
            state.left.push((start, from_kernel, step));
        }
    }

    /// Adds what was seen to the report: counts, findings made small, what is executed.
    fn finish(self, report: &mut Report<'g>) -> Result<(), GuestError> {
        let (guest, faces, steps, weights) = (self.guest, self.faces, self.steps, self.weights);
        let (plan, state) =
            (self.plan, self.state.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner));
        report.cases += state.done;
        report.without_memory += state.without_memory;
        report.sweeps.extend(steps.sweeps(state.next));
        for face in faces {
            let mut kernel = KernelReport::blank(face);
            let Some(place) = face.place else {
                kernel.missing = vec![symbol_name(face.operation)];
                report.kernels.push(kernel);
                continue;
            };
            state.counts.get(&place).into_iter().flatten().for_each(|counts| counts.add_to(&mut kernel));
            let dead: usize =
                state.deaths.iter().filter(|((at, _), _)| *at == place).map(|(_, deaths)| deaths).sum();
            kernel.cases += dead as u64;
            kernel.failed += dead as u64;
            for ((_, rung), (step, failure)) in state.found.iter().filter(|((at, _), _)| *at == place) {
                kernel.rungs.add(*rung, 1);
                let case = steps.case(*step).expect("a case that was run is one of the plan");
                let finding = Finding::new(face, &case, weights, failure.clone());
                let small = if plan.minimize { guest.minimize(face, &finding, weights)? } else { finding };
                report.findings.push(small);
            }
            if kernel.failed == 0 && kernel.cases > 0 {
                kernel.trace = trace(guest, place)?;
            }
            report.kernels.push(kernel);
        }
        Ok(())
    }
}

/// How wide the registers are that a kernel uses, as far as that is seen.
fn trace(guest: &Guest, place: usize) -> Result<Trace, GuestError> {
    let (_, mut worker) = guest.host.start()?;
    Ok(match worker.ask(&Request::Trace { kernel: place }, &mut |_| {})? {
        Answer::Response(Response::Traced(width)) => {
            Trace::of_width(width.and_then(|name| Width::from_name(&name)))
        }
        _ => Trace::default(),
    })
}
