//! Quantisers whose codes and scales are not those of docs/format.md, and unusual ones whose are.

use std::cell::RefCell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use qk256_verify::Operation::Quantize;
use qk256_verify::operation::{BLOCK_BYTES, BLOCK_ELEMENTS, CODES_PER_BYTE};
use qk256_verify::{Arguments, KernelFn, Outcome};

use crate::model::quantize::{ONE, Quantized, RIGHT_WAY, Values, by_blocks};
use crate::model::{flushed, quantize::Way, stray};
use crate::{Class, Mutant};

/// The largest magnitude of a block.
fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |largest, value| value.abs().max(largest))
}

/// The mean magnitude of a block.
fn mean(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(value.abs())).sum::<f64>() / values.len() as f64
}

/// Codes for a scale that is given: twos from one and a half on.
fn with_scale(values: &[f32], scale: f32) -> Quantized {
    let mut codes = [ONE; BLOCK_ELEMENTS];
    let code = |&value: &f32| (RIGHT_WAY.code)(value, f64::from(value.abs()) > 1.5 * f64::from(scale));
    codes.iter_mut().zip(values).for_each(|(slot, value)| *slot = code(value));
    Quantized { codes, scale }
}

/// The scale that is best for some codes.
fn refitted(values: &[f32], codes: &[u8]) -> f32 {
    let weight = |code: u8| if matches!(code, 0 | 3) { 2.0 } else { 1.0 };
    let terms = values.iter().zip(codes).map(|(value, &code)| (f64::from(value.abs()), weight(code)));
    let (product, squared) = terms.fold((0.0, 0.0), |(p, q), (a, w)| (p + w * a, q + w * w));
    (RIGHT_WAY.scale)(product, squared, usize::from(squared > values.len() as f64))
}

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

/// A quantiser that checks room and finiteness only where `is_checked` holds of the place of a value.
fn where_checked(arguments: Arguments<'_>, is_checked: impl Fn(usize, f32) -> bool) -> Outcome {
    let mut values = Values::unchecked(arguments);
    let is_seen = |(at, value): (usize, &f32)| !value.is_finite() && is_checked(at, *value);
    if !values.has_room() || values.values.iter().enumerate().any(is_seen) {
        return Outcome::Refused;
    }
    for block in 0..values.blocks() {
        let quantized = RIGHT_WAY.block(values.block(block));
        values.write(block, &quantized);
    }
    Outcome::Done
}

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::new(
        Class::Precision,
        Quantize,
        "tie-to-the-most-twos",
        "a comparison with `>=` lets the last of equal candidates win, and the reference the first",
        |arguments| {
            Way { is_better: |gain, best| gain >= best && gain > 0.0, ..RIGHT_WAY }.quantize(arguments)
        },
    ),
    Mutant::new(
        Class::Scales,
        Quantize,
        "scale-from-the-largest",
        "most quantisers divide the largest magnitude by the largest code, and the least squares are left for later",
        |arguments| {
            by_blocks(arguments, |values, block| {
                let values = values.block(block);
                with_scale(values, largest(values) / 2.0)
            })
        },
    ),
    Mutant::new(
        Class::Scales,
        Quantize,
        "scale-from-the-mean",
        "BitNet's quantiser takes the mean magnitude for the scale, which is right for ones alone",
        |arguments| {
            by_blocks(arguments, |values, block| {
                let values = values.block(block);
                with_scale(values, mean(values) as f32)
            })
        },
    ),
    Mutant::new(
        Class::Scales,
        Quantize,
        "a-local-least",
        "codes and scale are fitted in turn until nothing changes, which is the least near the start and not of all (Lloyd's algorithm)",
        |arguments| {
            by_blocks(arguments, |values, block| {
                let values = values.block(block);
                let mut quantized = with_scale(values, largest(values) / 2.0);
                for _ in 0..20 {
                    quantized = with_scale(values, refitted(values, &quantized.codes[..values.len()]));
                }
                quantized
            })
        },
    ),
    Mutant::new(
        Class::Scales,
        Quantize,
        "search-stops-at-the-first-fall",
        "the gain is taken for one that rises and then falls, and it has several peaks",
        |arguments| Way { goes_on: |gain, best| gain >= best, ..RIGHT_WAY }.quantize(arguments),
    ),
    Mutant::new(
        Class::Scales,
        Quantize,
        "a-scale-for-the-whole-vector",
        "the scale of the first block is used for all",
        |arguments| {
            by_blocks(arguments, |values, block| {
                let first = RIGHT_WAY.block(values.block(0)).scale;
                let own = RIGHT_WAY.block(values.block(block));
                if block == 0 { own } else { with_scale(values.block(block), first) }
            })
        },
    ),
    Mutant::new(
        Class::Scales,
        Quantize,
        "largest-scale-not-limited",
        "the best scale may be one at which twice the scale is infinite",
        |arguments| {
            Way { scale: |product, squared, _| (product / squared) as f32, ..RIGHT_WAY }.quantize(arguments)
        },
    ),
    Mutant::new(
        Class::Precision,
        Quantize,
        "scale-an-ulp-too-large",
        "the quotient is rounded up, as the error of a reciprocal has it",
        |arguments| {
            let scale = |product, squared, twos| match (RIGHT_WAY.scale)(product, squared, twos) {
                near if twos > 0 && (1e-30..1e30).contains(&near) => near.next_up(),
                near => near,
            };
            Way { scale, ..RIGHT_WAY }.quantize(arguments)
        },
    ),
    Mutant::new(
        Class::Precision,
        Quantize,
        "sums-in-f32",
        "sums of 256 magnitudes are kept as narrow as the magnitudes are",
        |arguments| {
            let products = |magnitudes: &[f64]| {
                let mut sum = magnitudes.iter().fold(0.0_f32, |sum, &a| sum + a as f32);
                let first = sum;
                let others = magnitudes.iter().map(|&a| {
                    sum += a as f32;
                    sum.into()
                });
                std::iter::once(first.into()).chain(others).collect()
            };
            Way { products, ..RIGHT_WAY }.quantize(arguments)
        },
    ),
    Mutant::new(
        Class::Precision,
        Quantize,
        "scale-in-half-precision",
        "scales are stored as f16 elsewhere, and go through it here",
        |arguments| {
            let scale =
                |product, squared, twos| crate::model::rounded((RIGHT_WAY.scale)(product, squared, twos), 10);
            Way { scale, ..RIGHT_WAY }.quantize(arguments)
        },
    ),
    Mutant::new(
        Class::Reduction,
        Quantize,
        "value-of-the-next-block-in-the-sum",
        "the last vector of a block reaches one value into its neighbour",
        |arguments| {
            by_blocks(arguments, |values, block| {
                let own = values.block(block);
                let quantized = RIGHT_WAY.block(own);
                let next = values.values.get(block * BLOCK_ELEMENTS + own.len());
                let (more, twos) =
                    (next.map_or(0.0, |value| value.abs()), quantized.codes[..own.len()].iter());
                let squared =
                    twos.fold(0.0, |sum, &code| sum + if matches!(code, 0 | 3) { 4.0 } else { 1.0 });
                let scale = quantized.scale + more / 1024.0 / squared;
                Quantized { scale: if scale.is_finite() { scale } else { quantized.scale }, ..quantized }
            })
        },
    ),
    Mutant::new(
        Class::Reduction,
        Quantize,
        "last-value-not-in-the-sum",
        "the loop over magnitudes ends one too early",
        |arguments| {
            let products = |magnitudes: &[f64]| {
                let lost = magnitudes.last().copied().unwrap_or(0.0);
                (RIGHT_WAY.products)(magnitudes).into_iter().map(|sum| sum - lost).collect()
            };
            Way { products, ..RIGHT_WAY }.quantize(arguments)
        },
    ),
    Mutant::new(
        Class::SpecialValues,
        Quantize,
        "sign-lost",
        "codes are made of magnitudes, and the sign is laid over in a step that tails skip",
        |arguments| {
            by_blocks(arguments, |values, block| {
                let own = values.block(block);
                let mut quantized = RIGHT_WAY.block(own);
                for at in own.len() / 8 * 8..own.len() {
                    quantized.codes[at] = quantized.codes[at].max(3 - quantized.codes[at]);
                }
                quantized
            })
        },
    ),
    Mutant::new(
        Class::SpecialValues,
        Quantize,
        "negative-zero-is-minus-one",
        "the sign bit is taken for the sign",
        |arguments| {
            let code = |value: f32, is_two| match (value.is_sign_negative(), is_two) {
                (true, false) => 1,
                _ => (RIGHT_WAY.code)(value, is_two),
            };
            Way { code, ..RIGHT_WAY }.quantize(arguments)
        },
    ),
    Mutant::new(
        Class::SpecialValues,
        Quantize,
        "outliers-clipped",
        "values beyond some multiples of the mean are clipped, as calibration does with activations",
        |arguments| {
            let magnitude = |value: f32, values: &[f32]| f64::from(value.abs()).min(16.0 * mean(values));
            Way { magnitude, ..RIGHT_WAY }.quantize(arguments)
        },
    ),
    Mutant::new(
        Class::SpecialValues,
        Quantize,
        "subnormal-values-flushed",
        "-ffast-math turns denormals-are-zero on in the whole process",
        |arguments| {
            Way { magnitude: |value, _| flushed(value.abs()).into(), ..RIGHT_WAY }.quantize(arguments)
        },
    ),
    Mutant::new(
        Class::SpecialValues,
        Quantize,
        "scale-of-zeros-is-nan",
        "zeros are divided by the sum of their magnitudes",
        |arguments| {
            by_blocks(arguments, |values, block| {
                let quantized = RIGHT_WAY.block(values.block(block));
                let is_zero = largest(values.block(block)) == 0.0;
                Quantized { scale: if is_zero { f32::NAN } else { quantized.scale }, ..quantized }
            })
        },
    ),
    Mutant::new(
        Class::SpecialValues,
        Quantize,
        "scale-of-zeros-is-one",
        "a scale of zero would be divided by, so that it becomes one",
        |arguments| {
            by_blocks(arguments, |values, block| {
                let quantized = RIGHT_WAY.block(values.block(block));
                let is_zero = largest(values.block(block)) == 0.0;
                Quantized { scale: if is_zero { 1.0 } else { quantized.scale }, ..quantized }
            })
        },
    ),
    Mutant::new(
        Class::SpecialValues,
        Quantize,
        "nan-accepted",
        "a value is refused if its magnitude is infinite, which that of NaN is not",
        |arguments| where_checked(arguments, |_, value| value.is_infinite()),
    ),
    Mutant::new(
        Class::SpecialValues,
        Quantize,
        "infinity-accepted",
        "only NaN is asked for, by a comparison with itself",
        |arguments| where_checked(arguments, |_, value| value.is_nan()),
    ),
    Mutant::new(
        Class::SpecialValues,
        Quantize,
        "finite-only-in-whole-vectors",
        "what is not finite is looked for by eight values at a time, and the tail is not looked at",
        |arguments| {
            let Arguments::Quantize { values, .. } = &arguments else { return Outcome::Unsupported };
            let vectors = values.len() / 8 * 8;
            where_checked(arguments, |at, _| at < vectors)
        },
    ),
    Mutant::new(
        Class::Tails,
        Quantize,
        "padding-from-the-block-before",
        "the array of codes is not cleared between blocks, and a last block that is short keeps those of the one before",
        |arguments| {
            let mut codes = [ONE; BLOCK_ELEMENTS];
            by_blocks(arguments, |values, block| {
                let own = values.block(block);
                let quantized = RIGHT_WAY.block(own);
                codes[..own.len()].copy_from_slice(&quantized.codes[..own.len()]);
                Quantized { codes, ..quantized }
            })
        },
    ),
    Mutant::new(
        Class::Tails,
        Quantize,
        "padding-of-code-zero",
        "the bytes of a block are cleared first, and zero is the code of -2",
        |arguments| Way { padding: 0, ..RIGHT_WAY }.quantize(arguments),
    ),
    Mutant::new(
        Class::Tails,
        Quantize,
        "last-bytes-not-written",
        "bytes without a value are left alone",
        |arguments| {
            let Some(mut values) = Values::of(arguments) else { return Outcome::Refused };
            let bytes = values.values.len().div_ceil(CODES_PER_BYTE);
            let end = BLOCK_BYTES * values.blocks();
            let kept = values.packed[bytes..end].to_vec();
            for block in 0..values.blocks() {
                let quantized = RIGHT_WAY.block(values.block(block));
                values.write(block, &quantized);
            }
            values.packed[bytes..end].copy_from_slice(&kept);
            Outcome::Done
        },
    ),
    Mutant::new(
        Class::Unpack,
        Quantize,
        "codes-packed-msb-first",
        "bitnet.cpp's i2_s has the first code in the highest bits",
        |arguments| {
            by_blocks(arguments, |values, block| {
                let mut quantized = RIGHT_WAY.block(values.block(block));
                quantized.codes.chunks_mut(CODES_PER_BYTE).for_each(<[u8]>::reverse);
                quantized
            })
        },
    ),
    Mutant::new(
        Class::State,
        Quantize,
        "best-gain-kept-between-calls",
        "the search goes on where the last call, or block, left off, and a worse fit does not replace the better one of before",
        |arguments| {
            thread_local! { static BEST: RefCell<Option<(f64, Quantized)>> = const { RefCell::new(None) }; }
            BEST.with_borrow_mut(|best| {
                by_blocks(arguments, |values, block| {
                    let quantized = RIGHT_WAY.block(values.block(block));
                    let size = f64::from(largest(values.block(block)));
                    match best {
                        Some((known, kept)) if *known == size => kept.clone(),
                        _ => {
                            *best = Some((size, quantized.clone()));
                            quantized
                        }
                    }
                })
            })
        },
    ),
    Mutant::new(
        Class::State,
        Quantize,
        "scratch-keeps-a-longer-block",
        "magnitudes are sorted in a buffer of the thread that is not cut to a shorter block",
        |arguments| {
            thread_local! { static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) }; }
            SCRATCH.with_borrow_mut(|scratch| {
                by_blocks(arguments, |values, block| {
                    let own = values.block(block);
                    scratch.resize(scratch.len().max(own.len()), 0.0);
                    scratch[..own.len()].copy_from_slice(own);
                    Quantized { scale: RIGHT_WAY.block(scratch).scale, ..RIGHT_WAY.block(own) }
                })
            })
        },
    ),
    Mutant::new(
        Class::State,
        Quantize,
        "every-ninth-call-takes-the-other-tie",
        "candidates are tried in the order in which a table that grows gives them",
        |arguments| {
            static CALLS: AtomicU32 = AtomicU32::new(0);
            let is_other = CALLS.fetch_add(1, Ordering::Relaxed) % 9 == 8;
            let is_better = |gain: f64, best: f64| gain >= best && gain > 0.0;
            let is_better = if is_other { is_better } else { RIGHT_WAY.is_better };
            Way { is_better, ..RIGHT_WAY }.quantize(arguments)
        },
    ),
    Mutant::new(
        Class::Threads,
        Quantize,
        "magnitudes-in-shared-scratch",
        "the buffer that is sorted is a static, without a lock from the copy to the end",
        |arguments| {
            static SHARED: Mutex<[f32; BLOCK_ELEMENTS]> = Mutex::new([0.0; BLOCK_ELEMENTS]);
            let lock = || SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            by_blocks(arguments, |values, block| {
                let own = values.block(block);
                lock()[..own.len()].copy_from_slice(own);
                std::thread::yield_now();
                let copied = *lock();
                RIGHT_WAY.block(&copied[..own.len()])
            })
        },
    ),
    Mutant::new(
        Class::Dispatch,
        Quantize,
        "blocks-from-the-fifth-on-by-the-mean",
        "long vectors go to a fast path that is only nearly the same",
        |arguments| {
            by_blocks(arguments, |values, block| match block {
                0..4 => RIGHT_WAY.block(values.block(block)),
                _ => with_scale(values.block(block), mean(values.block(block)) as f32),
            })
        },
    ),
    Mutant::new(
        Class::Dispatch,
        Quantize,
        "number-of-a-block-in-8-bits",
        "the number of a block is kept in a byte",
        |arguments| by_blocks(arguments, |values, block| RIGHT_WAY.block(values.block(block % 256))),
    ),
    Mutant::new(
        Class::Memory,
        Quantize,
        "reads-a-value-past-the-end",
        "the last vector is loaded whole",
        |arguments| {
            by_blocks(arguments, |values, block| {
                if block + 1 == values.blocks() && !values.values.len().is_multiple_of(8) {
                    let end = values.values.as_ptr().wrapping_add(values.values.len());
                    std::hint::black_box(stray::read_float(end));
                }
                RIGHT_WAY.block(values.block(block))
            })
        },
    ),
    Mutant::new(
        Class::Memory,
        Quantize,
        "last-scale-not-written",
        "scales are stored by twos, and an odd one is left over",
        |arguments| {
            let Some(mut values) = Values::of(arguments) else { return Outcome::Refused };
            for block in 0..values.blocks() {
                let old = values.scales[block];
                let quantized = RIGHT_WAY.block(values.block(block));
                values.write(block, &quantized);
                if block % 2 == 0 && block + 1 == values.blocks() {
                    values.scales[block] = old;
                }
            }
            Outcome::Done
        },
    ),
    Mutant::new(
        Class::Memory,
        Quantize,
        "writes-spare-scales",
        "all scales that there is room for are set, those behind the last to zero",
        |arguments| {
            let Some(mut values) = Values::of(arguments) else { return Outcome::Refused };
            for block in 0..values.blocks() {
                let quantized = RIGHT_WAY.block(values.block(block));
                values.write(block, &quantized);
            }
            let blocks = values.blocks();
            values.scales[blocks..].fill(0.0);
            Outcome::Done
        },
    ),
    Mutant::new(
        Class::Memory,
        Quantize,
        "spare-codes-stored-as-they-were",
        "the last store is one of a whole vector of 32 bytes behind the last block, blended with what was there",
        |arguments| {
            let Some(mut values) = Values::of(arguments) else { return Outcome::Refused };
            for block in 0..values.blocks() {
                let quantized = RIGHT_WAY.block(values.block(block));
                values.write(block, &quantized);
            }
            if let Some(spare) = values.packed.get_mut(BLOCK_BYTES * values.blocks()) {
                stray::rewrite(spare);
            }
            Outcome::Done
        },
    ),
    Mutant::new(
        Class::Memory,
        Quantize,
        "values-made-positive-in-place-and-back",
        "magnitudes are taken where the values lie, and the sign is put back at the end",
        |arguments| {
            by_blocks(arguments, |values, block| {
                let own = values.block(block);
                let quantized = RIGHT_WAY.block(own);
                if let Some(negative) = own.iter().position(|value| *value < 0.0) {
                    stray::overwrite_and_restore(own, negative, f32::abs);
                }
                quantized
            })
        },
    ),
    Mutant::new(
        Class::Contract,
        Quantize,
        "codes-written-and-then-refused",
        "values are looked at block by block, as they are quantised, and the refusal comes late",
        |arguments| {
            let mut values = Values::unchecked(arguments);
            if !values.has_room() {
                return Outcome::Refused;
            }
            for block in 0..values.blocks() {
                if values.block(block).iter().any(|value| !value.is_finite()) {
                    return Outcome::Refused;
                }
                let quantized = RIGHT_WAY.block(values.block(block));
                values.write(block, &quantized);
            }
            Outcome::Done
        },
    ),
    Mutant::new(
        Class::Contract,
        Quantize,
        "short-scales-accepted-by-the-quantiser",
        "as many blocks are done as there are scales for",
        |arguments| {
            let mut values = Values::unchecked(arguments);
            let is_finite = values.values.iter().all(|value| value.is_finite());
            if values.packed.len() < BLOCK_BYTES * values.blocks() || !is_finite {
                return Outcome::Refused;
            }
            for block in 0..values.blocks().min(values.scales.len()) {
                let quantized = RIGHT_WAY.block(values.block(block));
                values.write(block, &quantized);
            }
            Outcome::Done
        },
    ),
    Mutant::new(
        Class::Contract,
        Quantize,
        "packed-codes-by-values-alone",
        "room for a quarter of the values is asked for, and not for whole blocks",
        |arguments| {
            let values = Values::unchecked(arguments);
            let bytes = values.values.len().div_ceil(CODES_PER_BYTE);
            let is_finite = values.values.iter().all(|value| value.is_finite());
            if values.packed.len() < bytes || values.scales.len() < values.blocks() || !is_finite {
                return Outcome::Refused;
            }
            for block in 0..values.blocks() {
                let quantized = RIGHT_WAY.block(values.block(block));
                values.scales[block] = quantized.scale;
                let bytes = values.packed.iter_mut().skip(block * BLOCK_BYTES);
                for (byte, codes) in bytes.zip(quantized.codes.chunks(CODES_PER_BYTE)) {
                    *byte = codes.iter().rev().fold(0, |byte, code| byte << 2 | code);
                }
            }
            Outcome::Done
        },
    ),
];

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
