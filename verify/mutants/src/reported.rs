//! Kernels that are wrong as those of public bug reports were, where no other of this crate was. [`museum`](crate::museum) names the reports.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU8, Ordering};

use qk256_verify::Operation::{Gemv, Unpack};
use qk256_verify::Outcome;

use crate::dot::{I2_S, Q2_K, Q4_0};
use crate::gemm;
use crate::model::dot::{self, Operands, Run, Way, sum};
use crate::model::gemm::{self as batched, Batch, RIGHT_WAY};
use crate::model::vector::of_unpack;
use crate::model::{BLOCK_ELEMENTS, LANES, SIMD, gemv, packing, stray};
use crate::{Class, Mutant};

/// Columns and rows of a tile of a gemm.
const TILE: usize = 4;

/// Elements that a repacked row keeps together.
const TOGETHER: usize = 256;

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::of(
        Class::Unpack,
        I2_S,
        "dot-codes-in-sequence",
        "the scalar code for CPUs without the vector kernel takes the four codes of a byte for neighbours",
        |arguments| {
            let weight = |operands: &Operands<'_>, row, column: usize| {
                let at = column % 128;
                operands.code(row, column - at + at % 4 * 32 + at / 4)
            };
            Way { weight, ..dot::I2_S }.product(arguments)
        },
    ),
    Mutant::of(
        Class::RowsAndTiles,
        gemm::QK256,
        "gemm-results-of-all-vectors-in-one-place",
        "generated code has an index of the vector for x and none for y",
        |arguments| batched::Way { place: |_, _, row| row, ..RIGHT_WAY }.product(arguments),
    ),
    Mutant::of(
        Class::RowsAndTiles,
        gemm::QK256,
        "gemm-rest-of-rows-by-vectors-of-a-later-tile",
        "a pointer moves with the tile of vectors, and the scalar code for the rest of the rows adds the first vector of the tile once more",
        |arguments| {
            let x = |batch: &Batch<'_>, vector: usize, column| {
                let from = batch.x.as_ptr().wrapping_add(vector * batch.x_stride + column);
                stray::read_float(from)
            };
            batched::gemm(packing::QK256, arguments, |batch, vector, row| {
                let is_rest = row >= batch.rows / LANES * LANES;
                let first = if is_rest && batch.batch >= TILE { vector / TILE * TILE } else { 0 };
                let term = |column| batch.weight(row, column) * x(batch, first + vector, column);
                let block = |block| batch.columns(block).map(term).sum::<f32>() * batch.scale(row, block);
                (0..batch.blocks()).map(block).sum()
            })
        },
    ),
    Mutant::new(
        Class::Memory,
        Unpack,
        "copies-eight-codes-where-four-are-left",
        "a copy of eight bytes was taken over for pieces of four",
        |arguments| {
            let Some((vector, codes)) = of_unpack(arguments) else { return Outcome::Refused };
            for at in (0..vector.len).step_by(4) {
                for to in at..at + 8 {
                    let code = if to < vector.len { vector.code(to) } else { 0 };
                    if to < vector.len.next_multiple_of(4) + 4 {
                        stray::write(codes.as_mut_ptr().wrapping_add(to), code);
                    }
                }
            }
            Outcome::Done
        },
    ),
    Mutant::of(
        Class::Scales,
        Q4_0,
        "dot-scale-cut-to-an-integer",
        "the instruction that fills a vector with one number takes an integer, and the compiler converts the scale to one",
        |arguments| {
            let scale = |operands: &Operands<'_>, row, run| operands.scale(row, run).trunc();
            Way { scale, ..dot::Q4_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Tails,
        Q4_0,
        "dot-scales-over-the-codes-of-a-part-of-256",
        "a repacked row pairs codes that are 128 apart, which takes 128 bytes for a part of 256 as well, and the scales follow sooner",
        |arguments| {
            let weight = |operands: &Operands<'_>, row, column: usize| {
                let part = operands.cols % TOGETHER;
                let (first, at) = (operands.cols - part, column % TOGETHER);
                let byte = at % (TOGETHER / 2);
                if column < first || byte < part / 2 {
                    return operands.code(row, column) - 8;
                }
                let scale =
                    operands.packing.block(operands.row(row), (byte - part / 2) / 2 % operands.runs());
                i32::from(scale[byte % 2] >> (4 * (at / (TOGETHER / 2))) & 15) - 8
            };
            Way { weight, ..dot::Q4_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Reduction,
        Q4_0,
        "dot-offset-added-with-a-carry",
        "eight is added to signed bytes four at a time, as one number of 32 bits, and what a negative one carries goes to its neighbour",
        |arguments| {
            let integer = |_: &Operands<'_>, _, terms: &[(i32, i32)]| {
                let four = |terms: &[(i32, i32)]| {
                    let bytes = [0, 1, 2, 3].map(|at| terms[at].0 as u8);
                    let raised = u32::from_le_bytes(bytes).wrapping_add(0x0808_0808).to_le_bytes();
                    let lowered = raised.map(|byte| i32::from(byte) - 8);
                    lowered.iter().zip(terms).map(|(weight, term)| i64::from(weight * term.1)).sum::<i64>()
                };
                terms.chunks_exact(4).map(four).sum()
            };
            Way { integer, ..dot::Q4_0 }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Dispatch,
        Q2_K,
        "dot-minima-added-for-a-single-row",
        "one row has a kernel of its own, which is right for formats without minima or zero points",
        |arguments| {
            let minimum = |operands: &Operands<'_>, row, run| {
                let minimum = operands.minimum(row, run, |block, group| block[group] >> 4);
                if operands.rows == 1 { -minimum } else { minimum }
            };
            Way { minimum, ..dot::Q2_K }.product(arguments)
        },
    ),
    Mutant::of(
        Class::Scales,
        Q4_0,
        "dot-scales-over-halves-of-two-blocks",
        "two blocks are loaded at once, and the first halves of both are added before the scale of the first",
        |arguments| {
            let reduce = |operands: &Operands<'_>, row, runs: &[Run]| {
                let half = |run: usize, part: usize| {
                    let columns = (0..16).map(|at| 32 * run + 16 * part + at);
                    let term = |column| (operands.code(row, column) - 8, operands.value(column));
                    sum(&columns.map(term).collect::<Vec<_>>())
                };
                let pair = |first: usize| {
                    let one = |part| Run {
                        integer: half(first, part) + half(first + 1, part),
                        ..runs[first + part]
                    };
                    one(0).scaled() + one(1).scaled()
                };
                let pairs = (0..runs.len() / 2).map(|pair_at| pair(2 * pair_at));
                let single = runs.chunks_exact(2).remainder().iter().map(Run::scaled);
                pairs.chain(single).sum()
            };
            Way { reduce, ..dot::Q4_0 }.product(arguments)
        },
    ),
    Mutant::new(
        Class::Contract,
        Gemv,
        "an-instruction-that-the-cpu-lacks",
        "a kernel uses more than what was asked for: FMA, where the CPU has AVX",
        |arguments| {
            SIMD.product_after(arguments, |product| {
                if product.rows > 0 {
                    unknown_instruction()
                }
            })
        },
    ),
    Mutant::new(
        Class::State,
        Gemv,
        "zero-times-y-added-past-whole-tiles",
        "full tiles do not read y where beta is zero, and the loop for the others multiplies it",
        |arguments| {
            gemv(arguments, |product, row| {
                let is_rest = row >= product.rows / TILE * TILE;
                product.in_order(row) + if is_rest { 0.0 * product.y[row] } else { 0.0 }
            })
        },
    ),
    Mutant::new(
        Class::Memory,
        Gemv,
        "reads-x-to-a-whole-block",
        "activations are loaded for a step of 256 columns, whatever is left of them",
        |arguments| {
            SIMD.product_after(arguments, |product| {
                let end = product.cols.next_multiple_of(BLOCK_ELEMENTS);
                (product.cols..end).for_each(|at| {
                    std::hint::black_box(stray::read_float(product.x.as_ptr().wrapping_add(at)));
                });
            })
        },
    ),
    Mutant::of(
        Class::Threads,
        gemm::Q4_0,
        "gemm-rows-that-share-bytes-packed-by-two-threads",
        "codes of two rows share a byte once they are repacked, and each row has a thread that reads the byte, sets its bits and writes it",
        |arguments| {
            let Some(batch) = Batch::of(packing::Q4_0, arguments) else { return Outcome::Refused };
            let packed = packed_in_pairs(&batch);
            for vector in 0..batch.batch {
                for row in 0..batch.rows {
                    let code = |column| i32::from(packed[row / 2][column] >> (4 * (row % 2)) & 15);
                    let term = |column: usize| (code(column) - 8) as f32 * batch.x(vector, column);
                    let block = |block| batch.columns(block).map(term).sum::<f32>() * batch.scale(row, block);
                    let result = (0..batch.blocks()).map(block).sum();
                    batch.y[batch.place(vector, row)] = result;
                }
            }
            Outcome::Done
        },
    ),
];

/// The codes of each pair of rows, a byte a column. Two threads that write at once lose what one of them wrote.
fn packed_in_pairs(batch: &Batch<'_>) -> Vec<Vec<u8>> {
    let pair = |first: usize| {
        let bytes: Vec<AtomicU8> = (0..batch.cols).map(|_| AtomicU8::new(0)).collect();
        let rows = first..batch.rows.min(first + 2);
        let all_have_read = Barrier::new(rows.len());
        let (bytes_of_both, read_by_all) = (&bytes, &all_have_read);
        let (from, packing) = (batch.packed, batch.packing);
        std::thread::scope(|scope| {
            for row in rows {
                let from = &from[row * batch.row_stride..];
                scope.spawn(move || {
                    let read = |byte: &AtomicU8| byte.load(Ordering::Relaxed);
                    let before: Vec<u8> = bytes_of_both.iter().map(read).collect();
                    read_by_all.wait();
                    for (column, byte) in before.iter().enumerate() {
                        let code = packing.code(from, column) as u8;
                        bytes_of_both[column].store(byte | code << (4 * (row % 2)), Ordering::Relaxed);
                    }
                });
            }
        });
        bytes.into_iter().map(AtomicU8::into_inner).collect()
    };
    (0..batch.rows).step_by(2).map(pair).collect()
}

/// Runs an instruction that every CPU refuses, as an older one refuses those of its successors.
fn unknown_instruction() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: deliberately none. The instruction ends the process.
    unsafe {
        std::arch::asm!("ud2", options(nomem, nostack))
    };
}
