//! Kernels that prepare something in the first call of a process, whole before it is used or not.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

use qk256_verify::Operation::{Gemv, Unpack};
use qk256_verify::{Arguments, Outcome};

use crate::model::vector::unpack;
use crate::model::{Product, gemv, weight};
use crate::{Class, Mutant};

/// The weights of the codes, as bits.
struct Table([AtomicU32; 4]);

impl Table {
    const fn new() -> Self {
        Self([const { AtomicU32::new(0) }; 4])
    }

    /// Takes some time, as asking the CPU for its features does.
    fn fill(&self) {
        for (entry, code) in self.0.iter().zip(0..) {
            (0..30).for_each(|_| std::hint::spin_loop());
            entry.store(weight(code).to_bits(), Ordering::Release);
        }
    }

    fn weight(&self, code: u8) -> f32 {
        f32::from_bits(self.0[usize::from(code)].load(Ordering::Acquire))
    }

    fn product(&self, arguments: Arguments<'_>) -> Outcome {
        let term = |product: &Product<'_>, row, column| {
            self.weight(product.code(row, column)) * product.scale(row, column) * product.x[column]
        };
        gemv(arguments, |product, row| (0..product.cols).fold(0.0, |sum, at| sum + term(product, row, at)))
    }
}

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::new(
        Class::Threads,
        Gemv,
        "a-table-that-is-ready-before-it-is-filled",
        "the flag is set first, so that nobody else begins to fill it",
        |arguments| {
            static READY: AtomicBool = AtomicBool::new(false);
            static TABLE: Table = Table::new();
            if !READY.swap(true, Ordering::SeqCst) {
                TABLE.fill();
            }
            TABLE.product(arguments)
        },
    ),
    Mutant::new(
        Class::Threads,
        Gemv,
        "a-dispatch-whose-flag-comes-before-its-pointer",
        "another thread sees the flag and jumps to a null pointer",
        |arguments| {
            static READY: AtomicBool = AtomicBool::new(false);
            static TABLE: AtomicPtr<f32> = AtomicPtr::new(std::ptr::null_mut());
            if !READY.swap(true, Ordering::SeqCst) {
                (0..100).for_each(|_| std::hint::spin_loop());
                let table = Box::leak(Box::new([0, 1, 2, 3].map(weight)));
                TABLE.store(table.as_mut_ptr(), Ordering::SeqCst);
            }
            gemv(arguments, |product, row| {
                (0..product.cols).fold(0.0, |sum, column| {
                    let at = TABLE.load(Ordering::SeqCst).wrapping_add(product.code(row, column).into());
                    // SAFETY: not given, on purpose: the pointer may be null yet.
                    let weight = unsafe { at.read_volatile() };
                    sum + weight * product.scale(row, column) * product.x[column]
                })
            })
        },
    ),
    Mutant::new(
        Class::Threads,
        Unpack,
        "a-mask-written-by-the-first-call-while-others-read-it",
        "a constant is computed once and its flag set before it",
        |arguments| {
            static READY: AtomicBool = AtomicBool::new(false);
            static MASK: AtomicU32 = AtomicU32::new(0);
            if !READY.swap(true, Ordering::SeqCst) {
                (0..100).for_each(|_| std::hint::spin_loop());
                MASK.store(3, Ordering::SeqCst);
            }
            unpack(arguments, |vector, at| vector.code(at) & MASK.load(Ordering::SeqCst) as u8)
        },
    ),
];

pub(crate) const RIGHT: &[Mutant] = &[Mutant::new(
    Class::Threads,
    Gemv,
    "a-table-that-the-first-call-fills-and-others-wait-for",
    "the others wait until it is whole",
    |arguments| {
        static TABLE: OnceLock<Table> = OnceLock::new();
        let filled = || {
            let table = Table::new();
            table.fill();
            table
        };
        TABLE.get_or_init(filled).product(arguments)
    },
)];
