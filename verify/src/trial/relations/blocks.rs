//! Relations of the blocks of a quantiser: what it makes of a block depends on that block alone.

use super::Parameter;
use crate::buffer::Buffer;
use crate::inputs::Inputs;

/// Outputs of the blocks of `inputs` in this order: packed bytes, then scales.
fn in_order(inputs: &Inputs, blocks: &[usize]) -> Parameter {
    let bytes = inputs.shape.format.block_bytes;
    let codes = blocks.iter().flat_map(|&block| block * bytes..(block + 1) * bytes);
    let apart = if inputs.shape.format.has_inner_scales() { &[] } else { blocks };
    let scales = apart.iter().map(|&block| inputs.extent(Buffer::Out) + block);
    Parameter::Places(codes.chain(scales).collect())
}

/// Whole blocks rotated by one; a last one that is not whole stays.
pub(super) fn rotated(inputs: &Inputs) -> Option<(Inputs, Parameter)> {
    let block_len = inputs.shape.format.block_len;
    let whole = inputs.x.len() / block_len;
    if whole < 2 {
        return None;
    }
    let mut changed = inputs.clone();
    changed.x[..whole * block_len].rotate_left(block_len);
    let rotated = (0..whole).map(|block| (block + 1) % whole);
    let order: Vec<usize> = rotated.chain(whole..inputs.shape.blocks()).collect();
    Some((changed, in_order(inputs, &order)))
}

/// One block of several as a vector of its own, in buffers without slack.
pub(super) fn alone(inputs: &Inputs) -> Option<(Inputs, Parameter)> {
    let (format, blocks) = (inputs.shape.format, inputs.shape.blocks());
    if blocks < 2 {
        return None;
    }
    let block = inputs.x.len() % blocks;
    let mut alone = inputs.clone();
    alone.x = inputs.x.chunks(format.block_len).nth(block)?.to_vec();
    alone.shape.cols = alone.x.len();
    (alone.out_len, alone.out_scales_len) = (format.block_bytes, usize::from(!format.has_inner_scales()));
    Some((alone, in_order(inputs, &[block])))
}
