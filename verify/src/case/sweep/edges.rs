//! Rows and columns that follow from a domain: those of a format, and of what a kernel requires.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::domain::Domain;

/// Columns up to which edges are multiplied by what columns must be a multiple of.
const MOST_COLS: usize = 1 << 13;

/// These columns where all may come. Of another format those around its blocks and groups are more; where columns are multiples of a
/// number, the next ones, and as many small multiples as there are edges.
pub(super) fn cols(domain: Domain, cols: &[usize]) -> &'static [usize] {
    if domain.is_plain() && domain.col_unit() == 1 {
        return kept(cols.iter().copied().collect());
    }
    let mut all: BTreeSet<usize> = cols.iter().map(|&cols| domain.cols(cols)).collect();
    let (unit, most) = (domain.cols_multiple(), cols.iter().copied().max().unwrap_or(0));
    if cols.len() > FEW {
        all.extend(around(domain).filter(|&each| each <= most).map(|cols| domain.cols(cols)));
    }
    let small = (1..).map(|times| times * unit).take_while(|&cols| cols <= most.min(MOST_COLS));
    let missing = cols.len().saturating_sub(all.len());
    let small: Vec<usize> = small.filter(|cols| !all.contains(cols)).take(missing).collect();
    all.extend(small.into_iter().map(|cols| domain.cols(cols)));
    kept(all)
}

/// Rows that may come instead of these, and small multiples of what they must be a multiple of.
pub(super) fn rows(domain: Domain, rows: &[usize]) -> &'static [usize] {
    let required = domain.requirements;
    let mut all: BTreeSet<usize> = rows.iter().map(|&rows| required.rows(rows)).collect();
    if rows.len() > FEW && required.rows_multiple > 1 {
        all.extend((1..=rows.len() / 2).map(|times| times * required.rows_multiple as usize));
    }
    kept(all)
}

/// Edges of a list that is not to grow.
const FEW: usize = 8;

/// Columns around the first blocks, bytes and groups of a format.
fn around(domain: Domain) -> impl Iterator<Item = usize> {
    let format = domain.format;
    let groups = format.plain().map_or([1, 1], |plain| [plain.group, plain.group * plain.codes_per_byte()]);
    let units = [format.block_len, domain.activations.block_len, groups[0], groups[1]];
    let multiples = units.into_iter().flat_map(|unit| (1..=5).map(move |times| times * unit));
    multiples.flat_map(|cols| [cols - 1, cols, cols + 1])
}

/// A list that lives as long as the sweeps, which are kept for good.
fn kept(all: BTreeSet<usize>) -> &'static [usize] {
    static LISTS: Mutex<BTreeSet<&'static [usize]>> = Mutex::new(BTreeSet::new());
    let mut lists = LISTS.lock().unwrap_or_else(PoisonError::into_inner);
    let list: Vec<usize> = all.into_iter().collect();
    if let Some(known) = lists.get(list.as_slice()) {
        return known;
    }
    let list: &'static [usize] = list.leak();
    lists.insert(list);
    list
}
