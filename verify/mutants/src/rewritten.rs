//! Writes that leave no trace: inputs put back before the call returns, and slack stored with its own bytes.

use qk256_verify::Operation::{Dequantize, Gemv, GemvFixed, Lut, Unpack};
use qk256_verify::Outcome;

use crate::model::fixed::RIGHT_WAY;
use crate::model::vector::{of_dequantize, of_lut, of_unpack};
use crate::model::{LANES, SIMD, stray, weight};
use crate::{Class, Mutant};

const CLASS: Class = Class::Memory;

/// Stores what lies behind `out`, up to a whole vector of N lanes, as it is.
fn rewrite_tail<T>(out: &mut [T], lanes: usize) {
    for at in out.len()..out.len().next_multiple_of(lanes) {
        stray::rewrite(out.as_mut_ptr().wrapping_add(at));
    }
}

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::new(
        CLASS,
        Gemv,
        "codes-complemented-in-place-and-back",
        "codes are brought into the order of the instruction where they lie, and back at the end; models are mapped read-only",
        |arguments| {
            SIMD.product_after(arguments, |product| {
                if product.rows > 0 && product.cols > 0 {
                    stray::overwrite_and_restore(product.packed, product.row_bytes() - 1, |byte| !byte);
                }
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "scales-halved-in-place-and-doubled",
        "a factor of the whole matrix is taken out of the scales for as long as the call lasts",
        |arguments| {
            SIMD.product_after(arguments, |product| {
                if let Some(scales) = product.scales.filter(|scales| !scales.is_empty()) {
                    stray::overwrite_and_restore(scales, 0, |scale| scale / 2.0);
                }
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "x-negated-in-place-and-back",
        "activations are prepared in place, and put back for the caller",
        |arguments| {
            SIMD.product_after(arguments, |product| {
                if let Some(last) = product.cols.checked_sub(1) {
                    stray::overwrite_and_restore(product.x, last, |x| -x);
                }
            })
        },
    ),
    Mutant::new(
        CLASS,
        Unpack,
        "a-sentinel-behind-the-codes-and-back",
        "a mark in the last byte ends the loop, and the byte is put back",
        |arguments| {
            let Some((vector, codes)) = of_unpack(arguments) else { return Outcome::Refused };
            codes.iter_mut().enumerate().for_each(|(at, slot)| *slot = vector.code(at));
            if let Some(last) = vector.bytes.len().checked_sub(1) {
                stray::overwrite_and_restore(vector.bytes, last, |_| 0);
            }
            Outcome::Done
        },
    ),
    Mutant::new(
        CLASS,
        Dequantize,
        "scales-stored-as-they-were",
        "the signs of the scales are cleared in place and set again, which changes nothing where all are positive",
        |arguments| {
            let Some((vector, out)) = of_dequantize(arguments) else { return Outcome::Refused };
            out.iter_mut().enumerate().for_each(|(at, out)| *out = vector.weight(at) * vector.scale(at));
            if !vector.scales.is_empty() {
                stray::rewrite(vector.scales.as_ptr().cast_mut());
            }
            Outcome::Done
        },
    ),
    Mutant::new(
        CLASS,
        Lut,
        "codes-masked-in-place-and-put-back",
        "bits above the code are cleared where they lie, and kept elsewhere for the time of the call",
        |arguments| {
            let Some((vector, weights)) = of_lut(arguments) else { return Outcome::Refused };
            for (at, slot) in weights.iter_mut().enumerate() {
                stray::overwrite_and_restore(vector.bytes, at, |code| code & 3);
                *slot = weight(vector.bytes[at]);
            }
            Outcome::Done
        },
    ),
    Mutant::new(
        CLASS,
        GemvFixed,
        "x-rounded-in-place-and-put-back",
        "x is rounded where it lies, from a copy that it is put back from",
        |arguments| {
            if !arguments.x.is_empty() {
                stray::overwrite_and_restore(arguments.x, 0, f32::round);
            }
            RIGHT_WAY.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "slack-of-y-stored-with-its-own-bytes",
        "a tile that is not full is loaded, blended and stored whole: harmless until another thread owns the rest (highway issue 42)",
        |arguments| {
            SIMD.product_after(arguments, |product| {
                let tile = product.rows..product.rows.next_multiple_of(LANES).min(product.y.len());
                tile.for_each(|row| stray::rewrite(product.y.as_mut_ptr().wrapping_add(row)));
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "all-of-y-stored-with-its-own-bytes-for-no-rows",
        "y is loaded before the rows are counted, and stored behind the loop",
        |arguments| {
            SIMD.product_after(arguments, |product| {
                if product.rows == 0 {
                    product.y.iter_mut().for_each(|y| stray::rewrite(y));
                }
            })
        },
    ),
    Mutant::new(
        CLASS,
        GemvFixed,
        "slack-of-fixed-y-stored-with-its-own-bytes",
        "the last results are blended into a vector of what lies there",
        |arguments| {
            let slack = arguments.out.get_mut(arguments.rows..).unwrap_or_default();
            slack.iter_mut().take(LANES - 1).for_each(|y| stray::rewrite(y));
            RIGHT_WAY.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Unpack,
        "codes-of-a-tail-blended-with-what-lies-behind",
        "the last vector is loaded from the output, blended and stored whole (jdk pull 8544)",
        |arguments| {
            let Some((vector, codes)) = of_unpack(arguments) else { return Outcome::Refused };
            codes.iter_mut().enumerate().for_each(|(at, slot)| *slot = vector.code(at));
            rewrite_tail(codes, 16);
            Outcome::Done
        },
    ),
    Mutant::new(
        CLASS,
        Dequantize,
        "weights-of-a-tail-blended-with-what-lies-behind",
        "the last vector is loaded from the output, blended and stored whole",
        |arguments| {
            let Some((vector, out)) = of_dequantize(arguments) else { return Outcome::Refused };
            out.iter_mut().enumerate().for_each(|(at, out)| *out = vector.weight(at) * vector.scale(at));
            rewrite_tail(out, LANES);
            Outcome::Done
        },
    ),
    Mutant::new(
        CLASS,
        Lut,
        "entries-of-a-tail-blended-with-what-lies-behind",
        "the last vector is loaded from the output, blended and stored whole",
        |arguments| {
            let Some((vector, weights)) = of_lut(arguments) else { return Outcome::Refused };
            weights.iter_mut().enumerate().for_each(|(at, slot)| *slot = weight(vector.bytes[at]));
            rewrite_tail(weights, LANES);
            Outcome::Done
        },
    ),
];
