//! The value of every f32 of a call on other data: what the certificate predicts.

use super::expression::Node;
use super::value::Values;
use crate::inputs::Inputs;

/// The values of all expressions, by their numbers.
pub(super) fn evaluate(values: &Values, inputs: &Inputs) -> Vec<f32> {
    let bits = if inputs.codes.is_empty() { inputs.packed.kept() } else { &inputs.codes };
    let bit = |variable: u32| bits[variable as usize / 8] >> (variable % 8) & 1;
    let scales = inputs.scales.as_deref().unwrap_or_default();
    let mut results: Vec<f32> = Vec::with_capacity(values.nodes.len());
    for node in &values.nodes {
        let of = |expression: &u32| results[*expression as usize];
        results.push(match node {
            Node::Constant(value) => *value,
            Node::X(at) => inputs.x[*at as usize],
            Node::Scale(at) => scales[*at as usize],
            Node::Choice { variables, of: choices } => {
                let entry = variables.iter().rev().fold(0, |entry, &variable| entry << 1 | usize::from(bit(variable)));
                of(&choices[entry])
            }
            Node::Negated(a) => -of(a),
            Node::Sum(a, b) => of(a) + of(b),
            Node::Product(a, b) => of(a) * of(b),
            Node::Fused(a, b, c) => of(a).mul_add(of(b), of(c)),
        });
    }
    results
}
