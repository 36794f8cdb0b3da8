//! The order in which a gemv adds: revealed from outside, as a tree of f32 additions.
//!
//! Among ones, put `M` so large that adding ones to it changes nothing at column `i`, and `-M` at column `j`. Whatever is added
//! to either before they meet is lost, so the result counts the columns that join after they have met: how many columns lie
//! below the addition that brings `i` and `j` together. All such counts determine the tree; a few for each column are enough
//! (Xie et al., Revealing Floating-Point Accumulation Orders in Software/Hardware Implementations, arXiv 2411.00442).
//!
//! On the tree a [`Model`] predicts the bits of a result. It has been tried on random codes and numbers. A kernel whose order depends
//! on the codes is right as well, and has no model. Nor has one that rounds once, after all is added (`once`): what it gives is known
//! without.

mod draw;
mod known;
mod model;
mod once;
mod probe;
mod reveal;
mod words;

use std::collections::BTreeMap;

pub(crate) use known::{KnownOrders, depends_on_codes};
pub use known::{LONG_ORDER_COLUMNS, ORDER_COLUMNS, is_ordered};
pub use model::{Model, Precision, Scaling};
pub use probe::{Operands, RevealError, Subject};
pub use reveal::{differing_places, reveal};
pub use words::Revealed;

/// The tree of the additions of a row: the columns are its leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    cols: usize,
    /// What each addition adds: numbers below `cols` are columns, the others `cols` plus the number of an earlier addition.
    /// The last one gives the result. Of the two, that with the smallest column comes first.
    sums: Vec<[usize; 2]>,
}

impl Order {
    /// The number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The most additions that a term goes through.
    pub fn depth(&self) -> usize {
        self.depths().last().copied().unwrap_or(0)
    }

    /// The partial sums: the largest parts of the tree in which every addition adds one column, each as its columns in the order
    /// in which they join. The first part holds column 0, and so on.
    pub fn partial_sums(&self) -> Vec<Vec<usize>> {
        let mut parts: BTreeMap<usize, Vec<usize>> =
            (0..self.cols).map(|column| (column, vec![column])).collect();
        for (at, &[a, b]) in self.sums.iter().enumerate() {
            let (chain, column) = if b < self.cols { (a, b) } else { (b, a) };
            if column < self.cols && parts.contains_key(&chain) {
                let mut columns = parts.remove(&chain).expect("just seen");
                parts.remove(&column);
                columns.push(column);
                parts.insert(self.cols + at, columns);
            }
        }
        let mut parts: Vec<_> = parts.into_values().collect();
        parts.sort_by_key(|columns| columns.iter().copied().min());
        parts
    }

    /// The additions on the way of the term that goes through the most, from each column and addition downwards.
    fn depths(&self) -> Vec<usize> {
        let mut depths = vec![0; self.cols];
        for &[a, b] in &self.sums {
            depths.push(1 + depths[a].max(depths[b]));
        }
        depths
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ((0 + 2) + 4) + ((1 + 3) + 5)
    fn two_chains() -> Order {
        Order { cols: 6, sums: vec![[0, 2], [6, 4], [1, 3], [8, 5], [7, 9]] }
    }

    #[test]
    fn a_tree_says_how_deep_it_is_and_what_its_partial_sums_are() {
        let order = two_chains();
        assert_eq!(order.depth(), 3);
        assert_eq!(order.partial_sums(), [[0, 2, 4], [1, 3, 5]]);
        let one = Order { cols: 1, sums: vec![] };
        assert_eq!((one.depth(), one.partial_sums()), (0, vec![vec![0]]));
    }
}
