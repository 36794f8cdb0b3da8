//! A check of one library: cases handed out to workers, what they violate confirmed and made small, and workers that end replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::Instant;

use super::OPERATIONS;
use super::abi::symbol_name;
use super::confirm::{Confirm, MOST_EARLIER};
use super::host::{Answer, Death, Ending, GuestError, Worker};
use super::library::{Face, Guest};
use super::message::{Beside, Counts, Request, Response};
use crate::case::Case;
use crate::check::{Budget, Causes, KernelReport, Plan, Progress, Report, Steps};
use crate::finding::{Finding, anywhere, program, shell_word};
use crate::interrupt;
use crate::kernel::Kernel;
use crate::operation::Operation;
use crate::parts::Real;
use crate::rung::{Cause, Failure, Rung};
use crate::trace::{Trace, Width};
use crate::trial::Harness;
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

/// Of each kernel and rung the violations that are kept, in case the first is not seen again.
const SIGHTINGS: usize = 4;

/// The check of one library under way.
pub(super) struct Run<'g> {
    guest: &'g Guest,
    faces: Vec<&'g Face>,
    plan: Plan,
    operations: Vec<Operation>,
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
    counts: BTreeMap<usize, Vec<Counts>>,
    without_memory: u64,
    /// Of each kernel, rung and cause the violations by the earliest cases.
    found: BTreeMap<(usize, Rung, Cause), Vec<Sighting>>,
    /// The first violation of each, in the order in which they were seen.
    first: Vec<Finding>,
    deaths: BTreeMap<(usize, Rung), usize>,
    dropped: BTreeSet<usize>,
    /// Cases, by step and kernel, that were taken up again after the worker had ended over them.
    again: BTreeSet<(u64, usize)>,
    /// What happened to workers over those of them that did not do it again.
    once: BTreeMap<(u64, usize), String>,
    /// What happened to other workers.
    notes: Vec<String>,
    faults: Vec<String>,
    /// What ended the run early.
    error: Option<GuestError>,
    stopped: bool,
    /// Whether the watcher has ended the run.
    is_over: bool,
    done: u64,
}

impl<'g> Run<'g> {
    pub(super) fn new(
        guest: &'g Guest,
        faces: Vec<&'g Face>,
        plan: Plan,
        weights: Option<&'g Weights>,
        began: Instant,
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
        Self { guest, faces, plan, operations, steps, start: Instant::now(), began, weights, state }
    }

    /// Breaks where the watcher has ended the run.
    pub(super) fn whole(
        &self,
        jobs: usize,
        watch: &mut (dyn FnMut(Progress<'_>) -> ControlFlow<()> + Send),
    ) -> ControlFlow<()> {
        if self.operations.is_empty() {
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
        let progress = Progress { fraction, cases: state.done, findings: found.len(), found };
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
    ) -> Result<(), GuestError> {
        let Piece { start, from_kernel, end, in_new_process, .. } = piece;
        let mut alive = match session.take().filter(|_| !in_new_process) {
            Some(alive) => alive,
            None => Session { worker: self.guest.host.start()?.1, done: Vec::new() },
        };
        let dropped = self.lock().dropped.iter().copied().collect();
        let (plan, operations) = (self.plan, self.operations.clone());
        let request = Request::Steps { plan, operations, start, end, from_kernel, dropped };
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
                    state.counts.entry(kernel).or_default().push(counts);
                }
                Ok(())
            }
            Answer::Response(Response::Failed(why)) => Err(GuestError::Load(why)),
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
        let key = (kernel, failure.rung, failure.cause);
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
        let face = self.faces.iter().find(|face| face.place == Some(kernel))?;
        let finding = Finding::new(*face, &self.steps.case(step)?, self.weights, failure.clone());
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
            Ending::Outside(Failure { detail: why, .. }) => {
                let note = format!("{why}; the same case in a new process was not");
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
        let key = (kernel, failure.rung);
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
    fn broken(&self, error: GuestError, piece: Piece) {
        let attempts = piece.attempts + 1;
        match error {
            GuestError::Ended { why, .. } if attempts < MOST_ATTEMPTS => {
                self.note(format!(
                    "a worker that was calling no kernel was {why}; its cases were done again"
                ));
                self.lock().left.push(Piece { attempts, ..piece });
            }
            // Its findings are known; its counts are lost.
            GuestError::Interrupted => {}
            GuestError::Ended { .. } | GuestError::Harness { .. } => self.fault(error.to_string()),
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

    /// Adds what was seen to the report: counts, findings made small, what is executed.
    ///
    /// # Errors
    /// If the run ended before anything was seen.
    pub(super) fn finish(self, report: &mut Report<'g>) -> Result<(), GuestError> {
        let mut state = std::mem::take(&mut *self.lock());
        match state.error.take() {
            Some(error) if state.done == 0 && state.found.is_empty() => return Err(error),
            Some(error) => state.faults.push(format!("the run ended early: {error}")),
            None => {}
        }
        report.cases += state.done;
        report.without_memory += state.without_memory;
        report.sweeps.extend(self.steps.sweeps(state.next));
        for face in &self.faces {
            let mut kernel = KernelReport::blank(*face);
            let Some(place) = face.place else {
                kernel.not_exported = Some(symbol_name(face.operation));
                report.kernels.push(kernel);
                continue;
            };
            state.count(place, &mut kernel);
            let confirm = Confirm { guest: self.guest, kernel: *face, place, weights: self.weights };
            let mut causes = Causes::default();
            for sightings in state.found_of(place) {
                let first = &sightings[0];
                kernel.rungs.add(first.failure.rung, 1);
                let mut examine = |case: &Case| {
                    self.guest
                        .examine(place, &[], case, Beside::default())
                        .map_or(Vec::new(), |examined| examined.failures)
                };
                let case = self.case(first.step);
                let Some(news) = causes.news(place, &case, first.failure.clone(), &mut examine) else {
                    continue;
                };
                let finding = self.confirmed(confirm, (news.rung, news.cause), sightings);
                causes.made(place, &finding);
                let seconds = sightings.iter().map(|seen| seen.seconds).reduce(f64::min);
                report.findings.push(Finding { seconds, ..finding });
            }
            if kernel.failed == 0 && kernel.cases > 0 && !interrupt::is_requested() {
                let case = Harness::first_case(face.operation);
                if let Ok(examined) =
                    self.guest.examine(place, &[], &case, Beside { first_calls: true, ..Beside::default() })
                {
                    let applied = examined.rungs.contains(&Rung::FirstCall);
                    kernel.rungs.add(Rung::FirstCall, applied.into());
                    let first = examined.failures.into_iter().find(|failure| failure.rung == Rung::FirstCall);
                    kernel.failed += u64::from(first.is_some());
                    let seconds = Some(self.began.elapsed().as_secs_f64());
                    let finding = |failure| confirm.finding(&case, failure);
                    report.findings.extend(first.map(finding).map(|found| Finding { seconds, ..found }));
                }
            }
            if kernel.failed == 0 && kernel.cases > 0 && !interrupt::is_requested() {
                match trace(self.guest, place) {
                    Ok(trace) => kernel.trace = trace,
                    Err(error) => state.faults.push(error.to_string()),
                }
            }
            report.kernels.push(kernel);
        }
        report.notes.extend(counted(state.notes.into_iter().chain(state.once.into_values())));
        report.harness_faults.extend(state.faults);
        Ok(())
    }

    /// The finding that violations of a rung are, which shows by its command alone if any does.
    fn confirmed(&self, confirm: Confirm<'_>, what: (Rung, Cause), sightings: &[Sighting]) -> Finding {
        let first = &sightings[0];
        let as_seen = || confirm.finding(&self.case(first.step), first.failure.clone());
        if interrupt::is_requested() {
            return as_seen();
        }
        let alone = |seen: &Sighting| confirm.alone(&self.case(seen.step), what);
        if let Some(finding) = sightings.iter().find_map(alone) {
            return if self.plan.minimize { confirm.minimize(&finding) } else { finding };
        }
        let after = confirm.after(&self.before(first), &self.case(first.step), what);
        after.unwrap_or_else(|| match interrupt::is_requested() {
            true => as_seen(),
            false => as_seen().seen_once(self.command(confirm.kernel)),
        })
    }

    /// The last cases that a worker had done before a violation.
    fn before(&self, sighting: &Sighting) -> Vec<Case> {
        let steps = sighting.before.iter().rev().flat_map(|piece| (piece.start..piece.end).rev());
        let mut cases: Vec<Case> =
            steps.take(MOST_EARLIER).filter_map(|step| self.steps.case(step)).collect();
        cases.reverse();
        cases
    }

    /// The command that makes the cases of this run once more, by one worker.
    fn command(&self, kernel: &dyn Kernel) -> String {
        let Plan { seed, budget, seeds, .. } = self.plan;
        let library = anywhere(&self.guest.host.library);
        let budget = match budget {
            Budget::Cases(cases) => format!("--cases {cases}"),
            Budget::Time(time) => format!("--for {}s", time.as_secs().max(1)),
        };
        let weights =
            self.weights.map_or(String::new(), |weights| format!(" --weights {}", anywhere(weights.path())));
        let operations = self.operations.iter().map(|operation| format!(" --op {operation}"));
        format!(
            "{} check --lib {library} --kernel {}{}{weights} --seed {seed} --seeds {seeds} {budget} --jobs 1 --no-speed",
            program(),
            shell_word(kernel.name()),
            String::from_iter(operations)
        )
    }
}

impl State {
    /// The violations by the kernel at `place`, each kind with its earliest cases; those of the earliest case and the strictest property
    /// first.
    fn found_of(&self, place: usize) -> Vec<&Vec<Sighting>> {
        let found = self.found.iter().filter(|((at, ..), _)| *at == place).map(|(_, found)| found);
        let mut found: Vec<_> = found.collect();
        found.sort_by_key(|sightings| {
            let Sighting { step, failure, .. } = &sightings[0];
            (*step, failure.rung.strictness(), failure.cause)
        });
        found
    }

    /// Adds what is known of the kernel at `place` to its report.
    fn count(&self, place: usize, kernel: &mut KernelReport<'_>) {
        self.counts.get(&place).into_iter().flatten().for_each(|counts| counts.add_to(kernel));
        let deaths = || self.deaths.iter().filter(|((at, _), _)| *at == place);
        let enough = deaths().find(|(_, deaths)| **deaths >= ENOUGH_DEATHS);
        kernel.given_up = enough.map(|((_, rung), deaths)| format!("{deaths} times `{rung}`"));
        let dead = deaths().map(|(_, &deaths)| deaths as u64).sum::<u64>();
        kernel.cases += dead;
        kernel.failed += dead;
        // The counts of a worker that was at work when the run was ended are lost, its findings are not.
        let found = self.found.keys().filter(|(at, ..)| *at == place).count();
        kernel.failed = kernel.failed.max(u64::from(found > 0));
        kernel.cases = kernel.cases.max(kernel.failed);
    }
}

/// Each note once, with how often it was made.
fn counted(notes: impl Iterator<Item = String>) -> impl Iterator<Item = String> {
    let mut counts = BTreeMap::<String, u64>::new();
    notes.for_each(|note| *counts.entry(note).or_default() += 1);
    let shown =
        |(note, times): (String, u64)| if times > 1 { format!("{times} times: {note}") } else { note };
    counts.into_iter().map(shown)
}

/// How wide the registers are that a kernel uses, as far as that is seen.
fn trace(guest: &Guest, place: usize) -> Result<Trace, GuestError> {
    let (_, mut worker) = guest.host.start()?;
    Ok(match worker.ask(&Request::Trace { kernel: place }, &mut |_| {})? {
        Answer::Response(Response::Traced(width)) => Trace::of_width(width),
        // Step by step the call takes longer than the time limit.
        Answer::Death(_) => Trace::of_width(Some(Width::NotReached)),
        _ => Trace::default(),
    })
}
