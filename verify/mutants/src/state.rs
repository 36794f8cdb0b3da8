//! What is left of earlier calls.

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU32, Ordering};

use qk256_verify::Operation::{Dequantize, Gemv, GemvFixed, Lut, Unpack};
use qk256_verify::{Arguments, Outcome};

use crate::model::fixed::{Fixed, RIGHT_WAY, Way};
use crate::model::vector::{dequantize_by, of_lut, of_unpack};
use crate::model::{Product, READ_WHOLE, SIMD, SUMS, Simd, gemv, weight};
use crate::{Class, Mutant};

const CLASS: Class = Class::State;

/// A gemv that is off by one where `off` is true of the number of the call.
fn off(arguments: Arguments<'_>, calls: &AtomicU32, off: impl Fn(u32) -> bool) -> Outcome {
    let off = off(calls.fetch_add(1, Ordering::Relaxed));
    gemv(arguments, |product, row| product.in_order(row) + f32::from(u8::from(off)))
}

/// What a cache takes for the identity of a buffer.
type Address = (usize, usize);

fn address<T>(buffer: &[T]) -> Address {
    (buffer.as_ptr().addr(), buffer.len())
}

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::new(
        CLASS,
        Gemv,
        "every-seventh-call-off",
        "a ring of buffers has one that is never cleared",
        |arguments| {
            static CALLS: AtomicU32 = AtomicU32::new(0);
            off(arguments, &CALLS, |call| call % 7 == 2)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "hundredth-call-off",
        "a pool is exhausted after N calls, and once only",
        |arguments| {
            static CALLS: AtomicU32 = AtomicU32::new(0);
            off(arguments, &CALLS, |call| call == 99)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "off-from-the-hundredth-call-on",
        "an autotuner settles for a kernel after N calls, and that one lacks the tail",
        |arguments| {
            static CALLS: AtomicU32 = AtomicU32::new(0);
            let tuned = CALLS.fetch_add(1, Ordering::Relaxed) >= 99;
            gemv(arguments, |product, row| {
                let dropped = usize::from(tuned && product.cols % 8 == 1);
                product.sum(row, 0..product.cols - dropped)
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "scratch-keeps-a-longer-x",
        "a scratch buffer grows and is never cleared behind what was copied; full vectors read on",
        |arguments| {
            thread_local! { static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) }; }
            SCRATCH.with_borrow_mut(|scratch| {
                gemv(arguments, |product, row| {
                    let end = product.cols.next_multiple_of(32).min(256 * product.blocks());
                    scratch.resize(scratch.len().max(end), 0.0);
                    scratch[..product.cols].copy_from_slice(&product.x[..product.cols]);
                    let term = |c: usize| product.weight(row, c) * product.scale(row, c) * scratch[c];
                    let padding = (product.cols..end).filter(|&c| scratch[c] != 0.0);
                    (0..product.cols).chain(padding).fold(0.0, |sum, c| sum + term(c))
                })
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "codes-cached-by-address",
        "a matrix is unpacked once and known by its address, which malloc gives to the next one",
        |arguments| {
            thread_local! { static CACHE: RefCell<(Address, Vec<u8>)> = const { RefCell::new(((0, 0), Vec::new())) }; }
            CACHE.with_borrow_mut(|(key, codes)| {
                gemv(arguments, |product, row| {
                    if product.packed.len() > READ_WHOLE {
                        return product.in_order(row);
                    }
                    if *key != address(product.packed) {
                        (*key, *codes) = (address(product.packed), product.packed.to_vec());
                    }
                    let code = |c: usize| codes[row * product.row_stride + c / 4] >> (2 * (c % 4));
                    let term = |c: usize| weight(code(c)) * product.scale(row, c) * product.x[c];
                    (0..product.cols).fold(0.0, |sum, c| sum + term(c))
                })
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "first-x-cached-by-address",
        "activations are permuted once for all matrices of a layer, and known by their address",
        |arguments| {
            thread_local! { static CACHE: RefCell<(Address, Vec<f32>)> = const { RefCell::new(((0, 0), Vec::new())) }; }
            CACHE.with_borrow_mut(|(key, permuted)| {
                gemv(arguments, |product, row| {
                    if *key != address(product.x) {
                        (*key, *permuted) = (address(product.x), product.x.to_vec());
                    }
                    let term = |c: usize| product.weight(row, c) * product.scale(row, c) * permuted[c];
                    (0..product.cols).fold(0.0, |sum, c| sum + term(c))
                })
            })
        },
    ),
    Mutant::new(
        CLASS,
        Dequantize,
        "scales-cached-by-address",
        "scales are widened from another type once, and known by their address",
        |arguments| {
            thread_local! { static CACHE: RefCell<(Address, Vec<f32>)> = const { RefCell::new(((0, 0), Vec::new())) }; }
            CACHE.with_borrow_mut(|(key, widened)| {
                if let Some(scales) = arguments.scales
                    && *key != address(scales)
                {
                    (*key, *widened) = (address(scales), scales.to_vec());
                }
                dequantize_by(arguments, |_, at| widened[at / 256])
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "mask-of-a-tail-kept-for-as-many-vectors",
        "the mask is made when the number of vectors changes, and rows of 33 and 34 columns have as many",
        |arguments| {
            thread_local! { static MASK: Cell<(usize, usize)> = const { Cell::new((usize::MAX, 0)) }; }
            let columns = |product: &Product<'_>, _| {
                let (vectors, tail) = (product.cols / 8, product.cols % 8);
                if MASK.get().0 != vectors || MASK.get().1 == 0 {
                    MASK.set((vectors, tail));
                }
                8 * vectors + tail.min(MASK.get().1)
            };
            Simd { columns, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "scaled-once-scaled-always",
        "a flag says that there are scales, and is not taken back: then a buffer of ones is wanting",
        |arguments| {
            thread_local! { static LAST: Cell<f32> = const { Cell::new(1.0) }; }
            gemv(arguments, |product, row| {
                let sum = product.in_order(row);
                if product.scales.is_some() && product.cols > 0 {
                    LAST.set(product.scale(row, product.cols - 1));
                    return sum;
                }
                let left = LAST.replace(1.0);
                if product.cols > 0 { sum * left } else { sum }
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "accumulates-into-y",
        "y is taken for an accumulator, as with beta = 1",
        |arguments| {
            gemv(arguments, |product, row| {
                product.in_order(row) + if product.y[row].is_finite() { product.y[row] } else { 0.0 }
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "zero-times-y-added",
        "beta = 0 is multiplied, and zero times an old NaN is NaN",
        |arguments| gemv(arguments, |product, row| product.in_order(row) + 0.0 * product.y[row]),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "zeros-not-written",
        "a result of zero is taken for nothing to do",
        |arguments| {
            gemv(arguments, |product, row| match product.in_order(row) {
                0.0 => product.y[row],
                sum => sum,
            })
        },
    ),
    Mutant::new(
        CLASS,
        Unpack,
        "codes-ored-into-the-output",
        "codes are gathered by OR into memory that is thought to be zero",
        |arguments| {
            let Some((vector, codes)) = of_unpack(arguments) else { return Outcome::Refused };
            codes.iter_mut().enumerate().for_each(|(at, code)| *code |= vector.code(at));
            Outcome::Done
        },
    ),
    Mutant::new(
        CLASS,
        Lut,
        "weights-of-code-one-left-as-they-were",
        "a blend of three values keeps the fourth from memory",
        |arguments| {
            let Some((vector, weights)) = of_lut(arguments) else { return Outcome::Refused };
            for (at, slot) in
                weights.iter_mut().enumerate().filter(|(at, _)| vector.bytes[*at] & 3 != 1 || at % 16 != 9)
            {
                *slot = weight(vector.bytes[at]);
            }
            Outcome::Done
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "sums-left-by-rows-without-a-tail",
        "sums live in static memory and are cleared afterwards through the mask of the tail, which is empty for whole vectors",
        |arguments| {
            thread_local! { static LEFT: Cell<f32> = const { Cell::new(0.0) }; }
            gemv(arguments, |product, row| {
                let sum = product.in_order(row) + LEFT.take();
                let is_whole = product.cols > 0 && product.cols.is_multiple_of(32) && product.is_last(row);
                LEFT.set(if is_whole && sum.is_finite() { sum } else { 0.0 });
                sum
            })
        },
    ),
    Mutant::new(
        CLASS,
        GemvFixed,
        "exponent-cached-by-address",
        "the largest magnitude of x is looked for once, and x is known by its address and length",
        |arguments| {
            thread_local! { static CACHE: Cell<(Address, i32)> = const { Cell::new(((0, 0), 0)) }; }
            let exponent = |fixed: &Fixed<'_>, right| {
                if CACHE.get().0 != address(fixed.product.x) {
                    CACHE.set((address(fixed.product.x), right));
                }
                CACHE.get().1.max(right - 8)
            };
            Way { exponent, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "first-row-from-sums-of-the-last-call",
        "accumulators are static, and a call clears them before each row but the first of more than eight",
        |arguments| {
            thread_local! { static SUMS_LEFT: Cell<[f32; SUMS]> = const { Cell::new([0.0; SUMS]) }; }
            let begin = |product: &Product<'_>, row: usize, sums: &[f32; SUMS]| {
                if row + 1 == product.rows {
                    SUMS_LEFT.set(*sums);
                }
                if row == 0 && product.rows > 8 { SUMS_LEFT.take() } else { [0.0; SUMS] }
            };
            Simd { begin, ..SIMD }.product(arguments)
        },
    ),
];
