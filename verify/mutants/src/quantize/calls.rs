//! Quantisers that are wrong in some calls, keep what they must not, touch memory that is not theirs, or accept what must be refused.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use qk256_verify::Operation::Quantize;
use qk256_verify::Outcome;

use super::{mean, with_scale};
use crate::model::quantize::{Quantized, RIGHT_WAY, Values, Way, by_blocks};
use crate::model::{BLOCK_BYTES, BLOCK_ELEMENTS, CODES_PER_BYTE, stray};
use crate::{Class, Mutant};

pub(crate) const WRONG: &[Mutant] = &[
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
                    let size = mean(values.block(block));
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
            let lock = || SHARED.lock().unwrap_or_else(PoisonError::into_inner);
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
        "writes-slack-scales",
        "all scales that there is room for are set, those behind the last to zero",
        |arguments| {
            let Some(mut values) = Values::of(arguments) else { return Outcome::Refused };
            let blocks = values.blocks();
            RIGHT_WAY.write(&mut values, 0..blocks);
            let blocks = values.blocks();
            values.scales[blocks..].fill(0.0);
            Outcome::Done
        },
    ),
    Mutant::new(
        Class::Memory,
        Quantize,
        "slack-codes-stored-as-they-were",
        "the last store is one of a whole vector of 32 bytes behind the last block, blended with what was there",
        |arguments| {
            let Some(mut values) = Values::of(arguments) else { return Outcome::Refused };
            let blocks = values.blocks();
            RIGHT_WAY.write(&mut values, 0..blocks);
            if let Some(slack) = values.packed.get_mut(BLOCK_BYTES * values.blocks()) {
                stray::rewrite(slack);
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
            let blocks = values.blocks().min(values.scales.len());
            RIGHT_WAY.write(&mut values, 0..blocks);
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
