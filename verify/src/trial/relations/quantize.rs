//! The relations of a quantiser: the codes of a block follow its values' signs and order of magnitude, and nothing else matters.

use super::{Expect, Relation, negated, power_of_two};
use crate::inputs::Inputs;
use crate::operation::{BLOCK_BYTES, BLOCK_ELEMENTS, Buffer, CODES_PER_BYTE};
use crate::property::Property;

/// The relations that apply to these inputs.
pub(super) fn relations(inputs: &Inputs) -> Vec<Relation> {
    let mirrored =
        negated(inputs, Buffer::X).map(|relation| Relation { expect: Expect::Mirrored, ..relation });
    let rescaled = power_of_two(inputs).map(|relation| match relation.expect {
        Expect::Scaled(factor) => Relation { expect: Expect::Rescaled(factor), ..relation },
        _ => relation,
    });
    let of_blocks = [blocks_rotated(inputs), block_alone(inputs)];
    [mirrored, rescaled].into_iter().chain(of_blocks).flatten().collect()
}

/// Data for calls at one time: these inputs, and others whose magnitudes, order and results are never the same.
pub(super) fn at_one_time(inputs: &Inputs) -> Vec<Inputs> {
    let mut other = inputs.clone();
    other.x.reverse();
    let factor = if inputs.x.iter().any(|x| x.abs() > 1.0) { -0.125 } else { -8.0 };
    other.x.iter_mut().for_each(|value| *value *= factor);
    vec![inputs.clone(), other]
}

/// The bits that output `at` must have where the values are those of `inputs` and the output was `first` with their signs changed.
pub(super) fn mirrored(inputs: &Inputs, first: &[u32], at: usize) -> u32 {
    let (Buffer::Out, byte) = inputs.output_place(at) else { return first[at] };
    let is_mirrored = |&slot: &usize| inputs.x.get(byte * CODES_PER_BYTE + slot).is_some_and(|&x| x != 0.0);
    (0..CODES_PER_BYTE).filter(is_mirrored).fold(first[at], |bits, slot| bits ^ 3 << (2 * slot))
}

/// The places of all outputs of a block, codes and scale, among those of `inputs`.
fn outputs_of(inputs: &Inputs, block: usize) -> (std::ops::Range<usize>, usize) {
    (block * BLOCK_BYTES..(block + 1) * BLOCK_BYTES, inputs.written(Buffer::Out) + block)
}

/// Outputs of the blocks of `inputs` in this order.
fn in_order(inputs: &Inputs, blocks: &[usize]) -> Expect {
    let codes = blocks.iter().flat_map(|&block| outputs_of(inputs, block).0);
    Expect::Permuted(codes.chain(blocks.iter().map(|&block| outputs_of(inputs, block).1)).collect())
}

/// Whole blocks rotated by one; a last one that is not whole stays.
fn blocks_rotated(inputs: &Inputs) -> Option<Relation> {
    let whole = inputs.x.len() / BLOCK_ELEMENTS;
    if whole < 2 {
        return None;
    }
    let mut changed = inputs.clone();
    changed.x[..whole * BLOCK_ELEMENTS].rotate_left(BLOCK_ELEMENTS);
    let rotated = (0..whole).map(|block| (block + 1) % whole);
    let order: Vec<usize> = rotated.chain(whole..inputs.shape.blocks()).collect();
    Some(Relation { property: Property::RowOrder, inputs: changed, expect: in_order(inputs, &order) })
}

/// One block of several as a vector of its own, in buffers without slack.
fn block_alone(inputs: &Inputs) -> Option<Relation> {
    let blocks = inputs.shape.blocks();
    if blocks < 2 {
        return None;
    }
    let block = inputs.x.len() % blocks;
    let mut alone = inputs.clone();
    alone.x = inputs.x.chunks(BLOCK_ELEMENTS).nth(block)?.to_vec();
    alone.shape.cols = alone.x.len();
    (alone.out_len, alone.out_scales_len) = (BLOCK_BYTES, 1);
    Some(Relation { property: Property::RowOrder, inputs: alone, expect: in_order(inputs, &[block]) })
}
