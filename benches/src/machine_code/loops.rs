//! The innermost loops of a function.
//!
//! A loop is a set of basic blocks each of which reaches all the others. Without the edges that lead to its entries, what
//! still reaches itself is a loop inside it; one that has none inside is innermost. Unlike back edges by dominators, this
//! finds loops with several entries too. A loop inside another that is entered at the same block counts as one with it: then
//! more is asked of the whole than of the inner one, never less.

use std::collections::BTreeSet;
use std::ops::Range;

use super::decode::{Flow, Step};

/// The steps of each innermost loop, in the order of their addresses: those of cold blocks that jump back are among them,
/// those of a panic are not.
pub(super) fn innermost(steps: &[Step]) -> Vec<Vec<usize>> {
    let blocks = blocks(steps);
    let edges: Vec<_> = blocks.iter().map(|block| successors(block, &blocks, steps)).collect();
    let steps_of = |nodes: BTreeSet<usize>| nodes.into_iter().flat_map(|node| blocks[node].clone()).collect();
    innermost_cycles(&edges).into_iter().map(steps_of).collect()
}

/// The basic blocks: only the last step of each goes anywhere but to the next, and only their first steps are gone to.
fn blocks(steps: &[Step]) -> Vec<Range<usize>> {
    let mut starts = BTreeSet::from([0, steps.len()]);
    for (at, step) in steps.iter().enumerate() {
        match step.flow {
            Flow::On | Flow::Call(_) => continue,
            Flow::Branch(target) | Flow::Jump(target) => starts.insert(target),
            Flow::Leave(_) | Flow::End => false,
        };
        starts.insert(at + 1);
    }
    let starts: Vec<usize> = starts.into_iter().collect();
    starts.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

/// The blocks that control may reach next.
fn successors(block: &Range<usize>, blocks: &[Range<usize>], steps: &[Step]) -> Vec<usize> {
    let next = block.end;
    let targets = match steps[block.end - 1].flow {
        Flow::On | Flow::Call(_) => vec![next],
        Flow::Branch(target) => vec![next, target],
        Flow::Jump(target) => vec![target],
        Flow::Leave(_) | Flow::End => vec![],
    };
    targets.iter().filter_map(|&target| blocks.iter().position(|block| block.start == target)).collect()
}

/// The innermost cycles of a graph, given by the successors of each node.
fn innermost_cycles(edges: &[Vec<usize>]) -> Vec<BTreeSet<usize>> {
    cycles(edges).into_iter().flat_map(|cycle| innermost_of(cycle, edges)).collect()
}

/// The innermost cycles of a cycle: itself, if it has none inside.
fn innermost_of(cycle: BTreeSet<usize>, edges: &[Vec<usize>]) -> Vec<BTreeSet<usize>> {
    let is_entry = |node: &usize| {
        *node == 0 || edges.iter().enumerate().any(|(from, to)| !cycle.contains(&from) && to.contains(node))
    };
    let mut entries: BTreeSet<usize> = cycle.iter().copied().filter(is_entry).collect();
    if entries.is_empty() {
        // Only a table of jumps leads here.
        entries.extend(cycle.first());
    }
    let inside = |(from, to): (usize, &Vec<usize>)| -> Vec<usize> {
        let stays = |to: &usize| cycle.contains(&from) && cycle.contains(to) && !entries.contains(to);
        to.iter().copied().filter(stays).collect()
    };
    let edges: Vec<_> = edges.iter().enumerate().map(inside).collect();
    let inner = innermost_cycles(&edges);
    if inner.is_empty() { vec![cycle] } else { inner }
}

/// The largest sets of nodes that all reach each other and themselves.
fn cycles(edges: &[Vec<usize>]) -> Vec<BTreeSet<usize>> {
    let reached: Vec<BTreeSet<usize>> = (0..edges.len()).map(|node| reached_from(node, edges)).collect();
    let cycle_of = |node: usize| -> BTreeSet<usize> {
        reached[node].iter().copied().filter(|&other| reached[other].contains(&node)).collect()
    };
    let first_of_its_cycle = |&(node, ref cycle): &(usize, BTreeSet<usize>)| cycle.first() == Some(&node);
    (0..edges.len())
        .map(|node| (node, cycle_of(node)))
        .filter(first_of_its_cycle)
        .map(|(_, cycle)| cycle)
        .collect()
}

/// The nodes that can be reached from `start` by one edge or more.
fn reached_from(start: usize, edges: &[Vec<usize>]) -> BTreeSet<usize> {
    let (mut reached, mut ahead) = (BTreeSet::new(), vec![start]);
    while let Some(node) = ahead.pop() {
        ahead.extend(edges[node].iter().copied().filter(|&next| reached.insert(next)));
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name, the successors of each node, and the innermost cycles.
    type Case = (&'static str, &'static [&'static [usize]], &'static [&'static [usize]]);

    #[test]
    fn innermost_cycles_are_those_without_a_cycle_inside() {
        let cases: &[Case] = &[
            ("no loop", &[&[1, 2], &[2], &[]], &[]),
            ("a block that repeats itself", &[&[1], &[1, 2], &[]], &[&[1]]),
            ("a function that is a loop from its first block on", &[&[1, 2], &[0], &[]], &[&[0, 1]]),
            ("nested", &[&[1], &[2], &[2, 3], &[1, 4], &[]], &[&[2]]),
            ("nested, the inner one jumped over", &[&[1], &[2, 3], &[2, 3], &[1, 4], &[]], &[&[2]]),
            ("two in one", &[&[1], &[1, 2], &[3], &[3, 4], &[0, 5], &[]], &[&[1], &[3]]),
            ("three deep", &[&[1], &[2], &[3], &[3, 4], &[2, 5], &[1]], &[&[3]]),
            ("a cold block far away that jumps back", &[&[1], &[2, 4], &[1, 3], &[], &[2]], &[&[1, 2, 4]]),
            ("a panic", &[&[1], &[1, 2, 3], &[], &[]], &[&[1]]),
            ("entered at two blocks", &[&[1, 2], &[2, 3], &[1], &[]], &[&[1, 2]]),
            ("a loop inside that is entered at the same block", &[&[1], &[1, 2], &[1, 3], &[]], &[&[1, 2]]),
            ("only a table of jumps leads there", &[&[], &[2], &[1, 3], &[]], &[&[1, 2]]),
        ];
        for (name, edges, expected) in cases {
            let edges: Vec<Vec<usize>> = edges.iter().map(|to| to.to_vec()).collect();
            let found: Vec<Vec<usize>> =
                innermost_cycles(&edges).into_iter().map(|cycle| cycle.into_iter().collect()).collect();
            assert_eq!(found, *expected, "{name}");
        }
    }

    #[test]
    fn a_block_ends_where_control_may_leave_it_or_arrive() {
        let flows = [
            Flow::On,
            Flow::Call("f".to_owned()),
            Flow::Branch(5),
            Flow::On,
            Flow::Jump(0),
            Flow::On,
            Flow::Branch(5),
            Flow::Leave("panic".to_owned()),
            Flow::End,
        ];
        let step =
            |flow: Flow| Step { flow, address: 0, text: String::new(), has_vector: false, spill: None };
        let steps: Vec<Step> = flows.into_iter().map(step).collect();
        assert_eq!(blocks(&steps), [0..3, 3..5, 5..7, 7..8, 8..9]);
        assert_eq!(innermost(&steps), [vec![0, 1, 2, 3, 4], vec![5, 6]]);
    }
}
