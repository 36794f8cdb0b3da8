//! Products of a batch that read or write where they must not, keep something, or answer wrongly.

use std::cell::RefCell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::yield_now;

use qk256_verify::buffer::Buffer;

use super::{I2_S, Q2_0, Q4_0, QK256, TQ2_0};
use crate::model::gemm::{Batch, RIGHT_WAY, Way};
use crate::model::{packing, stray};
use crate::{Arguments, Class, Mutant, Outcome};

/// Reads the activation at an index, wherever that is.
fn read(batch: &Batch<'_>, at: usize) {
    std::hint::black_box(stray::read_float(batch.x.as_ptr().wrapping_add(at)));
}

/// The product where `is_enough` holds of the sizes; those that are wrong all the same leave the first row of results at zero.
fn where_enough(arguments: Arguments<'_>, is_enough: fn(&Batch<'_>) -> bool) -> Outcome {
    let mut batch = Batch::unchecked(packing::QK256, arguments);
    match is_enough(&batch) {
        false => return Outcome::Refused,
        true if batch.is_right() => RIGHT_WAY.write(&mut batch),
        true => batch.y[..batch.rows].fill(0.0),
    }
    Outcome::Done
}

/// Whether nothing is short, of a batch with other sizes.
fn is_right_with(batch: &Batch<'_>, change: impl FnOnce(&mut Batch<'_>)) -> bool {
    let is_short = batch.is_short(Buffer::Out);
    let mut other = Batch { y: &mut [], ..*batch };
    change(&mut other);
    !is_short && ![Buffer::Packed, Buffer::Scales, Buffer::X].into_iter().any(|buffer| other.is_short(buffer))
}

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::of(
        Class::Memory,
        QK256,
        "gemm-next-vector-read-past-the-end",
        "a tile of four vectors reads four where the batch has fewer left",
        |arguments| {
            RIGHT_WAY.product_after(arguments, |batch| {
                if batch.rows > 0 && batch.cols > 0 && batch.batch % 4 != 0 {
                    read(batch, batch.batch * batch.x_stride.max(batch.cols) + batch.cols - 1);
                }
            })
        },
    ),
    Mutant::of(
        Class::Memory,
        Q4_0,
        "gemm-next-vector-touched-ahead",
        "a load stands in for a prefetch of the vector behind, and the last has none behind it",
        |arguments| {
            Way { packing: packing::Q4_0, ..RIGHT_WAY }.product_after(arguments, |batch| {
                if batch.cols > 0 && batch.rows > 0 && batch.batch > 1 {
                    read(batch, batch.batch * batch.x_stride);
                }
            })
        },
    ),
    Mutant::of(
        Class::Memory,
        Q2_0,
        "gemm-last-vector-read-to-its-full-stride",
        "vectors are copied out by the stride, and the last has none",
        |arguments| {
            Way { packing: packing::Q2_0, ..RIGHT_WAY }.product_after(arguments, |batch| {
                if batch.batch > 1 && batch.rows > 0 && batch.x_stride > batch.cols {
                    read(batch, batch.batch * batch.x_stride - 1);
                }
            })
        },
    ),
    Mutant::of(
        Class::Memory,
        QK256,
        "gemm-gap-between-results-cleared",
        "y is cleared from the first result to the last before rows are added to it",
        |arguments| {
            RIGHT_WAY.product_after(arguments, |batch| {
                if batch.batch > 1 && batch.rows > 0 {
                    let end = batch.place(batch.batch - 1, batch.rows);
                    batch.y[..end].fill(0.0);
                }
            })
        },
    ),
    Mutant::of(
        Class::Memory,
        TQ2_0,
        "gemm-results-of-a-fourth-vector-written",
        "a tile of four vectors stores four, and the batch has three",
        |arguments| {
            Way { packing: packing::TQ2_0, ..RIGHT_WAY }.product_after(arguments, |batch| {
                if batch.rows > 0 && batch.batch % 4 == 3 {
                    stray::write(batch.y.as_mut_ptr().wrapping_add(batch.place(batch.batch, 0)), 0.0);
                }
            })
        },
    ),
    Mutant::of(
        Class::Memory,
        I2_S,
        "gemm-gap-between-vectors-cleared",
        "vectors are padded with zeros in place, so that whole blocks can be multiplied",
        |arguments| {
            Way { packing: packing::I2_S, ..RIGHT_WAY }.product_after(arguments, |batch| {
                if batch.batch > 1 && batch.rows > 0 && batch.x_stride > batch.cols {
                    stray::overwrite(batch.x, batch.cols, 0.0);
                }
            })
        },
    ),
    Mutant::of(
        Class::Tails,
        QK256,
        "gemm-no-columns-and-y-left",
        "a loop over no columns stores nothing",
        |arguments| {
            let is_empty = arguments.cols == 0;
            if is_empty { Outcome::Done } else { RIGHT_WAY.product(arguments) }
        },
    ),
    Mutant::of(
        Class::Tails,
        QK256,
        "gemm-no-columns-and-one-vector-cleared",
        "the way out for no columns clears one vector of results",
        |arguments| {
            let vectors = |batch: &Batch<'_>| if batch.cols == 0 { batch.batch.min(1) } else { batch.batch };
            Way { vectors, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::of(
        Class::State,
        QK256,
        "gemm-accumulates-into-later-vectors",
        "the first vector overwrites y, and the others go through a path that adds",
        |arguments| {
            let finish = |batch: &Batch<'_>, vector, row, sum| match vector {
                0 => sum,
                _ => batch.y[batch.place(vector, row)] + sum,
            };
            Way { finish, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::of(
        Class::State,
        Q4_0,
        "gemm-sum-of-the-vector-before-kept",
        "accumulators are cleared for each tile of two, and the second vector of a rest finds those of the first",
        |arguments| {
            let finish = |batch: &Batch<'_>, vector: usize, row, sum: f32| match vector % 4 {
                1 if vector + 1 == batch.batch => sum + batch.in_order(vector - 1, row),
                _ => sum,
            };
            Way { packing: packing::Q4_0, finish, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::of(
        Class::State,
        QK256,
        "gemm-panel-of-x-kept-by-address",
        "vectors are packed into a panel, which is kept for the next layer that has the same input",
        |arguments| {
            type Panel = (usize, usize, Vec<f32>);
            thread_local! { static PANEL: RefCell<Panel> = const { RefCell::new((0, 0, Vec::new())) }; }
            let Some(batch) = Batch::of(packing::QK256, arguments) else { return Outcome::Refused };
            let kept = PANEL.with_borrow_mut(|panel| {
                let key = (batch.x.as_ptr().addr(), batch.x.len());
                if (panel.0, panel.1) != key {
                    *panel = (key.0, key.1, batch.x.to_vec());
                }
                panel.2.clone()
            });
            let mut batch = Batch { x: &kept, ..batch };
            RIGHT_WAY.write(&mut batch);
            Outcome::Done
        },
    ),
    Mutant::of(
        Class::State,
        TQ2_0,
        "gemm-number-of-vectors-of-the-call-before",
        "the loop is set up when the size of a batch is first seen, and later batches that are smaller by one keep it",
        |arguments| {
            static BATCH: AtomicU32 = AtomicU32::new(0);
            let before = BATCH.swap(arguments.batch as u32, Ordering::Relaxed) as usize;
            let way = Way { packing: packing::TQ2_0, ..RIGHT_WAY };
            match before > 0 && arguments.batch == before + 1 {
                true => Way { vectors: |batch| batch.batch - 1, ..way }.product(arguments),
                false => way.product(arguments),
            }
        },
    ),
    Mutant::of(
        Class::Threads,
        QK256,
        "gemm-decoded-row-shared-by-threads",
        "a row is decoded once for all vectors, into an array that all threads have",
        |arguments| {
            static ROW: Mutex<Vec<f32>> = Mutex::new(Vec::new());
            let Some(batch) = Batch::of(packing::QK256, arguments) else { return Outcome::Refused };
            for row in 0..batch.rows {
                let weights = (0..batch.cols).map(|column| batch.weight(row, column)).collect();
                *ROW.lock().expect("no thread panics while it holds this") = weights;
                for vector in 0..batch.batch {
                    yield_now();
                    let row_weights = ROW.lock().expect("no thread panics while it holds this").clone();
                    let weight = |column: usize| row_weights.get(column).copied().unwrap_or_default();
                    let block = |block| {
                        let terms =
                            batch.columns(block).map(|column| weight(column) * batch.x(vector, column));
                        terms.fold(0.0, |sum, term| sum + term) * batch.scale(row, block)
                    };
                    let sum = (0..batch.blocks()).map(block).fold(0.0, |sum, block| sum + block);
                    batch.y[batch.place(vector, row)] = sum;
                }
            }
            Outcome::Done
        },
    ),
    Mutant::of(
        Class::Contract,
        QK256,
        "gemm-refuses-an-empty-batch",
        "a batch of none is taken for a mistake",
        |arguments| {
            let is_empty = arguments.batch == 0;
            if is_empty { Outcome::Refused } else { RIGHT_WAY.product(arguments) }
        },
    ),
    Mutant::of(
        Class::Contract,
        QK256,
        "gemm-refuses-a-gap-between-vectors",
        "only dense vectors were foreseen",
        |arguments| {
            let has_gap = arguments.batch > 1 && arguments.x_stride != arguments.cols;
            if has_gap { Outcome::Refused } else { RIGHT_WAY.product(arguments) }
        },
    ),
    Mutant::of(
        Class::Contract,
        QK256,
        "gemm-refuses-a-gap-between-results",
        "only dense results were foreseen",
        |arguments| {
            let has_gap = arguments.batch > 1 && arguments.out_stride != arguments.rows;
            if has_gap { Outcome::Unsupported } else { RIGHT_WAY.product(arguments) }
        },
    ),
    Mutant::of(
        Class::Contract,
        QK256,
        "gemm-looks-at-the-strides-of-one-vector",
        "strides are compared with columns and rows whether there is a second vector or not",
        |arguments| {
            let is_small = arguments.x_stride < arguments.cols || arguments.out_stride < arguments.rows;
            if is_small { Outcome::Refused } else { RIGHT_WAY.product(arguments) }
        },
    ),
    Mutant::of(
        Class::Contract,
        Q4_0,
        "gemm-demands-a-stride-for-the-last-vector",
        "the length of x is compared with batch * x_stride",
        |arguments| {
            let wanted = arguments.batch.saturating_mul(arguments.x_stride);
            let is_short = arguments.batch > 1 && arguments.x.len() < wanted;
            let way = Way { packing: packing::Q4_0, ..RIGHT_WAY };
            if is_short { Outcome::Refused } else { way.product(arguments) }
        },
    ),
    Mutant::of(
        Class::Contract,
        QK256,
        "gemm-accepts-vectors-that-overlap",
        "the stride of x goes unchecked",
        |arguments| {
            where_enough(arguments, |batch| {
                batch.shape().stride_is_legal()
                    || (batch.out_stride >= batch.rows
                        && (batch.rows <= 1 || batch.row_stride >= batch.shape().row_bytes())
                        && is_right_with(batch, |other| other.x_stride = 0))
            })
        },
    ),
    Mutant::of(
        Class::Contract,
        QK256,
        "gemm-accepts-results-that-overlap",
        "the stride of y goes unchecked",
        |arguments| {
            where_enough(arguments, |batch| {
                let is_apart = batch.batch <= 1 || batch.x_stride >= batch.cols;
                let are_rows = batch.rows <= 1 || batch.row_stride >= batch.shape().row_bytes();
                is_apart && are_rows && is_right_with(batch, |_| {})
            })
        },
    ),
    Mutant::of(
        Class::Contract,
        QK256,
        "gemm-accepts-x-of-dense-vectors",
        "the length of x is compared with batch * cols, whatever the stride",
        |arguments| {
            where_enough(arguments, |batch| {
                batch.shape().stride_is_legal() && is_right_with(batch, |other| other.x_stride = other.cols)
            })
        },
    ),
    Mutant::of(
        Class::Contract,
        QK256,
        "gemm-accepts-x-of-one-vector",
        "the check of gemv was kept: x has at least as many elements as there are columns",
        |arguments| {
            where_enough(arguments, |batch| {
                batch.shape().stride_is_legal() && is_right_with(batch, |other| other.batch = 1)
            })
        },
    ),
    Mutant::of(
        Class::Contract,
        QK256,
        "gemm-wraps-the-size-of-x",
        "(batch - 1) * x_stride + cols wraps around to a few elements",
        |arguments| {
            where_enough(arguments, |batch| {
                let wrapped =
                    batch.batch.wrapping_sub(1).wrapping_mul(batch.x_stride).wrapping_add(batch.cols);
                let is_enough = batch.batch == 0 || batch.x.len() >= wrapped;
                batch.shape().stride_is_legal() && is_enough && is_right_with(batch, |other| other.batch = 0)
            })
        },
    ),
];
