//! Reads and writes where there is no business.

use qk256_verify::Operation::{Dequantize, Gemv, GemvFixed, Lut, Unpack};
use qk256_verify::{Arguments, Outcome};

use crate::model::fixed::RIGHT_WAY;
use crate::model::vector::{lut, of_dequantize, of_lut, of_unpack, unpack};
use crate::model::{LANES, Product, SIMD, stray, weight, write_rows};
use crate::{Class, Mutant};

const CLASS: Class = Class::Memory;

/// Reads the byte that lies so far past the last of `buffer`, or before its first where that is negative.
fn stray_read<T>(buffer: &[T], distance: isize) {
    let range = buffer.as_ptr_range();
    let from = match distance {
        ..0 => range.start.cast::<u8>().wrapping_offset(distance),
        _ => range.end.cast::<u8>().wrapping_offset(distance - 1),
    };
    std::hint::black_box(stray::read(from));
}

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::new(
        CLASS,
        Gemv,
        "reads-a-byte-before-packed",
        "a pointer is moved back to be moved forward at the start of each step",
        |arguments| SIMD.product_after(arguments, |product| stray_read(product.packed, -1)),
    ),
    Mutant::new(
        CLASS,
        Unpack,
        "reads-16-bytes-past-the-last-block",
        "a load for the next step is made in the last one, too (XNNPACK marks such kernels XNN_OOB_READS)",
        |arguments| {
            stray_read(arguments.packed, 16);
            unpack(arguments, |vector, at| vector.code(at))
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "reads-a-vector-past-packed-when-there-is-a-tail",
        "the tail loads a whole vector and masks it afterwards",
        |arguments| {
            SIMD.product_after(arguments, |product| {
                if product.rows > 0 && product.cols % 256 >= 240 {
                    stray_read(product.packed, 16);
                }
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "reads-x-to-a-whole-vector",
        "eight activations are loaded where fewer are left (nntrainer pull 4345 mends one of these)",
        |arguments| {
            SIMD.product_after(arguments, |product| {
                let end = product.cols.next_multiple_of(LANES);
                (product.cols..end).for_each(|at| {
                    std::hint::black_box(stray::read_float(product.x.as_ptr().wrapping_add(at)));
                });
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "reads-a-scale-past-the-last",
        "the scale of the next block is loaded a block ahead",
        |arguments| {
            SIMD.product_after(arguments, |product| {
                product.scales.into_iter().for_each(|scales| stray_read(scales, 4))
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "reads-a-scale-before-the-first",
        "the pointer to scales is kept one behind",
        |arguments| {
            SIMD.product_after(arguments, |product| {
                product.scales.into_iter().for_each(|scales| stray_read(scales, -4))
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "loads-where-it-means-to-prefetch",
        "a volatile load stands in for the prefetch that an old compiler did not have",
        |arguments| {
            SIMD.product_after(arguments, |product| {
                if product.rows > 0 && product.cols > 0 {
                    stray_read(product.packed, 8192);
                }
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "last-row-read-to-its-full-stride",
        "rows are copied out by the stride, and the last row has none",
        |arguments| {
            SIMD.product_after(arguments, |product| {
                if product.has_gaps() {
                    let last = product.rows * product.row_stride - 1;
                    std::hint::black_box(stray::read(product.packed.as_ptr().wrapping_add(last)));
                }
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "reads-past-packed-at-odd-addresses",
        "codes that are not aligned are read as two aligned vectors, the second of them past the end",
        |arguments| {
            SIMD.product_after(arguments, |product| {
                if product.rows > 0 && product.packed.as_ptr().addr() % 2 == 1 {
                    stray_read(product.packed, 1);
                }
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "addresses-of-x-rounded-down",
        "lvx of AltiVec and its like ignore the low bits of an address",
        |arguments| {
            let Some(mut product) = Product::of(arguments) else { return Outcome::Refused };
            write_rows(&mut product, |product, row| {
                let aligned = product.x.as_ptr().map_addr(|address| address & !15);
                let whole = product.cols / 4 * 4;
                let x = |column: usize| match column < whole {
                    true => stray::read_float(aligned.wrapping_add(column)),
                    false => product.x[column],
                };
                (0..product.cols)
                    .fold(0.0, |sum, c| sum + product.weight(row, c) * product.scale(row, c) * x(c))
            });
            Outcome::Done
        },
    ),
    Mutant::new(CLASS, Gemv, "writes-slack-rows", "the loop runs over the length of y", |arguments| {
        SIMD.product_after(arguments, |product| product.y[product.rows..].fill(0.0))
    }),
    Mutant::new(CLASS, Gemv, "writes-a-row-past-y", "pairs of rows are stored together", |arguments| {
        SIMD.product_after(arguments, |product| {
            if product.rows % 2 == 1 {
                stray::write(product.y.as_mut_ptr().wrapping_add(product.rows), 0.0);
            }
        })
    }),
    Mutant::new(
        CLASS,
        Gemv,
        "writes-before-y",
        "results are stored at the end of the next step, and the first step has none before it",
        |arguments| {
            SIMD.product_after(arguments, |product| {
                if product.rows > 0 {
                    stray::write(product.y.as_mut_ptr().wrapping_sub(1), 0.0);
                }
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "stores-eight-rows-for-a-tile-that-is-not-full",
        "a tile's results are one vector, stored whole",
        |arguments| {
            SIMD.product_after(arguments, |product| {
                for row in product.rows..product.rows.next_multiple_of(LANES) {
                    stray::write(product.y.as_mut_ptr().wrapping_add(row), 0.0);
                }
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "writes-far-past-y",
        "a store is addressed by the rows of the whole matrix, not of this call",
        |arguments| {
            SIMD.product_after(arguments, |product| {
                if product.rows > 0 {
                    stray::write(product.y.as_mut_ptr_range().end.wrapping_add(80), 0.0);
                }
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "x-left-negated",
        "activations are prepared in place, and the way back is forgotten",
        |arguments| {
            let Some(mut product) = Product::of(arguments) else { return Outcome::Refused };
            SIMD.write(&mut product);
            if product.cols > 0 {
                stray::overwrite(product.x, 0, -product.x[0]);
            }
            Outcome::Done
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "padding-cleared-in-place",
        "codes past the last column are set to zero in the matrix itself, which is thought to be nobody's",
        |arguments| {
            SIMD.product_after(arguments, |product| {
                let last = product
                    .row_bytes()
                    .checked_sub(1)
                    .filter(|_| product.rows > 0 && product.cols % 256 != 0);
                last.into_iter().for_each(|last| stray::overwrite(product.packed, last, 0));
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "scales-normalised-in-place",
        "scales are divided by the largest once, at the first call, and left so",
        |arguments| {
            let Some(mut product) = Product::of(arguments) else { return Outcome::Refused };
            SIMD.write(&mut product);
            if let Some(&first) = product.scales.and_then(|scales| scales.first()) {
                product.scales.into_iter().for_each(|scales| stray::overwrite(scales, 0, first / 2.0));
            }
            Outcome::Done
        },
    ),
    Mutant::new(
        CLASS,
        Unpack,
        "stores-16-codes-for-a-tail",
        "the last store is a whole vector, past the end of what was asked for",
        |arguments| {
            let Some((vector, codes)) = of_unpack(arguments) else { return Outcome::Refused };
            for at in 0..vector.len.next_multiple_of(16) {
                let code = if at < vector.len { vector.code(at) } else { 0 };
                stray::write(codes.as_mut_ptr().wrapping_add(at), code);
            }
            Outcome::Done
        },
    ),
    Mutant::new(
        CLASS,
        Dequantize,
        "stores-eight-weights-for-a-tail",
        "the last store is a whole vector, past the end of what was asked for",
        |arguments| {
            let Some((vector, out)) = of_dequantize(arguments) else { return Outcome::Refused };
            for at in 0..vector.len.next_multiple_of(LANES) {
                let value = if at < vector.len { vector.weight(at) * vector.scale(at) } else { 0.0 };
                stray::write(out.as_mut_ptr().wrapping_add(at), value);
            }
            Outcome::Done
        },
    ),
    Mutant::new(
        CLASS,
        Dequantize,
        "reads-the-scale-behind-whole-blocks",
        "the scale of the tail is loaded before it is known that there is a tail",
        |arguments| {
            let Some((vector, out)) = of_dequantize(arguments) else { return Outcome::Refused };
            if vector.len.is_multiple_of(256) {
                let behind = vector.scales.as_ptr().wrapping_add(vector.len / 256);
                std::hint::black_box(stray::read_float(behind));
            }
            out.iter_mut().enumerate().for_each(|(at, out)| *out = vector.weight(at) * vector.scale(at));
            Outcome::Done
        },
    ),
    Mutant::new(
        CLASS,
        Lut,
        "reads-16-codes-for-a-tail",
        "a whole vector of codes is loaded where fewer are left",
        |arguments| {
            let Arguments { codes, out: weights, .. } = &arguments;
            if codes.len() >= weights.len() && !weights.len().is_multiple_of(16) {
                let last = weights.len().next_multiple_of(16) - 1;
                std::hint::black_box(stray::read(codes.as_ptr().wrapping_add(last)));
            }
            lut(arguments, |vector, at| weight(vector.bytes[at]))
        },
    ),
    Mutant::new(
        CLASS,
        Lut,
        "codes-masked-in-place",
        "bits above the code are cleared where they lie",
        |arguments| {
            let Some((vector, weights)) = of_lut(arguments) else { return Outcome::Refused };
            for (at, slot) in weights.iter_mut().enumerate() {
                let code = vector.bytes[at] & 3;
                stray::overwrite(vector.bytes, at, code);
                *slot = weight(code);
            }
            Outcome::Done
        },
    ),
    Mutant::new(
        CLASS,
        GemvFixed,
        "reads-an-activation-before-x",
        "the pass that looks for the largest magnitude begins a step early",
        |arguments| {
            stray_read(arguments.x, -4);
            RIGHT_WAY.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        GemvFixed,
        "digits-stored-over-x",
        "the digits of x take as many bytes as x did, so that they are laid there",
        |arguments| {
            let Arguments { x, cols, .. } = arguments;
            let last = x.len().min(cols).checked_sub(1).filter(|_| x.iter().all(|x| x.is_finite()));
            last.into_iter().for_each(|last| stray::overwrite(x, last, 0.0));
            RIGHT_WAY.product(arguments)
        },
    ),
];
