//! What the expressions of a call come to on other data.

use super::expression::{Node, WIDTH};
use super::value::{Content, Datum, Values};
use crate::inputs::Inputs;

/// The value of every f32 of a call on these data.
pub(super) struct Prediction<'a> {
    values: &'a Values,
    /// The bytes of the weights.
    weights: &'a [u8],
    /// By the numbers of expressions.
    floats: Vec<f32>,
}

impl<'a> Prediction<'a> {
    pub(super) fn new(values: &'a Values, inputs: &'a Inputs) -> Self {
        let weights = if inputs.codes.is_empty() { inputs.packed.kept() } else { &inputs.codes };
        let mut prediction = Self { values, weights, floats: Vec::with_capacity(values.nodes.len()) };
        for node in &values.nodes {
            let value = prediction.value(node, inputs);
            prediction.floats.push(value);
        }
        prediction
    }

    /// What bytes of an output hold, as a number.
    pub(super) fn number(&self, data: &[Datum]) -> u32 {
        let bytes = data.iter().enumerate().map(|(at, datum)| match datum.byte.content() {
            Content::Float { of, .. } => self.floats[of as usize].to_bits().to_le_bytes()[at % WIDTH],
            _ => self.bits(*datum),
        });
        bytes.rev().fold(0, |number, byte| number << 8 | u32::from(byte))
    }

    /// A byte that is known or depends on bits of the weights; 0 of another, which no output is made of.
    fn bits(&self, datum: Datum) -> u8 {
        let bits = self.values.bits(datum).unwrap_or_default();
        bits.iter().rev().fold(0, |byte, &bit| {
            let variables = self.values.functions.variables([bit]).unwrap_or_default();
            byte << 1 | u8::from(self.values.functions.value(bit, &variables, self.entry(&variables)))
        })
    }

    /// The bits of the weights that these variables are.
    fn entry(&self, variables: &[u32]) -> u64 {
        let bit = |variable: u32| self.weights[variable as usize / 8] >> (variable % 8) & 1;
        variables.iter().rev().fold(0, |entry, &variable| entry << 1 | u64::from(bit(variable)))
    }

    fn value(&self, node: &Node, inputs: &Inputs) -> f32 {
        let scales = inputs.scales.as_deref().unwrap_or_default();
        let of = |expression: u32| self.floats[expression as usize];
        match node {
            Node::Constant(value) => *value,
            Node::X(at) => inputs.x[*at as usize],
            Node::Scale(at) => scales[*at as usize],
            Node::Choice { variables, of: choices } => of(choices[self.entry(variables) as usize]),
            Node::Negated(a) => -of(*a),
            Node::Sum(a, b) => of(*a) + of(*b),
            Node::Product(a, b) => of(*a) * of(*b),
            Node::Fused(a, b, c) => of(*a).mul_add(of(*b), of(*c)),
        }
    }
}
