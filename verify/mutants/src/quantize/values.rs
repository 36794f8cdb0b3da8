//! Quantisers whose codes or scales are wrong.

use qk256_verify::Operation::Quantize;
use qk256_verify::{Arguments, Outcome};

use super::{mean, where_checked, with_scale};
use crate::model::quantize::{ONE, Quantized, RIGHT_WAY, Values, Way, by_blocks};
use crate::model::{BLOCK_BYTES, BLOCK_ELEMENTS, CODES_PER_BYTE, flushed, rounded};
use crate::{Class, Mutant};

/// The largest magnitude of a block.
fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |largest, value| value.abs().max(largest))
}

/// The scale that is best for some codes.
fn refitted(values: &[f32], codes: &[u8]) -> f32 {
    let weight = |code: u8| if matches!(code, 0 | 3) { 2.0 } else { 1.0 };
    let terms = values.iter().zip(codes).map(|(value, &code)| (f64::from(value.abs()), weight(code)));
    let (product, squared) = terms.fold((0.0, 0.0), |(p, q), (a, w)| (p + w * a, q + w * w));
    (RIGHT_WAY.scale)(product, squared, usize::from(squared > values.len() as f64))
}

/// A right quantiser but for the scale of blocks of zeros.
fn with_scale_of_zeros(arguments: Arguments<'_>, scale: f32) -> Outcome {
    by_blocks(arguments, |values, block| {
        let quantized = RIGHT_WAY.block(values.block(block));
        let is_zero = largest(values.block(block)) == 0.0;
        Quantized { scale: if is_zero { scale } else { quantized.scale }, ..quantized }
    })
}

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::new(
        Class::Precision,
        Quantize,
        "tie-to-the-most-twos",
        "a comparison with `>=` lets the last of equal candidates win, and the reference the first",
        |arguments| {
            Way { is_better: |gain, best| gain >= best && gain > 0.0, ..RIGHT_WAY }.quantize(arguments)
        },
    ),
    Mutant::new(
        Class::Scales,
        Quantize,
        "scale-from-the-largest",
        "most quantisers divide the largest magnitude by the largest code, and the least squares are left for later",
        |arguments| {
            by_blocks(arguments, |values, block| {
                let values = values.block(block);
                with_scale(values, largest(values) / 2.0)
            })
        },
    ),
    Mutant::new(
        Class::Scales,
        Quantize,
        "scale-from-the-mean",
        "BitNet's quantiser takes the mean magnitude for the scale, which is right for ones alone",
        |arguments| {
            by_blocks(arguments, |values, block| {
                let values = values.block(block);
                with_scale(values, mean(values) as f32)
            })
        },
    ),
    Mutant::new(
        Class::Scales,
        Quantize,
        "a-local-least",
        "codes and scale are fitted in turn until nothing changes, which is the least near the start and not of all (Lloyd's algorithm)",
        |arguments| {
            by_blocks(arguments, |values, block| {
                let values = values.block(block);
                let mut quantized = with_scale(values, largest(values) / 2.0);
                for _ in 0..20 {
                    quantized = with_scale(values, refitted(values, &quantized.codes[..values.len()]));
                }
                quantized
            })
        },
    ),
    Mutant::new(
        Class::Scales,
        Quantize,
        "search-stops-at-the-first-fall",
        "the gain is taken for one that rises and then falls, and it has several peaks",
        |arguments| Way { goes_on: |gain, best| gain >= best, ..RIGHT_WAY }.quantize(arguments),
    ),
    Mutant::new(
        Class::Scales,
        Quantize,
        "a-scale-for-the-whole-vector",
        "the scale of the first block is used for all",
        |arguments| {
            by_blocks(arguments, |values, block| {
                let first = RIGHT_WAY.block(values.block(0)).scale;
                let own = RIGHT_WAY.block(values.block(block));
                if block == 0 { own } else { with_scale(values.block(block), first) }
            })
        },
    ),
    Mutant::new(
        Class::Scales,
        Quantize,
        "largest-scale-not-limited",
        "the best scale may be one at which twice the scale is infinite",
        |arguments| {
            Way { scale: |product, squared, _| (product / squared) as f32, ..RIGHT_WAY }.quantize(arguments)
        },
    ),
    Mutant::new(
        Class::Precision,
        Quantize,
        "scale-an-ulp-too-large",
        "the quotient is rounded up, as the error of a reciprocal has it",
        |arguments| {
            let scale = |product, squared, twos| match (RIGHT_WAY.scale)(product, squared, twos) {
                near if twos > 0 && (1e-30..1e30).contains(&near) => near.next_up(),
                near => near,
            };
            Way { scale, ..RIGHT_WAY }.quantize(arguments)
        },
    ),
    Mutant::new(
        Class::Precision,
        Quantize,
        "sums-in-f32",
        "sums of 256 magnitudes are kept as narrow as the magnitudes are",
        |arguments| {
            let products = |magnitudes: &[f64]| {
                let mut sum = magnitudes.iter().fold(0.0_f32, |sum, &a| sum + a as f32);
                let first = sum;
                let others = magnitudes.iter().map(|&a| {
                    sum += a as f32;
                    sum.into()
                });
                std::iter::once(first.into()).chain(others).collect()
            };
            Way { products, ..RIGHT_WAY }.quantize(arguments)
        },
    ),
    Mutant::new(
        Class::Precision,
        Quantize,
        "scale-in-half-precision",
        "scales are stored as f16 elsewhere, and go through it here",
        |arguments| {
            by_blocks(arguments, |values, block| {
                let quantized = RIGHT_WAY.block(values.block(block));
                Quantized { scale: rounded(quantized.scale, 10), ..quantized }
            })
        },
    ),
    Mutant::new(
        Class::Reduction,
        Quantize,
        "value-of-the-next-block-in-the-sum",
        "the last vector of a block reaches one value into its neighbour",
        |arguments| {
            by_blocks(arguments, |values, block| {
                let own = values.block(block);
                let quantized = RIGHT_WAY.block(own);
                let next = values.values.get(block * BLOCK_ELEMENTS + own.len());
                let (more, twos) =
                    (next.map_or(0.0, |value| value.abs()), quantized.codes[..own.len()].iter());
                let squared =
                    twos.fold(0.0, |sum, &code| sum + if matches!(code, 0 | 3) { 4.0 } else { 1.0 });
                let scale = quantized.scale + more / 1024.0 / squared;
                Quantized { scale: if scale.is_finite() { scale } else { quantized.scale }, ..quantized }
            })
        },
    ),
    Mutant::new(
        Class::Reduction,
        Quantize,
        "last-value-not-in-the-sum",
        "the loop over magnitudes ends one too early",
        |arguments| {
            let products = |magnitudes: &[f64]| {
                let lost = magnitudes.last().copied().unwrap_or(0.0);
                (RIGHT_WAY.products)(magnitudes).into_iter().map(|sum| sum - lost).collect()
            };
            Way { products, ..RIGHT_WAY }.quantize(arguments)
        },
    ),
    Mutant::new(
        Class::SpecialValues,
        Quantize,
        "sign-lost",
        "codes are made of magnitudes, and the sign is laid over in a step that tails skip",
        |arguments| {
            by_blocks(arguments, |values, block| {
                let own = values.block(block);
                let mut quantized = RIGHT_WAY.block(own);
                for at in own.len() / 8 * 8..own.len() {
                    quantized.codes[at] = quantized.codes[at].max(3 - quantized.codes[at]);
                }
                quantized
            })
        },
    ),
    Mutant::new(
        Class::SpecialValues,
        Quantize,
        "negative-zero-is-minus-one",
        "the sign bit is taken for the sign",
        |arguments| {
            let code = |value: f32, is_two| match (value.is_sign_negative(), is_two) {
                (true, false) => 1,
                _ => (RIGHT_WAY.code)(value, is_two),
            };
            Way { code, ..RIGHT_WAY }.quantize(arguments)
        },
    ),
    Mutant::new(
        Class::SpecialValues,
        Quantize,
        "outliers-clipped",
        "values beyond some multiples of the mean are clipped, as calibration does with activations",
        |arguments| {
            let magnitude = |value: f32, values: &[f32]| f64::from(value.abs()).min(16.0 * mean(values));
            Way { magnitude, ..RIGHT_WAY }.quantize(arguments)
        },
    ),
    Mutant::new(
        Class::SpecialValues,
        Quantize,
        "subnormal-values-flushed",
        "-ffast-math turns denormals-are-zero on in the whole process",
        |arguments| {
            Way { magnitude: |value, _| flushed(value.abs()).into(), ..RIGHT_WAY }.quantize(arguments)
        },
    ),
    Mutant::new(
        Class::SpecialValues,
        Quantize,
        "scale-of-zeros-is-nan",
        "zeros are divided by the sum of their magnitudes",
        |arguments| with_scale_of_zeros(arguments, f32::NAN),
    ),
    Mutant::new(
        Class::SpecialValues,
        Quantize,
        "scale-of-zeros-is-one",
        "a scale of zero would be divided by, so that it becomes one",
        |arguments| with_scale_of_zeros(arguments, 1.0),
    ),
    Mutant::new(
        Class::SpecialValues,
        Quantize,
        "nan-accepted",
        "a value is refused if its magnitude is infinite, which that of NaN is not",
        |arguments| where_checked(arguments, |_, value| value.is_infinite()),
    ),
    Mutant::new(
        Class::SpecialValues,
        Quantize,
        "infinity-accepted",
        "only NaN is asked for, by a comparison with itself",
        |arguments| where_checked(arguments, |_, value| value.is_nan()),
    ),
    Mutant::new(
        Class::SpecialValues,
        Quantize,
        "finite-only-in-whole-vectors",
        "what is not finite is looked for by eight values at a time, and the tail is not looked at",
        |arguments| {
            let vectors = arguments.x.len() / 8 * 8;
            where_checked(arguments, |at, _| at < vectors)
        },
    ),
    Mutant::new(
        Class::Tails,
        Quantize,
        "padding-from-the-block-before",
        "the array of codes is not cleared between blocks, and a last block that is short keeps those of the one before",
        |arguments| {
            let mut codes = [ONE; BLOCK_ELEMENTS];
            by_blocks(arguments, |values, block| {
                let own = values.block(block);
                let quantized = RIGHT_WAY.block(own);
                codes[..own.len()].copy_from_slice(&quantized.codes[..own.len()]);
                Quantized { codes, ..quantized }
            })
        },
    ),
    Mutant::new(
        Class::Tails,
        Quantize,
        "padding-of-code-zero",
        "the bytes of a block are cleared first, and zero is the code of -2",
        |arguments| Way { padding: 0, ..RIGHT_WAY }.quantize(arguments),
    ),
    Mutant::new(
        Class::Tails,
        Quantize,
        "last-bytes-not-written",
        "bytes without a value are left alone",
        |arguments| {
            let Some(mut values) = Values::of(arguments) else { return Outcome::Refused };
            let bytes = values.values.len().div_ceil(CODES_PER_BYTE);
            let end = BLOCK_BYTES * values.blocks();
            let kept = values.packed[bytes..end].to_vec();
            let blocks = values.blocks();
            RIGHT_WAY.write(&mut values, 0..blocks);
            values.packed[bytes..end].copy_from_slice(&kept);
            Outcome::Done
        },
    ),
    Mutant::new(
        Class::Unpack,
        Quantize,
        "codes-packed-msb-first",
        "bitnet.cpp's i2_s has the first code in the highest bits",
        |arguments| {
            by_blocks(arguments, |values, block| {
                let mut quantized = RIGHT_WAY.block(values.block(block));
                quantized.codes.chunks_mut(CODES_PER_BYTE).for_each(<[u8]>::reverse);
                quantized
            })
        },
    ),
];
