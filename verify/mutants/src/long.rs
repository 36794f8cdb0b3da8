//! Offsets that wrap in vectors of 2^30 elements and more.

use qk256_verify::Operation::{Dequantize, Unpack};
use qk256_verify::{Arguments, Outcome};

use crate::model::vector::{of_dequantize, of_unpack};
use crate::model::{BLOCK_ELEMENTS, stray, weight};
use crate::{Class, Mutant};

const CLASS: Class = Class::Memory;

/// An unpack that takes four codes from the byte at `place(number of the byte)`.
fn unpack_by_bytes(arguments: Arguments<'_>, place: impl Fn(usize) -> isize) -> Outcome {
    let Some((vector, codes)) = of_unpack(arguments) else { return Outcome::Refused };
    for (byte, codes) in codes.chunks_mut(4).enumerate() {
        let four = stray::read(vector.bytes.as_ptr().wrapping_offset(place(byte)));
        codes.iter_mut().enumerate().for_each(|(at, code)| *code = four >> (2 * at) & 3);
    }
    Outcome::Done
}

/// A dequantize that takes four codes from byte `place(number of the byte)`, and writes a block at `target(its first element)`.
fn dequantize_by_bytes(
    arguments: Arguments<'_>,
    place: impl Fn(usize) -> usize,
    target: impl Fn(usize) -> usize,
) -> Outcome {
    let Some((vector, out)) = of_dequantize(arguments) else { return Outcome::Refused };
    let len = out.len();
    for (block, scale) in vector.scales.iter().take(vector.blocks()).enumerate() {
        let first = block * BLOCK_ELEMENTS;
        let weights = [0, 1, 2, 3].map(|code| weight(code) * scale);
        let start = target(first);
        for at in 0..BLOCK_ELEMENTS.min(len - first) {
            let byte = vector.bytes[place((first + at) / 4)];
            out[start + at] = weights[usize::from(byte >> (2 * (at % 4)) & 3)];
        }
    }
    Outcome::Done
}

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::new(
        CLASS,
        Unpack,
        "offset-in-bits-of-31-bits-and-a-sign",
        "two bits an element, counted in an int: negative from 2^30 elements on (arrow issue 50089)",
        |arguments| unpack_by_bytes(arguments, |byte| ((8 * byte) as i32 / 8) as isize),
    ),
    Mutant::new(
        CLASS,
        Dequantize,
        "offset-of-an-output-in-32-bits",
        "four bytes an element: from 2^30 elements on weights are written over the first ones",
        |arguments| dequantize_by_bytes(arguments, |byte| byte, |first| (4 * first) as u32 as usize / 4),
    ),
    Mutant::new(
        CLASS,
        Dequantize,
        "offset-of-a-byte-in-28-bits",
        "offset and length share a word, of which the offset has 28 bits",
        |arguments| dequantize_by_bytes(arguments, |byte| byte & 0x0fff_ffff, |first| first),
    ),
    Mutant::for_huge(Mutant::new(
        CLASS,
        Unpack,
        "offset-in-bits-of-32-bits",
        "an unsigned int lasts for twice as many: codes start over from 2^31 elements on",
        |arguments| unpack_by_bytes(arguments, |byte| ((8 * byte) as u32 / 8) as isize),
    )),
];

pub(crate) const RIGHT: &[Mutant] = &[
    Mutant::for_huge(Mutant::new(
        CLASS,
        Unpack,
        "offset-in-bits-of-64-bits",
        "as many bits as it takes",
        |arguments| unpack_by_bytes(arguments, |byte| (8 * byte as u64 / 8) as isize),
    )),
    Mutant::new(CLASS, Dequantize, "last-block-first", "blocks do not depend on each other", |arguments| {
        let Some((vector, out)) = of_dequantize(arguments) else { return Outcome::Refused };
        for block in (0..vector.blocks()).rev() {
            let first = block * BLOCK_ELEMENTS;
            let weights = [0, 1, 2, 3].map(|code| weight(code) * vector.scales[block]);
            let last = out.len().min(first + BLOCK_ELEMENTS);
            for at in first..last {
                out[at] = weights[usize::from(vector.code(at))];
            }
        }
        Outcome::Done
    }),
];
