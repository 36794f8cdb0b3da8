//! Fewer bits than there must be, or other ones.

use qk256_verify::Operation::{Dequantize, Gemv};
use qk256_verify::Outcome;

use crate::model::vector::dequantize;
use crate::model::{Product, SIMD, Simd, gemv, rounded};
use crate::{Class, Mutant};

const CLASS: Class = Class::Precision;

/// `value` with its low 13 bits cut off: 11 bits are left.
fn cut(value: f32) -> f32 {
    f32::from_bits(value.to_bits() & !0x1fff)
}

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::new(
        CLASS,
        Gemv,
        "products-cut-to-11-bits",
        "TF32 and f16 have 11 bits, and some units cut instead of rounding",
        |arguments| {
            gemv(arguments, |product, row| {
                (0..product.cols).fold(0.0, |sum, c| sum + cut(product.term(row, c)))
            })
        },
    ),
    Mutant::new(CLASS, Gemv, "a-result-of-11-bits", "results go through f16 on their way out", |arguments| {
        gemv(arguments, |product, row| cut(product.in_order(row)))
    }),
    Mutant::new(
        CLASS,
        Gemv,
        "a-result-in-bf16",
        "results are stored in the type of the activations of a model, and widened again",
        |arguments| Simd { finish: |_, _, sum| rounded(sum, 7), ..SIMD }.product(arguments),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "x-rounded-to-bf16",
        "VDPBF16PS wants bf16, and the caller's f32 is rounded for it",
        |arguments| Simd { x: |product, _, column| rounded(product.x[column], 7), ..SIMD }.product(arguments),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "x-rounded-to-f16",
        "half the bandwidth for x, at the cost of 13 bits",
        |arguments| {
            Simd { x: |product, _, column| rounded(product.x[column], 10), ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "x-in-eight-bits",
        "bitnet.cpp and ggml round x to int8 by its largest magnitude, which is another operation under the same name",
        |arguments| {
            gemv(arguments, |product, row| {
                let x = &product.x[..product.cols];
                let largest = x.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
                let step = if largest > 0.0 && largest.is_finite() {
                    largest / 127.0
                } else {
                    return product.in_order(row);
                };
                let rounded = |c: usize| (x[c] / step).round() * step;
                (0..product.cols)
                    .fold(0.0, |sum, c| sum + product.weight(row, c) * product.scale(row, c) * rounded(c))
            })
        },
    ),
    Mutant::new(CLASS, Gemv, "sums-of-11-bits", "ARM kernels for f16 accumulate in f16, too", |arguments| {
        Simd { add: |a, b| rounded(a + b, 10), ..SIMD }.product(arguments)
    }),
    Mutant::new(
        CLASS,
        Gemv,
        "scaled-weights-in-bf16",
        "weights are multiplied by their scale once, and kept in 16 bits",
        |arguments| {
            Simd { term: |weight, x, scale| rounded(weight * scale, 7) * x, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "products-rounded-towards-zero",
        "a product in f64 is narrowed by cutting its bits off",
        |arguments| {
            let term = |weight: f32, x: f32, scale: f32| {
                let (exact, near) = (f64::from(weight * scale) * f64::from(x), weight * scale * x);
                let away = near.is_finite() && f64::from(near).abs() > exact.abs();
                if away { f32::from_bits(near.to_bits() - 1) } else { near }
            };
            Simd { term, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "one-ulp-in-every-97th-result",
        "a last rounding differs in one of the paths that a result may take",
        |arguments| {
            let finish = |product: &Product<'_>, row: usize, sum: f32| {
                let off = (31 * row + product.cols).is_multiple_of(97) && sum.is_normal();
                if off { f32::from_bits(sum.to_bits() ^ 1) } else { sum }
            };
            Simd { finish, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "compensation-with-the-wrong-sign",
        "Kahan's sum is written from memory, and what was lost is lost twice",
        |arguments| {
            gemv(arguments, |product, row| {
                let (mut sum, mut lost) = (0.0_f32, 0.0_f32);
                for column in 0..product.cols {
                    let term = product.term(row, column) + lost;
                    let next = sum + term;
                    lost = if next.is_finite() { (next - sum) - term } else { 0.0 };
                    sum = next;
                }
                sum
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "another-order-in-remainder-rows",
        "a compiler that may reassociate does so in one of two loops",
        |arguments| {
            let Some(mut product) = Product::of(arguments) else { return Outcome::Refused };
            SIMD.write(&mut product);
            for row in product.rows / 4 * 4..product.rows {
                product.y[row] = product.in_order(row);
            }
            Outcome::Done
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "sum-of-a-block-rounded-to-bf16",
        "partial results of blocks pass through a 16-bit buffer, in rows of four blocks and more only",
        |arguments| {
            gemv(arguments, |product, row| {
                let kept = |sum| if product.blocks() >= 4 { rounded(sum, 7) } else { sum };
                product.block_columns().map(|block| kept(product.sum(row, block))).sum::<f32>() + 0.0
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "a-bias",
        "an epsilon against division by zero is added where nothing is divided",
        |arguments| gemv(arguments, |product, row| product.in_order(row) + 1e-5),
    ),
    Mutant::new(CLASS, Gemv, "a-floor", "what is below a threshold counts as noise", |arguments| {
        gemv(arguments, |product, row| {
            Some(product.in_order(row)).filter(|sum| sum.abs() > 1e-2).unwrap_or(0.0)
        })
    }),
    Mutant::new(
        CLASS,
        Dequantize,
        "last-mantissa-bit-lost",
        "the sign is kept in the lowest bit for a while",
        |arguments| {
            dequantize(arguments, |vector, at| {
                f32::from_bits((vector.weight(at) * vector.scale(at)).to_bits() & !1)
            })
        },
    ),
    Mutant::new(
        CLASS,
        Dequantize,
        "divided-by-a-reciprocal",
        "the quantiser multiplies by the reciprocal of the scale, and so the way back divides by it",
        |arguments| dequantize(arguments, |vector, at| vector.weight(at) / (1.0 / vector.scale(at))),
    ),
];
