//! Refusals, panics, and calls that never return.

use qk256_verify::Operation::{Dequantize, Gemv, Lut, Unpack};
use qk256_verify::buffer::Buffer;
use qk256_verify::{Arguments, Outcome};

use crate::model::vector::{dequantize_by, lut, unpack};
use crate::model::{BLOCK_BYTES, BLOCK_ELEMENTS, Product, SIMD, code, stray, weight};
use crate::{Class, Mutant};

const CLASS: Class = Class::Contract;

/// A gemv that refuses what is legal where `refuses`.
fn refusing(arguments: Arguments<'_>, refuses: impl Fn(&Product<'_>) -> bool) -> Outcome {
    answering(arguments, Outcome::Refused, refuses)
}

/// A gemv that says `answer` to legal calls where `says`.
fn answering(arguments: Arguments<'_>, answer: Outcome, says: impl Fn(&Product<'_>) -> bool) -> Outcome {
    let Some(mut product) = Product::of(arguments) else { return Outcome::Refused };
    if says(&product) {
        return answer;
    }
    SIMD.write(&mut product);
    Outcome::Done
}

/// A gemv that does not ask for the length of `unasked`, and makes do with what there is.
fn not_asking_for(arguments: Arguments<'_>, unasked: Buffer) -> Outcome {
    let mut product = Product::unchecked(arguments);
    let others = Buffer::ALL.into_iter().filter(|&buffer| buffer != unasked);
    if !product.shape().stride_is_legal() || others.into_iter().any(|buffer| product.is_short(buffer)) {
        return Outcome::Refused;
    }
    product.rows = product.rows.min(product.y.len());
    for row in 0..product.rows {
        let columns = 0..product.cols.min(product.x.len());
        let sum = columns.fold(0.0, |sum, column| sum + term_if_any(&product, row, column));
        product.y[row] = sum;
    }
    Outcome::Done
}

/// The product of a column, with codes and scales that there are.
fn term_if_any(product: &Product<'_>, row: usize, column: usize) -> f32 {
    let byte = product.packed.get(row * product.row_stride + column / 4).copied().unwrap_or(0);
    let block = row * product.blocks() + column / BLOCK_ELEMENTS;
    let scale = product.scales.and_then(|scales| scales.get(block)).copied().unwrap_or(1.0);
    weight(byte >> (2 * (column % 4))) * scale * product.x[column]
}

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::new(
        CLASS,
        Gemv,
        "no-columns-panic",
        "the last column is looked at before it is known that there is one",
        |arguments| {
            SIMD.product_after(arguments, |product| {
                assert!(product.rows == 0 || product.cols > 0, "no columns")
            })
        },
    ),
    Mutant::new(
        CLASS,
        Unpack,
        "nothing-to-unpack-panics",
        "the first element is written ahead of the loop",
        |arguments| {
            assert!(!arguments.out_bytes.is_empty(), "nothing to unpack");
            unpack(arguments, |vector, at| vector.code(at))
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "never-returns-for-255-of-256-columns",
        "a loop counts down in steps of two and waits for zero",
        |arguments| {
            SIMD.product_after(arguments, |product| {
                while std::hint::black_box(product.rows > 0 && product.cols % 256 == 255) {
                    std::hint::spin_loop();
                }
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "aborts-at-33-rows",
        "an assertion in a library of C ends the process",
        |arguments| {
            SIMD.product_after(arguments, |product| {
                if product.rows == 33 {
                    std::process::abort();
                }
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "wrong-sizes-done-nothing",
        "wrong sizes return early, and say that all is well",
        |arguments| match SIMD.product(arguments) {
            Outcome::Refused => Outcome::Done,
            outcome => outcome,
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "short-packed-accepted",
        "the length of the codes is never asked for",
        |arguments| not_asking_for(arguments, Buffer::Packed),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "short-x-accepted",
        "the shorter of columns and activations is taken",
        |arguments| not_asking_for(arguments, Buffer::X),
    ),
    Mutant::new(CLASS, Gemv, "short-y-accepted", "as many rows are done as y has room for", |arguments| {
        not_asking_for(arguments, Buffer::Out)
    }),
    Mutant::new(CLASS, Gemv, "short-scales-accepted", "blocks without a scale get one", |arguments| {
        not_asking_for(arguments, Buffer::Scales)
    }),
    Mutant::new(CLASS, Gemv, "small-stride-accepted", "rows that overlap are not asked about", |arguments| {
        let mut product = Product::unchecked(arguments);
        if Buffer::ALL.into_iter().any(|buffer| product.is_short(buffer)) {
            return Outcome::Refused;
        }
        SIMD.write(&mut product);
        Outcome::Done
    }),
    Mutant::new(
        CLASS,
        Gemv,
        "wrapped-sizes-accepted",
        "the product of rows and stride is compared after it has wrapped (llama.cpp pulls 14595 and 27200)",
        |arguments| {
            let mut product = Product::unchecked(arguments);
            let last = product.rows.wrapping_sub(1).wrapping_mul(product.row_stride);
            let packed = last.wrapping_add(product.row_bytes());
            let legal = product.rows == 0 || product.packed.len() >= packed;
            let others = [Buffer::Scales, Buffer::X, Buffer::Out];
            if !legal
                || !product.shape().stride_is_legal()
                || others.iter().any(|&each| product.is_short(each))
            {
                return Outcome::Refused;
            }
            match product.is_short(Buffer::Packed) {
                true => product.y.fill(0.0),
                false => SIMD.write(&mut product),
            }
            Outcome::Done
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "refused-after-y-was-cleared",
        "y is set to zero before anything is looked at",
        |arguments| {
            let mut product = Product::unchecked(arguments);
            let rows = product.rows.min(product.y.len());
            product.y[..rows].fill(0.0);
            let short = Buffer::ALL.into_iter().any(|buffer| product.is_short(buffer));
            if short || !product.shape().stride_is_legal() {
                return Outcome::Refused;
            }
            SIMD.write(&mut product);
            Outcome::Done
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "y-stored-with-its-own-bytes-and-refused",
        "y is loaded and stored to fault early, before anything is looked at",
        |arguments| {
            let product = Product::unchecked(arguments);
            product.y.iter_mut().for_each(|y| stray::rewrite(y));
            let Some(mut product) = product.checked() else { return Outcome::Refused };
            SIMD.write(&mut product);
            Outcome::Done
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "one-column-refused",
        "a vector of one is an accident, it is thought",
        |arguments| refusing(arguments, |product| product.cols == 1),
    ),
    Mutant::new(CLASS, Gemv, "no-rows-refused", "an empty matrix is an error elsewhere", |arguments| {
        refusing(arguments, |product| product.rows == 0)
    }),
    Mutant::new(
        CLASS,
        Gemv,
        "ragged-columns-unsupported",
        "kernels of ggml ask for whole blocks; unsupported is an answer about scales, not about sizes",
        |arguments| {
            answering(arguments, Outcome::Unsupported, |product| !product.cols.is_multiple_of(BLOCK_ELEMENTS))
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "stride-of-one-row-looked-at",
        "the stride is checked, whether it is used or not",
        |arguments| {
            refusing(arguments, |product| product.rows == 1 && product.row_stride < product.row_bytes())
        },
    ),
    Mutant::new(CLASS, Gemv, "longer-x-refused", "lengths are compared for equality", |arguments| {
        refusing(arguments, |product| product.x.len() != product.cols)
    }),
    Mutant::new(
        CLASS,
        Gemv,
        "strides-of-no-whole-blocks-refused",
        "rows are asked to be aligned, which the format does not ask",
        |arguments| refusing(arguments, |product| product.rows > 1 && product.row_stride % 64 != 0),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "more-than-65536-columns-refused",
        "a limit of one instruction set is kept for all",
        |arguments| refusing(arguments, |product| product.cols > 1 << 16),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "no-columns-not-written",
        "nothing is to be added up, and so nothing is written",
        |arguments| answering(arguments, Outcome::Done, |product| product.cols == 0),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "no-rows-written-to",
        "the first result is stored before the loop is entered",
        |arguments| {
            SIMD.product_after(arguments, |product| {
                if product.rows == 0 {
                    stray::write(product.y.as_mut_ptr(), 0.0);
                }
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "reads-codes-where-there-are-none",
        "the first vector of codes is loaded before the columns are counted",
        |arguments| {
            SIMD.product_after(arguments, |product| {
                if product.cols == 0 && product.packed.is_empty() {
                    std::hint::black_box(stray::read(product.packed.as_ptr()));
                }
            })
        },
    ),
    Mutant::new(
        CLASS,
        Unpack,
        "part-of-a-block-accepted",
        "as many bytes are asked for as hold the codes, not whole blocks",
        |arguments| {
            let Arguments { packed, out_bytes: codes, .. } = arguments;
            if packed.len() < codes.len().div_ceil(4) {
                return Outcome::Refused;
            }
            codes.iter_mut().enumerate().for_each(|(at, slot)| *slot = code(packed, at));
            Outcome::Done
        },
    ),
    Mutant::new(
        CLASS,
        Dequantize,
        "last-scale-for-blocks-without",
        "an index of a scale is clamped to those there are",
        |arguments| {
            let Arguments { packed, scales: Some(scales), out, .. } = arguments else {
                return Outcome::Unsupported;
            };
            if packed.len() < BLOCK_BYTES * out.len().div_ceil(BLOCK_ELEMENTS)
                || (scales.is_empty() && !out.is_empty())
            {
                return Outcome::Refused;
            }
            for (at, slot) in out.iter_mut().enumerate() {
                *slot = weight(code(packed, at)) * scales[(at / BLOCK_ELEMENTS).min(scales.len() - 1)];
            }
            Outcome::Done
        },
    ),
    Mutant::new(
        CLASS,
        Lut,
        "as-many-weights-as-there-are-codes",
        "two iterators are zipped, and the longer one is cut in silence",
        |arguments| {
            let Arguments { codes, out: weights, .. } = arguments;
            weights.iter_mut().zip(codes).for_each(|(slot, &code)| *slot = weight(code));
            Outcome::Done
        },
    ),
    Mutant::new(
        CLASS,
        Dequantize,
        "longer-scales-refused",
        "there must be as many scales as blocks, and no more",
        |arguments| {
            if let Arguments { scales: Some(scales), out, .. } = &arguments
                && scales.len() > out.len().div_ceil(BLOCK_ELEMENTS)
            {
                return Outcome::Refused;
            }
            dequantize_by(arguments, |vector, at| vector.scale(at))
        },
    ),
    Mutant::new(
        CLASS,
        Lut,
        "codes-above-three-panic",
        "a table of four is indexed by the whole byte",
        |arguments| lut(arguments, |vector, at| [-2.0, -1.0, 1.0, 2.0][usize::from(vector.bytes[at])]),
    ),
];
