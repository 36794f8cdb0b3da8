//! Quantised blocks held against what the oracle demands.

use super::{Judgement, show};
use crate::format::QK256;
use crate::oracle::BlockTruth;
use crate::property::{Cause, Failure, Property};

/// What a kernel made of one block.
struct Block<'a> {
    number: usize,
    truth: &'a BlockTruth,
    codes: Vec<u8>,
    scale: f32,
}

/// Judges packed codes, a byte each, with the scales behind them.
pub(super) fn judge_blocks(truths: &[BlockTruth], output: &[u32], judgement: &mut Judgement) {
    let (codes, scales) = output.split_at(truths.len() * QK256.block_bytes);
    let blocks = truths.iter().zip(codes.chunks(QK256.block_bytes)).zip(scales).enumerate();
    let blocks = blocks.map(|(number, ((truth, codes), &scale))| Block {
        number,
        truth,
        codes: codes.iter().map(|&byte| byte as u8).collect(),
        scale: f32::from_bits(scale),
    });
    let (mut other_bits, mut worse) = (Vec::new(), Vec::new());
    for block in blocks {
        judgement.properties.add(Property::BitExact, 1);
        judgement.properties.add(Property::Bound, 1);
        let (excess, slack) = (block.excess(), block.truth.slack());
        // Not so where the scale is no number.
        if excess <= slack {
            judgement.share = judgement.share.max(if slack > 0.0 { excess / slack } else { 0.0 });
        } else {
            worse.push(block.failure(Property::Bound));
        }
        if !block.truth.is_right(&block.codes, block.scale) {
            other_bits.push(block.failure(Property::BitExact));
        }
    }
    for failures in [other_bits, worse] {
        let count = failures.len();
        judgement.failures.extend(failures.into_iter().next().map(|first| Failure {
            detail: format!("{count} of {} blocks are wrong; the first is {}", truths.len(), first.detail),
            ..first
        }));
    }
}

impl Block<'_> {
    /// By how much the squared error exceeds the least one.
    fn excess(&self) -> f64 {
        self.truth.error(&self.codes, self.scale) - self.truth.least()
    }

    fn failure(&self, property: Property) -> Failure {
        let error = self.truth.error(&self.codes, self.scale);
        let errors = format!("squared error {error:e}, the least is {:e}", self.truth.least());
        let detail = format!("block {}: {}; {errors}", self.number, self.difference());
        Failure::new(property, self.cause(), detail)
    }

    /// The first element whose code is not that of the first right choice, and both codes.
    fn first_wrong_code(&self) -> Option<(usize, u8, u8)> {
        let right = &self.truth.right()[0].codes;
        let codes = (0..QK256.block_len).map(|at| (at, QK256.code(&self.codes, at), QK256.code(right, at)));
        codes.into_iter().find(|(_, got, must)| got != must)
    }

    fn difference(&self) -> String {
        let right = &self.truth.right()[0];
        let scale = |scale: f32| show(size_of::<f32>(), scale.to_bits());
        let scales = format!("scale {}, must be {}", scale(self.scale), scale(*right.scales.start()));
        match self.first_wrong_code() {
            Some((at, got, must)) => {
                let value = self.truth.values().get(at);
                let value = value.map_or("padding".to_owned(), |value| format!("value {value:e}"));
                format!("code {got} of element {at} ({value}), must be {must}; {scales}")
            }
            None => scales,
        }
    }

    fn cause(&self) -> Cause {
        let must = *self.truth.right()[0].scales.start();
        match self.first_wrong_code() {
            Some((_, got, must)) if self.scale.is_finite() => {
                Cause::of_bits(size_of::<u8>(), must.into(), got.into())
            }
            _ => Cause::of_bits(size_of::<f32>(), must.to_bits(), self.scale.to_bits()),
        }
    }
}
