//! The sweep: a fixed list of cases in which every edge of every dimension occurs, and every two of them together.
//!
//! It has parts, so that no edge hides another: shapes and layouts on integer data, of which every term counts to the last bit;
//! data of every kind on fewer shapes; special values; callers at one time; wrong sizes. Then shapes by themselves, thousands of them,
//! each called once.

mod edges;
mod factors;
mod shapes;
mod wrong_sizes;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{LazyLock, Mutex, PoisonError};

use super::Case;
use super::covering::{Level, SMALL, covering, pairs};
use super::generate::EDGE_BITS;
use crate::buffer::Buffer;
use crate::data::{Codes, Distribution};
use crate::domain::Domain;
use factors::*;
use shapes::{batches, first_of_their_size, shapes};
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
    /// The sweep of a domain, made when it is first asked for and kept for good.
    pub fn of(domain: impl Into<Domain>) -> &'static Self {
        static SWEEPS: LazyLock<Mutex<HashMap<Domain, &'static Sweep>>> = LazyLock::new(Mutex::default);
        let domain = domain.into();
        let known = |domain| SWEEPS.lock().unwrap_or_else(PoisonError::into_inner).get(domain).copied();
        if let Some(sweep) = known(&domain) {
            return sweep;
        }
        // Not under the lock: other threads may make others.
        let sweep: &Self = Box::leak(Box::new(Self::new(domain)));
        SWEEPS.lock().unwrap_or_else(PoisonError::into_inner).entry(domain).or_insert(sweep)
    }

    fn new(domain: Domain) -> Self {
        let mut edges: Vec<Vec<Combined>> = parts(domain).iter().enumerate().map(combined).collect();
        edges.push(listed(edges.len(), wrong_sizes(domain)));
        edges.push(listed(edges.len(), batches(domain)));
        let first = vec![listed(edges.len(), first_of_their_size(domain))];
        let alone = shapes(domain).into_iter().map(|cases| listed(SHAPES, cases)).collect();
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
fn shape(domain: Domain, rows: &[usize], cols: &[usize]) -> Vec<Factor> {
    let rows = domain.operation.is_matrix().then(|| Factor::Rows(edges::rows(domain, rows)));
    rows.into_iter().chain([Factor::Cols(edges::cols(domain, cols))]).collect()
}

/// What is in the buffers beside codes and x.
fn how(domain: Domain) -> Vec<Factor> {
    let digits = domain.operation.has_digits().then_some(Factor::Digits);
    let scaling = (scalings(domain).len() > 1).then_some(Factor::Scaling);
    let batch = domain.operation.is_batched().then_some(Factor::Batch(BATCHES));
    digits.into_iter().chain(scaling).chain(batch).collect()
}

/// Where buffers lie, by these offsets of bytes, and how long they are.
fn layout(domain: Domain, byte_offsets: &'static [u8]) -> Vec<Factor> {
    let mut whole = Case::new(domain, 1, 1);
    whole.scaled |= domain.may_be_scaled();
    let offset = |buffer| match domain.operation.width(buffer) {
        1 => Factor::Offset(buffer, byte_offsets),
        _ => Factor::Offset(buffer, FLOAT_OFFSETS),
    };
    let stride = domain.operation.is_matrix().then_some(Factor::Stride(STRIDES));
    let gaps: &[Factor] = if domain.operation.is_batched() { &[Factor::XGap, Factor::OutGap] } else { &[] };
    let slack = whole.resizable_buffers().map(Factor::Slack);
    stride.into_iter().chain(gaps.iter().copied()).chain(whole.buffers().map(offset)).chain(slack).collect()
}

/// The parts of the sweep of a domain, in order.
fn parts(domain: Domain) -> Vec<Part> {
    let mut parts = of_every_operation(domain);
    if is_quantized(domain) {
        parts.splice(0..0, of_extremes(domain));
    } else if domain.operation.is_matrix() {
        parts.extend(of_sums(domain));
    } else if domain.operation.reads_codes() {
        // Every byte at every place.
        let base = Case { codes: Codes::Bytes, ..base(domain, Distribution::Ten) };
        let distributions = Factor::Distribution(domain.distributions());
        parts.push(part(base, &[1], &[1 << 16], with_how(domain, &[distributions])));
    }
    if domain.operation.is_matrix() {
        parts.extend(of_many_rows(domain));
    }
    if domain.operation.is_batched() {
        // Rows, columns and vectors beyond what kernels keep in a cache, all at once.
        let base = Case { batch: 5, ..base(domain, Distribution::Integer) };
        parts.push(part(base, &[33, 49], &[2047, 2049, 2304], Vec::new()));
    }
    if domain.operation.is_matrix() && !is_quantized(domain) {
        parts.extend(of_one_sign(domain));
    }
    if domain.operation.has_digits() {
        parts.extend(of_digits(domain));
    }
    parts.extend(of_special_values(domain));
    parts
}

fn base(domain: Domain, distribution: Distribution) -> Case {
    Case { distribution, ..Case::new(domain, 1, 0) }
}

fn part(base: Case, rows: &[usize], cols: &[usize], more: Vec<Factor>) -> Part {
    let factors = [shape(base.domain(), rows, cols), more].concat();
    Part { base, factors }
}

fn with_how(domain: Domain, more: &[Factor]) -> Vec<Factor> {
    [how(domain), more.to_vec()].concat()
}

/// Where codes come from, if it reads any.
fn codes(domain: Domain) -> Option<Factor> {
    domain.operation.reads_codes().then_some(Factor::Codes(domain.format))
}

fn of_every_operation(domain: Domain) -> Vec<Part> {
    let base = |distribution| base(domain, distribution);
    let with_how = |more: &[Factor]| with_how(domain, more);
    let stride = domain.operation.is_matrix().then_some(Factor::Stride(SOME_STRIDES));
    let distributions = Factor::Distribution(domain.distributions());
    // An order that depends on what is behind x shows on data whose sums round.
    let slack = Factor::Slack(Buffer::X);
    let slack = domain.operation.sums_floats().then_some(slack);
    let data = [distributions].into_iter().chain(codes(domain)).chain(stride).chain(slack);
    let data: Vec<Factor> = data.collect();
    let layouts = with_how(&layout(domain, SOME_BYTE_OFFSETS));
    let threads = [Factor::Threads, Factor::Distribution(&[Distribution::Integer, Distribution::Wide])];
    vec![
        part(base(Distribution::Integer), ROWS, COLS, layouts),
        part(base(Distribution::Integer), &[1, 2], LONG_COLS, with_how(&[])),
        part(base(Distribution::Ten), SOME_ROWS, SOME_COLS, with_how(&data)),
        part(base(Distribution::Wide), &[1, 3, 17, 64], &[5, 64, 300, 1024, 2050], with_how(&threads)),
        part(base(Distribution::Integer), &[2, 4, 16], &[1, 64, 300], layout(domain, BYTE_OFFSETS)),
    ]
}

/// Whether activations are quantised.
fn is_quantized(domain: Domain) -> bool {
    domain.activations.is_quantized()
}

/// All codes and all activations as large as can be, before all else: whatever is too narrow overflows there.
fn of_extremes(domain: Domain) -> Vec<Part> {
    let extremes = domain.format.extreme_codes();
    let extremes = extremes.into_iter().chain([0, domain.format.code_count() - 1]).collect::<BTreeSet<_>>();
    let part = |code| {
        let base = Case { codes: Codes::Uniform(code), once: true, ..base(domain, Distribution::Extreme) };
        part(base, &[1, 3], EXTREME_COLS, vec![Factor::Seed])
    };
    extremes.into_iter().map(part).collect()
}

/// Data on which errors of sums show.
fn of_sums(domain: Domain) -> [Part; 2] {
    // Data of the flat bound.
    let flat = base(domain, Distribution::Unit);
    // Of one sign, so that what is lost adds up.
    let one = domain.format.code_of(1).unwrap_or(domain.format.code_count() - 1);
    let absorbing = Case { codes: Codes::Uniform(one), ..base(domain, Distribution::Absorbing) };
    [
        part(flat, &[1, 2, 5, 17], &[3, 64, 255, 300, 1024, 2048], how(domain)),
        part(absorbing, &[1, 3], &[33, 64, 256, 300, 1024, 2048], how(domain)),
    ]
}

fn of_many_rows(domain: Domain) -> [Part; 2] {
    let base = || base(domain, Distribution::Integer);
    let far = with_how(domain, &[Factor::Stride(FAR_STRIDES)]);
    [
        part(base(), MANY_ROWS, &[3], Vec::new()),
        part(base(), &[1, 2, 3, 5, 9, 65], &[1, 63, 256, 300, 1025], far),
    ]
}

/// The weights that are the largest, all of one sign, and x as large: narrow sums overflow soonest, and exactly.
fn of_one_sign(domain: Domain) -> [Part; 3] {
    let (low, high) = (0, domain.format.code_count() - 1);
    let base = |codes| Case { codes: Codes::Uniform(codes), ..base(domain, Distribution::Integer) };
    let full = || with_how(domain, &[Factor::Distribution(Distribution::full())]);
    [
        part(base(high), &[1, 3], COLS, full()),
        part(base(low), &[2], SOME_COLS, full()),
        part(Case { once: true, ..base(high) }, &[1], LONG_COLS, full()),
    ]
}

/// The code that kernels raise the most: with it narrow sums of digits overflow soonest.
fn of_digits(domain: Domain) -> [Part; 2] {
    let base = || Case { codes: Codes::Uniform(3), ..base(domain, Distribution::Extreme) };
    [part(base(), &[1, 3], COLS, how(domain)), part(base(), &[1], LONG_COLS, Vec::new())]
}

/// Special values at every place of x and of the scales, and in both.
fn of_special_values(domain: Domain) -> Vec<Part> {
    let mut parts = Vec::new();
    if domain.may_be_scaled() {
        let both = [Factor::Special(Buffer::X, &EDGE_BITS), Factor::Special(Buffer::Scales, EXTREME_SCALES)];
        let base = Case { scaled: true, ..base(domain, Distribution::Ten) };
        parts.push(part(base, &[1, 2], &[7, 64, 300], both.to_vec()));
    }
    let scaled = domain.may_be_scaled() || domain.is_always_scaled();
    let has = |buffer: &Buffer| domain.inputs(scaled).contains(buffer);
    for buffer in [Buffer::X, Buffer::Scales].into_iter().filter(has) {
        let distributions = Factor::Distribution(&[Distribution::Ten, Distribution::Sparse]);
        let special = [Factor::Special(buffer, &EDGE_BITS)].into_iter();
        let special = special.chain(codes(domain)).chain([distributions]);
        let more = with_how(domain, &Vec::from_iter(special));
        parts.push(part(base(domain, Distribution::Ten), &[1, 2, 5], FEW_COLS, more));
    }
    parts
}

/// The cases of a part.
fn combined((place, part): (usize, &Part)) -> Vec<Combined> {
    let domain = part.base.domain();
    let of_levels = |factor: &Factor| (0..factor.levels(domain)).map(|level| factor.size(level)).collect();
    let sizes: Vec<Vec<usize>> = part.factors.iter().map(of_levels).collect();
    let possible = |a: Level, b: Level| match (part.factors[a.0], part.factors[b.0]) {
        (Factor::Rows(rows), Factor::Cols(cols)) => is_affordable(rows[a.1], cols[b.1]),
        (Factor::Cols(cols), Factor::Batch(batches)) => cols[a.1] * batches[b.1] <= MOST_OF_BATCH,
        (Factor::Rows(rows), Factor::Batch(batches)) => rows[a.1] * batches[b.1] <= MOST_OF_BATCH,
        _ => true,
    };
    let case = |levels: Vec<usize>| {
        let mut case = part.base.clone();
        part.factors.iter().zip(&levels).for_each(|(factor, &level)| factor.apply(level, &mut case));
        case.fit();
        Combined { case, part: place, levels }
    };
    covering(&sizes, possible).into_iter().map(case).collect()
}

/// Columns or rows times vectors of a case, at most.
const MOST_OF_BATCH: usize = 1 << 18;

/// Whether a shape takes no more than a fraction of a millisecond, or is one of those at which kernels change their ways.
fn is_affordable(rows: usize, cols: usize) -> bool {
    rows * cols <= SMALL || rows <= 3 || rows == MANY_ROWS[0] || (rows <= 49 && (2047..=2304).contains(&cols))
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
    use crate::format;
    use crate::operation::Operation;

    #[test]
    fn sweeps_have_every_edge_and_their_cases_are_what_they_say() {
        let formats = [&format::Q4_0, &format::TQ1_0].map(|format| Domain::of(Operation::Gemm, format));
        let products = [&format::Q4_0, &format::TQ2_0, &format::I2_S];
        let products = products.into_iter().filter_map(Domain::dot);
        let all =
            Operation::ALL.into_iter().filter(|&operation| operation != Operation::Dot).map(Domain::new);
        for domain in all.chain(formats).chain(products) {
            let sweep = Sweep::of(domain);
            let parts = parts(domain);
            for (place, part) in parts.iter().enumerate() {
                for (factor, kind) in part.factors.iter().enumerate() {
                    let met = sweep.cases.iter().filter(|c| c.part == place);
                    let met: HashSet<usize> = met.map(|c| c.levels[factor]).collect();
                    assert_eq!(met.len(), kind.levels(domain), "{domain}: {kind:?}");
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
