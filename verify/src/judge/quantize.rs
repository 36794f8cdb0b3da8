//! Quantised blocks held against what the oracle demands.

use super::Judgement;
use crate::evidence::{Bits, Evidence, WrongBlock, WrongCode};
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
            worse.push((block.wrong(), block.cause()));
        }
        if !block.truth.is_right(&block.codes, block.scale) {
            other_bits.push((block.wrong(), block.cause()));
        }
    }
    for (property, blocks) in [(Property::BitExact, other_bits), (Property::Bound, worse)] {
        let (wrong, of) = (blocks.len() as u64, truths.len() as u64);
        judgement.failures.extend(blocks.into_iter().next().map(|(first, cause)| {
            Failure::new(property, cause, Evidence::Blocks { wrong, of, first: Box::new(first) })
        }));
    }
}

impl Block<'_> {
    /// By how much the squared error exceeds the least one.
    fn excess(&self) -> f64 {
        self.truth.error(&self.codes, self.scale) - self.truth.least()
    }

    fn wrong(&self) -> WrongBlock {
        let value = |element| self.truth.values().get(element).copied().map(Bits::of);
        let code = self.first_wrong_code();
        WrongBlock {
            number: self.number,
            code: code.map(|(element, got, must)| WrongCode {
                element,
                codes: [got, must],
                value: value(element),
            }),
            scale: [self.scale, *self.truth.right()[0].scales.start()].map(Bits::of),
            error: self.truth.error(&self.codes, self.scale),
            least: self.truth.least(),
        }
    }

    /// The first element whose code is not that of the first right choice, and both codes.
    fn first_wrong_code(&self) -> Option<(usize, u8, u8)> {
        let right = &self.truth.right()[0].codes;
        let codes = (0..QK256.block_len).map(|at| (at, QK256.code(&self.codes, at), QK256.code(right, at)));
        codes.into_iter().find(|(_, got, must)| got != must)
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
