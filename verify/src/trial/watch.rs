//! What a kernel does to the process that is there for it: what its calls leave changed, what memory they keep, and what its first call
//! prepares.

use super::{Harness, Prepared, Trial, first};
use crate::case::Case;
use crate::data::Distribution;
use crate::domain::Domain;
use crate::inputs::Inputs;
use crate::kernel::Kernel;
use crate::memory::fault;
use crate::process::{self, ProcessState};
use crate::property::{Cause, Failure, Property};
use crate::trace;

/// Elements up to which a case is called as the first of a process.
const FIRST_CALL_ELEMENTS: usize = 1 << 16;

/// Calls after which memory is measured, and measured again after as many more.
const LEAK_CALLS: usize = 9_000;

/// The same for cases that are not small: from N elements on, up to four times as many.
const LARGE_LEAK_CALLS: [(usize, usize); 3] = [(1 << 12, 900), (1 << 14, 450), (1 << 16, 100)];

/// Bytes that the measures of [`process::memory`] may grow by in N calls: allocators take more than they are asked for.
const LEAK_BYTES: [u64; 3] = [256 << 10, 256 << 10, 64 << 10];

/// Windows of calls in each of which memory must grow for a leak: a pool grows once.
const LEAK_WINDOWS: usize = 3;

/// The first cases of a kernel around which the state of the process is compared.
const FIRST_WATCHED: u64 = 8;

/// The distance of the cases around which it is compared later: comparing costs as much as a case.
const WATCHED_EVERY: u64 = 64;

/// Compares the process with what it was before the calls, and puts back what would disturb the harness.
pub(super) fn compare_process(before: &ProcessState, trial: &mut Trial) {
    let after = ProcessState::now();
    trial.properties.add(Property::Process, 1);
    before.violations(&after).into_iter().for_each(|failure| trial.fail(failure));
    before.restore(&after);
}

impl Harness {
    /// From now on the process is looked at around calls: what they leave changed, and with `leaks` what memory they keep, which takes
    /// some ten thousand calls of each kernel. For a process in which no other thread is at work.
    pub fn watch_process(&mut self, leaks: bool) {
        fault::install();
        self.watched.get_or_insert_default();
        self.finds_leaks = leaks && !trace::is_emulated();
    }

    /// What is not looked at although the process is [watched](Self::watch_process), and why.
    pub fn unseen(&self) -> Option<&'static str> {
        let is_unseen = self.watched.is_some() && trace::is_emulated();
        is_unseen.then_some(
            "under an emulator or valgrind, leaks and the first calls of processes are not looked at",
        )
    }

    /// The case by which [`examine_first_calls`](Self::examine_first_calls) calls kernels of a domain.
    pub fn first_case(domain: impl Into<Domain>) -> Case {
        let domain = domain.into();
        let rows = if domain.operation.is_matrix() { 2 } else { 1 };
        let mut case = Case { distribution: Distribution::Integer, ..Case::new(domain, rows, 300) };
        case.fit();
        case
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
        let judge = |output: &[u32]| {
            let output = &output[..inputs.outputs()];
            let failure = self.faults.judge(inputs, expected, None, output).failures.into_iter().next()?;
            Some(failure.detail())
        };
        let Some(failure) = first::examine(kernel, case, judge) else { return trial };
        trial.properties.add(Property::FirstCall, 1);
        failure.into_iter().for_each(|failure| trial.fail(failure));
        trial.failures.retain(|failure| self.faults.reports(failure));
        trial
    }

    /// Whether the state of the process is compared around this case of `kernel`.
    pub(super) fn watches(&mut self, kernel: &dyn Kernel) -> bool {
        let Some(watched) = &mut self.watched else { return false };
        let cases = watched.entry((kernel.name().to_owned(), kernel.domain())).or_default();
        *cases += 1;
        *cases <= FIRST_WATCHED || cases.is_multiple_of(WATCHED_EVERY)
    }

    /// Looks for leaks on the first small case of a kernel.
    pub(super) fn examine_small_memory(&mut self, kernel: &dyn Kernel, inputs: &Inputs, trial: &mut Trial) {
        if self.finds_leaks {
            self.examine_memory(kernel, inputs, LEAK_CALLS, trial);
        }
    }

    /// Looks for leaks on the first case of each size that is not small.
    pub(super) fn examine_large_memory(
        &mut self,
        kernel: &dyn Kernel,
        inputs: &Inputs,
        elements: usize,
        trial: &mut Trial,
    ) {
        let large = LARGE_LEAK_CALLS.into_iter().find(|(from, _)| (*from..4 * from).contains(&elements));
        if let Some((_, calls)) = large.filter(|_| self.finds_leaks)
            && self.measured.insert((kernel.name().to_owned(), kernel.domain(), calls))
        {
            self.examine_memory(kernel, inputs, calls, trial);
        }
    }

    /// Calls the kernel again and again, and looks whether the process has ever more memory.
    fn examine_memory(&mut self, kernel: &dyn Kernel, inputs: &Inputs, calls: usize, trial: &mut Trial) {
        let mut before = process::memory();
        if before[0] == 0 {
            // The system does not say.
            return;
        }
        trial.properties.add(Property::Leak, 1);
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
        trial.fail(Failure::new(Property::Leak, Cause::Process, detail));
    }
}
