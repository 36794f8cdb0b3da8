//! A shrinker that knows the domain: data that are one value, then shapes, then everything that a smaller shape may have made idle.
//!
//! Sizes are halved between what fails and what does not. Columns are also tried at their remainders by vector widths and block
//! lengths: bugs live in tails, and a step that keeps the tail keeps the bug.

mod candidates;

use std::collections::HashSet;

use super::Case;
use crate::buffer::Buffer;
use crate::interrupt;
use candidates::{candidates, fills};

/// Calls of the predicate that a shrink may take.
const MAX_EVALUATIONS: usize = 2_000;

/// How far below the smallest size found further ones are tried, each with data of several seeds: where a failure hangs on the data
/// as well, the size below may need others.
const STEPS_DOWN: usize = 4;

/// The smallest case found for which `fails` still holds. `fails(case)` must hold to begin with and must be
/// deterministic; every candidate is strictly simpler than what it replaces, so the search ends. It also ends where
/// [an interrupt](crate::interrupt) is requested.
pub fn shrink(case: &Case, fails: impl FnMut(&Case) -> bool) -> Case {
    if case.is_long() {
        // Each try would take a second or more.
        return case.clone();
    }
    let mut search = Search { best: case.clone(), passed: HashSet::new(), left: MAX_EVALUATIONS, fails };
    loop {
        let before = search.best.clone();
        search.first_of(fills(&before));
        SIZES.iter().for_each(|size| search.halve(size));
        while search.first_of(candidates(&search.best)) {}
        search.step_down();
        if search.best == before {
            return before;
        }
    }
}

/// A search under way.
struct Search<F> {
    /// The simplest case that is known to fail.
    best: Case,
    /// Cases that are known not to.
    passed: HashSet<String>,
    /// Calls of the predicate that are left.
    left: usize,
    fails: F,
}

impl<F: FnMut(&Case) -> bool> Search<F> {
    /// Takes `candidate` for the best case if it fails.
    fn is_better(&mut self, mut candidate: Case) -> bool {
        candidate.fit_patches();
        let is_over = self.left == 0 || interrupt::is_requested();
        if candidate == self.best || is_over || !self.passed.insert(candidate.to_string()) {
            return false;
        }
        self.left -= 1;
        let fails = (self.fails)(&candidate);
        if fails {
            self.best = candidate;
        }
        fails
    }

    /// Takes the first candidate that fails, if one does.
    fn first_of(&mut self, candidates: Vec<Case>) -> bool {
        candidates.into_iter().any(|candidate| self.is_better(candidate))
    }

    /// Finds the least value of `size` with which the case fails, if it fails with every value above.
    fn halve(&mut self, size: &Size) {
        let mut passes = 0;
        if size.of(&self.best) == 0 || self.first_of(size.set(&self.best, 0)) {
            return;
        }
        loop {
            let fails = size.of(&self.best);
            if fails <= passes + 1 {
                return;
            }
            let middle = passes + (fails - passes) / 2;
            if !self.first_of(size.set(&self.best, middle)) {
                passes = middle;
            }
        }
    }

    /// Tries sizes just below, with other data.
    fn step_down(&mut self) {
        for size in &SIZES {
            for step in 1..=STEPS_DOWN as u64 {
                let Some(value) = size.of(&self.best).checked_sub(step) else { break };
                let smaller = size.set(&self.best, value).into_iter();
                let with_seed =
                    |case: Case| (0..=STEPS_DOWN as u64).map(move |seed| Case { seed, ..case.clone() });
                if self.first_of(smaller.flat_map(with_seed).collect()) {
                    return;
                }
            }
        }
    }
}

/// A number of a case that says how large something is.
enum Size {
    Rows,
    Cols,
    Batch,
    Stride,
    Slack(Buffer),
}

const SIZES: [Size; 11] = [
    Size::Cols,
    Size::Rows,
    Size::Batch,
    Size::Stride,
    Size::Slack(Buffer::Packed),
    Size::Slack(Buffer::Codes),
    Size::Slack(Buffer::Scales),
    Size::Slack(Buffer::X),
    Size::Slack(Buffer::Out),
    Size::Slack(Buffer::OutScales),
    Size::Slack(Buffer::Activations),
];

impl Size {
    fn of(&self, case: &Case) -> u64 {
        match self {
            Self::Rows if !case.operation.is_matrix() => 0,
            Self::Rows => case.rows as u64,
            Self::Cols => case.cols as u64,
            Self::Batch if !case.operation.is_batched() => 0,
            Self::Batch => case.batch as u64,
            Self::Stride => case.stride.unsigned_abs(),
            Self::Slack(buffer) => case.slack[*buffer].unsigned_abs(),
        }
    }

    /// The case with another value; with fewer columns, also that which drops them in front.
    fn set(&self, case: &Case, value: u64) -> Vec<Case> {
        let mut changed = case.clone();
        match self {
            Self::Rows => changed.rows = value as usize,
            Self::Cols => {
                let mut cut = case.clone();
                cut.cut_front(value as usize);
                changed.cols = value as usize;
                return vec![changed, cut];
            }
            Self::Batch => changed.batch = value as usize,
            Self::Stride => changed.stride = case.stride.signum() * value as i64,
            Self::Slack(buffer) => changed.slack[*buffer] = case.slack[*buffer].signum() * value as i64,
        }
        vec![changed]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Patch;
    use crate::operation::Operation;

    /// The smallest case, as words, on which `fails` holds, from a large one.
    fn smallest(start: &str, fails: impl Fn(&Case) -> bool) -> String {
        let start = start.parse().expect("the test's own case parses");
        assert!(fails(&start), "the shrink starts at a failure");
        shrink(&start, fails).to_string()
    }

    #[test]
    fn conditions_on_rows_columns_and_layout_end_at_their_smallest_case() {
        let start =
            "gemv rows=33 cols=2047 scaled stride=64 offset.x=5 slack.out=9 dist=wide seed=99 threads=2";
        assert_eq!(smallest(start, |case| case.cols % 8 == 7), "gemv rows=0 cols=7 dist=unit seed=0");
        assert_eq!(
            smallest(start, |case| case.cols % 64 == 63 && case.rows % 3 == 0 && case.rows > 0),
            "gemv rows=3 cols=63 dist=unit seed=0"
        );
        assert_eq!(
            smallest(start, |case| case.cols > 256 && case.scaled && case.offset[Buffer::X] > 2),
            "gemv rows=0 cols=257 scaled offset.x=3 dist=unit seed=0"
        );
    }

    #[test]
    fn thresholds_on_rows_columns_and_lengths_end_at_the_threshold() {
        for least in [257, 2049, 4097] {
            let columns = smallest("gemv rows=3 cols=9000 dist=ten seed=77", |case| case.cols >= least);
            assert_eq!(columns, format!("gemv rows=0 cols={least} dist=unit seed=0"));
            let rows = smallest("gemv rows=9000 cols=13 dist=ten seed=77", |case| case.rows >= least);
            assert_eq!(rows, format!("gemv rows={least} cols=0 dist=unit seed=0"));
            let len = smallest("unpack len=9000 offset.out=3 seed=77", |case| case.cols >= least);
            assert_eq!(len, format!("unpack len={least} dist=unit seed=0"));
            let stride =
                smallest("gemv rows=3 cols=13 stride=9000 seed=7", |case| case.stride >= least as i64);
            assert_eq!(stride, format!("gemv rows=0 cols=0 stride={least} dist=unit seed=0"));
            let both =
                |case: &Case| case.rows >= least && case.cols >= 2 * least && case.slack[Buffer::X] >= 3;
            let both = smallest("gemv rows=9000 cols=9001 slack.x=40 seed=7", both);
            assert_eq!(both, format!("gemv rows={least} cols={} slack.x=3 dist=unit seed=0", 2 * least));
        }
    }

    #[test]
    fn thresholds_end_at_the_threshold_where_one_case_in_four_passes_by_chance() {
        // Whether a case fails hangs on size and seed together, as where what is dropped may be too small to show.
        let by_chance = |size: usize, seed: u64| {
            let mixed = (size as u64 ^ seed << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 62 != 0
        };
        for least in [257, 2049, 4097] {
            let size = |text: String| -> Case { text.parse().expect("a case parses") };
            let seed = (0..100).find(|&seed| by_chance(9000, seed)).expect("most seeds fail");
            let start = format!("gemv rows=2 cols=9000 dist=ten seed={seed}");
            let columns = smallest(&start, |case| case.cols >= least && by_chance(case.cols, case.seed));
            assert_eq!(size(columns).cols, least);
            let start = format!("gemv rows=9000 cols=2 dist=ten seed={seed}");
            let rows = smallest(&start, |case| case.rows >= least && by_chance(case.rows, case.seed));
            assert_eq!(size(rows).rows, least);
        }
    }

    #[test]
    fn patches_that_are_one_value_become_a_fill() {
        let patch = |len: usize, odd: Option<usize>| {
            let bits = (0..len).map(|at| if Some(at) == odd { 0x4000_0000 } else { 0x42fe_0000 });
            Patch { buffer: Buffer::X, index: 0, bits: bits.collect() }
        };
        let base: Case = "gemv rows=1 cols=2100 dist=raw seed=3".parse().expect("the case parses");
        let sum = |case: &Case| {
            let inputs = case.materialize(None).expect("the case has data");
            inputs.x[..case.cols].iter().map(|&x| f64::from(x)).sum::<f64>()
        };
        let start = Case { patches: vec![patch(2100, None)], ..base.clone() };
        let shrunk = shrink(&start, |case| sum(case) >= 127.0 * 2049.0);
        assert_eq!(shrunk.to_string(), "gemv rows=0 cols=2049 dist=unit seed=0 fill.x=42fe0000");
        // One element that is another stays a patch.
        let start = Case { patches: vec![patch(2100, Some(7))], ..base };
        let shrunk =
            shrink(&start, |case| sum(case) == 127.0 * (case.cols as f64 - 1.0) + 2.0 && case.cols > 20);
        assert_eq!(
            shrunk.to_string(),
            "gemv rows=0 cols=21 dist=unit seed=0 fill.x=42fe0000 patch.x.0=40000000"
        );
    }

    #[test]
    fn digits_go_one_by_one_as_far_as_the_failure_stays() {
        let start = "gemv_fixed rows=9 cols=700 digits=4 dist=ten seed=5";
        for (least, end) in [(1, "digits=1"), (3, "digits=3")] {
            let smallest = smallest(start, |case| case.digits >= least && case.cols > 2);
            assert_eq!(smallest, format!("gemv_fixed rows=0 cols=3 {end} dist=unit seed=0"));
        }
    }

    #[test]
    fn a_special_value_keeps_its_bits_while_the_shape_shrinks() {
        let start: Case = "gemv rows=9 cols=2049 dist=special seed=3".parse().expect("the case parses");
        let has_nan = |case: &Case| {
            let inputs = case.materialize(None).expect("the case has data");
            inputs.x[..case.cols].iter().any(|x| x.is_nan())
        };
        let seed =
            (0..100).find(|&seed| has_nan(&Case { seed, ..start.clone() })).expect("some seed draws a NaN");
        let shrunk = shrink(&Case { seed, ..start }, has_nan);
        assert_eq!((shrunk.rows, shrunk.cols, shrunk.patches.len()), (0, 1, 1), "{shrunk}");
        assert_eq!(shrunk.operation, Operation::Gemv);
    }
}
