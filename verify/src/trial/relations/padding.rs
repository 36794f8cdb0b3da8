//! Everything that is in the buffers and not of the operands.

use crate::buffer::Buffer;
use crate::inputs::Inputs;

/// The inputs with padding codes, gaps and slack changed; `None` where there are none.
pub(super) fn changed(inputs: &Inputs) -> Option<Inputs> {
    let mut changed = inputs.clone();
    let shape = inputs.shape;
    change_packed(&mut changed);
    let mask = shape.format.code_count() - 1;
    changed.codes.iter_mut().skip(shape.cols).for_each(|code| *code ^= mask);
    let scales = inputs.operation.needed(shape, Buffer::Scales) as usize;
    let slack_scales = changed.scales.iter_mut().flat_map(|all| all.iter_mut().skip(scales));
    slack_scales
        .chain(slack_of_x(shape.batch, shape.x_stride, shape.cols, &mut changed.x))
        .for_each(|slack| *slack = 1e38);
    let own = shape.activations.bytes(shape.cols) as usize;
    changed.quantized.iter_mut().skip(own).for_each(|byte| *byte = !*byte);
    let slack = |buffer| inputs.len(buffer) as u128 > inputs.operation.needed(shape, buffer);
    let differs = changed.packed != inputs.packed
        || inputs.buffers().iter().copied().any(slack)
        || (shape.batch > 1 && shape.x_stride > shape.cols && inputs.buffers().contains(&Buffer::X));
    differs.then_some(changed)
}

/// Changes all packed bytes that are not of the rows, and padding codes where they can be changed alone.
fn change_packed(changed: &mut Inputs) {
    let (shape, kept) = (changed.shape, changed.packed.kept().len());
    let is_full = shape.cols.is_multiple_of(shape.format.block_len);
    // Some operations read no packed codes.
    if kept == 0 || (is_full && kept <= shape.rows * shape.row_bytes()) {
        return;
    }
    let own = match shape.cols {
        0 => Vec::new(),
        cols => shape.format.own_bits(cols).unwrap_or_else(|| vec![u8::MAX; shape.row_bytes()]),
    };
    let packed = &mut changed.packed;
    packed.kept_mut().iter_mut().for_each(|byte| *byte = !*byte);
    for at in 0..shape.rows {
        // What the row has of its own as it was.
        packed.row_mut(shape, at).iter_mut().zip(&own).for_each(|(byte, own)| *byte ^= own);
    }
}

/// The elements of x that are of no vector.
fn slack_of_x(batch: usize, stride: usize, cols: usize, x: &mut [f32]) -> impl Iterator<Item = &mut f32> {
    let is_slack = move |at: usize| match batch {
        0 | 1 => at >= cols,
        _ if stride == 0 => true,
        _ => at / stride >= batch || at % stride >= cols,
    };
    x.iter_mut().enumerate().filter_map(move |(at, x)| is_slack(at).then_some(x))
}
