//! Relations of the vectors of a batch: what comes out of one depends on that one alone.

use super::Parameter;
use crate::inputs::Inputs;

/// The vectors rotated by one.
pub(super) fn rotated(inputs: &Inputs) -> Option<(Inputs, Parameter)> {
    let shape = inputs.shape;
    if shape.batch < 2 {
        return None;
    }
    let mut changed = inputs.clone();
    let order: Vec<usize> = (0..shape.batch).map(|vector| (vector + 1) % shape.batch).collect();
    for (vector, &from) in order.iter().enumerate() {
        changed.x[vector * shape.x_stride..][..shape.cols].copy_from_slice(inputs.vector(from));
    }
    let results = order.iter().flat_map(|from| from * shape.rows..(from + 1) * shape.rows);
    Some((changed, Parameter::Places(results.collect())))
}

/// One vector as a batch of its own.
pub(super) fn alone(inputs: &Inputs, draw: u64) -> Option<(Inputs, Parameter)> {
    let shape = inputs.shape;
    if shape.batch < 2 {
        return None;
    }
    let vector = draw as usize % shape.batch;
    let mut alone = inputs.clone();
    alone.x = inputs.vector(vector).to_vec();
    alone.shape.batch = 1;
    alone.out_len = shape.rows;
    let results = vector * shape.rows..(vector + 1) * shape.rows;
    Some((alone, Parameter::Places(results.collect())))
}
