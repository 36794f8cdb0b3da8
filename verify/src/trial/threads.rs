//! Calls from several threads at once.

use std::sync::Barrier;

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
            trial.same(Property::Threads, inputs, alone, now, Call::AtOnce);
        }
    }
}
