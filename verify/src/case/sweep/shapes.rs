//! Shapes by themselves: every small count, the matrices of published models, and element counts around powers of two. Each is one call
//! on integer data, of which the oracle demands every bit; no relations, so that there can be thousands.

use std::collections::HashSet;

use super::super::Case;
use super::super::generate::one_sign;
use super::super::models;
use super::factors::{BATCHES, scalings};
use crate::buffer::Buffer;
use crate::data::{Codes, Distribution};
use crate::domain::Domain;
use crate::operation::DIGITS;

/// Part of the small counts that are all tried of formats other than qk256.
const LESS: usize = 8;

/// Rows that are all tried at one column.
const ROWS: usize = 4200;

/// Columns that are all tried in one row.
const COLS: usize = 8448;

/// Lengths of vectors that are all tried.
const LENGTHS: usize = 4352;

/// Elements of a model's matrix that is tried whole. Of larger ones its width and its height are tried apart.
const MODEL_ELEMENTS: usize = 1 << 20;

/// KiB of the stack of many a thread pool.
const SMALL_STACK: u16 = 256;

/// Columns, or elements of a vector, of calls on it.
const STACKED: [usize; 9] = [300, 1024, 2049, 4096, 8193, 16_384, 32_769, 65_536, 131_072];

/// The shapes of a domain, in lists, each in order of size.
pub(super) fn shapes(domain: Domain) -> Vec<Vec<Case>> {
    let mut lists = if domain.operation.is_matrix() { of_matrices(domain) } else { of_vectors(domain) };
    let most = domain.operation.spec().most_elements;
    lists.iter_mut().for_each(|cases| cases.retain(|case| case.rows * case.cols <= most));
    if !domain.is_plain() {
        lists.iter_mut().for_each(|cases| fit(domain, cases));
    }
    lists
}

/// Raises shapes to what is required, each once.
fn fit(domain: Domain, cases: &mut Vec<Case>) {
    let mut met = HashSet::new();
    cases.iter_mut().for_each(Case::fit);
    cases.retain(|case| {
        let is_small = case.rows.max(1) * case.cols <= most_elements(domain);
        is_small
            && met.insert((
                case.rows,
                case.cols,
                case.batch,
                case.scaled,
                case.stack,
                case.codes.name(),
                case.offset[Buffer::Out],
            ))
    });
}

/// Elements of a shape in which columns are raised to a multiple.
fn most_elements(domain: Domain) -> usize {
    if domain.operation.is_matrix() { 1 << 24 } else { usize::MAX }
}

/// The counts up to `most` that are all tried: of multiples, as many as there are up to it.
fn counts(domain: Domain, most: usize, unit: usize) -> impl Iterator<Item = usize> {
    let most = if domain.is_plain() { most } else { most / LESS };
    (1..=most.div_ceil(unit).max(64.min(most))).map(move |count| count * unit)
}

fn of_vectors(domain: Domain) -> Vec<Vec<Case>> {
    vec![
        counts(domain, LENGTHS, domain.cols_multiple()).map(|len| plain(domain, 1, len)).collect(),
        long_vectors(domain),
        model_lengths().into_iter().map(|len| plain(domain, 1, len)).collect(),
        on_a_small_stack(domain, &[1]),
        beyond_32_bits(domain),
    ]
}

fn of_matrices(domain: Domain) -> Vec<Vec<Case>> {
    let one_row = |cols: usize| match domain.operation.has_digits() {
        // Sums of digits have rows of one sign of their own, and rounding x takes time.
        true if cols.is_multiple_of(2) => vec![of_one_sign(domain, cols)],
        true => vec![plain(domain, 1, cols)],
        false => vec![plain(domain, 1, cols), of_one_sign(domain, cols)],
    };
    let rows_unit = domain.requirements.rows_multiple as usize;
    vec![
        counts(domain, ROWS, rows_unit).map(|rows| plain(domain, rows, 1)).collect(),
        counts(domain, COLS, domain.cols_multiple()).flat_map(one_row).collect(),
        model_shapes().into_iter().map(|(rows, cols)| plain(domain, rows, cols)).collect(),
        element_counts(domain),
        on_a_small_stack(domain, &[1, 2]),
    ]
}

/// Numbers of vectors that are all tried, and those around what bytes, panels and 16 bits count: short rows, with gaps in turn.
pub(super) fn batches(domain: Domain) -> Vec<Case> {
    if !domain.operation.is_batched() {
        return Vec::new();
    }
    let around = [256, 512, 1024, 4096].into_iter().flat_map(|count| [count - 1, count, count + 1]);
    let all = (1..=130).chain(around).chain([32_769, 65_537]);
    let each = |batch: usize| {
        let mut case = plain(domain, 2, 3);
        (case.batch, case.x_gap, case.out_gap) = (batch, (batch % 3) as i64, (batch % 2) as i64);
        case.fit();
        case
    };
    all.map(each).filter(|case| case.cols * case.batch <= MODEL_ELEMENTS).collect()
}

/// One call of a shape. Matrices with scales and without, and numbers of digits, take turns.
fn plain(domain: Domain, rows: usize, cols: usize) -> Case {
    let mut case = Case { once: true, ..Case::new(domain, rows, cols) };
    if domain.operation.is_batched() && rows * cols <= 1 << 16 {
        case.batch = BATCHES[(rows + cols) % BATCHES.len()];
    }
    case.distribution = if domain.operation.is_matrix() { Distribution::Integer } else { Distribution::Ten };
    case.scaled |= domain.may_be_scaled() && (rows + cols).is_multiple_of(3);
    if domain.operation.has_digits() {
        case.digits = *DIGITS.start() + ((rows + cols) % DIGITS.count()) as u8;
    }
    case
}

/// Long rows on a small stack.
fn on_a_small_stack(domain: Domain, rows: &[usize]) -> Vec<Case> {
    let each = |cols| rows.iter().map(move |&rows| Case { stack: SMALL_STACK, ..plain(domain, rows, cols) });
    STACKED.into_iter().flat_map(each).collect()
}

/// A row in which every term is as large as it can be, and of one sign.
fn of_one_sign(domain: Domain, cols: usize) -> Case {
    let full = one_sign(domain.operation);
    let last = domain.format.code_count() - 1;
    let codes = Codes::Uniform(if cols / full.len() % 4 == 3 { 0 } else { last });
    Case { distribution: full[cols % full.len()], codes, ..plain(domain, 1, cols) }
}

/// The matrices of models that are small enough, then the width of each larger one in a few rows, and its height in a few columns.
fn model_shapes() -> Vec<(usize, usize)> {
    let (small, large): (Vec<_>, Vec<_>) =
        models::shapes().into_iter().partition(|(rows, cols)| rows * cols <= MODEL_ELEMENTS);
    let parts = large.into_iter().flat_map(|(rows, cols)| [(5, cols), (rows, 17)]);
    let mut shapes: Vec<_> = small.into_iter().chain(parts).collect();
    shapes.sort_unstable_by_key(|&(rows, cols)| (rows * cols, rows));
    shapes.dedup();
    shapes
}

/// Widths and heights of models beyond those lengths that are all tried.
fn model_lengths() -> Vec<usize> {
    let mut lengths: Vec<usize> =
        models::shapes().into_iter().flat_map(|(rows, cols)| [rows, cols]).collect();
    lengths.retain(|&length| length > LENGTHS);
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

/// A vector whose offsets in bits, and in bytes of f32, are beyond 32 bits with a sign, and of f32 without. The output of `lut` is that of
/// `dequantize`.
fn beyond_32_bits(domain: Domain) -> Vec<Case> {
    let is_packed = domain.inputs(false).contains(&Buffer::Packed);
    is_packed.then(|| plain(domain, 1, (1 << 30) + 70_001)).into_iter().filter(Case::is_long).collect()
}

/// Lengths around powers of two, with the output at a page and past it. Up to 2^18 elements with all relations.
fn long_vectors(domain: Domain) -> Vec<Case> {
    let mut cases = Vec::new();
    for bits in 13..=24 {
        let around: &[usize] = match bits {
            ..19 => &[0, 1, 2],
            19..23 => &[1, 2],
            _ => &[2],
        };
        for len in around.iter().map(|more| (1 << bits) - 1 + more) {
            for offset in if bits < 23 { 0..=1 } else { 0..=0 } {
                let mut case = Case { once: bits > 18, ..plain(domain, 1, len) };
                case.offset[Buffer::Out] = offset;
                cases.push(case);
            }
        }
    }
    cases
}

/// Matrices of about 2^12 to 2^24 elements: square, tall, wide, and of blocks with a tail; then one column of more rows than 16 bits
/// count.
fn element_counts(domain: Domain) -> Vec<Case> {
    let mut shapes = Vec::new();
    for bits in 12..=24_u32 {
        let count = 1_usize << bits;
        let side = 1 << (bits / 2);
        let just_above = |cols: usize| (count / cols + 1, cols);
        match bits {
            ..19 => {
                shapes.extend([(side, count / side - 1), (side, count / side)]);
                shapes.extend([(3, count / 3), (count / 3, 3)]);
            }
            // By columns of 17 it would be too many bytes.
            _ => shapes.push(just_above(65)),
        }
        shapes.extend([(side, count / side + 1), just_above(1025)]);
        match bits {
            ..19 => shapes.extend([(3, count / 3 + 1), just_above(3), just_above(17)]),
            19..23 => shapes.extend([(3, count / 3 + 1), just_above(1050)]),
            _ => {}
        }
    }
    shapes.extend([65_535, 65_536, 65_537, 131_073, 262_145].map(|rows| (rows, 1)));
    let scalings: &[bool] = if domain.may_be_scaled() { &[false, true] } else { &[false] };
    let each =
        |(rows, cols)| scalings.iter().map(move |&scaled| Case { scaled, ..plain(domain, rows, cols) });
    let mut cases: Vec<Case> = shapes.into_iter().flat_map(each).collect();
    cases.sort_by_key(|case| case.rows * case.cols);
    cases
}

/// Large matrices with all relations, on numbers that do round: what a kernel does in the first calls of that size only shows there. They
/// come before all others of their size.
pub(super) fn first_of_their_size(domain: Domain) -> Vec<Case> {
    let shapes = [(512, 512), (130, 4097), (1025, 1025)].into_iter();
    let each = |(rows, cols)| {
        scalings(domain).iter().take(2).map(move |scales| {
            let case = Case::new(domain, rows, cols);
            let mut case = Case { scaled: scales.is_some(), distribution: Distribution::Ten, ..case };
            case.fit();
            case
        })
    };
    shapes.flat_map(each).filter(|_| domain.operation.is_matrix()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Operation;

    /// Rows, columns and whether there are scales.
    fn met(operation: Operation) -> HashSet<(usize, usize, bool)> {
        shapes(operation.into())
            .into_iter()
            .flatten()
            .map(|case| (case.rows, case.cols, case.scaled))
            .collect()
    }

    #[test]
    fn every_small_count_is_tried_and_so_are_shapes_that_real_kernels_failed_at() {
        for operation in [Operation::Gemv, Operation::GemvFixed] {
            let met = met(operation);
            let is_met = |rows, cols| met.iter().any(|&(r, c, _)| (r, c) == (rows, cols));
            assert!((1..=4200).all(|rows| is_met(rows, 1)) && (1..=8448).all(|cols| is_met(1, cols)));
            // Of BitNet-b1.58-2B-4T a quarter of the keys, and an eighth of the first feed-forward layer, which is too large, in parts.
            assert!(is_met(160, 2560) && is_met(864, 17) && is_met(5, 2560), "{operation}");
        }
        for operation in [Operation::Unpack, Operation::Lut, Operation::Dequantize] {
            let met = met(operation);
            let lengths: HashSet<usize> = met.iter().map(|&(_, len, _)| len).collect();
            assert!((1..=4352).all(|len| lengths.contains(&len)), "{operation}");
            assert!([6912, 128_256, 262_144, 262_145].iter().all(|len| lengths.contains(len)), "{operation}");
        }
        let met = met(Operation::Gemv);
        for bits in 20..=24 {
            let is_just_above =
                |rows: usize, cols: usize| (1 << bits..3 << (bits - 1)).contains(&(rows * cols));
            for scaled in [false, true] {
                let count = met.iter().filter(|&&(r, c, s)| s == scaled && is_just_above(r, c)).count();
                assert!(count >= 3, "{count} of 2^{bits} elements, scaled: {scaled}");
            }
        }
        assert!(met.contains(&(65_537, 1, true)) && met.contains(&(65_537, 1, false)));
    }
}
