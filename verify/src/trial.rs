//! The whole examination of one kernel by one case.

mod call;
mod first;
mod fold;
mod long;
mod relations;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};

use crate::case::{Case, MaterializeError, Regime};
use crate::finding::Finding;
use crate::inputs::Inputs;
use crate::judge::{Judgement, WorstError, same_bits, show};
use crate::kernel::{Kernel, Outcome};
use crate::memory::fault;
use crate::operation::{BLOCK_ELEMENTS, Buffer, Operation, Threads};
use crate::oracle::Expected;
use crate::order::{KnownOrders, depends_on_codes};
use crate::parts::{OldContents, Parts, Real};
use crate::process::{self, ProcessState};
use crate::rung::{Cause, Failure, Rung, RungCounts};
use crate::trace;
use crate::weights::Weights;
use call::{Arena, CallResult, Flush};
use long::Long;
use relations::Relation;

/// Calls of the first small case of a kernel.
const BURST_CALLS: usize = 1100;

/// Elements of a small case.
const BURST_ELEMENTS: usize = 1024;

/// Elements up to which a case is called as the first of a process.
const FIRST_CALL_ELEMENTS: usize = 1 << 16;

/// Calls after which memory is measured, and measured again after as many more.
const LEAK_CALLS: usize = 9_000;

/// The same for cases that are not small: from so many elements on, up to four times as many.
const LARGE_LEAK_CALLS: [(usize, usize); 3] = [(1 << 12, 900), (1 << 14, 450), (1 << 16, 100)];

/// Bytes that the measures of [`process::memory`] may grow by in so many calls: allocators take more than they are asked for.
const LEAK_BYTES: [u64; 3] = [256 << 10, 256 << 10, 64 << 10];

/// Windows of calls in each of which memory must grow for a leak: a pool grows once.
const LEAK_WINDOWS: usize = 3;

/// The first cases of a kernel around which the state of the process is compared.
const FIRST_WATCHED: u64 = 8;

/// The distance of the cases around which it is compared later: comparing costs as much as a case.
const WATCHED_EVERY: u64 = 64;

/// Calls that each of several threads makes.
const CALLS_PER_THREAD: usize = 12;

/// When results of several threads are held against those of calls made alone.
const AT_ONCE: &str = "called alone and then from several threads at once, each with other data";

/// Examines kernels. Holds the guarded memory, so that a case costs microseconds.
#[derive(Debug)]
pub struct Harness {
    arena: Arena,
    /// Memory of the other threads in cases that have some.
    peers: Vec<Arena>,
    weights: Option<Weights>,
    orders: KnownOrders,
    /// Kernels that have had their burst of calls.
    seasoned: HashSet<(String, Operation)>,
    /// Kernels whose memory was measured on a case that is not small, with the number of its calls.
    measured: HashSet<(String, Operation, usize)>,
    /// Cases of each kernel around which the state of the process may have been compared; `None` where it is not.
    watched: Option<HashMap<(String, Operation), u64>>,
    /// Whether leaks are looked for.
    finds_leaks: bool,
    parts: &'static dyn Parts,
}

/// A case with its data and what they must give: made once, used for every kernel.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// No two have the same.
    number: u64,
    case: Case,
    inputs: Inputs,
    /// `None` for wrong sizes, and for whatever else must be refused.
    expected: Option<Expected>,
    /// The memory of a vector whose data repeat.
    long: Option<Arc<Mutex<Long>>>,
}

impl Prepared {
    /// Whether the call is legal. Otherwise the only right answer is a refusal.
    pub fn is_legal(&self) -> bool {
        self.expected.is_some()
    }
}

/// What a kernel did with a case.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    /// How often each rung was applied.
    pub rungs: RungCounts,
    /// The largest error on the data of rung 4.
    pub worst: WorstError,
    /// The largest part of its bound that an error on rung 5 comes to.
    pub share: f64,
    /// What was violated: one failure for each cause, the strictest first.
    pub failures: Vec<Failure>,
    /// Why the kernel was not called or said that it does not do this, if so.
    pub skipped: Option<&'static str>,
    /// Whether the kernel did what a legal call asks for.
    is_done: bool,
}

impl Trial {
    /// Whether nothing was violated.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }

    /// Whether the kernel did what a legal call asks for, right or wrong.
    pub fn is_done(&self) -> bool {
        self.is_done
    }

    /// Adds what was seen of the process after the calls.
    pub(crate) fn take_process(&mut self, failures: Vec<Failure>) {
        Rung::ALL.into_iter().filter(|rung| rung.is_of_guests()).for_each(|rung| self.rungs.add(rung, 1));
        failures.into_iter().for_each(|failure| self.fail(failure));
    }

    /// Notes the first failure of each rung, and there of each cause that is not a matter of values.
    fn fail(&mut self, failure: Failure) {
        let is_known = |earlier: &Failure| {
            earlier.rung == failure.rung && (earlier.cause == failure.cause || failure.rung.is_of_values())
        };
        if !self.failures.iter().any(is_known) {
            self.failures.push(failure);
        }
    }

    /// Counts the checks that every call undergoes and takes over what they found.
    fn take_call(&mut self, call: &CallResult) {
        for rung in [Rung::Memory, Rung::Inputs, Rung::Mxcsr, Rung::Panic] {
            self.rungs.add(rung, 1);
        }
        call.failures.iter().for_each(|failure| self.fail(failure.clone()));
    }

    /// Takes over what the oracle found.
    fn take_judged(&mut self, judged: Judgement) {
        self.rungs.merge(&judged.rungs);
        (self.worst, self.share) = (judged.worst, judged.share);
        judged.failures.into_iter().for_each(|failure| self.fail(failure));
    }

    /// Demands the same bits as in the first call.
    fn same(&mut self, rung: Rung, inputs: &Inputs, first: &[u32], now: &[u32], when: &str) {
        self.rungs.add(rung, 1);
        // Comparing slices first is what makes this cheap.
        if first == now {
            return;
        }
        if let Some(at) = (0..first.len()).find(|&at| !same_bits(first[at], now[at])) {
            let (buffer, index) = inputs.output_place(at);
            let (name, width) = (buffer.name(), inputs.operation.width(buffer));
            let cause = Cause::of_bits(width, first[at], now[at]);
            let (now, first) = (show(width, now[at]), show(width, first[at]));
            self.fail(Failure::new(rung, cause, format!("{when}, {name}[{index}] is {now}; it was {first}")));
        }
    }
}

impl Harness {
    /// A harness for cases without tensors, or with those of `weights`.
    pub fn new(weights: Option<Weights>) -> Self {
        Self::with_parts(weights, &Real)
    }

    /// The same, made of other parts than the real ones: a harness that is wrong on purpose.
    pub fn with_parts(weights: Option<Weights>, parts: &'static dyn Parts) -> Self {
        Self {
            arena: Arena::new(),
            peers: Vec::new(),
            weights,
            orders: KnownOrders::default(),
            seasoned: HashSet::new(),
            measured: HashSet::new(),
            watched: None,
            finds_leaks: false,
            parts,
        }
    }

    /// From now on the process is looked at around calls: what they leave changed, and with `leaks` what memory they keep, which takes
    /// some ten thousand calls of each kernel. For a process in which no other thread is at work.
    pub fn watch_process(&mut self, leaks: bool) {
        fault::install();
        self.watched.get_or_insert_default();
        self.finds_leaks = leaks && !trace::is_emulated();
    }

    /// What the harness is made of.
    pub fn parts(&self) -> &'static dyn Parts {
        self.parts
    }

    /// Whether rows of a gemv kernel were met whose order nothing explains, so that rung 3 did not apply to them.
    pub fn has_unexplained_order(&self, kernel: &dyn Kernel) -> bool {
        self.orders.is_unexplained(kernel)
    }

    /// The longest rows of a gemv kernel without scales whose order is known: columns, and the most additions that a term of them goes
    /// through.
    pub fn known_depth(&self, kernel: &dyn Kernel) -> Option<(usize, usize)> {
        self.orders.depth(kernel)
    }

    /// The weights that tensors of cases come from.
    pub fn weights(&self) -> Option<&Weights> {
        self.weights.as_ref()
    }

    /// Makes the data of a case and computes, exactly, what they must give.
    ///
    /// # Errors
    /// If the case has no data: see [`MaterializeError`].
    pub fn prepare(&self, case: &Case) -> Result<Prepared, MaterializeError> {
        let inputs = case.materialize(self.weights.as_ref())?;
        let expected = inputs.is_legal().then(|| self.parts.expected(&inputs));
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let long = (inputs.period > 0).then(|| Long::new(&inputs)).transpose();
        let long = long.map_err(|_| MaterializeError::NoSparseMemory { bytes: inputs.out_len })?;
        let long = long.map(|long| Arc::new(Mutex::new(long)));
        Ok(Prepared { number, case: case.clone(), inputs, expected, long })
    }

    /// Examines `kernel` by a prepared case of its operation.
    ///
    /// # Panics
    /// If the case is of another operation.
    pub fn examine(&mut self, kernel: &dyn Kernel, prepared: &Prepared) -> Trial {
        assert_eq!(kernel.operation(), prepared.case.operation, "a case is for kernels of its operation");
        let finding = |failure| Finding::new(kernel, &prepared.case, self.weights.as_ref(), failure);
        let crash = Failure::new(Rung::Crash, Cause::Process, String::new());
        let record = finding(crash).last_words();
        let inputs = &prepared.inputs;
        let process = self.watches(kernel).then(ProcessState::now);
        let mut trial = fault::on_record(&record, || match &prepared.expected {
            Some(expected) if prepared.long.is_some() => self.examine_long(kernel, prepared, expected),
            Some(expected) if prepared.case.once => self.examine_once(kernel, prepared, expected),
            Some(expected) => self.examine_legal(kernel, inputs, expected, prepared.case.seed),
            None => self.examine_illegal(kernel, inputs),
        });
        if trial.is_done && inputs.threads != Threads::ONE && prepared.long.is_none() {
            self.examine_threads(kernel, inputs, &record, &mut trial);
        }
        if let Some(before) = process {
            let after = ProcessState::now();
            trial.rungs.add(Rung::Process, 1);
            before.violations(&after).into_iter().for_each(|failure| trial.fail(failure));
            before.restore(&after);
        }
        trial.failures.retain(|failure| self.parts.reports(failure));
        trial.failures = fold::fold(trial.failures);
        trial
    }

    /// The case by which [`examine_first_calls`](Self::examine_first_calls) calls kernels of an operation.
    pub fn first_case(operation: Operation) -> Case {
        let rows = if operation.is_matrix() { 2 } else { 1 };
        Case { regime: Regime::Integer, ..Case::new(operation, rows, BLOCK_ELEMENTS + 44) }
    }

    /// Examines calls of `kernel` by a prepared case that are the first of a process, made by several threads at once: by processes that
    /// this one forks. No kernel may have been called in this one. Does nothing for wrong sizes and for cases that take long, and
    /// where the process is not [watched](Self::watch_process).
    pub fn examine_first_calls(&mut self, kernel: &dyn Kernel, prepared: &Prepared) -> Trial {
        let mut trial = Trial::default();
        let (inputs, case) = (&prepared.inputs, &prepared.case);
        let elements = case.rows.saturating_mul(case.cols);
        let Some(expected) = &prepared.expected else { return trial };
        if !(1..=FIRST_CALL_ELEMENTS).contains(&elements)
            || inputs.packed.is_sparse()
            || case.tensor.is_some()
            || self.watched.is_none()
            || trace::is_emulated()
            || !first::is_possible()
        {
            return trial;
        }
        trial.rungs.add(Rung::FirstCall, 1);
        let judge = |output: &[u32]| {
            let output = &output[..inputs.outputs()];
            let failure = self.parts.judge(inputs, expected, None, output).failures.into_iter().next()?;
            Some(failure.detail)
        };
        let failure = first::examine(kernel, case, judge);
        failure.into_iter().for_each(|failure| trial.fail(failure));
        trial.failures.retain(|failure| self.parts.reports(failure));
        trial
    }

    /// Whether the state of the process is compared around this case of `kernel`.
    fn watches(&mut self, kernel: &dyn Kernel) -> bool {
        let Some(watched) = &mut self.watched else { return false };
        let cases = watched.entry((kernel.name().to_owned(), kernel.operation())).or_default();
        *cases += 1;
        *cases <= FIRST_WATCHED || cases.is_multiple_of(WATCHED_EVERY)
    }

    /// Prepares and examines, and turns failures into findings.
    ///
    /// # Errors
    /// If the case has no data.
    pub fn findings(&mut self, kernel: &dyn Kernel, case: &Case) -> Result<Vec<Finding>, MaterializeError> {
        let failures = self.failures(kernel, case)?;
        let finding = |failure| Finding::new(kernel, case, self.weights.as_ref(), failure);
        Ok(failures.into_iter().map(finding).collect())
    }

    /// How `kernel` fails on a case: one failure for each cause.
    pub(crate) fn failures(
        &mut self,
        kernel: &dyn Kernel,
        case: &Case,
    ) -> Result<Vec<Failure>, MaterializeError> {
        let prepared = self.prepare(case)?;
        Ok(self.examine(kernel, &prepared).failures)
    }

    /// The smallest case, as far as the shrinker finds it, on which `kernel` still violates the property of `finding` by the same
    /// kind of failure, with its own finding; with integer data where they violate a stricter property.
    pub fn minimize(&mut self, kernel: &dyn Kernel, finding: &Finding) -> Finding {
        let mut smallest = finding.clone();
        crate::case::shrink(&finding.case, |candidate| {
            let found = self.findings(kernel, candidate).unwrap_or_default();
            match found.into_iter().find(|found| found.shows(finding.rung, finding.cause)) {
                Some(found) => {
                    smallest = found;
                    true
                }
                None => false,
            }
        });
        let exact = smallest.by_exact_data(|case| self.failures(kernel, case).unwrap_or_default());
        exact.map_or(smallest, |(case, failure)| Finding::new(kernel, &case, self.weights.as_ref(), failure))
    }

    /// Whether the first call was done; what it was otherwise is noted.
    fn is_done(
        &mut self,
        kernel: &dyn Kernel,
        inputs: &Inputs,
        first: &CallResult,
        trial: &mut Trial,
    ) -> bool {
        trial.take_call(first);
        trial.rungs.add(Rung::Sizes, 1);
        match first.outcome {
            Some(Outcome::Done) => return true,
            Some(Outcome::Unsupported) => {
                trial.skipped = Some("the kernel does not support this");
                self.examine_support(kernel, inputs, trial);
            }
            Some(Outcome::Refused) => {
                let detail = format!("a legal call is refused: {}", inputs.sizes());
                trial.fail(Failure::new(Rung::Sizes, Cause::Refused, detail));
            }
            None => {}
        }
        false
    }

    fn examine_once(&mut self, kernel: &dyn Kernel, prepared: &Prepared, expected: &Expected) -> Trial {
        let (mut trial, inputs) = (Trial::default(), &prepared.inputs);
        // Only where buffers start at their page do their offsets show.
        let has_offset = Buffer::ALL.into_iter().any(|buffer| inputs.offset[buffer] != 0);
        let flush = if has_offset { Flush::Start } else { Flush::End };
        let first = self.arena.call_numbered(kernel, (prepared.number, inputs), flush, self.poison(inputs));
        if !self.is_done(kernel, inputs, &first, &mut trial) {
            return trial;
        }
        let judged = self.parts.judge(inputs, expected, None, &first.output[..inputs.outputs()]);
        trial.take_judged(judged);
        trial.is_done = true;
        trial
    }

    /// `draw` chooses among changes of the inputs.
    fn examine_legal(
        &mut self,
        kernel: &dyn Kernel,
        inputs: &Inputs,
        expected: &Expected,
        draw: u64,
    ) -> Trial {
        let mut trial = Trial::default();
        let first = self.arena.call(kernel, inputs, Flush::End, self.poison(inputs));
        if !self.is_done(kernel, inputs, &first, &mut trial) {
            return trial;
        }
        self.season(kernel, inputs, &first.output[..inputs.outputs()], &mut trial);
        let outputs = &first.output[..inputs.outputs()];
        // A row may show that no single order explains the kernel; then its depth is not known either.
        let held_to_order = self.orders.judge(kernel, inputs, expected, outputs);
        self.orders.is_single(kernel, inputs);
        let depth = self.orders.model(kernel, inputs).map(|model| model.order().depth());
        self.orders.take_fickle().into_iter().for_each(|failure| trial.fail(failure));
        let judged = self.parts.judge(inputs, expected, depth, outputs);
        trial.take_judged(judged);
        if let Some((rows, failure)) = held_to_order {
            trial.rungs.add(Rung::Order, rows);
            failure.into_iter().for_each(|failure| trial.fail(failure));
        }
        self.examine_again(kernel, (inputs, draw), expected, outputs, &mut trial);
        trial.is_done = true;
        trial
    }

    /// Calls a kernel that is met for the first time very often, before anything else is asked of it: what only shows after so many
    /// calls, or in one of them, must not show in a call whose result nobody looks at.
    fn season(&mut self, kernel: &dyn Kernel, inputs: &Inputs, first: &[u32], trial: &mut Trial) {
        let elements = inputs.shape.cols * if inputs.operation.is_matrix() { inputs.shape.rows } else { 1 };
        let key = || (kernel.name().to_owned(), inputs.operation);
        let large = LARGE_LEAK_CALLS.into_iter().find(|(from, _)| (*from..4 * from).contains(&elements));
        if let Some((_, calls)) = large.filter(|_| self.finds_leaks)
            && self.measured.insert((kernel.name().to_owned(), inputs.operation, calls))
        {
            self.examine_memory(kernel, inputs, calls, trial);
        }
        if !(1..=BURST_ELEMENTS).contains(&elements) || !self.seasoned.insert(key()) {
            return;
        }
        for call in 2..=BURST_CALLS {
            let again = self.arena.call_again(kernel, inputs);
            trial.take_call(&again);
            let when = format!("in call number {call}");
            trial.same(Rung::Repeat, inputs, first, &again.output[..first.len()], &when);
            if !trial.passed() {
                return;
            }
        }
        if self.finds_leaks {
            self.examine_memory(kernel, inputs, LEAK_CALLS, trial);
        }
    }

    /// Calls the kernel again and again, and looks whether the process has ever more memory.
    fn examine_memory(&mut self, kernel: &dyn Kernel, inputs: &Inputs, calls: usize, trial: &mut Trial) {
        trial.rungs.add(Rung::Leak, 1);
        let mut before = process::memory();
        let mut grown = [u64::MAX; 3];
        for _ in 0..LEAK_WINDOWS {
            for _ in 0..calls {
                self.arena.call_again(kernel, inputs);
            }
            let after = process::memory();
            grown = [0, 1, 2].map(|at| grown[at].min(after[at].saturating_sub(before[at])));
            if grown.iter().zip(LEAK_BYTES).all(|(&bytes, allowed)| bytes < allowed) {
                return;
            }
            before = after;
        }
        let bytes = grown.into_iter().max().unwrap_or(0);
        let detail = format!(
            "{calls} equal calls make the process grow by {} KiB, {LEAK_WINDOWS} times in turn: about {} bytes a call",
            bytes >> 10,
            bytes / calls as u64
        );
        trial.fail(Failure::new(Rung::Leak, Cause::Process, detail));
    }

    /// Whether a kernel that says that it does not support these sizes does a whole block of the same kind: then it must do these
    /// too.
    fn examine_support(&mut self, kernel: &dyn Kernel, inputs: &Inputs, trial: &mut Trial) {
        let operation = inputs.operation;
        let plain = Case {
            scaled: inputs.scales.is_some(),
            digits: inputs.digits,
            ..Case::new(operation, 1, BLOCK_ELEMENTS)
        };
        let plain = plain.materialize(None).expect("a small case has data");
        let call = self.arena.call(kernel, &plain, Flush::End, self.poison(&plain));
        if call.outcome == Some(Outcome::Done) {
            trial.skipped = None;
            let sizes = inputs.sizes();
            let detail =
                format!("legal sizes are not supported, although {BLOCK_ELEMENTS} columns are: {sizes}");
            trial.fail(Failure::new(Rung::Sizes, Cause::Unsupported, detail));
        }
    }

    /// Whatever needs more calls on this thread: other addresses, old contents, repetition, relations.
    fn examine_again(
        &mut self,
        kernel: &dyn Kernel,
        (inputs, draw): (&Inputs, u64),
        expected: &Expected,
        first: &[u32],
        trial: &mut Trial,
    ) {
        let outputs = inputs.outputs();
        let large = self.parts.old_contents(inputs.operation, OldContents::Large);
        let moved = self.arena.call(kernel, inputs, Flush::Start, large);
        trial.take_call(&moved);
        let when = "at other addresses and over other old contents";
        trial.same(Rung::Placement, inputs, first, &moved.output[..outputs], when);
        let again = self.arena.call_again(kernel, inputs);
        trial.take_call(&again);
        trial.same(Rung::Repeat, inputs, first, &again.output[..outputs], "called again");
        let is_single = self.orders.is_single(kernel, inputs);
        // Where the oracle knows the bits of every row, it knows them for every number of rows.
        let is_invariant = !kernel.varies_with_rows() && !expected.is_exact();
        let few_rows = if is_invariant { Relation::few_rows(inputs, draw) } else { None };
        for relation in Relation::of(inputs).into_iter().chain(few_rows) {
            let mut changed = self.arena.call(kernel, &relation.inputs, Flush::Slack, self.poison(inputs));
            trial.take_call(&changed);
            // Another number of rows may be refused; a case of that shape is what shows it.
            if changed.outcome != Some(Outcome::Done) {
                continue;
            }
            trial.rungs.add(relation.rung, 1);
            // An order that depends on the codes is right, and is another for complemented ones.
            if let (Operation::Gemv, Rung::Complement, Expected::Rows(rows)) =
                (inputs.operation, relation.rung, expected)
                && let Some(row) = relation.first_wrong(first, &changed.output)
                && (!is_single || depends_on_codes(kernel, inputs, row))
            {
                relations::allow_another_order(rows, first, &mut changed.output);
            }
            relation.check(first, &changed.output).into_iter().for_each(|failure| trial.fail(failure));
        }
    }

    /// Calls the kernel from several threads at once, each with other data: each result must be that of the same call made alone,
    /// whether it is right or not.
    fn examine_threads(&mut self, kernel: &dyn Kernel, inputs: &Inputs, record: &str, trial: &mut Trial) {
        let poison = self.poison(inputs);
        let variants = Relation::at_one_time(inputs);
        let alone: Vec<CallResult> = fault::on_record(record, || {
            variants.iter().map(|variant| self.arena.call(kernel, variant, Flush::Start, poison)).collect()
        });
        alone.iter().for_each(|call| trial.take_call(call));
        let count = inputs.threads.count();
        self.peers.resize_with(count.max(self.peers.len()), Arena::new);
        let start = Barrier::new(count);
        let results: Vec<(usize, CallResult)> = std::thread::scope(|scope| {
            let callers: Vec<_> = self
                .peers
                .iter_mut()
                .take(count)
                .enumerate()
                .map(|(caller, arena)| {
                    let (start, variants) = (&start, &variants);
                    scope.spawn(move || {
                        start.wait();
                        let call = |at: usize| {
                            let variant = (caller + at) % variants.len();
                            (variant, arena.call(kernel, &variants[variant], Flush::Start, poison))
                        };
                        fault::on_record(record, || (0..CALLS_PER_THREAD).map(call).collect::<Vec<_>>())
                    })
                })
                .collect();
            callers
                .into_iter()
                .flat_map(|caller| caller.join().expect("panics of kernels are caught"))
                .collect()
        });
        let outputs = inputs.outputs();
        for (variant, result) in &results {
            trial.take_call(result);
            let (alone, now) = (&alone[*variant].output[..outputs], &result.output[..outputs]);
            trial.same(Rung::Threads, inputs, alone, now, AT_ONCE);
        }
    }

    /// What outputs hold before a call that must write them.
    fn poison(&self, inputs: &Inputs) -> u32 {
        self.parts.old_contents(inputs.operation, OldContents::Poison)
    }

    fn examine_illegal(&mut self, kernel: &dyn Kernel, inputs: &Inputs) -> Trial {
        let mut trial = Trial::default();
        let fault = inputs.fault().expect("what is legal has a result");
        if !kernel.refuses_wrong_sizes() {
            trial.skipped = Some("the kernel leaves sizes to its caller");
            return trial;
        }
        for flush in [Flush::End, Flush::Start, Flush::Slack] {
            let call = self.arena.call(kernel, inputs, flush, self.poison(inputs));
            trial.take_call(&call);
            trial.rungs.add(Rung::Sizes, 1);
            if call.outcome == Some(Outcome::Done) {
                trial.fail(Failure::new(Rung::Sizes, Cause::Accepted, format!("{fault} are accepted")));
            }
        }
        trial
    }
}
