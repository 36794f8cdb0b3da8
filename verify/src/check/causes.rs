//! Which failures of a run are news: one cause is one finding, however many cases and properties it shows in.

use std::collections::{HashMap, HashSet};

use crate::case::Case;
use crate::finding::Finding;
use crate::property::{Cause, Failure, Property};

/// Failures of one kind of one kernel of which it is tried whether a known cause explains them. From then on it is taken for granted.
const TRIES: u32 = 16;

/// The causes of which there are findings. Kernels are named by their place.
#[derive(Debug, Default)]
pub(crate) struct Causes {
    seen: HashSet<Key>,
    known: Vec<Known>,
    tries: HashMap<Key, u32>,
}

type Key = (usize, Property, Cause);

/// A finding about values of the output.
#[derive(Debug)]
struct Known {
    kernel: usize,
    case: Case,
    strictness: u8,
    properties: Vec<Property>,
}

impl Causes {
    /// What of `failure`, of the kernel at `kernel` on `case`, is news, if anything. It then counts as known.
    ///
    /// A failure about values is no news if a known cause explains it: if the same call with the data of the known case fails in
    /// the known way. `examine` says how the kernel fails on a case. A property that is stricter than those known must be
    /// violated by the known case with the new data as well.
    pub(crate) fn news(
        &mut self,
        kernel: usize,
        case: &Case,
        failure: Failure,
        examine: &mut dyn FnMut(&Case) -> Vec<Failure>,
    ) -> Option<Failure> {
        let failure = self.unseen(kernel, failure)?;
        let key = (kernel, failure.property, failure.cause);
        if failure.property.is_of_values() && self.is_explained(key, case, &failure, examine) {
            return None;
        }
        self.add(kernel, &failure);
        Some(failure)
    }

    /// Notes what was made of news: the smallest case, which may violate more.
    pub(crate) fn made(&mut self, kernel: usize, finding: &Finding) {
        self.add(kernel, &finding.failure);
        if finding.failure.property.is_of_values() {
            self.known.push(Known {
                kernel,
                case: finding.case.clone(),
                strictness: finding.failure.property.strictness(),
                properties: finding.properties(),
            });
        }
    }

    /// The failure without the accesses to memory that are known; `None` if its first is.
    fn unseen(&self, kernel: usize, failure: Failure) -> Option<Failure> {
        let is_seen = |failure: &Failure| self.seen.contains(&(kernel, failure.property, failure.cause));
        if failure.property != Property::Memory {
            return (!is_seen(&failure)).then_some(failure);
        }
        let also = failure.also.clone();
        let all = [Failure { also: Vec::new(), ..failure }].into_iter().chain(also);
        let news: Vec<Failure> =
            all.filter(|failure| failure.property != Property::Memory || !is_seen(failure)).collect();
        Failure::of_one_cause(news).filter(|failure| failure.property == Property::Memory)
    }

    /// Remembers what a finding is named by: its strictest property, and every access outside of a buffer.
    fn add(&mut self, kernel: usize, failure: &Failure) {
        let named = failure
            .also
            .iter()
            .filter(|also| failure.property == Property::Memory && also.property == Property::Memory);
        let named = std::iter::once(failure).chain(named);
        self.seen.extend(named.map(|failure| (kernel, failure.property, failure.cause)));
    }

    fn is_explained(
        &mut self,
        key: Key,
        case: &Case,
        failure: &Failure,
        examine: &mut dyn FnMut(&Case) -> Vec<Failure>,
    ) -> bool {
        let mut known = self.known.iter().filter(|known| known.kernel == key.0).peekable();
        if known.peek().is_none() {
            return false;
        }
        let tries = self.tries.entry(key).or_default();
        *tries += 1;
        *tries > TRIES || known.any(|known| known.explains(case, failure, examine))
    }
}

impl Known {
    fn explains(
        &self,
        case: &Case,
        failure: &Failure,
        examine: &mut dyn FnMut(&Case) -> Vec<Failure>,
    ) -> bool {
        if failure.property == Property::Threads {
            // What changes from call to call may well change with the thread.
            return self
                .properties
                .iter()
                .any(|property| matches!(property, Property::Repeat | Property::Placement));
        }
        // Which oracle applies depends on the data and the shape: one stands for another.
        let is_oracle = |property: &Property| property.number().is_some();
        let mut violates = |case: &Case, properties: &[Property]| {
            let is_met = |found: &Failure| {
                let of_oracle = is_oracle(&found.property) && properties.iter().any(is_oracle);
                of_oracle || properties.contains(&found.property)
            };
            examine(case).iter().flat_map(Failure::all).any(is_met)
        };
        let values: Vec<Property> =
            self.properties.iter().copied().filter(|property| property.is_of_values()).collect();
        let new: Vec<Property> = failure.all().map(|failure| failure.property).collect();
        violates(&case.with_data_of(&self.case), &values)
            && (self.strictness <= failure.property.strictness()
                || violates(&self.case.with_data_of(case), &new))
    }
}
