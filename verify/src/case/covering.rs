//! Covering arrays: few combinations of levels in which every two levels of every two factors meet.
//!
//! Most faults hang on one or two conditions at once (Kuhn, Kacker and Lei, Practical Combinatorial Testing, NIST SP 800-142), so
//! that meeting all pairs finds them for certain, with as many cases as the two largest factors have pairs.

/// A level of a factor: the place of the factor, the place of the level.
pub(super) type Level = (usize, usize);

/// Two levels of two factors, the first factor first.
type Pair = (Level, Level);

/// A set of pairs.
struct Pairs {
    /// The number of the first level of each factor among those of all.
    first: Vec<usize>,
    /// Of each pair of numbers, whether it is in the set.
    contains: Vec<bool>,
    levels: usize,
}

impl Pairs {
    fn new(counts: &[usize], pairs: &[Pair]) -> Self {
        let end = |levels: &mut usize, count: &usize| Some(std::mem::replace(levels, *levels + count));
        let levels = counts.iter().sum();
        let first = counts.iter().scan(0, end).collect();
        let mut set = Self { first, contains: vec![false; levels * levels], levels };
        pairs.iter().for_each(|&pair| set.set(pair, true));
        set
    }

    fn place(&self, (a, b): Pair) -> usize {
        let number = |(factor, level): Level| self.first[factor] + level;
        number(a) * self.levels + number(b)
    }

    fn contains(&self, pair: Pair) -> bool {
        self.contains[self.place(pair)]
    }

    fn set(&mut self, pair: Pair, contains: bool) {
        let place = self.place(pair);
        self.contains[place] = contains;
    }
}

/// The pairs among the levels of a combination, one a factor.
pub(super) fn pairs(levels: &[usize]) -> impl Iterator<Item = Pair> {
    let factor = |at: usize| (at, levels[at]);
    (0..levels.len()).flat_map(move |a| (a + 1..levels.len()).map(move |b| (factor(a), factor(b))))
}

/// Combinations, one level of each factor, in which all pairs meet that are `possible`; `sizes` has the size of each level of each
/// factor. `possible` is asked of pairs of one factor's level with another's, in the order of the factors; a combination is made of
/// possible pairs only.
///
/// Greedy, one combination at a time: it starts with a pair that has not met yet, then each factor takes the level that meets the
/// most new ones, among those that leave the product of sizes at [`SMALL`] or less. Levels of size 0, which leave nothing to compute, are
/// chosen for a pair of theirs alone. Of a single factor every level is a combination.
pub(super) fn covering(sizes: &[Vec<usize>], possible: impl Fn(Level, Level) -> bool) -> Vec<Vec<usize>> {
    if let [levels] = sizes {
        return (0..levels.len()).map(|level| vec![level]).collect();
    }
    let counts: Vec<usize> = sizes.iter().map(Vec::len).collect();
    let open: Vec<Pair> = all_pairs(&counts).filter(|&(a, b)| possible(a, b)).collect();
    let mut missing = Pairs::new(&counts, &open);
    let mut combinations = Vec::new();
    for pair in open {
        if !missing.contains(pair) {
            continue;
        }
        let mut levels: Vec<Option<usize>> = vec![None; counts.len()];
        let ((a, level_a), (b, level_b)) = pair;
        (levels[a], levels[b]) = (Some(level_a), Some(level_b));
        for factor in 0..counts.len() {
            if levels[factor].is_none() {
                levels[factor] = best(factor, sizes, &levels, &missing, &possible, combinations.len());
            }
        }
        // Where nothing fits, the pair cannot meet in any combination that starts so.
        missing.set(pair, false);
        if let Some(combination) = levels.into_iter().collect::<Option<Vec<usize>>>() {
            let is_empty = |&(factor, level): &Level| sizes[factor][level] == 0;
            let leaves_nothing = combination.iter().copied().enumerate().any(|level| is_empty(&level));
            for (a, b) in pairs(&combination) {
                // What is not computed has not met.
                if !leaves_nothing || is_empty(&a) || is_empty(&b) {
                    missing.set((a, b), false);
                }
            }
            combinations.push(combination);
        }
    }
    combinations
}

fn all_pairs(counts: &[usize]) -> impl Iterator<Item = Pair> {
    let factors = counts.len();
    let both = move |a: usize, b: usize| {
        let second = move |level_a| (0..counts[b]).map(move |level_b| ((a, level_a), (b, level_b)));
        (0..counts[a]).flat_map(second)
    };
    (0..factors).flat_map(move |a| (a + 1..factors).flat_map(move |b| both(a, b)))
}

/// Size of a combination up to which its levels are free, as elements to multiply: some tens of microseconds.
pub(super) const SMALL: usize = 1 << 15;

/// The level of `factor` that is possible beside those chosen and meets the most of them for the first time; of equals, another
/// one in each `turn`. Where all make the combination large, one of the smallest.
fn best(
    factor: usize,
    sizes: &[Vec<usize>],
    levels: &[Option<usize>],
    missing: &Pairs,
    possible: &impl Fn(Level, Level) -> bool,
    turn: usize,
) -> Option<usize> {
    let chosen: Vec<Level> =
        levels.iter().enumerate().filter_map(|(at, level)| level.map(|level| (at, level))).collect();
    let ordered = |other: Level, level: Level| if other.0 < factor { (other, level) } else { (level, other) };
    let fits = |&level: &usize| {
        chosen.iter().all(|&other| {
            let (a, b) = ordered(other, (factor, level));
            possible(a, b)
        })
    };
    let gain = |level: usize| {
        chosen.iter().filter(|&&other| missing.contains(ordered(other, (factor, level)))).count()
    };
    let chosen_size: usize = chosen.iter().map(|&(factor, level)| sizes[factor][level].max(1)).product();
    // The excess of a level over what is small; most of all where nothing would be left to compute.
    let excess = |level: usize| match sizes[factor][level] {
        0 => usize::MAX,
        size => (chosen_size * size).saturating_sub(SMALL),
    };
    let count = sizes[factor].len();
    let in_turn = (0..count).map(|at| (at + turn) % count).filter(fits);
    in_turn.min_by_key(|&level| (excess(level), std::cmp::Reverse(gain(level))))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_possible_pair_meets_and_no_impossible_one_does() {
        let counts = [9, 5, 3, 3, 2];
        // The first factor's high levels do not go with the second's.
        let possible = |a: Level, b: Level| !(a.0 == 0 && b.0 == 1 && a.1 + b.1 > 9);
        let combinations = covering(&counts.map(|count| vec![1; count]), possible);
        let met: HashSet<Pair> =
            combinations.iter().flat_map(|levels| pairs(levels).collect::<Vec<_>>()).collect();
        let all: HashSet<Pair> = all_pairs(&counts).filter(|&(a, b)| possible(a, b)).collect();
        assert_eq!(met, all);
        assert!(
            combinations.len() < 60,
            "{} combinations for 45 pairs of the largest factors",
            combinations.len()
        );
    }

    #[test]
    fn combinations_are_no_larger_than_their_pairs_demand_and_pairs_do_not_meet_in_empty_ones() {
        let sizes = [vec![0, 1, 300, 4000], vec![1, 60, 4000], vec![1, 2, 17, 0]];
        let combinations = covering(&sizes, |_, _| true);
        let size = |&(factor, level): &Level| sizes[factor][level];
        for levels in &combinations {
            let largest = pairs(levels).map(|(a, b)| size(&a) * size(&b)).max().expect("there are pairs");
            let product: usize = levels.iter().copied().enumerate().map(|level| size(&level)).product();
            assert!(product <= largest.max(SMALL), "{levels:?}");
        }
        let is_empty =
            |levels: &&Vec<usize>| levels.iter().copied().enumerate().any(|level| size(&level) == 0);
        let met: HashSet<Pair> =
            combinations.iter().filter(|levels| !is_empty(levels)).flat_map(|levels| pairs(levels)).collect();
        let all = all_pairs(&[4, 3, 4]).filter(|(a, b)| size(a) * size(b) > 0);
        assert_eq!(met, all.collect::<HashSet<Pair>>());
    }
}
