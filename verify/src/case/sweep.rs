//! The sweep: a fixed list of cases in which every edge of every dimension occurs, and every two of them together.
//!
//! It has parts, so that no edge hides another: shapes and layouts on integer data, of which every term counts to the last bit;
//! data of every kind on fewer shapes; special values; callers at one time; wrong sizes.

use std::collections::HashSet;
use std::sync::OnceLock;

use super::covering::{Level, covering, pairs};
use super::generate::{EDGE_BITS, NOT_FINITE};
use super::{Case, Codes, Patch, Regime, Scales};
use crate::operation::{Buffer, DIGITS, MAX_FIXED_COLUMNS, Operation};

/// Rows around tile heights and around what a byte counts.
const ROWS: &[usize] =
    &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 15, 16, 17, 24, 25, 31, 32, 33, 48, 49, 63, 64, 65, 257];

/// Columns around vector widths, unrolled loops and blocks.
const COLS: &[usize] = &[
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 23, 24, 25, 31, 32, 33, 40, 47, 48, 49, 56, 63, 64, 65, 80,
    95, 96, 97, 112, 127, 128, 129, 159, 160, 191, 192, 193, 224, 240, 255, 256, 257, 260, 263, 271, 287,
    288, 319, 320, 321, 383, 384, 385, 448, 511, 512, 513, 639, 640, 641, 767, 768, 769, 1023, 1024, 1025,
    1279, 1280, 1281, 2047, 2048, 2049, 2304, 2560, 4095, 4096, 4097,
];

/// Columns around the greater powers of two, up to 2^17.
const LONG_COLS: &[usize] = &[
    8191, 8192, 8193, 16383, 16384, 16385, 32767, 32768, 32769, 65535, 65536, 65537, 131_071, 131_072,
    131_073,
];

/// Columns for data of every kind.
const SOME_COLS: &[usize] = &[
    1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 100, 127, 128, 129, 255, 256, 257, 300, 511, 512, 513,
    770, 1024, 2048, 2304, 4097,
];

/// Columns for special values.
const FEW_COLS: &[usize] = &[1, 2, 7, 8, 9, 16, 17, 33, 64, 65, 129, 256, 257, 300, 513];

/// Rows for data of every kind.
const SOME_ROWS: &[usize] = &[1, 2, 3, 5, 8, 33];

/// How far apart rows lie where memory is plain.
const STRIDES: &[Stride] = &[
    Stride::Gap(0),
    Stride::Gap(1),
    Stride::Gap(3),
    Stride::Gap(32),
    Stride::Gap(63),
    Stride::Gap(64),
    Stride::Gap(192),
    Stride::Pages,
    Stride::Overlapping,
];

/// How far apart they lie under data of every kind.
const SOME_STRIDES: &[Stride] = &[Stride::Gap(0), Stride::Gap(64), Stride::Gap(3)];

/// How far apart they lie where it is sparse.
const FAR_STRIDES: &[Stride] = &[Stride::Far(31), Stride::Far(32)];

/// Byte offsets that meet every row and column count.
const SOME_BYTE_OFFSETS: &[u8] = &[0, 1, 2, 3, 4, 8, 15, 16, 17, 24, 31];

/// All of them.
const BYTE_OFFSETS: &[u8] = &[
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28,
    29, 30, 31,
];

/// All offsets of f32, in elements.
const FLOAT_OFFSETS: &[u8] = &[0, 1, 2, 3, 4, 5, 6, 7];

/// Elements by which buffers are longer than needed.
const SPARES: &[i64] = &[0, 1, 8, 40];

/// Callers at one time.
const THREADS: &[u8] = &[2, 8];

/// More rows than 16 bits count.
const MANY_ROWS: &[usize] = &[65_537];

/// How far apart rows lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stride {
    /// So many bytes between rows.
    Gap(i64),
    /// Rows start a page, or a multiple of one, apart.
    Pages,
    /// No bytes at all, where there is one row at most and nobody looks at it; otherwise as close as may be.
    Overlapping,
    /// The last row starts just past 2 to this many bytes.
    Far(u32),
}

/// One dimension of cases.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Factor {
    Rows(&'static [usize]),
    Cols(&'static [usize]),
    Stride(&'static [Stride]),
    /// With what scales a gemv or dequantize works; none comes first.
    Scaling,
    Digits,
    Offset(Buffer, &'static [u8]),
    Spare(Buffer),
    Codes,
    Regime(&'static [Regime]),
    /// A special value, and where it stands.
    Special(Buffer, &'static [u32]),
    Threads,
}

/// Scales whose products are special where x is: zero, infinity, NaN.
const EXTREME_SCALES: &[u32] = &[0, 0x7f80_0000, 0x7fc0_0000];

/// Part of a buffer that a special value is put to.
const PLACES: usize = 3;

impl Factor {
    fn levels(self, operation: Operation) -> usize {
        match self {
            Self::Rows(rows) => rows.len(),
            Self::Cols(cols) => cols.len(),
            Self::Stride(strides) => strides.len(),
            Self::Scaling => scalings(operation).len(),
            Self::Digits => DIGITS.count(),
            Self::Offset(_, offsets) => offsets.len(),
            Self::Spare(_) => SPARES.len(),
            Self::Codes => Codes::ALL.len(),
            Self::Regime(regimes) => regimes.len(),
            Self::Special(_, values) => 1 + PLACES * values.len(),
            Self::Threads => THREADS.len(),
        }
    }

    /// Gives `case` the level. Rows and columns come first: the others build on them.
    fn apply(self, level: usize, case: &mut Case) {
        match self {
            Self::Rows(rows) => case.rows = rows[level],
            Self::Cols(cols) => case.cols = cols[level],
            Self::Stride(strides) => case.stride = stride(strides[level], case),
            Self::Scaling => {
                let scales = scalings(case.operation)[level];
                (case.scaled, case.scales) = (scales.is_some(), scales.unwrap_or(Scales::Independent));
            }
            Self::Digits => case.digits = DIGITS.start() + level as u8,
            Self::Offset(buffer, offsets) => case.offset[buffer] = offsets[level],
            Self::Spare(buffer) => case.spare[buffer] = SPARES[level],
            Self::Codes => case.codes = Codes::ALL[level],
            Self::Regime(regimes) => case.regime = regimes[level],
            Self::Special(buffer, values) => case.patches.extend(special(buffer, values, level, case)),
            Self::Threads => case.threads = THREADS[level],
        }
    }
}

fn scalings(operation: Operation) -> &'static [Option<Scales>] {
    const ALL: &[Option<Scales>] =
        &[None, Some(Scales::Independent), Some(Scales::Equal), Some(Scales::Alternating)];
    match operation {
        Operation::Gemv => ALL,
        Operation::Dequantize => &ALL[1..],
        _ => &ALL[..1],
    }
}

fn stride(stride: Stride, case: &Case) -> i64 {
    let row_bytes = Case { stride: 0, ..case.clone() }.shape().row_bytes() as i64;
    let steps = case.rows.saturating_sub(1).max(1) as i64;
    match stride {
        Stride::Gap(gap) => gap,
        Stride::Pages => (row_bytes as usize).next_multiple_of(4096).max(4096) as i64 - row_bytes,
        Stride::Overlapping if case.rows < 2 => -row_bytes,
        Stride::Overlapping => 0,
        Stride::Far(_) if case.rows < 2 => i64::MAX,
        Stride::Far(bits) => ((1_i64 << bits) / steps + 64 - row_bytes).max(0),
    }
}

/// The patch of a special value: `None` for the first level, and where the buffer has no element.
fn special(buffer: Buffer, values: &[u32], level: usize, case: &Case) -> Option<Patch> {
    let level = level.checked_sub(1)?;
    let used = case.operation.inputs(case.scaled).contains(&buffer);
    let last = (case.shape().needed(case.operation, buffer) as usize).checked_sub(1).filter(|_| used)?;
    let index = [0, last / 2, last][level % PLACES];
    Some(Patch { buffer, index, bits: vec![values[level / PLACES]] })
}

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
}

impl Sweep {
    /// The sweep of `operation`.
    pub fn of(operation: Operation) -> &'static Self {
        static SWEEPS: [OnceLock<Sweep>; Operation::ALL.len()] =
            [const { OnceLock::new() }; Operation::ALL.len()];
        SWEEPS[operation as usize].get_or_init(|| Self::new(operation))
    }

    fn new(operation: Operation) -> Self {
        let mut cases: Vec<Vec<Combined>> = parts(operation).iter().enumerate().map(combined).collect();
        cases.push(wrong_sizes(operation, cases.len()));
        let mut sweep = Self { cases: interleaved(cases), whole: Coverage::default() };
        sweep.whole = sweep.coverage(sweep.cases.len() as u64);
        sweep
    }

    /// How many cases there are.
    pub fn len(&self) -> u64 {
        self.cases.len() as u64
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

    /// What occurs in the first so many cases.
    pub fn coverage(&self, cases: u64) -> Coverage {
        let (mut edges, mut both) = (HashSet::new(), HashSet::new());
        for combined in self.cases.iter().take(usize::try_from(cases).unwrap_or(usize::MAX)) {
            edges.extend(combined.levels.iter().copied().enumerate().map(|level| (combined.part, level)));
            both.extend(pairs(&combined.levels).map(|pair| (combined.part, pair)));
        }
        Coverage { edges: edges.len(), pairs: both.len() }
    }

    /// What occurs in all of it.
    pub fn whole(&self) -> Coverage {
        self.whole
    }
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
    let spare = whole.resizable_buffers().map(Factor::Spare);
    stride.into_iter().chain(whole.buffers().map(offset)).chain(spare).collect()
}

fn parts(operation: Operation) -> Vec<Part> {
    let base = |regime| Case { regime, ..Case::new(operation, 1, 0) };
    let part = |base, shape: Vec<Factor>, more: Vec<Factor>| Part { base, factors: [shape, more].concat() };
    let shape = |rows, cols| shape(operation, rows, cols);
    let with_how = |more: &[Factor]| [how(operation), more.to_vec()].concat();
    let regimes = Factor::Regime(Regime::drawn(operation));
    let stride = operation.is_matrix().then_some(Factor::Stride(SOME_STRIDES));
    let data: Vec<Factor> = [regimes, Factor::Codes].into_iter().chain(stride).collect();
    let mut parts = vec![
        part(base(Regime::Integer), shape(ROWS, COLS), with_how(&layout(operation, SOME_BYTE_OFFSETS))),
        part(base(Regime::Integer), shape(&[1, 2], LONG_COLS), with_how(&[])),
        part(base(Regime::Ten), shape(SOME_ROWS, SOME_COLS), with_how(&data)),
        part(
            base(Regime::Wide),
            shape(&[1, 3, 17, 64], &[5, 64, 300, 1024, 2050]),
            with_how(&[Factor::Threads, Factor::Regime(&[Regime::Integer, Regime::Wide])]),
        ),
        part(base(Regime::Integer), shape(&[2, 4, 16], &[1, 64, 300]), layout(operation, BYTE_OFFSETS)),
    ];
    if operation.is_matrix() {
        // Of one sign, so that what is lost adds up.
        let base = Case { codes: Codes::Uniform(2), ..base(Regime::Absorbing) };
        parts.push(part(base, shape(&[1, 3], &[33, 64, 256, 300, 1024, 2048]), how(operation)));
    }
    if !operation.is_matrix() {
        // Every byte at every place.
        let base = Case { codes: Codes::Bytes, ..base(Regime::Ten) };
        parts.push(part(base, shape(&[1], &[1 << 16]), with_how(&[regimes])));
    }
    if operation.is_matrix() {
        parts.push(part(base(Regime::Integer), shape(MANY_ROWS, &[3]), Vec::new()));
        let far = shape(&[1, 2, 3, 5, 9, 65], &[1, 63, 256, 300, 1025]);
        parts.push(part(base(Regime::Integer), far, with_how(&[Factor::Stride(FAR_STRIDES)])));
    }
    if operation.has_digits() {
        // The code that kernels raise the most: with it narrow sums overflow soonest.
        let base = Case { codes: Codes::Uniform(3), ..base(Regime::Extreme) };
        parts.push(part(base.clone(), shape(&[1, 3], COLS), how(operation)));
        parts.push(part(base, shape(&[1], LONG_COLS), Vec::new()));
    }
    if operation.may_be_scaled() {
        let both = [Factor::Special(Buffer::X, &EDGE_BITS), Factor::Special(Buffer::Scales, EXTREME_SCALES)];
        let base = Case { scaled: true, ..base(Regime::Ten) };
        parts.push(part(base, shape(&[1, 2], &[7, 64, 300]), both.to_vec()));
    }
    for buffer in [Buffer::X, Buffer::Scales] {
        let scaled = operation.may_be_scaled() || operation == Operation::Dequantize;
        if operation.inputs(scaled).contains(&buffer) {
            let regimes = Factor::Regime(&[Regime::Ten, Regime::Sparse]);
            let more = with_how(&[Factor::Special(buffer, &EDGE_BITS), Factor::Codes, regimes]);
            parts.push(part(base(Regime::Ten), shape(&[1, 2, 5], FEW_COLS), more));
        }
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

/// Every way in which sizes may be wrong, on shapes that have the edges in question; and x that fixed point refuses.
fn wrong_sizes(operation: Operation, part: usize) -> Vec<Combined> {
    let shapes: &[(usize, usize)] = match operation.is_matrix() {
        true => &[(1, 1), (1, 256), (2, 257), (3, 300), (4, 64), (5, 1024)],
        false => &[(1, 1), (1, 4), (1, 5), (1, 255), (1, 256), (1, 257), (1, 1024)],
    };
    let mut cases = Vec::new();
    for &(rows, cols) in shapes {
        for scaled in [false, true] {
            let mut case = Case::new(operation, rows, cols);
            if scaled && !operation.may_be_scaled() {
                continue;
            }
            case.scaled |= scaled;
            too_short(&case, &mut cases);
            if operation.is_matrix() {
                impossible_strides(&case, &mut cases);
            }
            if operation.has_digits() {
                not_finite(&case, &mut cases);
            }
        }
    }
    if operation.has_digits() {
        let digits = [0, 5, 255].map(|digits| Case { digits, ..Case::new(operation, 2, 300) });
        cases.extend(digits);
        cases.push(Case::new(operation, 1, MAX_FIXED_COLUMNS + 1));
    }
    cases.into_iter().enumerate().map(|(at, case)| Combined { case, part, levels: vec![at] }).collect()
}

/// Each buffer shorter than needed, by one element up to all of them.
fn too_short(case: &Case, cases: &mut Vec<Case>) {
    for buffer in case.resizable_buffers() {
        let needed = case.shape().needed(case.operation, buffer) as i64;
        let mut short = vec![1, 2, 8, 63, needed / 2, needed - 1, needed];
        short.retain(|short| (1..=needed).contains(short));
        short.sort_unstable();
        short.dedup();
        cases.extend(short.into_iter().map(|short| {
            let mut case = case.clone();
            case.spare[buffer] = -short;
            case
        }));
    }
}

/// Strides at which rows overlap, and products that wrap around to a few bytes, or to nothing.
fn impossible_strides(case: &Case, cases: &mut Vec<Case>) {
    let row_bytes = case.shape().row_bytes() as i64;
    if case.rows > 1 {
        let small = [1, 8, 63, 64, row_bytes];
        cases.extend(small.map(|less| Case { stride: -less.min(row_bytes), ..case.clone() }));
    }
    for power in 1..=3 {
        let rows = 1 + (1 << power);
        let wrapping =
            |extra: i64| ((1_u64 << (64 - power)) as i64).wrapping_add(extra).wrapping_sub(row_bytes);
        cases.extend([0, 1, 64].map(|extra| Case { rows, stride: wrapping(extra), ..case.clone() }));
    }
    for huge in [usize::MAX, usize::MAX - 255, 1 << 63, 1 << 62, (1 << 62) + 1, 1 << 58] {
        cases.extend([Case { rows: huge, ..case.clone() }, Case { cols: huge, ..case.clone() }]);
    }
}

/// An element of x that no fixed point has, first and last.
fn not_finite(case: &Case, cases: &mut Vec<Case>) {
    for bits in NOT_FINITE {
        for index in [0, case.cols - 1] {
            let patch = Patch { buffer: Buffer::X, index, bits: vec![bits] };
            cases.push(Case { patches: vec![patch], ..case.clone() });
        }
    }
}

/// The parts in turn, small shapes of all of them first.
fn interleaved(mut parts: Vec<Vec<Combined>>) -> Vec<Combined> {
    for part in &mut parts {
        part.sort_by_key(|combined| size_class(&combined.case));
    }
    let mut parts: Vec<_> = parts.into_iter().map(|part| part.into_iter().peekable()).collect();
    let mut all = Vec::new();
    for class in 0..SIZE_CLASSES {
        loop {
            let before = all.len();
            all.extend(
                parts.iter_mut().filter_map(|part| part.next_if(|next| size_class(&next.case) == class)),
            );
            if all.len() == before {
                break;
            }
        }
    }
    all
}

const SIZE_CLASSES: usize = 4;

/// How much work a case is.
fn size_class(case: &Case) -> usize {
    match case.rows.saturating_mul(case.cols) {
        0..=0x7ff => 0,
        0x800..=0x1fff => 1,
        0x2000..=0x7fff => 2,
        _ => 3,
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
        let (half, whole) = (sweep.coverage(sweep.len() / 2), sweep.whole());
        assert!(half.pairs < whole.pairs && half.edges <= whole.edges, "{half:?} of {whole:?}");
        assert_eq!(sweep.coverage(u64::MAX), whole);
        assert_eq!(sweep.case(sweep.len(), 0), None);
    }
}
