//! What goes wrong where several threads call at one time, or another thread than the first.

use std::cell::Cell;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, Once, OnceLock};
use std::thread::{ThreadId, current, yield_now};

use qk256_verify::Operation::{Dequantize, Gemv, Lut, Unpack};
use qk256_verify::{Arguments, Outcome};

use crate::model::vector::{dequantize_by, lut, of_unpack};
use crate::model::{Product, SIMD, Simd, gemv, stray};
use crate::{Class, Mutant};

const CLASS: Class = Class::Threads;

/// Columns that shared scratch memory has room for; longer rows do without.
const ROOM: usize = 4096;

/// Floats that several threads may write. What a data race does to plain memory, they do without undefined behaviour.
struct Shared<const N: usize>([AtomicU32; N]);

impl<const N: usize> Shared<N> {
    const fn new() -> Self {
        Self([const { AtomicU32::new(0) }; N])
    }

    fn load(&self, at: usize) -> f32 {
        f32::from_bits(self.0[at].load(Ordering::Relaxed))
    }

    fn store(&self, at: usize, value: f32) {
        self.0[at].store(value.to_bits(), Ordering::Relaxed);
    }
}

/// Whether this thread is another than the first that asked.
fn is_another_thread(first: &OnceLock<ThreadId>) -> bool {
    *first.get_or_init(|| current().id()) != current().id()
}

/// The row's sum by way of accumulators that others may hold, too; a block at a time, with a chance to be interrupted after
/// each.
fn sum_in(shared: &Shared<8>, product: &Product<'_>, row: usize) -> f32 {
    (0..8).for_each(|lane| shared.store(lane, 0.0));
    for column in 0..product.cols {
        let lane = column % 8;
        shared.store(lane, shared.load(lane) + product.term(row, column));
        if column % 256 == 255 {
            yield_now();
        }
    }
    yield_now();
    (0..8).fold(0.0, |sum, lane| sum + shared.load(lane))
}

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::new(
        CLASS,
        Gemv,
        "wrong-on-every-thread-but-the-first",
        "something is initialised for the thread that loads the library",
        |arguments| {
            static FIRST: OnceLock<ThreadId> = OnceLock::new();
            let off = is_another_thread(&FIRST);
            gemv(arguments, |product, row| product.in_order(row) + f32::from(u8::from(off)))
        },
    ),
    Mutant::new(
        CLASS,
        Lut,
        "table-filled-on-the-first-thread-only",
        "a table is local to a thread and filled under a flag that is not (oneDNN issue 1385: run where it was made)",
        |arguments| {
            thread_local! { static TABLE: Cell<[f32; 4]> = const { Cell::new([0.0; 4]) }; }
            static FILLED: Once = Once::new();
            FILLED.call_once(|| TABLE.set([-2.0, -1.0, 1.0, 2.0]));
            let table = TABLE.get();
            lut(arguments, |vector, at| table[usize::from(vector.bytes[at] & 3)])
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "permuted-x-in-shared-memory",
        "permuted activations are static, and another thread's x comes over them (oneDNN pull 572 reports on its scratchpad)",
        |arguments| {
            static SCRATCH: Shared<ROOM> = Shared::new();
            let x = |product: &Product<'_>, _, column: usize| match product.cols <= ROOM {
                true => SCRATCH.load(column),
                false => product.x[column],
            };
            Simd { x, ..SIMD }.product_after(arguments, |product| {
                if product.cols <= ROOM {
                    (0..product.cols).for_each(|column| SCRATCH.store(column, product.x[column]));
                }
                yield_now();
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "sums-in-shared-memory",
        "accumulators of a tile are static, to keep the stack small",
        |arguments| {
            static SUMS: Shared<8> = Shared::new();
            gemv(arguments, |product, row| sum_in(&SUMS, product, row))
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "room-for-four-threads",
        "scratch memory is kept for as many threads as the machine had cores, and the fifth shares it with the first",
        |arguments| {
            static SUMS: [Shared<8>; 4] = [const { Shared::new() }; 4];
            static THREADS: AtomicUsize = AtomicUsize::new(0);
            thread_local! { static NUMBER: usize = THREADS.fetch_add(1, Ordering::Relaxed); }
            let shared = &SUMS[NUMBER.with(|number| number % 4)];
            gemv(arguments, |product, row| sum_in(shared, product, row))
        },
    ),
    Mutant::new(
        CLASS,
        Unpack,
        "block-unpacked-in-shared-memory",
        "a block is unpacked into a static buffer and copied from there",
        |arguments| {
            static BLOCK: [AtomicU8; 256] = [const { AtomicU8::new(0) }; 256];
            let Some((vector, codes)) = of_unpack(arguments) else { return Outcome::Refused };
            for first in (0..vector.len).step_by(256) {
                let part = first..vector.len.min(first + 256);
                part.clone().for_each(|at| BLOCK[at % 256].store(vector.code(at), Ordering::Relaxed));
                yield_now();
                part.for_each(|at| codes[at] = BLOCK[at % 256].load(Ordering::Relaxed));
            }
            Outcome::Done
        },
    ),
    Mutant::new(
        CLASS,
        Dequantize,
        "scale-in-shared-memory",
        "the scale of the present block is a global, as in a kernel translated from another language",
        |arguments| {
            static SCALE: Shared<1> = Shared::new();
            dequantize_by(arguments, |vector, at| {
                if at % 256 == 0 {
                    SCALE.store(0, vector.scale(at));
                    yield_now();
                }
                SCALE.load(0)
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "lock-tried-and-not-waited-for",
        "a lock that is held is taken for work that somebody else does",
        |arguments| {
            static LOCK: Mutex<()> = Mutex::new(());
            let Some(mut product) = Product::of(arguments) else { return Outcome::Refused };
            if let Ok(_held) = LOCK.try_lock() {
                SIMD.write(&mut product);
                yield_now();
            }
            Outcome::Done
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "second-caller-gets-the-kernel-without-tails",
        "while the good kernel's scratch memory is in use, callers are sent to another kernel",
        |arguments| {
            static CALLERS: AtomicUsize = AtomicUsize::new(0);
            static TURNS: Simd =
                Simd { columns: |product, _| product.cols - usize::from(product.cols % 8 != 0), ..SIMD };
            let others = CALLERS.fetch_add(1, Ordering::AcqRel);
            yield_now();
            let outcome = if others > 0 { &TURNS } else { &SIMD }.product(arguments);
            CALLERS.fetch_sub(1, Ordering::AcqRel);
            outcome
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "off-from-the-third-call-of-another-thread",
        "each thread has a pool of its own, and that of the first thread alone is refilled",
        |arguments| other_thread_off_from(arguments, 3),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "off-from-the-ninth-call-of-another-thread",
        "the same with a larger pool",
        |arguments| other_thread_off_from(arguments, 9),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "large-stack-for-x",
        "x is copied to the stack, where the main thread has room and others have not (OpenBLAS issue 567: MAX_STACK_ALLOC)",
        |arguments| {
            SIMD.product_after(arguments, |product| {
                if product.cols >= 1024 {
                    copied_to_the_stack(product.x);
                }
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "returns-before-its-worker-is-done",
        "a worker is started for the last row, and nobody waits for it",
        |arguments| {
            let Some(mut product) = Product::of(arguments) else { return Outcome::Refused };
            if product.rows < 8 {
                SIMD.write(&mut product);
                return Outcome::Done;
            }
            product.rows -= 1;
            SIMD.write(&mut product);
            let last = product.in_order(product.rows);
            let y = product.y.as_mut_ptr().wrapping_add(product.rows).expose_provenance();
            std::thread::spawn(move || stray::write(std::ptr::with_exposed_provenance_mut(y), last));
            Outcome::Done
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "rows-that-no-worker-gets",
        "rows are split among three workers, and the rest of the division is nobody's",
        |arguments| {
            let Some(mut product) = Product::of(arguments) else { return Outcome::Refused };
            let rows = product.rows;
            if rows < 8 {
                SIMD.write(&mut product);
                return Outcome::Done;
            }
            let (packed, scales, x) = (product.packed, product.scales, product.x);
            let (cols, row_stride, share, blocks) =
                (product.cols, product.row_stride, rows / 3, product.blocks());
            let parts = product.y[..rows].chunks_exact_mut(share).take(3).enumerate();
            std::thread::scope(|scope| {
                for (worker, y) in parts {
                    let first = worker * share;
                    let (packed, scales) =
                        (&packed[first * row_stride..], scales.map(|all| &all[first * blocks..]));
                    scope.spawn(move || {
                        SIMD.write(&mut Product { packed, scales, x, y, rows: share, cols, row_stride });
                    });
                }
            });
            Outcome::Done
        },
    ),
];

/// Three megabytes of stack: less than a main thread has, more than another thread has by default.
#[inline(never)]
fn copied_to_the_stack(x: &[f32]) {
    let mut room = [0.0_f32; 3 << 18];
    let copied = x.len().min(room.len());
    room[..copied].copy_from_slice(&x[..copied]);
    std::hint::black_box(&mut room);
}

/// A gemv that is off by one from call number `from` of a thread on, unless that is the first thread.
fn other_thread_off_from(arguments: Arguments<'_>, from: u32) -> Outcome {
    static FIRST: OnceLock<ThreadId> = OnceLock::new();
    thread_local! { static CALLS: Cell<u32> = const { Cell::new(0) }; }
    CALLS.set(CALLS.get() + 1);
    let off = is_another_thread(&FIRST) && CALLS.get() >= from;
    gemv(arguments, |product, row| product.in_order(row) + f32::from(u8::from(off)))
}
