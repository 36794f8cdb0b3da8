//! Quantisers that are right, however odd they look.

use std::cell::RefCell;

use qk256_verify::Operation::Quantize;
use qk256_verify::{KernelFn, Outcome};

use crate::model::BLOCK_BYTES;

use super::where_checked;
use crate::model::quantize::{RIGHT_WAY, Values, Way, by_blocks};
use crate::{Class, Mutant};

/// By how much the squared distances from `centre` are less than those from zero, in eight sums.
fn less_by(magnitudes: &[f64], centre: f64) -> f64 {
    let mut lanes = [0.0; 8];
    for part in magnitudes.chunks(lanes.len()) {
        lanes.iter_mut().zip(part).for_each(|(lane, a)| *lane += a * a - (a - centre) * (a - centre));
    }
    lanes.iter().sum()
}

/// Sums, from the smallest magnitude on.
fn from_the_smallest(magnitudes: &[f64]) -> Vec<f64> {
    let mut behind = vec![0.0; magnitudes.len() + 1];
    (0..magnitudes.len()).rev().for_each(|at| behind[at] = behind[at + 1] + magnitudes[at]);
    let mut before = 0.0;
    (0..=magnitudes.len())
        .map(|twos| {
            before += twos.checked_sub(1).map_or(0.0, |last| magnitudes[last]);
            2.0 * before + behind[twos]
        })
        .collect()
}

pub(crate) const RIGHT: &[Mutant] = &[
    Mutant::new(
        Class::Reduction,
        Quantize,
        "quantises-with-sums-from-the-smallest",
        "every order in which f64 adds is within what errors are compared by",
        |arguments| Way { products: from_the_smallest, ..RIGHT_WAY }.quantize(arguments),
    ),
    Mutant::new(
        Class::Precision,
        Quantize,
        "errors-added-up-in-lanes",
        "the squared errors, term by term, are as good as the formula for their sum",
        |arguments| {
            let gain = |magnitudes: &[f64], twos: usize, scale: f64, _: f64, _: f64| {
                let parts = magnitudes.split_at(twos);
                less_by(parts.0, 2.0 * scale) + less_by(parts.1, scale)
            };
            Way { gain, ..RIGHT_WAY }.quantize(arguments)
        },
    ),
    Mutant::new(
        Class::Precision,
        Quantize,
        "gain-as-a-square-over-a-sum",
        "the gain before the scale is rounded is the product squared over the sum of squared weights; the limit of the scale is far off",
        |arguments| {
            let gain = |_: &[f64], twos: usize, scale: f64, product: f64, squared: f64| {
                if twos > 0 && product / squared > f64::from(f32::MAX) / 4.0 || scale < 1e-30 {
                    return scale * (2.0 * product - scale * squared);
                }
                product * product / squared
            };
            Way { gain, ..RIGHT_WAY }.quantize(arguments)
        },
    ),
    Mutant::new(
        Class::Precision,
        Quantize,
        "scale-rounded-half-up",
        "of two scales that are as near either will do",
        |arguments| {
            let scale = |product: f64, squared: f64, twos| {
                let near = (RIGHT_WAY.scale)(product, squared, twos);
                let next = near.next_up();
                let is_halfway = f64::from(near) + f64::from(next) == 2.0 * (product / squared);
                if is_halfway && next.is_finite() { next } else { near }
            };
            Way { scale, ..RIGHT_WAY }.quantize(arguments)
        },
    ),
    Mutant::new(
        Class::State,
        Quantize,
        "scratch-of-the-thread-for-values",
        "memory is kept from call to call, and all of it that is read is written before",
        |arguments| {
            thread_local! { static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) }; }
            SCRATCH.with_borrow_mut(|scratch| {
                by_blocks(arguments, |values, block| {
                    scratch.clear();
                    scratch.extend_from_slice(values.block(block));
                    RIGHT_WAY.block(scratch)
                })
            })
        },
    ),
    Mutant::new(
        Class::Memory,
        Quantize,
        "codes-unfinished-for-a-while",
        "outputs may hold anything until the call returns, and blocks may come in any order",
        |arguments| {
            let Some(mut values) = Values::of(arguments) else { return Outcome::Refused };
            for block in (0..values.blocks()).rev() {
                values.packed[block * BLOCK_BYTES..][..BLOCK_BYTES].fill(0xff);
                values.scales[block] = f32::NAN;
                let quantized = RIGHT_WAY.block(values.block(block));
                values.write(block, &quantized);
            }
            Outcome::Done
        },
    ),
    {
        let mutant = Mutant::new(
            Class::Contract,
            Quantize,
            "leaves-what-is-not-finite-to-its-caller",
            "a kernel that says so is sent legal calls only",
            |arguments| where_checked(arguments, |_, _| false),
        );
        Mutant { kernel: KernelFn { refuses_wrong_sizes: false, ..mutant.kernel }, ..mutant }
    },
];
