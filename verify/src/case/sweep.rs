//! The sweep: a fixed list of cases in which every edge of every dimension occurs, and every two of them together.
//!
//! It has parts, so that no edge hides another: shapes and layouts on integer data, of which every term counts to the last bit;
//! data of every kind on fewer shapes; special values; callers at one time; wrong sizes. Then shapes by themselves, thousands of them,
//! each called once.

mod factors;
mod shapes;
mod wrong_sizes;

use std::collections::HashSet;
use std::sync::OnceLock;

use super::Case;
use super::covering::{Level, covering, pairs};
use super::generate::EDGE_BITS;
use crate::buffer::Buffer;
use crate::data::{Codes, Distribution};
use crate::operation::Operation;
use factors::*;
use shapes::{first_of_their_size, shapes};
use wrong_sizes::wrong_sizes;

/// Factors that are combined, and what all their cases share.
struct Part {
    base: Case,
    factors: Vec<Factor>,
}

/// A case of the sweep, and which levels it has of the factors of its part.
#[derive(Debug)]
struct Combined {
    case: Case,
    part: usize,
    levels: Vec<usize>,
}

/// The sweep of an operation.
#[derive(Debug)]
pub struct Sweep {
    cases: Vec<Combined>,
    /// The places of those that are made of edges.
    edges: Vec<usize>,
    /// Edges and pairs that occur in all of it.
    whole: Coverage,
}

/// How much of what can be combined was met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Single edges: a row count, a column count, an offset and so on.
    pub edges: usize,
    /// Two edges in one case.
    pub pairs: usize,
    /// Shapes by themselves.
    pub shapes: usize,
}

impl Sweep {
    /// The sweep of `operation`.
    pub fn of(operation: Operation) -> &'static Self {
        static SWEEPS: [OnceLock<Sweep>; Operation::ALL.len()] =
            [const { OnceLock::new() }; Operation::ALL.len()];
        SWEEPS[operation as usize].get_or_init(|| Self::new(operation))
    }

    fn new(operation: Operation) -> Self {
        let mut edges: Vec<Vec<Combined>> = parts(operation).iter().enumerate().map(combined).collect();
        edges.push(listed(edges.len(), wrong_sizes(operation)));
        let first = vec![listed(edges.len(), first_of_their_size(operation))];
        let alone = shapes(operation).into_iter().map(|cases| listed(SHAPES, cases)).collect();
        let cases = interleaved([first, edges, alone]);
        let edges = (0..cases.len()).filter(|&at| cases[at].part != SHAPES).collect();
        let mut sweep = Self { cases, edges, whole: Coverage::default() };
        sweep.whole = sweep.coverage(sweep.cases.len() as u64);
        sweep
    }

    /// How many cases there are.
    pub fn len(&self) -> u64 {
        self.cases.len() as u64
    }

    /// How many of them are made of edges; they come first.
    pub fn edges_len(&self) -> u64 {
        self.edges.len() as u64
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    /// Case number `index`, with data of `seed`.
    pub fn case(&self, index: u64, seed: u64) -> Option<Case> {
        let combined = self.cases.get(usize::try_from(index).ok()?)?;
        // The golden ratio's bits (Knuth, The Art of Computer Programming, volume 3, section 6.4) keep the seeds of a run apart.
        let seed = seed.wrapping_add(index).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        Some(Case { seed, ..combined.case.clone() })
    }

    /// Case number `index` of those that are made of edges, counted anew behind the last; `None` if there is none.
    pub(crate) fn edge(&self, index: u64, seed: u64) -> Option<Case> {
        let at = index.checked_rem(self.edges.len() as u64)?;
        self.case(self.edges[at as usize] as u64, seed)
    }

    /// What occurs in the first N cases.
    pub fn coverage(&self, cases: u64) -> Coverage {
        let (mut edges, mut both, mut shapes) = (HashSet::new(), HashSet::new(), 0);
        for combined in self.cases.iter().take(usize::try_from(cases).unwrap_or(usize::MAX)) {
            if combined.part == SHAPES {
                shapes += 1;
                continue;
            }
            edges.extend(combined.levels.iter().copied().enumerate().map(|level| (combined.part, level)));
            both.extend(pairs(&combined.levels).map(|pair| (combined.part, pair)));
        }
        Coverage { edges: edges.len(), pairs: both.len(), shapes }
    }

    /// What occurs in all of it.
    pub fn whole(&self) -> Coverage {
        self.whole
    }
}

/// The part of the shapes by themselves.
const SHAPES: usize = usize::MAX;

/// Cases that are not combined.
fn listed(part: usize, cases: Vec<Case>) -> Vec<Combined> {
    cases.into_iter().enumerate().map(|(at, case)| Combined { case, part, levels: vec![at] }).collect()
}

/// Rows, where there are any, and columns.
fn shape(operation: Operation, rows: &'static [usize], cols: &'static [usize]) -> Vec<Factor> {
    let rows = operation.is_matrix().then_some(Factor::Rows(rows));
    rows.into_iter().chain([Factor::Cols(cols)]).collect()
}

/// What is in the buffers beside codes and x.
fn how(operation: Operation) -> Vec<Factor> {
    let digits = operation.has_digits().then_some(Factor::Digits);
    let scaling = (scalings(operation).len() > 1).then_some(Factor::Scaling);
    digits.into_iter().chain(scaling).collect()
}

/// Where buffers lie, by these offsets of bytes, and how long they are.
fn layout(operation: Operation, byte_offsets: &'static [u8]) -> Vec<Factor> {
    let mut whole = Case::new(operation, 1, 1);
    whole.scaled |= operation.may_be_scaled();
    let offset = |buffer| match operation.width(buffer) {
        1 => Factor::Offset(buffer, byte_offsets),
        _ => Factor::Offset(buffer, FLOAT_OFFSETS),
    };
    let stride = operation.is_matrix().then_some(Factor::Stride(STRIDES));
    let slack = whole.resizable_buffers().map(Factor::Slack);
    stride.into_iter().chain(whole.buffers().map(offset)).chain(slack).collect()
}

/// The parts of the sweep of an operation, in order.
fn parts(operation: Operation) -> Vec<Part> {
    let mut parts = of_every_operation(operation);
    if operation.is_matrix() {
        parts.extend(of_sums(operation));
    } else if operation.reads_codes() {
        // Every byte at every place.
        let base = Case { codes: Codes::Bytes, ..base(operation, Distribution::Ten) };
        let distributions = Factor::Distribution(operation.spec().distributions);
        parts.push(part(base, &[1], &[1 << 16], with_how(operation, &[distributions])));
    }
    if operation.is_matrix() {
        parts.extend(of_many_rows(operation));
        parts.extend(of_one_sign(operation));
    }
    if operation.has_digits() {
        parts.extend(of_digits(operation));
    }
    parts.extend(of_special_values(operation));
    parts
}

fn base(operation: Operation, distribution: Distribution) -> Case {
    Case { distribution, ..Case::new(operation, 1, 0) }
}

fn part(base: Case, rows: &'static [usize], cols: &'static [usize], more: Vec<Factor>) -> Part {
    let factors = [shape(base.operation, rows, cols), more].concat();
    Part { base, factors }
}

fn with_how(operation: Operation, more: &[Factor]) -> Vec<Factor> {
    [how(operation), more.to_vec()].concat()
}

/// Where codes come from, if it reads any.
fn codes(operation: Operation) -> Option<Factor> {
    operation.reads_codes().then_some(Factor::Codes)
}

fn of_every_operation(operation: Operation) -> Vec<Part> {
    let base = |distribution| base(operation, distribution);
    let with_how = |more: &[Factor]| with_how(operation, more);
    let stride = operation.is_matrix().then_some(Factor::Stride(SOME_STRIDES));
    let distributions = Factor::Distribution(operation.spec().distributions);
    let data: Vec<Factor> = [distributions].into_iter().chain(codes(operation)).chain(stride).collect();
    let layouts = with_how(&layout(operation, SOME_BYTE_OFFSETS));
    let threads = [Factor::Threads, Factor::Distribution(&[Distribution::Integer, Distribution::Wide])];
    vec![
        part(base(Distribution::Integer), ROWS, COLS, layouts),
        part(base(Distribution::Integer), &[1, 2], LONG_COLS, with_how(&[])),
        part(base(Distribution::Ten), SOME_ROWS, SOME_COLS, with_how(&data)),
        part(base(Distribution::Wide), &[1, 3, 17, 64], &[5, 64, 300, 1024, 2050], with_how(&threads)),
        part(base(Distribution::Integer), &[2, 4, 16], &[1, 64, 300], layout(operation, BYTE_OFFSETS)),
    ]
}

/// Data on which errors of sums show.
fn of_sums(operation: Operation) -> [Part; 2] {
    // Data of the flat bound.
    let flat = base(operation, Distribution::Unit);
    // Of one sign, so that what is lost adds up.
    let absorbing = Case { codes: Codes::Uniform(2), ..base(operation, Distribution::Absorbing) };
    [
        part(flat, &[1, 2, 5, 17], &[3, 64, 255, 300, 1024, 2048], how(operation)),
        part(absorbing, &[1, 3], &[33, 64, 256, 300, 1024, 2048], how(operation)),
    ]
}

fn of_many_rows(operation: Operation) -> [Part; 2] {
    let base = || base(operation, Distribution::Integer);
    let far = with_how(operation, &[Factor::Stride(FAR_STRIDES)]);
    [
        part(base(), MANY_ROWS, &[3], Vec::new()),
        part(base(), &[1, 2, 3, 5, 9, 65], &[1, 63, 256, 300, 1025], far),
    ]
}

/// The weights that are the largest, all of one sign, and x as large: narrow sums overflow soonest, and exactly.
fn of_one_sign(operation: Operation) -> [Part; 3] {
    let base = |codes| Case { codes: Codes::Uniform(codes), ..base(operation, Distribution::Integer) };
    let full = || with_how(operation, &[Factor::Distribution(Distribution::full())]);
    [
        part(base(3), &[1, 3], COLS, full()),
        part(base(0), &[2], SOME_COLS, full()),
        part(Case { once: true, ..base(3) }, &[1], LONG_COLS, full()),
    ]
}

/// The code that kernels raise the most: with it narrow sums of digits overflow soonest.
fn of_digits(operation: Operation) -> [Part; 2] {
    let base = || Case { codes: Codes::Uniform(3), ..base(operation, Distribution::Extreme) };
    [part(base(), &[1, 3], COLS, how(operation)), part(base(), &[1], LONG_COLS, Vec::new())]
}

/// Special values at every place of x and of the scales, and in both.
fn of_special_values(operation: Operation) -> Vec<Part> {
    let mut parts = Vec::new();
    if operation.may_be_scaled() {
        let both = [Factor::Special(Buffer::X, &EDGE_BITS), Factor::Special(Buffer::Scales, EXTREME_SCALES)];
        let base = Case { scaled: true, ..base(operation, Distribution::Ten) };
        parts.push(part(base, &[1, 2], &[7, 64, 300], both.to_vec()));
    }
    let has = |buffer: &Buffer| operation.inputs(true).contains(buffer);
    for buffer in [Buffer::X, Buffer::Scales].into_iter().filter(has) {
        let distributions = Factor::Distribution(&[Distribution::Ten, Distribution::Sparse]);
        let special = [Factor::Special(buffer, &EDGE_BITS)].into_iter();
        let special = special.chain(codes(operation)).chain([distributions]);
        let more = with_how(operation, &Vec::from_iter(special));
        parts.push(part(base(operation, Distribution::Ten), &[1, 2, 5], FEW_COLS, more));
    }
    parts
}

/// The cases of a part.
fn combined((place, part): (usize, &Part)) -> Vec<Combined> {
    let counts: Vec<usize> = part.factors.iter().map(|factor| factor.levels(part.base.operation)).collect();
    let possible = |a: Level, b: Level| match (part.factors[a.0], part.factors[b.0]) {
        (Factor::Rows(rows), Factor::Cols(cols)) => is_affordable(rows[a.1], cols[b.1]),
        _ => true,
    };
    let case = |levels: Vec<usize>| {
        let mut case = part.base.clone();
        part.factors.iter().zip(&levels).for_each(|(factor, &level)| factor.apply(level, &mut case));
        case.fit();
        Combined { case, part: place, levels }
    };
    covering(&counts, possible).into_iter().map(case).collect()
}

/// Whether a shape takes no more than a fraction of a millisecond, or is one of those at which kernels change their ways.
fn is_affordable(rows: usize, cols: usize) -> bool {
    rows * cols <= 1 << 15
        || rows <= 3
        || rows == MANY_ROWS[0]
        || (rows <= 49 && (2047..=2304).contains(&cols))
}

/// The cases of the first two groups, then those of the last. Within that small shapes come first, of one size the first group before the
/// second, and the parts of a group in turn.
fn interleaved(groups: [Vec<Vec<Combined>>; 3]) -> Vec<Combined> {
    let mut groups = groups.map(|group| {
        let sorted = group.into_iter().map(|mut part| {
            part.sort_by_key(|combined| size_class(&combined.case));
            part.into_iter().peekable()
        });
        sorted.collect::<Vec<_>>()
    });
    let mut all = Vec::new();
    for together in [&[0, 1][..], &[2]] {
        for class in 0..=SIZE_CLASSES.len() {
            for &group in together {
                let parts = &mut groups[group];
                loop {
                    let before = all.len();
                    all.extend(
                        parts
                            .iter_mut()
                            .filter_map(|part| part.next_if(|next| size_class(&next.case) == class)),
                    );
                    if all.len() == before {
                        break;
                    }
                }
            }
        }
    }
    all
}

/// Elements up to which a case is of each class of work; the last class has no end.
const SIZE_CLASSES: [usize; 8] = [0x7ff, 0x1fff, 0x7fff, 0x3_ffff, 0x7_ffff, 0xf_ffff, 0x1f_ffff, 0x3f_ffff];

/// How much work a case is.
fn size_class(case: &Case) -> usize {
    match case.rows.saturating_mul(case.cols) {
        // No memory holds it: it is to be refused.
        1_000_000_000.. if !case.is_long() => 0,
        elements => SIZE_CLASSES.partition_point(|&most| most < elements),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps_have_every_edge_and_their_cases_are_what_they_say() {
        for operation in Operation::ALL {
            let sweep = Sweep::of(operation);
            let parts = parts(operation);
            for (place, part) in parts.iter().enumerate() {
                for (factor, kind) in part.factors.iter().enumerate() {
                    let met = sweep.cases.iter().filter(|c| c.part == place);
                    let met: HashSet<usize> = met.map(|c| c.levels[factor]).collect();
                    assert_eq!(met.len(), kind.levels(operation), "{operation}: {kind:?}");
                }
            }
            for combined in &sweep.cases {
                let case = &combined.case;
                assert_eq!(case.to_string().parse().as_ref(), Ok(case), "{case} parses back");
                if combined.part == parts.len() {
                    let inputs = case.materialize(None).expect("the case has data");
                    assert!(!inputs.is_legal(), "{case} is to be refused");
                }
            }
        }
    }

    #[test]
    fn the_coverage_of_a_run_that_was_cut_short_is_less_than_the_whole() {
        let sweep = Sweep::of(Operation::Gemv);
        let (part, whole) = (sweep.coverage(sweep.len() / 10), sweep.whole());
        assert!(part.pairs < whole.pairs && part.edges <= whole.edges, "{part:?} of {whole:?}");
        let (half, edges) = (sweep.coverage(sweep.len() / 2), (whole.edges, whole.pairs));
        assert!(half.shapes < whole.shapes, "{half:?} of {whole:?}");
        assert_eq!((half.edges, half.pairs), edges, "edges come before further shapes");
        assert_eq!(sweep.coverage(u64::MAX), whole);
        assert_eq!(sweep.case(sweep.len(), 0), None);
    }
}
