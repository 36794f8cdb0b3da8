//! A check of one library: cases handed out to workers, what they violate confirmed and made small, and workers that end replaced.

mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::Instant;

use super::host::{Answer, Death, Ending, PluginError, Worker};
use super::loaded::{KernelHandle, Plugin};
use super::message::{Request, Response};
use crate::case::Case;
use crate::check::{Counts, Plan, Progress, Steps, domains};
use crate::fault_injection::Real;
use crate::finding::Finding;
use crate::interrupt;
use crate::property::{Cause, Failure, Property};
use crate::weights::Weights;

/// Cases that a worker is asked for at a time.
const CHUNK: u64 = 128;

/// Elements of the cases that a worker is asked for at a time, but for the last: a few large ones take as long as all of a chunk.
const CHUNK_ELEMENTS: usize = 1 << 22;

/// Deaths of one kind after which a kernel is not called again.
const ENOUGH_DEATHS: usize = 8;

/// Workers that may end over one piece of work while they examine nothing.
const MOST_ATTEMPTS: usize = 3;

/// Faults of the harness after which a run ends.
const ENOUGH_FAULTS: usize = 8;

/// Of each kernel and property the violations that are kept, in case the first is not seen again.
const SIGHTINGS: usize = 4;

/// The check of one library under way.
pub(super) struct Run<'g> {
    plugin: &'g Plugin,
    kernels: Vec<&'g KernelHandle>,
    plan: Plan,
    /// The places of the kernels whose cases the plan has.
    places: Vec<usize>,
    steps: Steps,
    start: Instant,
    /// When the run of all libraries began.
    began: Instant,
    weights: Option<&'g Weights>,
    state: Mutex<State>,
}

/// Cases for a worker, but for the first kernels of the first case.
#[derive(Clone, Copy, Debug)]
struct Piece {
    start: u64,
    from_kernel: usize,
    end: u64,
    /// Workers that have ended over it while they examined nothing.
    attempts: usize,
    /// Whether no worker may do it that has done anything else.
    in_new_process: bool,
}

impl Piece {
    const fn new(start: u64, from_kernel: usize, end: u64) -> Self {
        Self { start, from_kernel, end, attempts: 0, in_new_process: false }
    }
}

/// A worker and what it has done.
struct Session {
    worker: Worker,
    done: Vec<Piece>,
}

/// A violation, and the cases that the same worker had done before.
struct Sighting {
    step: u64,
    failure: Failure,
    before: Vec<Piece>,
    /// Since the run of all libraries began.
    seconds: f64,
}

/// What is called with how far the run is.
type Watch<'w> = Mutex<&'w mut (dyn FnMut(Progress<'_>) -> ControlFlow<()> + Send)>;

/// What all threads of the host know.
#[derive(Default)]
struct State {
    next: u64,
    /// Pieces that a dead worker has left.
    left: Vec<Piece>,
    counts: BTreeMap<usize, Counts>,
    without_memory: u64,
    /// Of each kernel, property and cause the violations by the earliest cases.
    found: BTreeMap<(usize, Property, Cause), Vec<Sighting>>,
    /// The first violation of each, in the order in which they were seen.
    first: Vec<Finding>,
    deaths: BTreeMap<(usize, Property), usize>,
    dropped: BTreeSet<usize>,
    /// Cases, by step and kernel, that were taken up again after the worker had ended over them.
    again: BTreeSet<(u64, usize)>,
    /// What happened to workers over those of them that did not do it again.
    once: BTreeMap<(u64, usize), String>,
    /// What happened to other workers.
    notes: Vec<String>,
    faults: Vec<String>,
    /// What ended the run early.
    error: Option<PluginError>,
    stopped: bool,
    /// Whether the watcher has ended the run.
    is_over: bool,
    done: u64,
}

impl<'g> Run<'g> {
    pub(super) fn new(
        plugin: &'g Plugin,
        kernels: Vec<&'g KernelHandle>,
        plan: Plan,
        weights: Option<&'g Weights>,
        began: Instant,
    ) -> Self {
        let callable = || kernels.iter().filter(|handle| handle.can_run());
        let places: Vec<usize> = callable().map(|handle| handle.place).collect();
        let steps = Steps::new(&plan, &domains(callable().map(|handle| handle.domain)), weights, &Real);
        let unwanted =
            plugin.kernels.iter().map(|handle| handle.place).filter(|place| !places.contains(place));
        let state = State { dropped: unwanted.collect(), ..State::default() };
        let state = Mutex::new(state);
        Self { plugin, kernels, plan, places, steps, start: Instant::now(), began, weights, state }
    }

    /// Breaks where the watcher has ended the run.
    pub(super) fn whole(
        &self,
        jobs: usize,
        watch: &mut (dyn FnMut(Progress<'_>) -> ControlFlow<()> + Send),
    ) -> ControlFlow<()> {
        if self.places.is_empty() {
            return ControlFlow::Continue(());
        }
        let watch = Mutex::new(watch);
        let work = || {
            let mut session = None;
            while let Some(piece) = self.take() {
                if let Err(error) = self.piece(&mut session, piece, &watch) {
                    self.broken(error, piece);
                }
                self.report_progress(&watch);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(work);
            }
        });
        if self.lock().is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn report_progress(&self, watch: &Watch<'_>) {
        let mut watch = watch.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut state = self.lock();
        if state.is_over {
            return;
        }
        let fraction = self.steps.fraction(state.next, self.start.elapsed()).min(1.0);
        let found = state.first.as_slice();
        let progress =
            Progress { fraction, cases: state.done, findings: found.len(), found, is_final: false };
        if watch(progress).is_break() {
            (state.stopped, state.is_over) = (true, true);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The next piece of work: what a dead worker has left, or the next cases.
    fn take(&self) -> Option<Piece> {
        let mut state = self.lock();
        if state.stopped || interrupt::is_requested() {
            return None;
        }
        if let Some(piece) = state.left.pop() {
            return Some(piece);
        }
        let start = state.next;
        if self.steps.fraction(start, self.start.elapsed()) >= 1.0 {
            return None;
        }
        let most = self.steps.len().unwrap_or(u64::MAX).min(start + CHUNK);
        let mut elements = 0_usize;
        let is_room = |&step: &u64| {
            let is_room = elements < CHUNK_ELEMENTS;
            let case = self.steps.case(step);
            elements = elements.saturating_add(case.map_or(0, |case| case.rows.saturating_mul(case.cols)));
            is_room
        };
        let end = start + (start..most).take_while(is_room).count() as u64;
        state.next = end;
        (start < end).then_some(Piece::new(start, 0, end))
    }

    /// Has a worker do a piece of work.
    fn piece(
        &self,
        session: &mut Option<Session>,
        piece: Piece,
        watch: &Watch<'_>,
    ) -> Result<(), PluginError> {
        let Piece { start, from_kernel, end, in_new_process, .. } = piece;
        let mut alive = match session.take().filter(|_| !in_new_process) {
            Some(alive) => alive,
            None => Session { worker: self.plugin.host.start()?.1, done: Vec::new() },
        };
        let dropped = self.lock().dropped.iter().copied().collect();
        let (plan, wanted) = (self.plan, self.places.clone());
        let request = Request::Steps { plan, wanted, start, end, from_kernel, dropped };
        let Session { worker, done } = &mut alive;
        let answer = worker.ask(&request, &mut |response| {
            if let Response::Found { step, kernel, failure } = response {
                self.found(step, kernel, failure, (done, piece));
                self.report_progress(watch);
            }
        })?;
        match answer {
            Answer::Response(Response::Done { counts, without_memory }) => {
                done.push(piece);
                *session = Some(alive);
                let mut state = self.lock();
                state.without_memory += without_memory;
                state.done += end - start;
                for (kernel, counts) in counts.into_iter().enumerate() {
                    state.counts.entry(kernel).or_default().merge(counts);
                }
                Ok(())
            }
            Answer::Response(Response::Failed(why)) => Err(PluginError::Load(why)),
            Answer::Response(other) => Err(worker.unexpected(&other)),
            Answer::Death(death) => {
                self.died(death, (done, piece));
                Ok(())
            }
        }
    }

    /// Notes a violation; `history` is what the worker had done before, and the piece that it was at.
    fn found(&self, step: u64, kernel: usize, failure: Failure, (done, piece): (&[Piece], Piece)) {
        let mut state = self.lock();
        // Behind the finding that ends a run come no others.
        if state.is_over && !interrupt::is_requested() {
            return;
        }
        let seconds = self.began.elapsed().as_secs_f64();
        let key = (kernel, failure.property, failure.cause);
        if !state.found.contains_key(&key) {
            state.first.extend(self.first(step, kernel, &failure, seconds));
        }
        let known = state.found.entry(key).or_default();
        let at = known.partition_point(|sighting| sighting.step <= step);
        if at >= SIGHTINGS || at > 0 && known[at - 1].step == step {
            return;
        }
        let mut before = done.to_vec();
        before.push(Piece { end: step, ..piece });
        known.insert(at, Sighting { step, failure, before, seconds });
        known.truncate(SIGHTINGS);
    }

    /// The finding that a violation is on the case that it was seen on.
    fn first(&self, step: u64, kernel: usize, failure: &Failure, seconds: f64) -> Option<Finding> {
        let handle = self.kernels.iter().find(|handle| handle.place == kernel)?;
        let finding = Finding::new(*handle, &self.steps.case(step)?, self.weights, failure.clone());
        Some(Finding { seconds: Some(seconds), ..finding })
    }

    /// A worker is gone with its counts, over a case: what came before the case is done once more, and what comes behind is still to do.
    fn died(&self, death: Death, history: (&[Piece], Piece)) {
        let Death { step, kernel, ending } = death;
        let is_first = self.lock().again.insert((step, kernel));
        self.lock().once.remove(&(step, kernel));
        match ending {
            Ending::Kernel(failure) => self.fell(step, kernel, failure, history),
            // In a process of its own, and again: that is the kernel.
            Ending::Outside(failure) if !is_first => self.fell(step, kernel, failure, history),
            Ending::Outside(failure) => {
                let note = format!("{}; the same case in a new process was not", failure.detail());
                self.lock().once.insert((step, kernel), note);
                self.resume(step, kernel, history.1, true);
            }
            Ending::NoMemory(why) => {
                self.note(why);
                self.lock().without_memory += u64::from(!is_first);
                self.resume(step, kernel, history.1, is_first);
            }
            Ending::Harness(why) => {
                self.fault(format!("{why}, at the case {}", self.shown(step)));
                self.resume(step, kernel, history.1, false);
            }
        }
    }

    /// A kernel has ended its process.
    fn fell(&self, step: u64, kernel: usize, failure: Failure, history: (&[Piece], Piece)) {
        let key = (kernel, failure.property);
        self.found(step, kernel, failure, history);
        let mut state = self.lock();
        let deaths = state.deaths.entry(key).or_default();
        *deaths += 1;
        if *deaths >= ENOUGH_DEATHS {
            state.dropped.insert(kernel);
        }
        drop(state);
        self.resume(step, kernel, history.1, false);
    }

    /// Puts back what a worker that ended over a case has left of its piece; with the case, `again`, or without.
    fn resume(&self, step: u64, kernel: usize, piece: Piece, again: bool) {
        let mut state = self.lock();
        if step + 1 < piece.end {
            state.left.push(Piece::new(step + 1, 0, piece.end));
        }
        // A kernel that dies of the number of calls dies again, until it is dropped; the other kernels lose no case.
        if step > piece.start {
            state.left.push(Piece::new(piece.start, piece.from_kernel, step));
        }
        let next = kernel + usize::from(!again);
        state.left.push(Piece { in_new_process: again, ..Piece::new(step, next, step + 1) });
    }

    /// A worker is gone while it examined nothing, or cannot be understood.
    fn broken(&self, error: PluginError, piece: Piece) {
        let attempts = piece.attempts + 1;
        match error {
            PluginError::Ended { why, .. } if attempts < MOST_ATTEMPTS => {
                self.note(format!(
                    "a worker that was calling no kernel was {why}; its cases were done again"
                ));
                self.lock().left.push(Piece { attempts, ..piece });
            }
            // Its findings are known; its counts are lost.
            PluginError::Interrupted => {}
            PluginError::Ended { .. } | PluginError::Harness { .. } => self.fault(error.to_string()),
            error => {
                let mut state = self.lock();
                state.stopped = true;
                state.error.get_or_insert(error);
            }
        }
    }

    fn note(&self, what: String) {
        self.lock().notes.push(what);
    }

    fn fault(&self, what: String) {
        let mut state = self.lock();
        state.faults.push(what);
        state.stopped |= state.faults.len() >= ENOUGH_FAULTS;
    }

    /// A case that was run.
    fn case(&self, step: u64) -> Case {
        self.steps.case(step).expect("a case that was run is one of the plan")
    }

    fn shown(&self, step: u64) -> String {
        self.steps.case(step).map_or(String::new(), |case| case.to_string())
    }
}
