//! The whole examination of one kernel by one case.

mod call;
mod first;
mod fold;
mod long;
mod relations;
mod seen;
mod threads;
mod watch;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::buffer::Buffer;
use crate::case::{Case, MaterializeError};
use crate::domain::Domain;
use crate::evidence::Call;
use crate::fault_injection::{FaultInjection, OldContents, Real};
use crate::finding::{self, Finding};
use crate::inputs::Inputs;
use crate::kernel::{Kernel, Outcome};
use crate::memory::fault;
use crate::oracle::Expected;
use crate::order::{KnownOrders, depends_on_codes};
use crate::process::ProcessState;
use crate::property::{Cause, Failure, Property};
use crate::shape::Threads;
use crate::weights::Weights;
use call::{Arena, CallResult, Flush};
use long::Long;
use relations::Relation;
pub use seen::Trial;
use watch::compare_process;

/// Calls of the first small case of a kernel.
const WARM_UP_CALLS: usize = 1100;

/// Elements of a small case.
const WARM_UP_ELEMENTS: usize = 1024;

/// Examines kernels. Holds the guarded memory, so that a case costs microseconds.
#[derive(Debug)]
pub struct Harness {
    arena: Arena,
    /// Memory of the other threads in cases that have some.
    peers: Vec<Arena>,
    weights: Option<Weights>,
    orders: KnownOrders,
    /// Kernels that have had their warm-up calls.
    warmed_up: HashSet<(String, Domain)>,
    /// Kernels whose memory was measured on a case that is not small, with the number of its calls.
    measured: HashSet<(String, Domain, usize)>,
    /// Cases of each kernel around which the state of the process may have been compared; `None` where it is not.
    watched: Option<HashMap<(String, Domain), u64>>,
    /// Whether leaks are looked for.
    finds_leaks: bool,
    faults: &'static dyn FaultInjection,
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

impl Harness {
    /// A harness for cases without tensors, or with those of `weights`.
    pub fn new(weights: Option<Weights>) -> Self {
        Self::with_faults(weights, &Real)
    }

    /// The same, made of other parts than the real ones: a harness that is wrong on purpose.
    pub fn with_faults(weights: Option<Weights>, faults: &'static dyn FaultInjection) -> Self {
        Self {
            arena: Arena::new(),
            peers: Vec::new(),
            weights,
            orders: KnownOrders::default(),
            warmed_up: HashSet::new(),
            measured: HashSet::new(),
            watched: None,
            finds_leaks: false,
            faults,
        }
    }

    /// What the harness is made of.
    pub fn faults(&self) -> &'static dyn FaultInjection {
        self.faults
    }

    /// Whether rows of a gemv kernel were met whose order nothing explains, so that oracle 3 did not apply to them.
    pub fn has_unexplained_order(&self, kernel: &dyn Kernel) -> bool {
        self.orders.is_unexplained(kernel)
    }

    /// The longest rows of a gemv kernel without scales whose order is known: columns, and the most additions that a term of them goes
    /// through.
    pub fn known_depth(&self, kernel: &dyn Kernel) -> Option<(usize, usize)> {
        self.orders.depth(kernel)
    }

    /// Whether rows of a kernel were met whose exact sum it rounds once, so that each of their bits is known.
    pub fn rounds_once(&self, kernel: &dyn Kernel) -> bool {
        self.orders.rounds_once(kernel)
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
        let expected = inputs.is_legal().then(|| self.faults.expected(&inputs));
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
        assert_eq!(kernel.domain(), prepared.case.domain(), "a case is for kernels of its domain");
        let record = finding::record(kernel, &prepared.case, self.weights.as_ref());
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
        process.into_iter().for_each(|before| compare_process(&before, &mut trial));
        trial.failures.retain(|failure| self.faults.reports(failure));
        trial.failures = fold::fold(trial.failures);
        trial
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
            match found
                .into_iter()
                .find(|found| found.failure.shows(finding.failure.property, finding.failure.cause))
            {
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
        trial.properties.add(Property::Sizes, 1);
        match first.outcome {
            Some(Outcome::Done) => return true,
            Some(Outcome::Unsupported) => {
                trial.skipped = Some("the kernel does not support this");
                self.examine_support(kernel, inputs, trial);
            }
            Some(Outcome::Refused) => {
                let detail = format!("a legal call is refused: {}", inputs.sizes());
                trial.fail(Failure::new(Property::Sizes, Cause::Refused, detail));
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
        let judged = self.faults.judge(inputs, expected, None, &first.output[..inputs.outputs()]);
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
        self.warm_up(kernel, inputs, &first.output[..inputs.outputs()], &mut trial);
        let outputs = &first.output[..inputs.outputs()];
        // A row may show that no single order explains the kernel; then its depth is not known either.
        let poison = self.poison(inputs);
        let held_to_order = self.orders.judge(kernel, inputs, expected, outputs, |inputs| {
            let result = self.arena.call(kernel, inputs, Flush::End, poison);
            (result.outcome == Some(Outcome::Done)).then(|| result.output[..inputs.outputs()].to_vec())
        });
        self.orders.is_single(kernel, inputs);
        let depth = self.orders.model(kernel, inputs).map(|model| model.order().depth());
        self.orders.take_nondeterministic().into_iter().for_each(|failure| trial.fail(failure));
        let judged = self.faults.judge(inputs, expected, depth, outputs);
        trial.take_judged(judged);
        if let Some((rows, failure)) = held_to_order {
            trial.properties.add(Property::Order, rows);
            failure.into_iter().for_each(|failure| trial.fail(failure));
        }
        self.examine_again(kernel, (inputs, draw), expected, outputs, &mut trial);
        trial.is_done = true;
        trial
    }

    /// Calls a kernel that is met for the first time very often, before anything else is asked of it: what only shows after many
    /// calls, or in one of them, must not show in a call whose result nobody looks at.
    fn warm_up(&mut self, kernel: &dyn Kernel, inputs: &Inputs, first: &[u32], trial: &mut Trial) {
        let elements = inputs.shape.cols * if inputs.operation.is_matrix() { inputs.shape.rows } else { 1 };
        let key = || (kernel.name().to_owned(), kernel.domain());
        self.examine_large_memory(kernel, inputs, elements, trial);
        if !(1..=WARM_UP_ELEMENTS).contains(&elements) || !self.warmed_up.insert(key()) {
            return;
        }
        for call in 2..=WARM_UP_CALLS {
            let again = self.arena.call_again(kernel, inputs);
            trial.take_call(&again);
            trial.same(Property::Repeat, inputs, first, &again.output[..first.len()], Call::Number(call));
            if !trial.passed() {
                return;
            }
        }
        self.examine_small_memory(kernel, inputs, trial);
    }

    /// Whether a kernel that says that it does not support these sizes does one or two whole blocks of the same kind: then it must do
    /// these too.
    fn examine_support(&mut self, kernel: &dyn Kernel, inputs: &Inputs, trial: &mut Trial) {
        let of_blocks = |blocks: usize| {
            let mut plain = Case {
                scaled: inputs.scales.is_some(),
                digits: inputs.digits,
                ..Case::new(kernel.domain(), 1, blocks * inputs.shape.format.block_len)
            };
            plain.fit();
            plain.materialize(None).expect("a small case has data")
        };
        let done = [1, 2].map(of_blocks).into_iter().find(|plain| {
            let call = self.arena.call(kernel, plain, Flush::End, self.poison(plain));
            call.outcome == Some(Outcome::Done)
        });
        if let Some(done) = done {
            trial.skipped = None;
            let sizes = inputs.sizes();
            let columns = done.shape.cols;
            let detail = format!("legal sizes are not supported, although {columns} columns are: {sizes}");
            trial.fail(Failure::new(Property::Sizes, Cause::Unsupported, detail));
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
        let large = self.faults.old_contents(inputs.operation, OldContents::Large);
        let moved = self.arena.call(kernel, inputs, Flush::Start, large);
        trial.take_call(&moved);
        trial.same(Property::Placement, inputs, first, &moved.output[..outputs], Call::Moved);
        let again = self.arena.call_again(kernel, inputs);
        trial.take_call(&again);
        trial.same(Property::Repeat, inputs, first, &again.output[..outputs], Call::Again);
        let is_single = self.orders.is_single(kernel, inputs);
        // Where the oracle knows the bits of every row, it knows them for every number of rows.
        let is_invariant = !kernel.domain().requirements.varies_with_rows && !expected.is_exact();
        let fewer = [Relation::few_rows(inputs, draw), Relation::one_vector(inputs, draw)];
        let fewer = fewer.into_iter().flatten().filter(|_| is_invariant);
        for relation in Relation::of(inputs).into_iter().chain(fewer) {
            let mut changed = self.arena.call(kernel, &relation.inputs, Flush::Slack, self.poison(inputs));
            trial.take_call(&changed);
            // Another number of rows may be refused; a case of that shape is what shows it.
            if changed.outcome != Some(Outcome::Done) {
                continue;
            }
            trial.properties.add(relation.property(), 1);
            // An order that depends on the codes is right, and is another for complemented ones.
            if let (true, Property::Complement, Expected::Rows(rows)) =
                (inputs.operation.sums_floats(), relation.property(), expected)
                && let Some(row) = relation.first_wrong(first, &changed.output)
                && (!is_single || depends_on_codes(kernel, inputs, inputs.shape.vector_and_row(row).1))
            {
                relations::allow_another_order(rows, first, &mut changed.output);
            }
            relation
                .check(inputs, first, &changed.output)
                .into_iter()
                .for_each(|failure| trial.fail(failure));
        }
    }

    /// What outputs hold before a call that must write them.
    fn poison(&self, inputs: &Inputs) -> u32 {
        self.faults.old_contents(inputs.operation, OldContents::Poison)
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
            trial.properties.add(Property::Sizes, 1);
            if call.outcome == Some(Outcome::Done) {
                trial.fail(Failure::new(Property::Sizes, Cause::Accepted, format!("{fault} are accepted")));
            }
        }
        trial
    }
}
