//! Kernels that do not round until all is added: those that multiply integers, and those with an accumulator that holds every term.
//! Their result is known to the bit although no tree of f32 additions explains it.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::model::TRIALS;
use crate::format::Format;
use crate::inputs::Inputs;
use crate::judge::same_sum;
use crate::oracle::{self, Expected, RowTruth, expected};

/// How an exact sum becomes a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Once {
    /// The exact sum, rounded to f32.
    Sum,
    /// The sum of integers, rounded to f32, times the scale of the row.
    Scaled,
}

/// Calls of a calibration.
const CALLS: usize = 100;

/// Calls that are made in any case: two of each kind of data.
const FEWEST_CALLS: usize = 4;

/// Part of the columns, one in N, whose terms cancel those of another.
const CANCELLED: usize = 4;

/// The fewest columns of f32 on which cancelled terms tell an exact sum from a wide one.
const FEWEST_COLS: usize = 16;

/// Powers of two up to which activations of wild exponents go: beyond what two f64 keep beside ones.
const WILD: u32 = 100;

impl Once {
    /// The way that predicts [`TRIALS`] results of calls of this shape with other data, bit for bit; `None` where none
    /// does. `call` gives the results, or nothing where the kernel does not do it.
    pub(super) fn fit(inputs: &Inputs, mut call: impl FnMut(&Inputs) -> Option<Vec<u32>>) -> Option<Self> {
        let mut open = vec![Self::Sum, Self::Scaled];
        let (mut rng, mut predicted) = (ChaCha8Rng::seed_from_u64(3), 0);
        for number in 0..CALLS {
            if number >= FEWEST_CALLS && predicted >= TRIALS {
                break;
            }
            let drawn = with_other_data(inputs, number.is_multiple_of(2), &mut rng)?;
            let Expected::Rows(truths) = expected(&drawn) else { return None };
            let results = call(&drawn)?;
            open.retain(|once| {
                let mut rows = truths.iter().zip(&results).enumerate();
                rows.all(|(at, (truth, &got))| once.predicts(&drawn, truth, at, got))
            });
            predicted += truths.iter().filter(|truth| matches!(truth, RowTruth::Near { .. })).count();
        }
        open.first().copied().filter(|_| predicted > 0)
    }

    /// Whether a result is as predicted, or of a row of which the oracle knows all.
    fn predicts(self, inputs: &Inputs, truth: &RowTruth, result: usize, got: u32) -> bool {
        match truth {
            RowTruth::Near { .. } => {
                self.predict(inputs, truth, result).is_some_and(|must| same_sum(must, got))
            }
            RowTruth::Exact(exact) => same_sum(exact.to_bits(), got),
            _ => true,
        }
    }

    /// The bits of a result that is near to an exact sum; `None` of another.
    pub(super) fn predict(self, inputs: &Inputs, truth: &RowTruth, result: usize) -> Option<u32> {
        let RowTruth::Near { exact, .. } = truth else { return None };
        match self {
            Self::Sum => Some(exact.to_f32().to_bits()),
            Self::Scaled => scaled(inputs, inputs.shape.vector_and_row(result).1).map(f32::to_bits),
        }
    }
}

/// The sum of the integers of a row, rounded, times its scale; `None` where there are more scales, or activations are not integers.
fn scaled(inputs: &Inputs, row: usize) -> Option<f32> {
    let (shape, kind) = (inputs.shape, inputs.shape.activations);
    let scales = oracle::scales(inputs, row);
    if !kind.is_quantized() || kind.scale.is_some() || scales.len() > 1 {
        return None;
    }
    let values = kind.values(&inputs.quantized, shape.cols);
    let weights = oracle::codes(inputs, row).into_iter().map(|code| shape.format.weight(code));
    let sum: i64 = weights.zip(values).map(|(weight, value)| i64::from(weight) * i64::from(value)).sum();
    Some(sum as f32 * scales.first().copied().unwrap_or(1.0))
}

/// The same call with other codes, scales and activations: of every kind, or such that sums are as large, or cancel as much, as they can.
/// `None` where that cannot tell: of few f32 columns, where blocks of activations have scales, so that their sums are rounded, and where
/// weights have no description.
fn with_other_data(inputs: &Inputs, is_plain: bool, rng: &mut ChaCha8Rng) -> Option<Inputs> {
    let (shape, kind) = (inputs.shape, inputs.shape.activations);
    let format = shape.format;
    let mut drawn = inputs.clone();
    let is_short = !kind.is_quantized() && shape.cols < FEWEST_COLS;
    if is_short || format.plain().is_none() || kind.scale.is_some() || inputs.packed.is_sparse() {
        return None;
    }
    let codes = inputs.requirements.max_code.map_or(format.code_count(), |most| most + 1);
    let largest = (0..codes).max_by_key(|&code| format.weight(code).unsigned_abs()).unwrap_or(0);
    let pairs = if is_plain || kind.is_quantized() { Vec::new() } else { pairs(shape.cols, format, rng) };
    for scale in drawn.scales.iter_mut().flatten() {
        *scale = scale_of(rng);
    }
    for row in 0..shape.rows {
        let packed = drawn.packed.row_mut(shape, row);
        for (at, number) in format.scale_places(shape.cols) {
            number.write(scale_of(rng).into(), &mut packed[at..]);
        }
        for at in 0..shape.cols {
            let code = if kind.is_quantized() && !is_plain { largest } else { below(rng, codes) };
            format.set_code(packed, at, code);
        }
        pairs.iter().for_each(|&[a, b]| format.set_code(packed, b, format.code(packed, a)));
    }
    let least = inputs.requirements.activation_min;
    for value in drawn.quantized.iter_mut().take(shape.cols) {
        let random = (rng.next_u32() as i8).max(least);
        // Otherwise large and of one sign.
        *value = if is_plain { random } else { random & 0x3f | 0x40 } as u8;
    }
    if !kind.is_quantized() {
        for vector in 0..shape.batch {
            let x = &mut drawn.x[vector * shape.x_stride..][..shape.cols];
            x.iter_mut().for_each(|x| *x = rng.next_u32() as i32 as f32 / (1_u32 << 31) as f32);
            for &[a, b] in &pairs {
                x[a] *= (1_u128 << (rng.next_u32() % WILD)) as f32;
                x[b] = -x[a];
            }
        }
    }
    Some(drawn)
}

/// Pairs of columns under one scale, no column in two of them.
fn pairs(cols: usize, format: &Format, rng: &mut ChaCha8Rng) -> Vec<[usize; 2]> {
    let mut columns: Vec<usize> = (0..cols).collect();
    for at in (1..cols).rev() {
        columns.swap(at, (rng.next_u64() % (at as u64 + 1)) as usize);
    }
    let is_pair = |[a, b]: &[usize; 2]| format.scale_of(*a) == format.scale_of(*b);
    columns.as_chunks().0.iter().copied().filter(is_pair).take(cols / CANCELLED).collect()
}

/// A scale of all kinds of bits, from 1/2 to 3/2: those of a case may be zeros, with which every kernel is right.
fn scale_of(rng: &mut ChaCha8Rng) -> f32 {
    0.5 + rng.next_u32() as f32 / (1_u64 << 32) as f32
}

fn below(rng: &mut ChaCha8Rng, count: u8) -> u8 {
    (rng.next_u32() % u32::from(count.max(1))) as u8
}
