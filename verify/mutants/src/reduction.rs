//! Sums lost, doubled, kept or taken in another order.

use qk256_verify::Operation::{Gemv, GemvFixed};

use crate::model::fixed::{RIGHT_WAY, Way, narrow};
use crate::model::{BLOCK_ELEMENTS, LANES, Product, SIMD, SUMS, Simd, gemv, tree};
use crate::{Class, Mutant};

const CLASS: Class = Class::Reduction;

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::new(
        CLASS,
        Gemv,
        "lane-seven-dropped",
        "a horizontal sum written as a chain of extracts ends one short",
        |arguments| {
            let reduce = |_: &Product<'_>, _, sums: &[f32; SUMS]| {
                let mut sums = *sums;
                sums.iter_mut().skip(LANES - 1).step_by(LANES).for_each(|sum| *sum = 0.0);
                tree(&sums)
            };
            Simd { reduce, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "upper-half-dropped-in-short-rows",
        "the path for rows below 64 columns reduces as SSE does, and forgets the upper 128 bits",
        |arguments| {
            let reduce = |product: &Product<'_>, _, sums: &[f32; SUMS]| {
                let mut sums = *sums;
                if product.cols < 64 {
                    sums.chunks_mut(LANES).for_each(|vector| vector[LANES / 2..].fill(0.0));
                }
                tree(&sums)
            };
            Simd { reduce, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "fourth-vector-of-sums-forgotten-after-a-tail",
        "the path with a tail brings three accumulators together, as there are three in the tail loop",
        |arguments| {
            let reduce = |product: &Product<'_>, _, sums: &[f32; SUMS]| {
                let mut sums = *sums;
                if product.cols % 128 >= 96 {
                    sums[3 * LANES..].fill(0.0);
                }
                tree(&sums)
            };
            Simd { reduce, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "lane-zero-added-twice-for-pairs-of-rows",
        "the reduction of two rows at once has one shuffle with the wrong constant",
        |arguments| {
            let reduce = |product: &Product<'_>, row, sums: &[f32; SUMS]| {
                let last_of_pair = product.rows == 2 && product.is_last(row);
                tree(sums) + if last_of_pair { sums[0] } else { 0.0 }
            };
            Simd { reduce, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "sums-kept-from-the-row-before",
        "accumulators are set to zero before the loop over rows, not within it",
        |arguments| Simd { begin: |_, _, sums| *sums, ..SIMD }.product(arguments),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "sums-kept-in-remainder-rows",
        "full tiles of four rows clear their accumulators; the loop over the rest was copied without that line",
        |arguments| {
            let begin = |product: &Product<'_>, row, sums: &[f32; SUMS]| {
                let first_of_the_rest = product.rows / 4 * 4;
                if row > first_of_the_rest { *sums } else { [0.0; SUMS] }
            };
            Simd { begin, ..SIMD }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "odd-last-block-overwrites",
        "a loop unrolled by two blocks is followed by one block whose sum is stored instead of added",
        |arguments| {
            gemv(arguments, |product, row| {
                let odd = product.blocks() > 2 && product.blocks() % 2 == 1;
                let first = if odd { (product.blocks() - 1) * BLOCK_ELEMENTS } else { 0 };
                product.sum(row, first..product.cols)
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "backwards-where-an-activation-is-zero",
        "a path for sparse activations has a loop of its own",
        |arguments| {
            gemv(arguments, |product, row| match product.x[..product.cols].contains(&0.0) {
                true => product.sum(row, (0..product.cols).rev()),
                false => product.in_order(row),
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "backwards-where-there-are-gaps",
        "strided rows take a loop of their own that adds in another order, so that a copy of the matrix gives other bits",
        |arguments| {
            gemv(arguments, |product, row| {
                if product.has_gaps() {
                    product.sum(row, (0..product.cols).rev())
                } else {
                    product.in_order(row)
                }
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "backwards-in-odd-rows",
        "a tile of two rows walks back and forth to use what is in the cache",
        |arguments| {
            gemv(arguments, |product, row| {
                if row % 2 == 1 { product.sum(row, (0..product.cols).rev()) } else { product.in_order(row) }
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "block-sums-in-another-order-from-nine-blocks-on",
        "a second level of sums begins after eight blocks in one loop and after sixteen in the loop for remainder rows",
        |arguments| {
            gemv(arguments, |product, row| {
                let step =
                    if product.rows % 4 == 3 && product.is_last(row) { 8 } else { 16 } * BLOCK_ELEMENTS;
                let part = |first| product.sum(row, first..product.cols.min(first + step));
                (0..product.cols).step_by(step).map(part).sum::<f32>() + 0.0
            })
        },
    ),
    Mutant::new(
        CLASS,
        GemvFixed,
        "16-bit-sums-that-saturate",
        "bitnet.cpp's i2_s dot product adds 128 results of maddubs into a 16-bit lane",
        |arguments| {
            Way { sum: |terms, _| narrow(terms, i16::saturating_add), ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        GemvFixed,
        "16-bit-sums-that-wrap",
        "the same with the addition that does not saturate, which is the one in use there",
        |arguments| Way { sum: |terms, _| narrow(terms, i16::wrapping_add), ..RIGHT_WAY }.product(arguments),
    ),
    Mutant::new(
        CLASS,
        GemvFixed,
        "pairs-of-products-saturate",
        "maddubs adds two products in 16 bits: weights raised by 128 rather than by 2 overflow it",
        |arguments| {
            let sum = |terms: &[(i64, i64)], _| {
                let term =
                    |&(weight, integer): &(i64, i64)| ((weight + 128) * i64::from(integer as i8)) as i32;
                let low = |pair: &[(i64, i64)]| {
                    let pair: i32 = pair.iter().map(term).sum();
                    i64::from(pair.clamp(i32::from(i16::MIN), i32::from(i16::MAX)))
                };
                let high = |&(weight, integer): &(i64, i64)| {
                    weight * (integer - i64::from(integer as i8)) - 128 * i64::from(integer as i8)
                };
                terms.chunks(2).map(low).sum::<i64>() + terms.iter().map(high).sum::<i64>()
            };
            Way { sum, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        GemvFixed,
        "digit-of-128-negated-to-itself",
        "vpsignb gives a digit the sign of its weight, and -128 has no opposite in a byte",
        |arguments| {
            let sum = |terms: &[(i64, i64)], _| {
                let term = |&(weight, integer): &(i64, i64)| {
                    let low = integer as i8;
                    let signed = if weight < 0 { low.wrapping_neg() } else { low };
                    weight * (integer - i64::from(low)) + weight.abs() * i64::from(signed)
                };
                terms.iter().map(term).sum()
            };
            Way { sum, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        GemvFixed,
        "offset-not-taken-back-in-the-tail",
        "weights are raised by two to be unsigned; the sum of x that takes it back was made of whole vectors only",
        |arguments| {
            let sum = |terms: &[(i64, i64)], _| {
                let raised: i64 = terms.iter().map(|(weight, integer)| (weight + 2) * integer).sum();
                let whole = terms.len() / 32 * 32;
                raised - 2 * terms[..whole].iter().map(|(_, integer)| integer).sum::<i64>()
            };
            Way { sum, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        GemvFixed,
        "32-bit-sum-of-four-digits",
        "digits are put together in 32 bits, which hold one row of ordinary x and not a long one of large digits",
        |arguments| {
            let sum = |terms: &[(i64, i64)], _| {
                let high: i64 = terms.iter().map(|(weight, integer)| weight * (integer >> 16)).sum();
                let low: i64 = terms.iter().map(|(weight, integer)| weight * (integer & 0xffff)).sum();
                (high << 16) + i64::from(low as i32)
            };
            Way { sum, ..RIGHT_WAY }.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        GemvFixed,
        "sums-from-those-of-the-row-before",
        "accumulators of integers are set to zero before the loop over rows, not within it",
        |arguments| {
            let sum = |terms: &[(i64, i64)], last| {
                terms.iter().fold(last, |sum, (weight, integer)| sum + weight * integer)
            };
            Way { sum, ..RIGHT_WAY }.product(arguments)
        },
    ),
];
