//! The edges: what a dimension of cases may be, value by value.

use super::super::{Case, Patch};
use crate::buffer::Buffer;
use crate::data::{Codes, Distribution, Scales};
use crate::domain::Domain;
use crate::format::Format;
use crate::operation::DIGITS;
use crate::shape::Threads;

/// Rows around tile heights and around what a byte counts.
pub(super) const ROWS: &[usize] =
    &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 15, 16, 17, 24, 25, 31, 32, 33, 48, 49, 63, 64, 65, 257];

/// Columns around vector widths, unrolled loops and blocks.
pub(super) const COLS: &[usize] = &[
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 23, 24, 25, 31, 32, 33, 40, 47, 48, 49, 56, 63, 64, 65, 80,
    95, 96, 97, 112, 127, 128, 129, 159, 160, 191, 192, 193, 224, 240, 255, 256, 257, 260, 263, 271, 287,
    288, 319, 320, 321, 383, 384, 385, 448, 511, 512, 513, 639, 640, 641, 767, 768, 769, 1023, 1024, 1025,
    1279, 1280, 1281, 2047, 2048, 2049, 2304, 2560, 4095, 4096, 4097,
];

/// Columns around the greater powers of two, up to 2^17.
pub(super) const LONG_COLS: &[usize] = &[
    8191, 8192, 8193, 16383, 16384, 16385, 32767, 32768, 32769, 65535, 65536, 65537, 131_071, 131_072,
    131_073,
];

/// Columns for data of every kind.
pub(super) const SOME_COLS: &[usize] = &[
    1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 100, 127, 128, 129, 255, 256, 257, 300, 511, 512, 513,
    770, 1024, 2048, 2304, 4097,
];

/// Columns for special values.
pub(super) const FEW_COLS: &[usize] = &[1, 2, 7, 8, 9, 16, 17, 33, 64, 65, 129, 256, 257, 300, 513];

/// Rows for data of every kind.
pub(super) const SOME_ROWS: &[usize] = &[1, 2, 3, 5, 8, 33];

/// How far apart rows lie where memory is plain.
pub(super) const STRIDES: &[Stride] = &[
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
pub(super) const SOME_STRIDES: &[Stride] = &[Stride::Gap(0), Stride::Gap(64), Stride::Gap(3)];

/// How far apart they lie where it is sparse.
pub(super) const FAR_STRIDES: &[Stride] = &[Stride::Far(31), Stride::Far(32)];

/// Byte offsets that meet every row and column count.
pub(super) const SOME_BYTE_OFFSETS: &[u8] = &[0, 1, 2, 3, 4, 8, 15, 16, 17, 24, 31];

/// All of them.
pub(super) const BYTE_OFFSETS: &[u8] = &[
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28,
    29, 30, 31,
];

/// All offsets of f32, in elements.
pub(super) const FLOAT_OFFSETS: &[u8] = &[0, 1, 2, 3, 4, 5, 6, 7];

/// Elements by which buffers are longer than needed.
const SLACKS: &[i64] = &[0, 1, 8, 40];

/// Callers at one time.
const THREADS: [Threads; 2] = [Threads::new(2).expect("two are not too many"), Threads::MOST];

/// More rows than 16 bits count.
pub(super) const MANY_ROWS: &[usize] = &[65_537];

/// How far apart rows lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stride {
    /// So many bytes between rows.
    Gap(i64),
    /// Rows start a page, or a multiple of one, apart.
    Pages,
    /// No bytes at all, where there is one row at most and nobody looks at it; otherwise as close as may be.
    Overlapping,
    /// The last row starts just past 2 to this many bytes.
    Far(u32),
}

/// Vectors of a batch, around tiles.
pub(super) const BATCHES: &[usize] = &[1, 2, 3, 4, 5, 0, 7, 8, 9, 17];

/// Elements between vectors. Less than none is as close as may be: no stride at all, where nobody looks at it.
const GAPS: &[i64] = &[0, 1, 3, 8, 60, -1];

/// Columns of rows that are as large as can be.
pub(super) const EXTREME_COLS: &[usize] = &[
    32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 1792, 2048, 2176, 2304, 2560, 3072, 4096, 4352,
    5120, 6400, 8192, 65_536, 131_072,
];

/// Seeds that the extremes are tried with: their signs are drawn.
const SEEDS: usize = 4;

/// One dimension of cases.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Factor {
    Rows(&'static [usize]),
    Cols(&'static [usize]),
    Stride(&'static [Stride]),
    /// With what scales a gemv or dequantize works; none comes first.
    Scaling,
    Digits,
    /// Vectors of a batch.
    Batch(&'static [usize]),
    /// Elements between vectors, and between their results.
    XGap,
    OutGap,
    Offset(Buffer, &'static [u8]),
    Slack(Buffer),
    Codes(&'static Format),
    /// Nothing but another seed.
    Seed,
    Distribution(&'static [Distribution]),
    /// A special value, and where it stands.
    Special(Buffer, &'static [u32]),
    Threads,
}

/// Scales whose products are special where x is: zero, infinity, NaN.
pub(super) const EXTREME_SCALES: &[u32] = &[0, 0x7f80_0000, 0x7fc0_0000];

/// Part of a buffer that a special value is put to.
const PLACES: usize = 3;

impl Factor {
    pub(super) fn levels(self, domain: Domain) -> usize {
        match self {
            Self::Rows(rows) => rows.len(),
            Self::Cols(cols) => cols.len(),
            Self::Stride(strides) => strides.len(),
            Self::Scaling => scalings(domain).len(),
            Self::Digits => DIGITS.count(),
            Self::Batch(batches) => batches.len(),
            Self::XGap | Self::OutGap => GAPS.len(),
            Self::Seed => SEEDS,
            Self::Offset(_, offsets) => offsets.len(),
            Self::Slack(_) => SLACKS.len(),
            Self::Codes(format) => Codes::of(format).len(),
            Self::Distribution(distributions) => distributions.len(),
            Self::Special(_, values) => 1 + PLACES * values.len(),
            Self::Threads => THREADS.len(),
        }
    }

    /// What the level multiplies the work of a case by.
    pub(super) fn size(self, level: usize) -> usize {
        match self {
            Self::Rows(sizes) | Self::Cols(sizes) | Self::Batch(sizes) => sizes[level],
            Self::Threads => THREADS[level].count(),
            _ => 1,
        }
    }

    /// Gives `case` the level. Rows and columns come first: the others build on them.
    pub(super) fn apply(self, level: usize, case: &mut Case) {
        match self {
            Self::Rows(rows) => case.rows = rows[level],
            Self::Cols(cols) => case.cols = cols[level],
            Self::Stride(strides) => case.stride = stride(strides[level], case),
            Self::Scaling => {
                let scales = scalings(case.domain())[level];
                (case.scaled, case.scales) = (scales.is_some(), scales.unwrap_or(Scales::Independent));
            }
            Self::Digits => case.digits = DIGITS.start() + level as u8,
            Self::Batch(batches) => case.batch = batches[level],
            Self::XGap => case.x_gap = gap(GAPS[level], case.batch, case.cols),
            Self::OutGap => case.out_gap = gap(GAPS[level], case.batch, case.rows),
            Self::Seed => {}
            Self::Offset(buffer, offsets) => case.offset[buffer] = offsets[level],
            Self::Slack(buffer) => case.slack[buffer] = SLACKS[level],
            Self::Codes(format) => case.codes = Codes::of(format)[level],
            Self::Distribution(distributions) => case.distribution = distributions[level],
            Self::Special(buffer, values) => case.patches.extend(special(buffer, values, level, case)),
            Self::Threads => case.threads = THREADS[level],
        }
    }
}

pub(super) fn scalings(domain: Domain) -> &'static [Option<Scales>] {
    const ALL: &[Option<Scales>] =
        &[None, Some(Scales::Independent), Some(Scales::Equal), Some(Scales::Alternating)];
    match (domain.may_be_scaled(), domain.is_always_scaled()) {
        (true, _) => ALL,
        (false, true) => &ALL[1..],
        (false, false) => &ALL[..1],
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

/// The gap between vectors of this many elements. With one vector nobody looks at the stride.
fn gap(gap: i64, batch: usize, len: usize) -> i64 {
    match gap {
        ..0 if batch < 2 => -(len as i64),
        ..0 => 0,
        _ => gap,
    }
}

/// The patch of a special value: `None` for the first level, and where the buffer has no element.
fn special(buffer: Buffer, values: &[u32], level: usize, case: &Case) -> Option<Patch> {
    let level = level.checked_sub(1)?;
    let used = case.operation.inputs(case.scaled).contains(&buffer);
    let last = (case.operation.needed(case.shape(), buffer) as usize).checked_sub(1).filter(|_| used)?;
    let index = [0, last / 2, last][level % PLACES];
    Some(Patch { buffer, index, bits: vec![values[level / PLACES]] })
}
