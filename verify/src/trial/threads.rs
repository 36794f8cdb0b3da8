//! Calls from several threads at once.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::call::{Arena, CallResult, Flush};
use super::relations::Relation;
use super::{Harness, Trial};
use crate::evidence::Call;
use crate::inputs::Inputs;
use crate::kernel::Kernel;
use crate::memory::fault;
use crate::property::Property;

/// Calls that each of several threads makes.
const CALLS_PER_THREAD: usize = 12;

impl Harness {
    /// Calls the kernel from several threads at once, each with other data: each result must be that of the same call made alone,
    /// whether it is right or not.
    pub(super) fn examine_threads(
        &mut self,
        kernel: &dyn Kernel,
        inputs: &Inputs,
        record: &str,
        trial: &mut Trial,
    ) {
        let poison = self.poison(inputs);
        let variants = Relation::at_one_time(inputs);
        let alone: Vec<CallResult> = fault::on_record(record, || {
            variants.iter().map(|variant| self.arena.call(kernel, variant, Flush::Start, poison)).collect()
        });
        alone.iter().for_each(|call| trial.take_call(call));
        let count = inputs.threads.count();
        self.peers.resize_with(count.max(self.peers.len()), Arena::new);
        let start = Gate::default();
        let results: Vec<(usize, CallResult)> = std::thread::scope(|scope| {
            // Where a thread cannot be spawned, those that wait are let go.
            let opens = Opens(&start);
            let callers: Vec<_> = self
                .peers
                .iter_mut()
                .take(count)
                .enumerate()
                .map(|(caller, arena)| {
                    let (start, variants) = (&start, &variants);
                    scope.spawn(move || {
                        start.pass();
                        let call = |at: usize| {
                            let variant = (caller + at) % variants.len();
                            (variant, arena.call(kernel, &variants[variant], Flush::Start, poison))
                        };
                        fault::on_record(record, || (0..CALLS_PER_THREAD).map(call).collect::<Vec<_>>())
                    })
                })
                .collect();
            start.until_there_are(count);
            drop(opens);
            callers
                .into_iter()
                .flat_map(|caller| caller.join().expect("panics of kernels are caught"))
                .collect()
        });
        let outputs = inputs.outputs();
        for (variant, result) in &results {
            trial.take_call(result);
            let (alone, now) = (&alone[*variant].output[..outputs], &result.output[..outputs]);
            trial.same(Property::Threads, inputs, alone, now, Call::AtOnce);
        }
    }
}

/// Where threads wait until all of them are there.
#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: usize,
    is_open: bool,
}

impl Gate {
    /// Waits until the gate is opened.
    fn pass(&self) {
        let mut state = self.lock();
        state.waiting += 1;
        self.changed.notify_all();
        while !state.is_open {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until N threads wait.
    fn until_there_are(&self, count: usize) {
        let mut state = self.lock();
        while state.waiting < count {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a gate when it is dropped.
struct Opens<'g>(&'g Gate);

impl Drop for Opens<'_> {
    fn drop(&mut self) {
        self.0.lock().is_open = true;
        self.0.changed.notify_all();
    }
}
