//! Kernels without multiplications, whose order depends on the codes as it may, and on something else as it must not.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{ThreadId, current, yield_now};

use qk256_verify::Operation::Gemv;
use qk256_verify::{Arguments, Outcome};

use crate::model::{Product, gemv};
use crate::techniques::{by_blocks, is_double, is_negative, signs_apart};
use crate::{Class, Mutant};

/// A gemv that adds apart what is added and what is subtracted; backwards where `backwards` is true of the operands and the row.
fn apart(arguments: Arguments<'_>, backwards: impl Fn(&Product<'_>, usize) -> bool) -> Outcome {
    gemv(arguments, |product, row| match backwards(product, row) {
        false => by_blocks(product, row, signs_apart),
        true => by_blocks(product, row, |product, row, block| signs_apart(product, row, block.rev())),
    })
}

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::new(
        Class::Dispatch,
        Gemv,
        "apart-and-backwards-for-aligned-x",
        "a path for aligned activations walks the other way",
        |arguments| apart(arguments, |product, _| product.x.as_ptr().addr().is_multiple_of(32)),
    ),
    Mutant::new(
        Class::Dispatch,
        Gemv,
        "apart-and-backwards-where-there-are-gaps",
        "strided rows take a loop of their own",
        |arguments| apart(arguments, |product, _| product.has_gaps()),
    ),
    Mutant::new(
        Class::Dispatch,
        Gemv,
        "apart-and-backwards-where-x-is-longer",
        "a path is chosen by the length of a buffer, where the number of columns is what counts",
        |arguments| apart(arguments, |product, _| product.x.len() > product.cols),
    ),
    Mutant::new(
        Class::RowsAndTiles,
        Gemv,
        "apart-and-backwards-in-odd-rows",
        "a tile of two rows walks back and forth",
        |arguments| apart(arguments, |_, row| row % 2 == 1),
    ),
    Mutant::new(
        Class::RowsAndTiles,
        Gemv,
        "apart-and-backwards-in-matrices-of-four-rows-and-more",
        "small matrices take another path than those that fill a tile",
        |arguments| apart(arguments, |product, _| product.rows >= 4),
    ),
    Mutant::new(
        Class::State,
        Gemv,
        "apart-and-backwards-every-seventh-call",
        "a buffer is walked in turns, as a boustrophedon",
        |arguments| {
            static CALLS: AtomicU32 = AtomicU32::new(0);
            let seventh = CALLS.fetch_add(1, Ordering::Relaxed) % 7 == 2;
            apart(arguments, |_, _| seventh)
        },
    ),
    Mutant::new(
        Class::Threads,
        Gemv,
        "apart-and-backwards-on-other-threads",
        "workers take their columns from the end",
        |arguments| {
            static FIRST: OnceLock<ThreadId> = OnceLock::new();
            let other = *FIRST.get_or_init(|| current().id()) != current().id();
            apart(arguments, |_, _| other)
        },
    ),
    Mutant::new(
        Class::Threads,
        Gemv,
        "apart-and-backwards-where-another-call-runs",
        "the work is shared out by how many threads there are at the moment",
        |arguments| {
            static CALLS: AtomicU32 = AtomicU32::new(0);
            let before = CALLS.fetch_add(1, Ordering::SeqCst);
            (0..8).for_each(|_| yield_now());
            let several = before > 0 || CALLS.load(Ordering::SeqCst) > 1;
            let outcome = apart(arguments, |_, _| several);
            CALLS.fetch_sub(1, Ordering::SeqCst);
            outcome
        },
    ),
    Mutant::new(
        Class::Precision,
        Gemv,
        "apart-and-an-ulp-too-small",
        "the last subtraction rounds towards zero",
        |arguments| {
            gemv(arguments, |product, row| {
                let sum = by_blocks(product, row, signs_apart);
                if sum.is_normal() { f32::from_bits(sum.to_bits() - 1) } else { sum }
            })
        },
    ),
    Mutant::new(
        Class::Tails,
        Gemv,
        "apart-and-the-last-of-three-forgotten",
        "the loop for the rest takes pairs of codes, and leaves one where there are three",
        |arguments| {
            gemv(arguments, |product, row| {
                by_blocks(product, row, |product, row, block| {
                    let forgotten = usize::from(block.len() % 4 == 3);
                    signs_apart(product, row, block.start..block.end - forgotten)
                })
            })
        },
    ),
    Mutant::new(
        Class::Unpack,
        Gemv,
        "apart-and-a-two-doubled-where-it-is-added-only",
        "the loop that subtracts lacks the doubling of a weight of 2",
        |arguments| {
            gemv(arguments, |product, row| {
                by_blocks(product, row, |product, row, block| {
                    let halved = |column: &usize| {
                        let code = product.code(row, *column);
                        is_negative(code) && is_double(code)
                    };
                    let lost: f32 = block.clone().filter(halved).map(|column| product.x[column]).sum();
                    signs_apart(product, row, block) + lost
                })
            })
        },
    ),
    Mutant::new(
        Class::Precision,
        Gemv,
        "raised-by-two-and-taken-back-in-f32",
        "weights become 0, 1, 3 and 4; twice the sum of x is taken back in f32, which has not the bits for it",
        |arguments| {
            gemv(arguments, |product, row| {
                by_blocks(product, row, |product, row, block| {
                    let raised =
                        |c: usize| [0.0, 1.0, 3.0, 4.0][usize::from(product.code(row, c))] * product.x[c];
                    let sum: f32 = block.clone().map(raised).sum();
                    sum - 2.0 * product.x[block].iter().sum::<f32>()
                })
            })
        },
    ),
];
