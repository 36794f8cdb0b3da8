//! Products with quantised activations that read or write where they must not, keep something, or answer wrongly.

use std::cell::RefCell;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread::yield_now;

use qk256_verify::buffer::Buffer;
use qk256_verify::format;
use qk256_verify::{Arguments, Outcome};

use super::{I2_S, IQ2_BN, Q1_0, Q2_0, Q2_K, Q4_0, TQ2_0};
use crate::model::dot::{self, Operands, Run, Way, sum};
use crate::model::packing::Packing;
use crate::model::stray;
use crate::{Class, Mutant};

/// Reads a byte so far behind the last of `buffer`.
fn read_past(buffer: &[u8], distance: usize) {
    std::hint::black_box(stray::read(buffer.as_ptr_range().end.wrapping_add(distance - 1)));
}

/// A row of `i2_s` whose sum is `total`, of the row and the lanes that others may hold as well.
fn lanes<const N: usize>(operands: &Operands<'_>, row: usize, shared: &[AtomicI32; N]) -> f32 {
    shared.iter().for_each(|lane| lane.store(0, Ordering::Relaxed));
    for column in 0..operands.cols {
        let term = operands.code(row, column) * operands.value(column);
        shared[column % N].fetch_add(term, Ordering::Relaxed);
        if column % 128 == 127 {
            yield_now();
        }
    }
    shared.iter().map(|lane| lane.load(Ordering::Relaxed)).sum::<i32>() as f32
}

/// The product where `is_enough` holds of the sizes; those that are wrong all the same leave rows of zero.
fn where_enough(way: Way, arguments: Arguments<'_>, is_enough: fn(&Operands<'_>) -> bool) -> Outcome {
    let mut operands = Operands::unchecked(&way, arguments);
    match is_enough(&operands) {
        false => return Outcome::Refused,
        true if operands.is_right() => way.write(&mut operands),
        true => operands.y[..operands.rows].fill(0.0),
    }
    Outcome::Done
}

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::of(
        Class::Memory,
        Q2_0,
        "dot-last-block-loaded-as-32-bytes",
        "16 bytes of codes are loaded into a register of 32, and behind the last block there may be nothing",
        |arguments| {
            dot::Q2_0.product_after(arguments, |operands| {
                if operands.rows > 0 && operands.cols > 0 {
                    read_past(operands.packed, 16);
                }
            })
        },
    ),
    Mutant::of(
        Class::Memory,
        Q4_0,
        "dot-activations-loaded-a-block-ahead",
        "the load for the next block is made in the last step as well",
        |arguments| {
            dot::Q4_0.product_after(arguments, |operands| {
                if operands.rows > 0 {
                    read_past(operands.activations, 34);
                }
            })
        },
    ),
    Mutant::of(
        Class::Memory,
        I2_S,
        "dot-activations-read-a-byte-past-the-end",
        "vpalignr needs the neighbour of each vector, and the last has none",
        |arguments| {
            dot::I2_S.product_after(arguments, |operands| {
                if operands.rows > 0 && operands.cols > 0 {
                    read_past(operands.activations, 1);
                }
            })
        },
    ),
    Mutant::of(
        Class::Memory,
        IQ2_BN,
        "dot-header-of-the-row-behind-the-last",
        "the scale of the next row is loaded while this one is summed",
        |arguments| {
            dot::IQ2_BN.product_after(arguments, |operands| {
                if operands.rows > 0 {
                    let next = operands.packed.as_ptr().wrapping_add(operands.rows * operands.row_stride);
                    std::hint::black_box(stray::read(next));
                }
            })
        },
    ),
    Mutant::of(
        Class::Memory,
        TQ2_0,
        "dot-two-rows-stored-at-once",
        "rows go in pairs and their results in one store of 64 bits",
        |arguments| {
            dot::TQ2_0.product_after(arguments, |operands| {
                if operands.rows % 2 == 1 {
                    stray::write(operands.y.as_mut_ptr().wrapping_add(operands.rows), 0.0);
                }
            })
        },
    ),
    Mutant::of(
        Class::Memory,
        Q2_K,
        "dot-sums-doubled-in-place",
        "the sums of activations are prepared for a shift where they are, and put back",
        |arguments| {
            dot::Q2_K.product_after(arguments, |operands| {
                if operands.cols > 0 {
                    stray::overwrite_and_restore(operands.activations, 260, |byte| byte << 1);
                }
            })
        },
    ),
    Mutant::of(
        Class::Tails,
        Q4_0,
        "dot-no-columns-and-y-left",
        "a loop that is entered without looking at the number of blocks was mended by a return in front of it",
        |arguments| {
            if arguments.cols == 0 { Outcome::Done } else { dot::Q4_0.product(arguments) }
        },
    ),
    Mutant::of(
        Class::State,
        Q1_0,
        "dot-accumulates-into-y",
        "the result is added to what y holds, for layers that are split by columns",
        |arguments| {
            let reduce = |operands: &Operands<'_>, row: usize, runs: &[Run]| {
                operands.y[row] + (dot::Q1_0.reduce)(operands, row, runs)
            };
            Way { reduce, ..dot::Q1_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::State,
        IQ2_BN,
        "dot-sum-of-x-kept-by-address",
        "the sum of the activations is the same for all rows of a layer, and is looked up by their address",
        |arguments| {
            thread_local! { static KEPT: RefCell<(usize, usize, i64)> = const { RefCell::new((0, 0, 0)) }; }
            let reduce = |operands: &Operands<'_>, row: usize, runs: &[Run]| {
                let total: i64 = (0..operands.cols).map(|column| i64::from(operands.value(column))).sum();
                let key = (operands.activations.as_ptr().addr(), operands.cols);
                let kept = KEPT.with_borrow_mut(|kept| {
                    if (kept.0, kept.1) != key {
                        *kept = (key.0, key.1, total);
                    }
                    kept.2
                });
                let integer: i64 = runs.iter().map(|run| run.integer).sum();
                if runs.is_empty() { 0.0 } else { operands.scale(row, 0) * (integer + total - kept) as f32 }
            };
            Way { reduce, ..dot::IQ2_BN }.product(arguments)
        },
    ),
    Mutant::of(
        Class::State,
        Q4_0,
        "dot-lanes-of-the-row-before",
        "the accumulator is cleared in front of the loop over rows",
        |arguments| {
            let Some(operands) = Operands::of(&dot::Q4_0, arguments) else { return Outcome::Refused };
            let mut sum = 0.0;
            for row in 0..operands.rows {
                sum += dot::Q4_0.row(&operands, row);
                operands.y[row] = sum;
            }
            Outcome::Done
        },
    ),
    Mutant::of(
        Class::Threads,
        I2_S,
        "dot-lanes-shared-by-threads",
        "accumulators are static, since the loader of the model had one thread",
        |arguments| {
            static LANES: [AtomicI32; 8] = [const { AtomicI32::new(0) }; 8];
            let reduce = |operands: &Operands<'_>, row, _: &[Run]| lanes(operands, row, &LANES);
            Way { reduce, ..dot::I2_S }.product(arguments)
        },
    ),
    Mutant::of(
        Class::RowsAndTiles,
        TQ2_0,
        "dot-one-row-backwards",
        "a single row has a kernel of its own, which walks the blocks from the last",
        |arguments| {
            let reduce = |operands: &Operands<'_>, _, runs: &[Run]| match operands.rows {
                1 => runs.iter().rev().fold(0.0, |sum, run| sum + run.scaled()),
                _ => runs.iter().fold(0.0, |sum, run| sum + run.scaled()),
            };
            Way { reduce, ..dot::TQ2_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::RowsAndTiles,
        TQ2_0,
        "dot-odd-rows-with-the-scales-applied-last",
        "the second row of a pair multiplies by one scale after the other",
        |arguments| {
            let reduce = |_: &Operands<'_>, row: usize, runs: &[Run]| {
                let apart = |run: &Run| run.scale * run.integer as f32 * run.scale_of_x;
                let one = |run: &Run| if row % 2 == 1 { apart(run) } else { run.scaled() };
                runs.iter().fold(0.0, |sum, run| sum + one(run))
            };
            Way { reduce, ..dot::TQ2_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Contract,
        Q4_0,
        "dot-activations-counted-without-their-scales",
        "a block of activations is taken for 32 bytes, so that buffers up to one part in 17 too short pass",
        |arguments| {
            where_enough(dot::Q4_0, arguments, |operands| {
                let is_short =
                    [Buffer::Packed, Buffer::Out].into_iter().any(|buffer| operands.is_short(buffer));
                let is_enough = operands.activations.len() >= operands.cols;
                operands.is_whole() && is_enough && !is_short && operands.shape().stride_is_legal()
            })
        },
    ),
    Mutant::of(
        Class::Contract,
        IQ2_BN,
        "dot-rows-counted-without-their-header",
        "the check of sizes multiplies blocks by their bytes",
        |arguments| {
            where_enough(dot::IQ2_BN, arguments, |operands| {
                // Blocks as those of iq2_bn, and nothing in front of them.
                let packing = Packing { format: &format::I2_S_NEON, ..operands.packing };
                let headless = Operands { packing, y: &mut [], ..*operands };
                let is_short =
                    [Buffer::Activations, Buffer::Out].into_iter().any(|buffer| operands.is_short(buffer));
                operands.is_whole()
                    && !is_short
                    && !headless.is_short(Buffer::Packed)
                    && headless.shape().stride_is_legal()
            })
        },
    ),
    Mutant::of(
        Class::Contract,
        Q4_0,
        "dot-part-of-a-block-left-out",
        "cols / 32 blocks are multiplied, and what is left of the columns is not refused",
        |arguments| {
            where_enough(dot::Q4_0, arguments, |operands| {
                let is_short = Buffer::ALL.into_iter().any(|buffer| operands.is_short(buffer));
                !is_short && operands.shape().stride_is_legal()
            })
        },
    ),
    Mutant::of(
        Class::Contract,
        Q2_0,
        "dot-refuses-a-gap-between-rows",
        "a stride other than that of the blocks is taken for a mistake of the caller",
        |arguments| {
            let row_bytes = arguments.cols / 64 * 18;
            let has_gap = arguments.rows > 1 && arguments.row_stride != row_bytes;
            if has_gap { Outcome::Refused } else { dot::Q2_0.product(arguments) }
        },
    ),
    Mutant::of(
        Class::Contract,
        Q1_0,
        "dot-refuses-an-odd-number-of-blocks",
        "the loop takes two blocks, and no model at hand has another number",
        |arguments| {
            let is_odd = arguments.cols / 128 % 2 == 1;
            if is_odd { Outcome::Unsupported } else { dot::Q1_0.product(arguments) }
        },
    ),
    Mutant::of(
        Class::Contract,
        Q2_K,
        "dot-flush-to-zero-left-on",
        "subnormal scales are slow, and the mode that makes them fast is not put back",
        |arguments| {
            dot::Q2_K.product_after(arguments, |operands| {
                if operands.cols >= 256 {
                    stray::set_mode(|mode| mode | 0x8040);
                }
            })
        },
    ),
    Mutant::of(
        Class::Dispatch,
        I2_S,
        "dot-wrong-where-activations-are-not-aligned",
        "vmovdqa would fault, and the path for other addresses leaves out the last 32",
        |arguments| {
            let integer = |operands: &Operands<'_>, run: usize, terms: &[(i32, i32)]| {
                let is_last =
                    run + 1 == operands.runs() && !operands.activations.as_ptr().addr().is_multiple_of(32);
                if is_last { sum(&terms[..96]) } else { sum(terms) }
            };
            Way { integer, ..dot::I2_S }.product(arguments)
        },
    ),
];
