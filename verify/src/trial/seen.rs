//! What is seen of a kernel on one case.

use super::call::CallResult;
use crate::evidence::{Call, Evidence, Miss};
use crate::inputs::Inputs;
use crate::judge::{Judgement, WorstError, same_bits};
use crate::property::{Cause, Failure, Property, PropertyCounts};

/// What a kernel did with a case.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    /// How often each property was applied.
    pub properties: PropertyCounts,
    /// The largest error on the data of oracle 4.
    pub worst: WorstError,
    /// The largest part of its bound that an error on oracle 5 comes to.
    pub share: f64,
    /// What was violated: one failure for each cause, the strictest first.
    pub failures: Vec<Failure>,
    /// Why the kernel was not called or reported that it does not do this, if so.
    pub skipped: Option<&'static str>,
    /// Whether the kernel did what a legal call asks for.
    pub(super) is_done: bool,
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
        Property::ALL
            .into_iter()
            .filter(|property| property.is_of_plugins())
            .for_each(|property| self.properties.add(property, 1));
        failures.into_iter().for_each(|failure| self.fail(failure));
    }

    /// Notes the first failure of each property, and there of each cause that is not a matter of values.
    pub(super) fn fail(&mut self, failure: Failure) {
        let is_known = |earlier: &Failure| {
            earlier.property == failure.property
                && (earlier.cause == failure.cause || failure.property.is_of_values())
        };
        if !self.failures.iter().any(is_known) {
            self.failures.push(failure);
        }
    }

    /// Counts the checks that every call undergoes and takes over what they found.
    pub(super) fn take_call(&mut self, call: &CallResult) {
        for property in [Property::Memory, Property::Inputs, Property::Mxcsr, Property::Panic] {
            self.properties.add(property, 1);
        }
        self.properties.add(Property::Registers, call.sees_registers.into());
        call.failures.iter().for_each(|failure| self.fail(failure.clone()));
    }

    /// Takes over what the oracle found.
    pub(super) fn take_judged(&mut self, judged: Judgement) {
        self.properties.merge(&judged.properties);
        (self.worst, self.share) = (judged.worst, judged.share);
        judged.failures.into_iter().for_each(|failure| self.fail(failure));
    }

    /// Demands the same bits as in the first call.
    pub(super) fn same(
        &mut self,
        property: Property,
        inputs: &Inputs,
        first: &[u32],
        now: &[u32],
        call: Call,
    ) {
        self.properties.add(property, 1);
        // Comparing slices first is what makes this cheap.
        if first == now {
            return;
        }
        if let Some(at) = (0..first.len()).find(|&at| !same_bits(first[at], now[at])) {
            let width = inputs.operation.width(inputs.output_place(at).0);
            let cause = Cause::of_bits(width, first[at], now[at]);
            let miss = Miss::new(inputs, at, now[at], first[at]);
            self.fail(Failure::new(property, cause, Evidence::Further(call, miss)));
        }
    }
}
