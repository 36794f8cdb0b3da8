//! From a violation that was seen once to a finding that anyone can see again: by one case in a new process, as small as it gets, or
//! by one case after others.

use std::time::{Duration, Instant};

use super::loaded::{Ended, Plugin};
use super::message::Beside;
use crate::case::{Case, shrink};
use crate::finding::Finding;
use crate::kernel::Kernel;
use crate::property::{Cause, Failure, Property};
use crate::weights::Weights;

/// New processes in which a case must violate nothing before its violation counts as one that needs earlier calls.
const TRIES: usize = 3;

/// Time that shrinking a case may take: each step is a process.
const SHRINK_TIME: Duration = Duration::from_secs(5);

/// Time that the search for earlier cases may take.
const SEARCH_TIME: Duration = Duration::from_secs(20);

/// Most cases before a violation that are repeated.
pub(super) const MOST_EARLIER: usize = 4096;

/// Most groups of the same case that a command may name.
const MOST_GROUPS: usize = 64;

/// A kernel whose violations are to be seen again.
#[derive(Clone, Copy)]
pub(super) struct Confirm<'a> {
    pub(super) plugin: &'a Plugin,
    pub(super) kernel: &'a dyn Kernel,
    pub(super) place: usize,
    pub(super) weights: Option<&'a Weights>,
}

impl Confirm<'_> {
    /// The finding of a case that violates a property in a new process.
    pub(super) fn alone(&self, case: &Case, what: (Property, Cause)) -> Option<Finding> {
        let failure = (0..TRIES).find_map(|_| self.fresh(&[], case, what))?;
        Some(self.finding(case, failure))
    }

    /// The finding of a case that violates a property in a new process after some of the cases that were called before, which are as few as
    /// the search finds.
    pub(super) fn after(&self, before: &[Case], case: &Case, what: (Property, Cause)) -> Option<Finding> {
        let start = Instant::now();
        let in_time = || start.elapsed() < SEARCH_TIME;
        let fails =
            |earlier: &[Case]| if in_time() { self.fresh(&grouped(earlier), case, what) } else { None };
        let (mut earlier, mut failure) = candidates(before, case)
            .into_iter()
            .find_map(|earlier| fails(&earlier).map(|failure| (earlier, failure)))?;
        let mut size = earlier.len().div_ceil(2);
        while size > 0 && in_time() {
            let mut at = 0;
            while at < earlier.len() {
                let mut fewer = earlier.clone();
                fewer.drain(at..earlier.len().min(at + size));
                match fails(&fewer) {
                    Some(seen) => (earlier, failure) = (fewer, seen),
                    None => at += size,
                }
            }
            size /= 2;
        }
        let groups = grouped(&earlier);
        (groups.len() <= MOST_GROUPS).then(|| self.finding(case, failure).only_after(&groups))
    }

    /// The finding for the smallest case on which the kernel still violates the property of `finding`; each case that is taken was seen to
    /// fail in a new process. What goes wrong with a process leaves the case as it is.
    pub(super) fn minimize(&self, finding: &Finding) -> Finding {
        let (mut smallest, mut worker) = (finding.clone(), None);
        let start = Instant::now();
        shrink(&finding.case, |candidate| {
            if start.elapsed() > SHRINK_TIME {
                return false;
            }
            // A process that is there already costs less, and says no as well as a new one.
            let is_new = worker.is_none();
            let ended = self.plugin.examine_in(&mut worker, self.place, &[], candidate, Beside::default());
            let Ok(Ended::Examined(examined)) = ended else { return false };
            let Some(mut failure) = examined.violation((finding.failure.property, finding.failure.cause))
            else {
                return false;
            };
            if !is_new {
                match self.fresh(&[], candidate, (finding.failure.property, finding.failure.cause)) {
                    Some(seen) => failure = seen,
                    None => {
                        // Whatever it keeps from earlier calls, it is no use any more.
                        worker = None;
                        return false;
                    }
                }
            }
            smallest = self.finding(candidate, failure);
            true
        });
        let examine = |case: &Case| {
            self.plugin
                .examine(self.place, &[], case, Beside::default())
                .map_or(Vec::new(), |seen| seen.failures)
        };
        let exact = smallest.by_exact_data(examine);
        exact.map_or(smallest, |(case, failure)| self.finding(&case, failure))
    }

    /// The violation of a property in a new process, if it is seen there.
    fn fresh(&self, earlier: &[(u64, Case)], case: &Case, what: (Property, Cause)) -> Option<Failure> {
        self.plugin.examine(self.place, earlier, case, Beside::of(what.0)).ok()?.violation(what)
    }

    /// The finding that a failure is.
    pub(super) fn finding(&self, case: &Case, failure: Failure) -> Finding {
        Finding::new(self.kernel, case, self.weights, failure)
    }
}

/// What may have to come before a case: the last few cases before it, the same case again and again, then more.
fn candidates(before: &[Case], case: &Case) -> Vec<Vec<Case>> {
    let last = |count: usize| before[before.len() - count.min(before.len())..].to_vec();
    let few = (0..6).map(|power| last(1 << power));
    let same = [1, 8, 64, 512].map(|times| vec![case.clone(); times]);
    let many = (6..).map(|power| 1 << power).take_while(|&count| count < 2 * before.len());
    few.chain(same).chain(many.map(last)).collect()
}

/// Runs of the same case, each with its length.
fn grouped(cases: &[Case]) -> Vec<(u64, Case)> {
    let runs = cases.chunk_by(|a, b| a == b);
    runs.map(|run| (run.len() as u64, run[0].clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_cases_are_one_group_and_their_order_is_kept() {
        let [a, b] = ["unpack len=1 dist=unit seed=0", "unpack len=2 dist=unit seed=0"]
            .map(|text| text.parse::<Case>().expect("it is a case"));
        let cases = [&a, &a, &b, &a].map(Clone::clone);
        assert_eq!(grouped(&cases), [(2, a.clone()), (1, b.clone()), (1, a.clone())]);
        assert_eq!(grouped(&[]), []);
        let tried = candidates(&cases, &b);
        assert_eq!(tried[0], std::slice::from_ref(&a), "the last case comes first");
        assert!(tried.contains(&cases.to_vec()), "all of them are tried");
        assert!(tried.contains(&vec![b; 512]), "so is the case itself, many times");
    }
}
