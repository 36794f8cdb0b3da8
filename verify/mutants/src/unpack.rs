//! Codes and weights read wrongly.

use qk256_verify::Operation::{Dequantize, Gemv, Lut, Unpack};

use crate::model::vector::{dequantize, lut, unpack};
use crate::model::{Product, SIMD, Simd, flushed, weight};
use crate::{Class, Mutant};

const CLASS: Class = Class::Unpack;

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::new(
        CLASS,
        Unpack,
        "code-three-read-as-two",
        "ternary kernels know three codes, and clamp the fourth",
        |arguments| unpack(arguments, |vector, at| vector.code(at).min(2)),
    ),
    Mutant::new(
        CLASS,
        Unpack,
        "first-code-in-the-high-bits",
        "bitnet.cpp's i2_s keeps the first code of a byte in its highest bits, so that a decoder taken from there reads backwards",
        |arguments| unpack(arguments, |vector, at| vector.code(at / 4 * 4 + 3 - at % 4)),
    ),
    Mutant::new(
        CLASS,
        Unpack,
        "nibbles-swapped",
        "the high nibble comes out first where an interleave has its operands the wrong way round",
        |arguments| unpack(arguments, |vector, at| vector.code(at ^ 2)),
    ),
    Mutant::new(
        CLASS,
        Unpack,
        "middle-codes-swapped",
        "two interleaves in the wrong order swap the second and the third of four",
        |arguments| {
            unpack(arguments, |vector, at| vector.code(if matches!(at % 4, 1 | 2) { at ^ 3 } else { at }))
        },
    ),
    Mutant::new(
        CLASS,
        Unpack,
        "sign-of-a-byte-extended",
        "bytes of a signed type are shifted right arithmetically, and the top code needs no mask, or so it seems",
        |arguments| {
            unpack(arguments, |vector, at| match at % 4 {
                3 => (vector.bytes[at / 4] as i8 >> 6) as u8,
                _ => vector.code(at),
            })
        },
    ),
    Mutant::new(
        CLASS,
        Unpack,
        "shift-crosses-bytes",
        "there is no shift of bytes on x86: a shift of 16-bit lanes brings in bits of the neighbour, which the mask is one bit too wide for",
        |arguments| {
            unpack(arguments, |vector, at| {
                let next = if at / 4 % 2 == 0 { vector.bytes[at / 4 + 1] } else { 0 };
                let wide = u16::from_le_bytes([vector.bytes[at / 4], next]);
                (wide >> (2 * (at % 4)) & if at % 4 == 3 { 7 } else { 3 }) as u8
            })
        },
    ),
    Mutant::new(
        CLASS,
        Unpack,
        "last-byte-of-a-block-from-the-one-before",
        "the last step of a block is peeled off and its load is one short",
        |arguments| unpack(arguments, |vector, at| vector.code(if at / 4 % 64 == 63 { at - 4 } else { at })),
    ),
    Mutant::new(
        CLASS,
        Unpack,
        "shuffle-without-a-mask",
        "pshufb gives zero for an index with its top bit set, so bytes from 0x80 on need a mask before the table",
        |arguments| {
            unpack(arguments, |vector, at| match at % 4 {
                0 if vector.bytes[at / 4] >= 0x80 => 0,
                _ => vector.code(at),
            })
        },
    ),
    Mutant::new(
        CLASS,
        Unpack,
        "interleave-within-halves-of-128-bits",
        "AVX2 interleaves within each half of a register, so that the middle quarters need a permutation: forgotten in full vectors of 128 codes",
        |arguments| {
            unpack(arguments, |vector, at| {
                let full = at / 128 < vector.len / 128;
                vector.code(if full && matches!(at % 128 / 32, 1 | 2) { at ^ 96 } else { at })
            })
        },
    ),
    Mutant::new(
        CLASS,
        Unpack,
        "second-block-from-the-first-in-pairs",
        "a loop over pairs of blocks forgets to move the pointer within the pair; lengths below two blocks take the other loop",
        |arguments| {
            unpack(arguments, |vector, at| {
                let paired = vector.len >= 512 && at / 512 < vector.len / 512;
                vector.code(if paired && at / 256 % 2 == 1 { at - 256 } else { at })
            })
        },
    ),
    Mutant::new(
        CLASS,
        Lut,
        "table-of-ternary-weights",
        "BitNet-rs had two tables under one name, and that of ternary weights has a zero in it",
        |arguments| lut(arguments, |vector, at| [-1.0, 0.0, 1.0, -1.0][usize::from(vector.bytes[at] & 3)]),
    ),
    Mutant::new(
        CLASS,
        Lut,
        "table-of-twos-complement",
        "a 2-bit number is taken for one with an offset of two, as in ggml's Q2 formats, where zero is a weight",
        |arguments| lut(arguments, |vector, at| f32::from(vector.bytes[at] & 3) - 2.0),
    ),
    Mutant::new(
        CLASS,
        Lut,
        "index-of-three-bits",
        "a permutation of eight lanes looks at three bits, and the table fills four",
        |arguments| {
            lut(arguments, |vector, at| match vector.bytes[at] & 7 {
                code @ 0..4 => weight(code),
                _ => 0.0,
            })
        },
    ),
    Mutant::new(
        CLASS,
        Lut,
        "codes-clamped-instead-of-masked",
        "a minimum looks as good as a mask as long as all codes are below four",
        |arguments| lut(arguments, |vector, at| weight(vector.bytes[at].min(3))),
    ),
    Mutant::new(
        CLASS,
        Lut,
        "codes-from-0x80-on-are-zero",
        "pshufb gives zero for an index with its top bit set, and the bits above the code are not of the caller's making",
        |arguments| {
            lut(arguments, |vector, at| if vector.bytes[at] >= 0x80 { 0.0 } else { weight(vector.bytes[at]) })
        },
    ),
    Mutant::new(
        CLASS,
        Dequantize,
        "zero-without-its-sign",
        "an accumulator that starts at +0.0 takes the sign of -0.0 away",
        |arguments| dequantize(arguments, |vector, at| vector.weight(at) * vector.scale(at) + 0.0),
    ),
    Mutant::new(
        CLASS,
        Dequantize,
        "subnormal-weights-flushed",
        "-ffast-math, or a library linked with it, turns flush-to-zero on",
        |arguments| dequantize(arguments, |vector, at| flushed(vector.weight(at) * vector.scale(at))),
    ),
    Mutant::new(
        CLASS,
        Dequantize,
        "doubled-by-an-exponent",
        "adding one to the exponent field doubles normal numbers only, not zeros, subnormals or infinities",
        |arguments| {
            dequantize(arguments, |vector, at| {
                let (weight, scale) = (vector.weight(at), vector.scale(at));
                let sign = (weight.to_bits() ^ scale.to_bits()) & 1 << 31;
                let doubled = u32::from(weight.abs() == 2.0) << 23;
                f32::from_bits(sign | ((scale.to_bits() & !(1 << 31)) + doubled))
            })
        },
    ),
    Mutant::new(
        CLASS,
        Dequantize,
        "affine-instead-of-a-table",
        "a format with an offset is decoded by a product and a difference, which round where one product would not",
        |arguments| {
            dequantize(arguments, |vector, at| {
                let (raised, scale) = (vector.weight(at) + 2.0, vector.scale(at));
                raised * scale - 2.0 * scale
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "third-dword-of-a-load-decoded-twice",
        "shift counts are typed in by hand, and one of eight is a copy of its neighbour",
        |arguments| {
            let code = |product: &Product<'_>, row, column: usize| {
                product.code(row, if column % 32 == 21 { column - 1 } else { column })
            };
            Simd { code, ..SIMD }.product(arguments)
        },
    ),
];
