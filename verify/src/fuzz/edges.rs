//! A mutator that knows the edges: it leads the fuzzer to the cases of the sweep, and to their neighbours.
//!
//! An input that begins with [`MARK`] names a case of the sweep by its number and says how far rows and columns are from it; what
//! follows is the seed of its data, then patches.

use arbitrary::Unstructured;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::{RUN_OUT, Target, is_small};
use crate::case::{Case, Sweep};
use crate::domain::Domain;

/// The first byte of an input at an edge.
const MARK: u8 = 0xed;

/// Bytes that say at which one.
const HEAD: usize = 5;

/// An input at an edge.
pub(super) struct Edge<'a> {
    /// The number of the case of the sweep's edges, taken modulo how many there are.
    number: u16,
    rows: i8,
    cols: i8,
    rest: &'a [u8],
}

impl<'a> Edge<'a> {
    /// What some bytes say; `None` for those of a drawn case.
    pub(super) fn of(data: &'a [u8]) -> Option<Self> {
        let (&[mark, low, high, rows, cols], rest) = data.split_first_chunk::<HEAD>()?;
        let number = u16::from_le_bytes([low, high]);
        (mark == MARK).then_some(Self { number, rows: rows as i8, cols: cols as i8, rest })
    }

    /// The case, with scales or without; `None` for one that is to be refused.
    pub(super) fn case(self, domain: Domain, scaled: bool) -> Option<Case> {
        let mut u = Unstructured::new(self.rest);
        let seed: u32 = u.arbitrary().expect(RUN_OUT);
        let mut case = Sweep::of(domain).edge(self.number.into(), 0)?;
        let moved = |from: usize, by: i8| from.saturating_add_signed(by.into());
        case.seed = seed.into();
        case.scaled = domain.is_always_scaled() || (scaled && domain.may_be_scaled());
        case.cols = moved(case.cols, self.cols);
        if domain.operation.is_matrix() {
            case.rows = moved(case.rows, self.rows);
        }
        case.patches.clear();
        if !is_small(&case) {
            // Before its buffers are filled, only to be thrown away.
            return None;
        }
        case.fit();
        if !case.materialize(None).is_ok_and(|inputs| inputs.is_legal()) {
            return None;
        }
        case.draw_patches(&mut u).expect(RUN_OUT);
        Some(case)
    }
}

/// Changes the first `size` bytes of `data` to an input of `target` that is worth a try, by choices of `seed`: to an edge of
/// the sweep, to the neighbour of one, or as `otherwise` does, the fuzzer's own mutator, which is given `data`, the size and
/// the largest size. The result is the new size.
pub fn mutate(
    target: Target,
    data: &mut [u8],
    size: usize,
    max_size: usize,
    seed: u32,
    otherwise: fn(&mut [u8], usize, usize) -> usize,
) -> usize {
    if target.legal().is_none() || max_size < HEAD {
        return otherwise(data, size, max_size);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed.into());
    let draw = rng.next_u32();
    let by = (rng.next_u32() % 8) as u8 + 1;
    let step = if draw & 1 == 0 { by } else { by.wrapping_neg() };
    match Mutation::of(draw >> 8 & 7, size >= HEAD && data[0] == MARK) {
        Mutation::ToEdge => {
            let [low, high, ..] = rng.next_u32().to_le_bytes();
            data[..HEAD].copy_from_slice(&[MARK, low, high, 0, 0]);
            size.max(HEAD)
        }
        Mutation::ToNextEdge => {
            let number = u16::from_le_bytes([data[1], data[2]]).wrapping_add_signed(i16::from(step as i8));
            data[1..3].copy_from_slice(&number.to_le_bytes());
            size
        }
        Mutation::Further(place) => {
            data[place] = data[place].wrapping_add(step);
            size
        }
        Mutation::BehindHead => HEAD + otherwise(&mut data[HEAD..], size - HEAD, max_size - HEAD),
        Mutation::Other => otherwise(data, size, max_size),
    }
}

/// What is done to an input.
enum Mutation {
    /// It becomes an edge of the sweep.
    ToEdge,
    /// It becomes another edge, near in number.
    ToNextEdge,
    /// The byte at this place, of rows or columns, changes a little.
    Further(usize),
    /// The fuzzer changes what follows the edge.
    BehindHead,
    /// The fuzzer changes anything.
    Other,
}

impl Mutation {
    /// By a draw from 0 to 7. Only what is an edge has a neighbour.
    const fn of(draw: u32, is_edge: bool) -> Self {
        match draw {
            0 | 1 => Self::ToEdge,
            2 if is_edge => Self::ToNextEdge,
            3 | 4 if is_edge => Self::Further(draw as usize),
            5 if is_edge => Self::BehindHead,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Operation;

    #[test]
    fn mutations_lead_to_legal_edges_and_to_their_neighbours() {
        let nothing: fn(&mut [u8], usize, usize) -> usize = |_, size, _| size;
        let mut data = [0; 64];
        let (mut size, mut edges, mut cols) = (0, 0, Vec::new());
        for seed in 0..2000 {
            size = mutate(Target::of(Operation::Gemv, false), &mut data, size, 64, seed, nothing);
            if let Some(case) =
                Edge::of(&data[..size]).and_then(|edge| edge.case(Operation::Gemv.into(), false))
            {
                edges += 1;
                assert!(!case.scaled);
                cols.push(case.cols);
            }
        }
        cols.sort_unstable();
        cols.dedup();
        assert!(
            edges > 1000 && cols.len() > 100,
            "{edges} edges, {} different numbers of columns",
            cols.len()
        );
    }

    #[test]
    fn text_and_wrong_sizes_are_left_to_the_fuzzer() {
        let mut data = [1, 2, 3, 4, 5, 6];
        for target in [Target::CaseText, Target::Arguments] {
            assert_eq!(mutate(target, &mut data, 6, 6, 9, |_, _, _| 3), 3);
        }
        assert_eq!(data, [1, 2, 3, 4, 5, 6]);
    }
}
