//! The neighbours of a case that are simpler: less of everything, plainer data, fewer patches.

use crate::buffer::{Buffer, PerBuffer};
use crate::case::Case;
use crate::data::{Codes, Distribution, Scales};
use crate::operation::DIGITS;
use crate::shape::Threads;

/// Strictly simpler neighbours, the boldest first.
pub(super) fn candidates(case: &Case) -> Vec<Case> {
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
        let block_len = case.format.block_len as u64;
        let residues = [8, 16, 32, 64, 128, block_len].map(|width| case.cols as u64 % width);
        // Whole vectors and blocks off: what fails may hang on the remainder.
        let shorter = (3..10).rev().filter_map(|bits| (case.cols as u64).checked_sub(1 << bits));
        for cols in residues.into_iter().chain(smaller(case.cols as u64)).chain(shorter) {
            self.with(|c| c.cols = cols as usize);
            self.with(|c| c.cut_front(cols as usize));
        }
    }

    fn of_calls(&mut self) {
        self.with(|c| c.scaled = c.scaled && !c.domain().may_be_scaled());
        for batch in smaller(self.case.batch as u64) {
            self.with(|c| c.batch = batch as usize);
        }
        self.with(|c| c.x_gap = 0);
        self.with(|c| c.out_gap = 0);
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
        for codes in simpler_than(case.codes, &Codes::of(case.format)) {
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
const SIMPLEST_FIRST: [Distribution; 20] = [
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
    Distribution::Steps,
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

/// The case with fills in the place of long patches, for every such buffer at once and for each; then with fewer patches that say the
/// same. A few elements stay patches, which say where they stand.
pub(super) fn fills(case: &Case) -> Vec<Case> {
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
        Buffer::Activations | Buffer::Prepared => &[1, 0],
        Buffer::Scales | Buffer::X | Buffer::Out | Buffer::OutScales => &[0x3f80_0000, 0],
    }
}
