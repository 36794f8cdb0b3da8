//! Sums of integers in too few bits: mixed signs hide them.

use qk256_verify::Operation::{Gemv, GemvFixed};
use qk256_verify::{Arguments, Outcome};

use crate::model::fixed::{RIGHT_WAY, Way};
use crate::model::{BLOCK_ELEMENTS, Product, gemv};
use crate::{Class, Mutant};

const CLASS: Class = Class::Precision;

/// 16-bit lanes of a vector.
const LANES: usize = 16;

/// x as integers, where there are no scales and all are integers up to `most` in magnitude.
fn integers(product: &Product<'_>, most: f32) -> Option<Vec<i32>> {
    let x = &product.x[..product.cols];
    let fits = product.scales.is_none() && x.iter().all(|x| x.fract() == 0.0 && x.abs() <= most);
    fits.then(|| x.iter().map(|&x| x as i32).collect())
}

/// A gemv that does rows of integers up to `most` by `sum` of weights and integers, and all others in f32.
fn of_integers(arguments: Arguments<'_>, most: f32, sum: impl Fn(&[(i32, i32)]) -> f32) -> Outcome {
    gemv(arguments, |product, row| {
        let Some(x) = integers(product, most) else { return product.in_order(row) };
        let term = |(column, x)| (product.weight(row, column) as i32, x);
        sum(&x.into_iter().enumerate().map(term).collect::<Vec<_>>())
    })
}

/// The sum in 16 lanes of 16 bits, which are widened after `blocks` blocks.
fn in_16_bits(terms: &[(i32, i32)], blocks: usize, add: fn(i16, i16) -> i16) -> f32 {
    let part = |terms: &[(i32, i32)]| {
        let mut lanes = [0_i16; LANES];
        for (at, (weight, x)) in terms.iter().enumerate() {
            lanes[at % LANES] = add(lanes[at % LANES], (weight * x) as i16);
        }
        lanes.into_iter().map(i64::from).sum::<i64>()
    };
    terms.chunks(blocks * BLOCK_ELEMENTS).map(part).sum::<i64>() as f32
}

/// The sum in eight lanes of 32 bits.
fn in_32_bits(terms: impl Iterator<Item = i32>) -> f32 {
    let mut lanes = [0_i32; 8];
    terms.enumerate().for_each(|(at, term)| lanes[at % 8] = lanes[at % 8].wrapping_add(term));
    lanes.into_iter().map(i64::from).sum::<i64>() as f32
}

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::new(
        CLASS,
        Gemv,
        "16-bit-sums-widened-every-16-blocks",
        "x of 7 bits is summed in 16 bits, which hold 8 blocks of the largest products and not 16",
        |arguments| of_integers(arguments, 127.0, |terms| in_16_bits(terms, 16, i16::wrapping_add)),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "16-bit-sums-saturated-within-16-blocks",
        "the same with additions that saturate",
        |arguments| of_integers(arguments, 127.0, |terms| in_16_bits(terms, 16, i16::saturating_add)),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "16-bit-sums-of-8-bit-x-widened-every-8-blocks",
        "the interval was worked out for 7 bits, and x came to be unsigned bytes (vsag issue 2228)",
        |arguments| of_integers(arguments, 255.0, |terms| in_16_bits(terms, 8, i16::wrapping_add)),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "15-bit-x-doubled-in-16-bits",
        "a weight of 2 is a shift by one, done before the number is widened (lance issue 8842)",
        |arguments| {
            of_integers(arguments, 32767.0, |terms| {
                in_32_bits(terms.iter().map(|(weight, x)| i32::from((weight * x) as i16)))
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "16-bit-x-packed-with-a-sign",
        "packssdw saturates at 32767, where packusdw was meant",
        |arguments| {
            of_integers(arguments, 65535.0, |terms| {
                in_32_bits(terms.iter().map(|(weight, x)| weight * (*x).clamp(-32768, 32767)))
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "23-bit-x-summed-in-32-bits",
        "eight lanes of 32 bits hold 128 of the largest products each, and a row has more",
        |arguments| {
            of_integers(arguments, 8_388_607.0, |terms| {
                in_32_bits(terms.iter().map(|(weight, x)| weight * x))
            })
        },
    ),
    Mutant::new(
        CLASS,
        GemvFixed,
        "sums-of-low-digits-widened-every-16-blocks",
        "the sum of weights of either sign was thought to stay small, as it does on random rows",
        |arguments| {
            let sum = |terms: &[(i64, i64)], _| {
                let low: Vec<(i32, i32)> = terms
                    .iter()
                    .map(|&(weight, integer)| (weight as i32, i32::from(integer as i8)))
                    .collect();
                let high = |&(weight, integer): &(i64, i64)| weight * (integer - i64::from(integer as i8));
                terms.iter().map(high).sum::<i64>() + in_16_bits(&low, 16, i16::wrapping_add) as i64
            };
            Way { sum, ..RIGHT_WAY }.product(arguments)
        },
    ),
];

pub(crate) const RIGHT: &[Mutant] = &[
    Mutant::new(
        CLASS,
        Gemv,
        "16-bit-sums-widened-every-8-blocks",
        "16 bits hold the largest products of 7-bit x over eight blocks",
        |arguments| of_integers(arguments, 127.0, |terms| in_16_bits(terms, 8, i16::wrapping_add)),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "16-bit-x-summed-in-64-bits",
        "integers are summed without rounding, and rounded once",
        |arguments| {
            of_integers(arguments, 65535.0, |terms| {
                terms.iter().map(|&(weight, x)| i64::from(weight) * i64::from(x)).sum::<i64>() as f32
            })
        },
    ),
    Mutant::new(
        CLASS,
        GemvFixed,
        "sums-of-low-digits-widened-every-8-blocks",
        "two vectors of 16 bits hold the products of a digit over eight blocks, those of -128 as well",
        |arguments| {
            let sum = |terms: &[(i64, i64)], _| {
                let part = |terms: &[(i64, i64)]| {
                    let mut lanes = [0_i16; 2 * LANES];
                    for (at, (weight, integer)) in terms.iter().enumerate() {
                        lanes[at % (2 * LANES)] += (weight * i64::from(*integer as i8)) as i16;
                    }
                    lanes.into_iter().map(i64::from).sum::<i64>()
                };
                let high = |&(weight, integer): &(i64, i64)| weight * (integer - i64::from(integer as i8));
                let low = terms.chunks(8 * BLOCK_ELEMENTS).map(part).sum::<i64>();
                terms.iter().map(high).sum::<i64>() + low
            };
            Way { sum, ..RIGHT_WAY }.product(arguments)
        },
    ),
];
