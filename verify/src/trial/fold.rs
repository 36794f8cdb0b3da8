//! What is violated on one case, put together by cause.

use crate::property::{Cause, Failure, Property};

/// Kinds of violations that on one case come of one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// How the call was answered.
    Answer,
    /// What it touched.
    Memory,
    /// What it changed.
    Inputs,
    /// What the outputs are.
    Values,
    /// What they are when others call at the same time.
    Threads,
    /// Anything else, each for itself.
    Other(Property),
}

/// One failure for each cause, the strictest first.
pub(super) fn fold(failures: Vec<Failure>) -> Vec<Failure> {
    let merges = Merges::of(&failures);
    let mut causes: Vec<(Kind, Vec<Failure>)> = Vec::new();
    for failure in failures {
        let kind = merges.kind(&failure);
        match causes.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, group)) => group.push(failure),
            None => causes.push((kind, vec![failure])),
        }
    }
    let mut folded: Vec<Failure> =
        causes.into_iter().filter_map(|(_, group)| Failure::of_one_cause(group)).collect();
    folded.sort_by_key(|failure| failure.property.strictness());
    folded
}

/// Which kinds of violations explain others on this case.
struct Merges {
    /// Wrong sizes were accepted, so that whatever was touched was touched for that.
    accepted: bool,
    /// Values depend on what lies around the buffers, so that an access outside of them explains the values.
    values_by_memory: bool,
    /// An input was changed, and no value is wrong before that.
    values_by_inputs: bool,
    /// Values change from call to call on one thread already.
    threads_by_values: bool,
}

impl Merges {
    fn of(failures: &[Failure]) -> Self {
        let has = |property| failures.iter().any(|failure| failure.property == property);
        let is_value = |failure: &&Failure| kind(failure) == Kind::Values;
        Self {
            accepted: failures.iter().any(|failure| failure.cause == Cause::Accepted),
            values_by_memory: has(Property::Memory) && has(Property::Placement),
            values_by_inputs: has(Property::Inputs)
                && failures.iter().filter(is_value).all(|failure| failure.property == Property::Repeat),
            threads_by_values: has(Property::Repeat) || has(Property::Placement),
        }
    }

    fn kind(&self, failure: &Failure) -> Kind {
        let values = match () {
            () if self.values_by_memory => Kind::Memory,
            () if self.values_by_inputs => Kind::Inputs,
            () => Kind::Values,
        };
        match kind(failure) {
            Kind::Memory | Kind::Inputs if self.accepted => Kind::Answer,
            Kind::Values => values,
            Kind::Threads if self.threads_by_values => values,
            kind => kind,
        }
    }
}

fn kind(failure: &Failure) -> Kind {
    match failure.property {
        Property::Sizes => Kind::Answer,
        Property::Memory => Kind::Memory,
        Property::Inputs => Kind::Inputs,
        Property::Threads => Kind::Threads,
        property if property.is_of_values() => Kind::Values,
        property => Kind::Other(property),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Buffer;

    /// The properties of each failure that is left.
    fn folded(violations: &[(Property, Cause)]) -> Vec<Vec<Property>> {
        let failure = |&(property, cause)| Failure::new(property, cause, String::new());
        let folded = fold(violations.iter().map(failure).collect());
        folded.iter().map(|failure| failure.all().map(|each| each.property).collect()).collect()
    }

    #[test]
    fn violations_of_one_cause_are_one_failure_and_those_of_two_are_two() {
        use Property::*;
        let past_x = Cause::OutOfBounds { buffer: Buffer::X, past_end: true, write: false };
        let past_packed = Cause::OutOfBounds { buffer: Buffer::Packed, past_end: true, write: false };
        let high = Cause::TooHigh;
        for (violations, expected) in [
            (
                &[(RowOrder, high), (Bound, high), (ExactRegime, high)][..],
                &[&[ExactRegime, Bound, RowOrder][..]][..],
            ),
            (&[(Sizes, Cause::Accepted), (Memory, past_x)], &[&[Sizes, Memory]]),
            // What lies outside of the buffer does not matter to the values: they are wrong for another reason.
            (&[(Memory, past_x), (Bound, high)], &[&[Memory], &[Bound]]),
            (&[(Memory, past_x), (Placement, high), (Bound, high)], &[&[Memory, Bound, Placement]]),
            (&[(Memory, past_packed), (Memory, past_x)], &[&[Memory, Memory]]),
            (&[(Repeat, high), (Inputs, Cause::Changed(Buffer::X))], &[&[Inputs, Repeat]]),
            (&[(Bound, high), (Inputs, Cause::Changed(Buffer::X))], &[&[Inputs], &[Bound]]),
            (&[(Threads, high), (ExactRegime, high)], &[&[ExactRegime], &[Threads]]),
            (&[(Threads, high), (Repeat, high)], &[&[Repeat, Threads]]),
            (&[(Mxcsr, Cause::Mode), (Panic, Cause::Panic)], &[&[Panic], &[Mxcsr]]),
        ] {
            assert_eq!(folded(violations), expected, "{violations:?}");
        }
    }
}
