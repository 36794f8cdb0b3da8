//! A shrinker that knows the domain: data that are one value, then shapes, then everything that a smaller shape may have made idle.
//!
//! Sizes are halved between what fails and what does not. Columns are also tried at their remainders by vector widths and block
//! lengths: bugs live in tails, and a step that keeps the tail keeps the bug.

use std::collections::HashSet;

use super::{Case, Patch};
use crate::buffer::{Buffer, PerBuffer};
use crate::data::{Codes, Distribution, Scales};
use crate::interrupt;
use crate::operation::DIGITS;
use crate::shape::Threads;

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
    Stride,
    Slack(Buffer),
}

const SIZES: [Size; 9] = [
    Size::Cols,
    Size::Rows,
    Size::Stride,
    Size::Slack(Buffer::Packed),
    Size::Slack(Buffer::Codes),
    Size::Slack(Buffer::Scales),
    Size::Slack(Buffer::X),
    Size::Slack(Buffer::Out),
    Size::Slack(Buffer::OutScales),
];

impl Size {
    fn of(&self, case: &Case) -> u64 {
        match self {
            Self::Rows if !case.operation.is_matrix() => 0,
            Self::Rows => case.rows as u64,
            Self::Cols => case.cols as u64,
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
            Self::Stride => changed.stride = case.stride.signum() * value as i64,
            Self::Slack(buffer) => changed.slack[*buffer] = case.slack[*buffer].signum() * value as i64,
        }
        vec![changed]
    }
}

/// The case with fills in the place of long patches, for every such buffer at once and for each; then with fewer patches that say the
/// same. A few elements stay patches, which say where they stand.
fn fills(case: &Case) -> Vec<Case> {
    let patched: Vec<(Buffer, Vec<u32>)> = Buffer::ALL
        .into_iter()
        .map(|buffer| (buffer, common_values(case, buffer)))
        .filter(|(_, values)| !values.is_empty())
        .collect();
    let mut all = case.clone();
    for (buffer, values) in &patched {
        all.fill_with(*buffer, values[0]);
    }
    let mut candidates = vec![all];
    for (buffer, values) in patched {
        for &value in &values {
            let mut filled = case.clone();
            filled.fill_with(buffer, value);
            candidates.push(filled);
        }
        let mut rest = case.clone();
        rest.fill[buffer] = Some(values[0]);
        rest.drop_patched(buffer, values[0]);
        candidates.push(rest);
    }
    candidates
}

/// What stands in the patches of a buffer, the most frequent first; nothing where the patches are short.
fn common_values(case: &Case, buffer: Buffer) -> Vec<u32> {
    let mut counts = std::collections::BTreeMap::<u32, usize>::new();
    for patch in case.patches.iter().filter(|patch| patch.buffer == buffer) {
        patch.bits.iter().for_each(|&bits| *counts.entry(bits).or_default() += 1);
    }
    if counts.values().sum::<usize>() <= SHORT {
        return Vec::new();
    }
    let mut values: Vec<u32> = counts.keys().copied().collect();
    values.sort_by_key(|value| std::cmp::Reverse(counts[value]));
    values.truncate(FILLS_TRIED);
    values
}

/// Elements up to which the patches of a buffer are short enough to be read.
const SHORT: usize = 8;

/// Elements up to which a case is tried with all relations where `once` leaves them out.
const FULL_ELEMENTS: usize = 1 << 16;

/// Values of the patches of a buffer that are tried for all of it.
const FILLS_TRIED: usize = 4;

/// Fills in the order in which a reader takes them in: of an f32 one and zero; of bytes the code 2, whose weight is one.
const fn simplest_fills(buffer: Buffer) -> &'static [u32] {
    match buffer {
        Buffer::Packed => &[0xaa],
        Buffer::Codes => &[2],
        Buffer::Scales | Buffer::X | Buffer::Out | Buffer::OutScales => &[0x3f80_0000, 0],
    }
}

/// Strictly simpler neighbours, the boldest first.
fn candidates(case: &Case) -> Vec<Case> {
    let mut candidates = Candidates { case, all: Vec::new() };
    candidates.of_fills();
    candidates.of_shapes();
    candidates.of_calls();
    candidates.of_layouts();
    candidates.of_patches();
    candidates.of_data();
    candidates.all
}

/// The candidates so far.
struct Candidates<'c> {
    case: &'c Case,
    all: Vec<Case>,
}

impl Candidates<'_> {
    /// The case with a change, if that makes it another.
    fn with(&mut self, change: impl FnOnce(&mut Case)) {
        let mut candidate = self.case.clone();
        change(&mut candidate);
        candidate.fit_patches();
        if candidate != *self.case {
            self.all.push(candidate);
        }
    }

    fn of_fills(&mut self) {
        let case = self.case;
        self.with(|c| c.patches.clear());
        self.with(Case::sprinkle_by_patches);
        for filled in fills(case) {
            self.with(|c| *c = filled);
        }
        for buffer in Buffer::ALL.into_iter().filter(|&buffer| case.fill[buffer].is_some()) {
            self.with(|c| c.fill[buffer] = None);
            let now = case.fill[buffer].unwrap_or_default();
            for bits in simpler_than(now, simplest_fills(buffer)) {
                self.with(|c| c.fill[buffer] = Some(bits));
            }
        }
    }

    fn of_shapes(&mut self) {
        let case = self.case;
        for rows in smaller(case.rows as u64).filter(|_| case.operation.is_matrix()) {
            self.with(|c| c.rows = rows as usize);
        }
        let residues = [8, 16, 32, 64, 128, 256].map(|width| case.cols as u64 % width);
        // Whole vectors and blocks off: what fails may hang on the remainder.
        let shorter = (3..10).rev().filter_map(|bits| (case.cols as u64).checked_sub(1 << bits));
        for cols in residues.into_iter().chain(smaller(case.cols as u64)).chain(shorter) {
            self.with(|c| c.cols = cols as usize);
            self.with(|c| c.cut_front(cols as usize));
        }
    }

    fn of_calls(&mut self) {
        self.with(|c| c.scaled = c.scaled && !c.operation.may_be_scaled());
        self.with(|c| c.scales = Scales::Independent);
        self.with(|c| c.digits -= u8::from(c.operation.has_digits() && c.digits > *DIGITS.start()));
        self.with(|c| c.threads = Threads::ONE);
        self.with(|c| c.stack = 0);
        // In full, once a call is cheap.
        self.with(|c| c.once = c.once && c.rows * c.cols > FULL_ELEMENTS);
    }

    fn of_layouts(&mut self) {
        let case = self.case;
        self.with(|c| c.offset = PerBuffer::default());
        self.with(|c| c.slack = PerBuffer::default());
        for stride in smaller(case.stride.unsigned_abs()) {
            self.with(|c| c.stride = c.stride.signum() * stride as i64);
        }
        for buffer in Buffer::ALL {
            for offset in smaller(case.offset[buffer].into()) {
                self.with(|c| c.offset[buffer] = offset as u8);
            }
            for slack in smaller(case.slack[buffer].unsigned_abs()) {
                self.with(|c| c.slack[buffer] = c.slack[buffer].signum() * slack as i64);
            }
        }
    }

    fn of_patches(&mut self) {
        let patches = &self.case.patches;
        for (at, patch) in patches.iter().enumerate() {
            self.with(|c| drop(c.patches.remove(at)));
            for index in smaller(patch.index as u64) {
                self.with(|c| c.patches[at].index = index as usize);
            }
            for len in smaller(patch.bits.len() as u64).filter(|&len| len > 0) {
                let skip = patch.bits.len() - len as usize;
                self.with(|c| c.patches[at].bits.truncate(len as usize));
                self.with(|c| {
                    c.patches[at].index += skip;
                    drop(c.patches[at].bits.drain(..skip));
                });
            }
        }
    }

    fn of_data(&mut self) {
        let case = self.case;
        self.with(|c| c.tensor = None);
        for row in smaller(case.tensor.as_ref().map_or(0, |tensor| tensor.first_row) as u64) {
            self.with(|c| c.tensor.iter_mut().for_each(|tensor| tensor.first_row = row as usize));
        }
        for codes in simpler_than(case.codes, &Codes::ALL) {
            self.with(|c| c.codes = codes);
        }
        for distribution in simpler_than(case.distribution, &SIMPLEST_FIRST) {
            self.with(|c| c.distribution = distribution);
        }
        for seed in 0..case.seed.min(4) {
            self.with(|c| c.seed = seed);
        }
    }
}

/// Distributions in the order in which a reader takes them in.
const SIMPLEST_FIRST: [Distribution; 19] = [
    Distribution::Unit,
    Distribution::Integer,
    Distribution::Raw,
    Distribution::OneHot,
    Distribution::Ten,
    Distribution::Wide,
    Distribution::Subnormal,
    Distribution::Huge,
    Distribution::Absorbing,
    Distribution::Sparse,
    Distribution::Special,
    Distribution::Extreme,
    Distribution::Full(7),
    Distribution::Full(8),
    Distribution::Full(15),
    Distribution::Full(16),
    Distribution::Full(23),
    Distribution::Levels,
    Distribution::Outliers,
];

fn simpler_than<T: Copy + PartialEq>(now: T, order: &[T]) -> impl Iterator<Item = T> {
    order.iter().copied().take_while(move |&each| each != now)
}

/// Numbers below `now` worth a try: the smallest, then ever smaller steps down.
fn smaller(now: u64) -> impl Iterator<Item = u64> {
    let smallest = 0..now.min(4);
    let steps = (0..64).map(move |halvings| (now >> halvings).div_ceil(2)).take_while(|&step| step > 0);
    let mut last = 0;
    let down = steps.filter_map(move |step| {
        let fresh = step != last;
        last = step;
        (fresh && now - step >= 4).then(|| now - step)
    });
    smallest.chain(down)
}

impl Case {
    /// Fills a buffer in the place of what its patches say.
    fn fill_with(&mut self, buffer: Buffer, bits: u32) {
        self.fill[buffer] = Some(bits);
        self.patches.retain(|patch| patch.buffer != buffer);
    }

    /// Drops the elements of the patches of a buffer that are `bits`.
    fn drop_patched(&mut self, buffer: Buffer, bits: u32) {
        let mut kept: Vec<Patch> = Vec::new();
        for patch in std::mem::take(&mut self.patches) {
            if patch.buffer != buffer {
                kept.push(patch);
                continue;
            }
            let mut start = patch.index;
            for run in patch.bits.split(|&each| each == bits) {
                if !run.is_empty() {
                    kept.push(Patch { buffer, index: start, bits: run.to_vec() });
                }
                start += run.len() + 1;
            }
        }
        self.patches = kept;
    }

    /// Takes columns away in front, so that patches of x, and of the scales of a single row, keep their distance to the
    /// last column.
    fn cut_front(&mut self, cols: usize) {
        let before = self.shape().blocks();
        let cut = self.cols.saturating_sub(cols);
        self.cols = cols;
        let cut_blocks = before.saturating_sub(self.shape().blocks());
        for patch in &mut self.patches {
            let cut = match patch.buffer {
                Buffer::X | Buffer::Codes => cut,
                Buffer::Scales => cut_blocks,
                Buffer::Packed | Buffer::Out | Buffer::OutScales => 0,
            };
            patch.index = patch.index.saturating_sub(cut);
        }
    }

    /// Says the special values of the distribution `special` in patches, which keep their place when the shape changes. The data
    /// stay as they are.
    fn sprinkle_by_patches(&mut self) {
        let plain = Self { distribution: Distribution::Ten, ..self.clone() };
        let (Distribution::Special, Ok(special), Ok(ordinary)) =
            (self.distribution, self.materialize(None), plain.materialize(None))
        else {
            return;
        };
        let scales = special.scales.iter().flatten().zip(ordinary.scales.iter().flatten());
        let x = special.x.iter().zip(&ordinary.x);
        let values = scales.enumerate().map(|(at, pair)| (Buffer::Scales, at, pair));
        let values = values.chain(x.enumerate().map(|(at, pair)| (Buffer::X, at, pair)));
        let sprinkled = values.filter(|(_, _, (special, ordinary))| special.to_bits() != ordinary.to_bits());
        let patches = sprinkled.map(|(buffer, index, (special, _))| Patch {
            buffer,
            index,
            bits: vec![special.to_bits()],
        });
        *self = Self { patches: patches.chain(plain.patches.iter().cloned()).collect(), ..plain };
    }

    /// Drops what patches have past the end of their buffer.
    pub(super) fn fit_patches(&mut self) {
        let (shape, operation) = (self.shape(), self.operation);
        let used = operation.inputs(self.scaled);
        let slack = self.slack;
        self.patches.retain_mut(|patch| {
            let needed = operation.needed(shape, patch.buffer);
            let len = needed.saturating_add_signed(i128::from(slack[patch.buffer])).min(usize::MAX as u128);
            patch.bits.truncate((len as usize).saturating_sub(patch.index));
            used.contains(&patch.buffer) && !patch.bits.is_empty()
        });
        self.fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
