//! A check of one library: cases handed out to workers, deaths made findings, findings made small.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::Instant;

use super::OPERATIONS;
use super::abi::symbol_name;
use super::host::{Answer, Death, GuestError, Worker};
use super::library::{Face, Guest};
use super::message::{Counts, PlanWords, Request, Response};
use crate::case::Case;
use crate::check::{Causes, KernelReport, Plan, Progress, Report, Steps, with_exact_data};
use crate::finding::Finding;
use crate::operation::Operation;
use crate::parts::Real;
use crate::rung::{Cause, Failure, Rung};
use crate::trace::{Trace, Width};
use crate::weights::Weights;

/// Cases that a worker is asked for at a time.
const CHUNK: u64 = 128;

/// Deaths of one kind after which a kernel is not called again.
const ENOUGH_DEATHS: usize = 8;

/// The check of one library under way.
pub(super) struct Run<'g> {
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
    /// Of each kernel, rung and cause the violation by the earliest case.
    found: BTreeMap<(usize, Rung, Cause), (u64, Failure)>,
    deaths: BTreeMap<(usize, Rung), usize>,
    dropped: BTreeSet<usize>,
    stopped: bool,
    done: u64,
}

impl<'g> Run<'g> {
    pub(super) fn new(
        guest: &'g Guest,
        faces: Vec<&'g Face>,
        plan: Plan,
        weights: Option<&'g Weights>,
    ) -> Self {
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

    pub(super) fn whole(
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
            if let Response::Found { step, kernel, failure } = response {
                self.found(*step, *kernel, failure.clone());
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
        let key = (kernel, failure.rung, failure.cause);
        let earliest = state.found.get(&key).is_none_or(|&(known, _)| step < known);
        if earliest {
            state.found.insert(key, (step, failure));
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
    pub(super) fn finish(self, report: &mut Report<'g>) -> Result<(), GuestError> {
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
            let enough =
                state.deaths.iter().find(|((at, _), deaths)| *at == place && **deaths >= ENOUGH_DEATHS);
            kernel.given_up = enough.map(|((_, rung), deaths)| format!("{deaths} times `{rung}`"));
            kernel.cases += dead as u64;
            kernel.failed += dead as u64;
            let found = state.found.iter().filter(|((at, ..), _)| *at == place).map(|(_, found)| found);
            let mut found: Vec<&(u64, Failure)> = found.collect();
            found.sort_by_key(|(step, failure)| (*step, failure.rung.strictness(), failure.cause));
            let mut causes = Causes::default();
            for (step, failure) in found {
                kernel.rungs.add(failure.rung, 1);
                let case = steps.case(*step).expect("a case that was run is one of the plan");
                let mut examine = |case: &Case| {
                    guest.examine(&mut None, place, case).map_or(Vec::new(), |examined| examined.failures)
                };
                let Some(failure) = causes.news(place, &case, failure.clone(), &mut examine) else {
                    continue;
                };
                let finding = Finding::new(face, &case, weights, failure);
                let mut small = finding;
                if plan.minimize {
                    small = guest.minimize(face, &small, weights)?;
                    if let Some((case, failure)) = with_exact_data(&small, &mut examine) {
                        small = Finding::new(face, &case, weights, failure);
                    }
                }
                causes.made(place, &small);
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
