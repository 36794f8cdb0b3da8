//! A token: every matrix of the model multiplied once.

use std::collections::HashMap;

use qk256_kernels::{Kernels, Matrix};

use super::DecodeError;
use super::contender::{Contender, Product};
use super::model::{FEED_FORWARD, INPUTS, Input, MATRICES, Model, inputs, read, row_bytes};

/// A model, its inputs, and what the products gave.
pub(super) struct Decoder {
    model: Model,
    inputs: [Input; INPUTS.len()],
    y: Vec<f32>,
    /// Of the last token: a digest of the bits of every product.
    digest: u64,
    /// The digest of each product, by the first contender that computed it.
    expected: HashMap<Product, u64>,
}

impl Decoder {
    /// A decoder of a model.
    pub(super) fn new(model: Model) -> Self {
        Self { model, inputs: inputs(), y: vec![0.0; FEED_FORWARD], digest: 0, expected: HashMap::new() }
    }

    /// The model.
    pub(super) fn model(&self) -> &Model {
        &self.model
    }

    /// Multiplies every matrix once, or reads it.
    pub(super) fn token(&mut self, contender: &Contender) {
        // Every contender of fixed point has AVX2, by which the fastest kernels round.
        let kernels = Kernels::detect();
        contender.install(|| {
            self.digest = 0;
            for layer in &self.model.codes {
                if let Product::Fixed(digits) = contender.product {
                    for Input { x, fixed } in &mut self.inputs {
                        let rounded = kernels.assign_activations(fixed, x, digits);
                        rounded.expect("these are finite numbers");
                    }
                }
                for (codes, (rows, input)) in layer.iter().zip(MATRICES) {
                    let input = &self.inputs[input];
                    if contender.is_limit() {
                        self.digest ^= read(codes, contender.threads);
                        continue;
                    }
                    let matrix = Matrix::new(codes, rows, input.x.len(), row_bytes(input.x.len()))
                        .expect("the codes are those of the shape");
                    let y = &mut self.y[..rows];
                    contender.multiply(&matrix, input, y);
                    self.digest = y.iter().fold(self.digest, |digest, y| {
                        digest.rotate_left(5).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(y.to_bits())
                    });
                }
            }
        });
    }

    /// Whether the last token has the bits that the first of the same product had.
    pub(super) fn check(&mut self, contender: &Contender) -> Result<(), DecodeError> {
        let expected = *self.expected.entry(contender.product).or_insert(self.digest);
        if expected == self.digest {
            Ok(())
        } else {
            let why = format!("{contender} gives other bits than the first way to the same product");
            Err(DecodeError::Wrong(why))
        }
    }
}
