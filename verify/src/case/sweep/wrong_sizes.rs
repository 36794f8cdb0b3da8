//! Calls that must be refused.

use super::super::generate::{HUGE, NOT_FINITE};
use super::super::{Case, Patch};
use crate::buffer::Buffer;
use crate::domain::Domain;
use crate::operation::MAX_FIXED_COLUMNS;

/// Every way in which sizes may be wrong, on shapes that have the edges in question; and x that must be refused.
pub(super) fn wrong_sizes(domain: Domain) -> Vec<Case> {
    let operation = domain.operation;
    let shapes: &[(usize, usize)] = match operation.is_matrix() {
        true => &[(1, 1), (1, 256), (2, 257), (3, 300), (4, 64), (5, 1024)],
        false => &[(1, 1), (1, 4), (1, 5), (1, 255), (1, 256), (1, 257), (1, 1024)],
    };
    let mut cases = Vec::new();
    for &(rows, cols) in shapes {
        for scaled in [false, true] {
            let mut case = Case::new(domain, rows, cols);
            if scaled && !domain.may_be_scaled() {
                continue;
            }
            case.scaled |= scaled;
            case.fit();
            too_short(&case, &mut cases);
            if operation.is_matrix() {
                impossible_strides(&case, &mut cases);
            }
            if operation.whole_blocks() {
                parts_of_blocks(&case, &mut cases);
            }
            if operation.is_batched() {
                overlapping_vectors(&case, &mut cases);
            }
            if operation.needs_finite_x() {
                not_finite(&case, &mut cases);
            }
        }
    }
    if operation.has_digits() {
        let digits = [0, 5, 255].map(|digits| Case { digits, ..Case::new(domain, 2, 300) });
        cases.extend(digits);
        cases.push(Case::new(domain, 1, MAX_FIXED_COLUMNS + 1));
    }
    cases
}

/// Each buffer shorter than needed, by one element up to all of them.
fn too_short(case: &Case, cases: &mut Vec<Case>) {
    for buffer in case.resizable_buffers() {
        let needed = case.operation.needed(case.shape(), buffer) as i64;
        let mut short = vec![1, 2, 8, 63, needed / 2, needed - 1, needed];
        short.retain(|short| (1..=needed).contains(short));
        short.sort_unstable();
        short.dedup();
        cases.extend(short.into_iter().map(|short| {
            let mut case = case.clone();
            case.slack[buffer] = -short;
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
    for huge in HUGE {
        cases.extend([Case { rows: huge, ..case.clone() }, Case { cols: huge, ..case.clone() }]);
    }
}

/// Columns that are no whole blocks, of weights or of activations.
fn parts_of_blocks(case: &Case, cases: &mut Vec<Case>) {
    let unit = case.domain().col_unit();
    let parts = [1, unit / 2, unit - 1].into_iter().filter(|part| (1..unit).contains(part));
    cases.extend(parts.map(|part| Case { cols: case.cols + part, ..case.clone() }));
}

/// Batches whose vectors, or their results, are less far apart than they are long, whose buffers are short, and whose products wrap.
fn overlapping_vectors(case: &Case, cases: &mut Vec<Case>) {
    let batch = |batch| Case { batch, ..case.clone() };
    too_short(&batch(3), cases);
    too_short(&Case { x_gap: 5, out_gap: 5, ..batch(3) }, cases);
    for short in [1, case.cols as i64] {
        cases.push(Case { x_gap: -short, ..batch(2) });
    }
    for short in [1, case.rows as i64] {
        cases.push(Case { out_gap: -short, ..batch(2) });
    }
    let wrapping = |len: usize| ((1_u64 << 63) as i64).wrapping_sub(len as i64);
    cases.push(Case { x_gap: wrapping(case.cols), ..batch(3) });
    cases.push(Case { out_gap: wrapping(case.rows), ..batch(3) });
    cases.extend(HUGE.map(batch));
}

/// An element of x that is not finite, first and last.
fn not_finite(case: &Case, cases: &mut Vec<Case>) {
    for bits in NOT_FINITE {
        for index in [0, case.cols - 1] {
            let patch = Patch { buffer: Buffer::X, index, bits: vec![bits] };
            cases.push(Case { patches: vec![patch], ..case.clone() });
        }
    }
}
