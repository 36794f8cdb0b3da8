//! Scratch memory on the stack.

use std::hint::black_box;

use qk256_verify::Operation::{Dequantize, Gemv, GemvFixed, Unpack};
use qk256_verify::Outcome;

use crate::model::fixed::RIGHT_WAY;
use crate::model::vector::{dequantize, of_dequantize, unpack};
use crate::model::{BLOCK_ELEMENTS, SIMD, weight};
use crate::{Class, Mutant};

const CLASS: Class = Class::Memory;

/// Bytes that one step of [`deep`] takes.
const STEP: usize = 1 << 14;

/// Takes N bytes of stack, for scratch memory of which nothing is needed.
fn use_stack(bytes: usize) {
    black_box(deep(bytes));
}

/// Has N bytes on the stack at one time, and writes to all of them.
#[inline(never)]
fn deep(bytes: usize) -> u8 {
    let mut part = [0_u8; STEP];
    black_box(&mut part).fill(bytes as u8);
    let below = if bytes > STEP { deep(bytes - STEP) } else { 0 };
    below.wrapping_add(black_box(&part)[STEP - 1])
}

/// One block of weights, then the rest, each with a buffer of its own.
#[inline(never)]
fn block_by_block(codes: &[u8], scales: &[f32], out: &mut [f32]) {
    let Some((scale, scales)) = scales.split_first().filter(|_| !out.is_empty()) else { return };
    let mut block = [0.0_f32; BLOCK_ELEMENTS];
    let code = |at: usize| codes[at / 4] >> (2 * (at % 4)) & 3;
    block.iter_mut().enumerate().for_each(|(at, slot)| *slot = weight(code(at)) * scale);
    let (first, rest) = out.split_at_mut(BLOCK_ELEMENTS.min(out.len()));
    first.copy_from_slice(&black_box(&block)[..first.len()]);
    block_by_block(&codes[BLOCK_ELEMENTS / 4..], scales, rest);
    black_box(&block);
}

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::new(
        CLASS,
        Gemv,
        "256-bytes-of-stack-a-column",
        "a table for each column, which a stack of 8 MiB holds up to 32767 of them",
        |arguments| SIMD.product_after(arguments, |product| use_stack(256 * product.cols)),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "half-a-mebibyte-of-stack-for-long-rows",
        "a buffer of fixed size, which main has room for and the threads of a pool do not",
        |arguments| {
            SIMD.product_after(arguments, |product| {
                if product.cols > 4096 {
                    use_stack(1 << 19);
                }
            })
        },
    ),
    Mutant::new(
        CLASS,
        GemvFixed,
        "digits-of-x-on-the-stack",
        "four digits a column, and each in 16 bits: an array of variable length in C",
        |arguments| {
            use_stack(8 * arguments.cols.min(arguments.x.len()));
            RIGHT_WAY.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Dequantize,
        "a-buffer-on-the-stack-for-every-block",
        "blocks are done by a function that calls itself, with a buffer of 1 KiB",
        |arguments| {
            let Some((vector, out)) = of_dequantize(arguments) else { return Outcome::Refused };
            block_by_block(vector.bytes, vector.scales, out);
            Outcome::Done
        },
    ),
    Mutant::new(
        CLASS,
        Unpack,
        "codes-on-the-stack-before-they-are-stored",
        "the output is filled from a copy, as long as it is",
        |arguments| {
            use_stack(4 * arguments.out_bytes.len());
            unpack(arguments, |vector, at| vector.code(at))
        },
    ),
];

pub(crate) const RIGHT: &[Mutant] = &[
    Mutant::new(
        CLASS,
        Gemv,
        "64-kib-of-stack",
        "scratch memory of fixed size, a quarter of what the threads of many pools have",
        |arguments| SIMD.product_after(arguments, |_| use_stack(1 << 16)),
    ),
    Mutant::new(CLASS, Dequantize, "64-kib-of-stack-in-each-call", "the same for a vector", |arguments| {
        black_box(deep(1 << 16));
        dequantize(arguments, |vector, at| vector.weight(at) * vector.scale(at))
    }),
];
