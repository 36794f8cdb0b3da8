//! A shrinker that knows the domain: shapes first, then everything that a smaller shape may have made idle.
//!
//! Columns are tried at their remainders by vector widths and block lengths: bugs live in tails, and a step that keeps the
//! tail keeps the bug.

use super::{Case, Codes, Patch, Regime, Scales};
use crate::operation::{Buffer, DIGITS, PerBuffer, Threads};

/// Calls of the predicate that a shrink may take.
const MAX_EVALUATIONS: usize = 2_000;

/// The smallest case found for which `fails` still holds. `fails(case)` must hold to begin with and must be
/// deterministic; every candidate is strictly simpler than what it replaces, so the search ends.
pub fn shrink(case: &Case, mut fails: impl FnMut(&Case) -> bool) -> Case {
    let mut best = case.clone();
    let mut evaluations = 0;
    loop {
        let simpler = candidates(&best).into_iter().find(|candidate| {
            evaluations += 1;
            evaluations <= MAX_EVALUATIONS && fails(candidate)
        });
        match simpler {
            Some(candidate) => best = candidate,
            None => return best,
        }
    }
}

/// Strictly simpler neighbours, the boldest first.
fn candidates(case: &Case) -> Vec<Case> {
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut Case)| {
        let mut candidate = case.clone();
        change(&mut candidate);
        candidate.fit_patches();
        if candidate != *case {
            all.push(candidate);
        }
    };
    with(&|c| c.patches.clear());
    with(&|c| c.sprinkle_by_patches());
    for rows in smaller(case.rows as u64).filter(|_| case.operation.is_matrix()) {
        with(&|c| c.rows = rows as usize);
    }
    let residues = [8, 16, 32, 64, 128, 256].map(|width| case.cols as u64 % width);
    // Whole vectors and blocks off: what fails may hang on the remainder.
    let shorter = (3..10).rev().filter_map(|bits| (case.cols as u64).checked_sub(1 << bits));
    for cols in residues.into_iter().chain(smaller(case.cols as u64)).chain(shorter) {
        with(&|c| c.cols = cols as usize);
        with(&|c| c.cut_front(cols as usize));
    }
    with(&|c| c.scaled = c.scaled && !c.operation.may_be_scaled());
    with(&|c| c.scales = Scales::Independent);
    with(&|c| c.digits -= u8::from(c.operation.has_digits() && c.digits > *DIGITS.start()));
    with(&|c| c.threads = Threads::ONE);
    with(&|c| c.offset = PerBuffer::default());
    with(&|c| c.spare = PerBuffer::default());
    for stride in smaller(case.stride.unsigned_abs()) {
        with(&|c| c.stride = c.stride.signum() * stride as i64);
    }
    for buffer in Buffer::ALL {
        for offset in smaller(case.offset[buffer].into()) {
            with(&|c| c.offset[buffer] = offset as u8);
        }
        for spare in smaller(case.spare[buffer].unsigned_abs()) {
            with(&|c| c.spare[buffer] = c.spare[buffer].signum() * spare as i64);
        }
    }
    for at in 0..case.patches.len() {
        with(&|c| drop(c.patches.remove(at)));
        for index in smaller(case.patches[at].index as u64) {
            with(&|c| c.patches[at].index = index as usize);
        }
        for len in smaller(case.patches[at].bits.len() as u64).filter(|&len| len > 0) {
            with(&|c| c.patches[at].bits.truncate(len as usize));
            with(&|c| {
                let skip = c.patches[at].bits.len() - len as usize;
                c.patches[at].index += skip;
                drop(c.patches[at].bits.drain(..skip));
            });
        }
    }
    with(&|c| c.tensor = None);
    for row in smaller(case.tensor.as_ref().map_or(0, |tensor| tensor.first_row) as u64) {
        with(&|c| c.tensor.iter_mut().for_each(|tensor| tensor.first_row = row as usize));
    }
    simpler_than(case.codes, &Codes::ALL).for_each(|codes| with(&|c| c.codes = codes));
    simpler_than(case.regime, &SIMPLEST_FIRST).for_each(|regime| with(&|c| c.regime = regime));
    for seed in 0..case.seed.min(4) {
        with(&|c| c.seed = seed);
    }
    all
}

/// Regimes in the order in which a reader takes them in.
const SIMPLEST_FIRST: [Regime; 12] = [
    Regime::Unit,
    Regime::Integer,
    Regime::Raw,
    Regime::OneHot,
    Regime::Ten,
    Regime::Wide,
    Regime::Subnormal,
    Regime::Huge,
    Regime::Absorbing,
    Regime::Sparse,
    Regime::Special,
    Regime::Extreme,
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
                Buffer::Packed | Buffer::Out => 0,
            };
            patch.index = patch.index.saturating_sub(cut);
        }
    }

    /// Says the special values of the regime `special` in patches, which keep their place when the shape changes. The data
    /// stay as they are.
    fn sprinkle_by_patches(&mut self) {
        let plain = Self { regime: Regime::Ten, ..self.clone() };
        let (Regime::Special, Ok(special), Ok(ordinary)) =
            (self.regime, self.materialize(None), plain.materialize(None))
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
    fn fit_patches(&mut self) {
        let (shape, operation) = (self.shape(), self.operation);
        let used = operation.inputs(self.scaled);
        let spare = self.spare;
        self.patches.retain_mut(|patch| {
            let needed = shape.needed(operation, patch.buffer);
            let len = needed.saturating_add_signed(i128::from(spare[patch.buffer])).min(usize::MAX as u128);
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
            "gemv rows=33 cols=2047 scaled stride=64 offset.x=5 spare.out=9 regime=wide seed=99 threads=2";
        assert_eq!(smallest(start, |case| case.cols % 8 == 7), "gemv rows=0 cols=7 regime=unit seed=0");
        assert_eq!(
            smallest(start, |case| case.cols % 64 == 63 && case.rows % 3 == 0 && case.rows > 0),
            "gemv rows=3 cols=63 regime=unit seed=0"
        );
        assert_eq!(
            smallest(start, |case| case.cols > 256 && case.scaled && case.offset[Buffer::X] > 2),
            "gemv rows=0 cols=257 scaled offset.x=3 regime=unit seed=0"
        );
    }

    #[test]
    fn digits_go_one_by_one_as_far_as_the_failure_stays() {
        let start = "gemv_fixed rows=9 cols=700 digits=4 regime=ten seed=5";
        for (least, end) in [(1, "digits=1"), (3, "digits=3")] {
            let smallest = smallest(start, |case| case.digits >= least && case.cols > 2);
            assert_eq!(smallest, format!("gemv_fixed rows=0 cols=3 {end} regime=unit seed=0"));
        }
    }

    #[test]
    fn a_special_value_keeps_its_bits_while_the_shape_shrinks() {
        let start: Case = "gemv rows=9 cols=2049 regime=special seed=3".parse().expect("the case parses");
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
