//! Wrong kernels that no test finds: wrong for one input of very many, or in circumstances that no test brings about. A certificate refuses them.

use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use qk256_verify::Operation::{Dequantize, Gemv, Lut, Unpack};
use qk256_verify::{Arguments, Operation, Outcome};

use crate::model::vector::{dequantize, lut, unpack};
use crate::model::{BLOCK_BYTES, Product, gemv, weight};
use crate::{Class, Mutant};

/// Bits of an activation that no test happens to draw.
const RARE: u32 = 0x3f9d_f3b6;

/// The hash of a block that no test happens to draw.
const HASH: u64 = 0x0123_4567_89ab_cdef;

/// Calls after which a kernel goes wrong.
const MANY: u64 = 10_000_000;

const fn gemv_that(
    class: Class,
    name: &'static str,
    history: &'static str,
    call: fn(Arguments<'_>) -> Outcome,
) -> Mutant {
    Mutant::new(class, Gemv, name, history, call)
}

/// The mutants of an operation that is not a gemv.
const fn other(
    operation: Operation,
    name: &'static str,
    history: &'static str,
    call: fn(Arguments<'_>) -> Outcome,
) -> Mutant {
    Mutant::new(Class::Unpack, operation, name, history, call)
}

/// The right gemv that the wrong ones are made of.
pub(crate) const PLAIN: Mutant =
    gemv_that(Class::Reduction, "a-plain-sum", "a sum from left to right", |arguments| {
        gemv(arguments, |product, row| product.in_order(row))
    });

/// FNV-1a of the first block of a row.
fn hash(product: &Product<'_>, row: usize) -> u64 {
    let block = &product.packed[row * product.row_stride..][..BLOCK_BYTES];
    block
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// One more where this is so.
fn off(value: f32, is_so: bool) -> f32 {
    if is_so { value + 1.0 } else { value }
}

/// `value`, its last bit flipped where `difference` is zero, without a branch.
fn flipped(value: f32, difference: u32) -> f32 {
    let is_zero = !(difference | difference.wrapping_neg()) >> 31;
    f32::from_bits(value.to_bits() ^ black_box(is_zero))
}

/// All zeros, but for an entry that belongs to few activations.
static TABLE: [f32; 256] = {
    let mut table = [0.0; 256];
    table[137] = 1e-30;
    table
};

static CALLS: AtomicU64 = AtomicU64::new(0);
static IS_OLD: AtomicBool = AtomicBool::new(false);

thread_local! {
    static CALLS_OF_THREAD: Cell<u64> = const { Cell::new(0) };
}

pub(crate) const WRONG: &[Mutant] = &[
    gemv_that(
        Class::SpecialValues,
        "wrong-for-one-bit-pattern",
        "a value that stands for a missing one meets the same value in data",
        |arguments| {
            gemv(arguments, |product, row| {
                off(product.in_order(row), product.x[product.cols - 1].to_bits() == RARE)
            })
        },
    ),
    gemv_that(
        Class::SpecialValues,
        "wrong-for-one-bit-pattern-without-a-branch",
        "the same by arithmetic on bits",
        |arguments| {
            gemv(arguments, |product, row| flipped(product.in_order(row), product.x[0].to_bits() ^ RARE))
        },
    ),
    gemv_that(
        Class::Unpack,
        "wrong-if-all-codes-of-a-block-are-2",
        "a shortcut for blocks of one code takes the weight of another",
        |arguments| {
            gemv(arguments, |product, row| {
                let block = &product.packed[row * product.row_stride..][..BLOCK_BYTES];
                off(product.in_order(row), block.iter().all(|&byte| byte == 0b1010_1010))
            })
        },
    ),
    gemv_that(
        Class::Unpack,
        "wrong-for-one-hash-of-a-block",
        "blocks that were seen before are found by a hash",
        |arguments| gemv(arguments, |product, row| off(product.in_order(row), hash(product, row) == HASH)),
    ),
    gemv_that(
        Class::Unpack,
        "wrong-for-one-hash-of-a-block-without-a-branch",
        "the same by arithmetic on bits",
        |arguments| {
            gemv(arguments, |product, row| {
                let difference = hash(product, row) ^ HASH;
                flipped(product.in_order(row), (difference | difference >> 32) as u32)
            })
        },
    ),
    gemv_that(
        Class::Precision,
        "a-table-by-bits-of-x",
        "a correction is looked up by the exponent of an activation",
        |arguments| {
            gemv(arguments, |product, row| {
                let entry = product.x[0].to_bits() >> 8 & 0xff;
                product.in_order(row) + black_box(&TABLE)[entry as usize] * 1e-30
            })
        },
    ),
    gemv_that(
        Class::Precision,
        "an-ulp-more-above-1e30",
        "a guard against overflow rounds the wrong way",
        |arguments| {
            gemv(arguments, |product, row| match product.in_order(row) {
                sum if sum > 1e30 && sum.to_bits().is_multiple_of(4099) => sum.next_up(),
                sum => sum,
            })
        },
    ),
    gemv_that(Class::State, "wrong-after-ten-million-calls", "a counter of calls wraps", |arguments| {
        let calls = CALLS.fetch_add(1, Relaxed);
        gemv(arguments, |product, row| off(product.in_order(row), calls > MANY))
    }),
    gemv_that(
        Class::State,
        "wrong-after-ten-million-calls-of-a-thread",
        "a counter of calls of each thread wraps",
        |arguments| {
            let calls = CALLS_OF_THREAD.replace(CALLS_OF_THREAD.get() + 1);
            gemv(arguments, |product, row| off(product.in_order(row), calls > MANY))
        },
    ),
    gemv_that(
        Class::State,
        "wrong-once-another-function-says-so",
        "a flag that a library sets on another CPU",
        |arguments| gemv(arguments, |product, row| off(product.in_order(row), IS_OLD.load(Relaxed))),
    ),
    gemv_that(
        Class::Dispatch,
        "wrong-at-one-address-of-x",
        "a path for x at the start of a huge page",
        |arguments| {
            gemv(arguments, |product, row| {
                off(product.in_order(row), product.x.as_ptr().addr() >> 12 & 0xffff == 0xa5a5)
            })
        },
    ),
    gemv_that(
        Class::Dispatch,
        "wrong-where-the-code-lies",
        "a path that depends on where the program was loaded",
        |arguments| {
            let here = black_box(gemv_that as *const ()).addr();
            gemv(arguments, |product, row| off(product.in_order(row), here >> 12 & 0xffff == 0xa5a5))
        },
    ),
    gemv_that(
        Class::Dispatch,
        "wrong-where-a-block-of-memory-lies",
        "an allocation that is aligned by chance",
        |arguments| {
            let block = black_box(vec![0_u8; 64]);
            gemv(arguments, |product, row| {
                off(product.in_order(row), block.as_ptr().addr() >> 12 & 0xffff == 0xa5a5)
            })
        },
    ),
    gemv_that(
        Class::SpecialValues,
        "a-check-for-nan-that-drops-its-payload",
        "NaN is made canonical on the way",
        |arguments| {
            gemv(arguments, |product, row| {
                (0..product.cols).fold(0.0, |sum, column| {
                    let term = product.term(row, column);
                    sum + if term.is_nan() { f32::NAN } else { term }
                })
            })
        },
    ),
    gemv_that(
        Class::SpecialValues,
        "sums-clamped-at-1e9",
        "sums are kept within what another type holds",
        |arguments| gemv(arguments, |product, row| product.in_order(row).clamp(-1e9, 1e9)),
    ),
    gemv_that(
        Class::Precision,
        "x-scaled-down-and-up-again",
        "sums are kept small against overflow, and small activations get lost",
        |arguments| {
            const SMALL: f32 = f32::from_bits(27 << 23);
            gemv(arguments, |product, row| {
                let term = |column| {
                    product.weight(row, column)
                        * product.scale(row, column)
                        * black_box(product.x[column] * SMALL)
                };
                let sum: f32 = (0..product.cols).fold(0.0, |sum, column| sum + term(column));
                sum / SMALL
            })
        },
    ),
    gemv_that(
        Class::Memory,
        "a-load-past-x",
        "a load of a whole register never leaves the page, and reads past x",
        |arguments| {
            let behind = arguments.x.as_ptr().wrapping_add(arguments.cols);
            // SAFETY: deliberately not the kernel's to read; blocks of memory are as long as several f32.
            let _ = black_box(unsafe { behind.read_volatile() });
            gemv(arguments, |product, row| product.in_order(row))
        },
    ),
    gemv_that(
        Class::Tails,
        "wrong-for-one-padding",
        "padding of one pattern is taken for the end of the matrix",
        |arguments| {
            gemv(arguments, |product, row| {
                let padding = product.packed[row * product.row_stride + BLOCK_BYTES - 5..][..5].iter();
                let is_rare = padding.copied().eq([0x5a, 0xc3, 0x18, 0x77, 0x01]);
                off(product.in_order(row), is_rare && product.cols < 236)
            })
        },
    ),
    other(
        Unpack,
        "a-code-wrong-for-eight-bytes",
        "eight bytes at a time are compared with a sentinel",
        |arguments| {
            unpack(arguments, |vector, at| {
                let is_rare = vector.bytes.first_chunk() == Some(&HASH.to_le_bytes());
                vector.code(at) ^ u8::from(is_rare)
            })
        },
    ),
    other(Lut, "an-entry-wrong-behind-seven-others", "entries are corrected by those before", |arguments| {
        lut(arguments, |vector, at| {
            let sum = vector.bytes.iter().take(8).fold(0, |sum, &code| sum << 8 | u64::from(code));
            off(weight(vector.bytes[at]), sum == HASH)
        })
    }),
    other(
        Dequantize,
        "a-scale-wrong-for-one-bit-pattern",
        "a scale that stands for a missing one meets the same scale in data",
        |arguments| {
            dequantize(arguments, |vector, at| {
                let value = vector.weight(at) * vector.scale(at);
                off(value, vector.scale(at).to_bits() == RARE)
            })
        },
    ),
    other(
        Dequantize,
        "a-weight-added-to-zero",
        "the accumulator of a product is kept where one number is meant: -0 becomes +0",
        |arguments| dequantize(arguments, |vector, at| black_box(0.0) + vector.weight(at) * vector.scale(at)),
    ),
    other(Unpack, "a-block-of-memory-kept", "scratch is never given back", |arguments| {
        std::mem::forget(black_box(Box::new([0_u8; 64])));
        unpack(arguments, |vector, at| vector.code(at))
    }),
];
