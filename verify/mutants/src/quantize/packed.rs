//! Quantisers of ggml's formats, which write scales among the codes: wrong ones, and one whose ties go another way.

use qk256_verify::format::{self, Number};
use qk256_verify::{Arguments, Domain, Operation, Outcome, Requirements};

use crate::{Class, Mutant};

/// Values of a block of `q4_0`.
const LEN: usize = 32;

/// Bytes of one: an f16 scale, then the codes of two halves.
const BYTES: usize = 18;

/// Values of a block of `q8_k`.
const LONG: usize = 256;

/// Bytes of one: an f32 scale, the values, and 16 sums of 16 values each.
const LONG_BYTES: usize = 292;

/// Where the sums are.
const SUMS_AT: usize = 4 + LONG;

const Q4_0: Domain = Domain::of(Operation::Quantize, &format::Q4_0).requiring(whole(LEN));

const Q8_K: Domain = Domain::of(Operation::Quantize, &format::Q8_K).requiring(whole(LONG));

/// Whole blocks only.
const fn whole(len: usize) -> Requirements {
    Requirements { cols_multiple: len as u32, ..Requirements::NONE }
}

/// The steps of a quantiser of `q4_0`.
struct Nibbles {
    /// The scale of a block.
    scale: fn(&[f32]) -> f32,
    /// From a value over the scale to a code.
    code: fn(f32) -> f32,
    /// The scale as it is stored.
    stored: fn(f32) -> f64,
    /// The element whose code is in a half of a byte.
    element: fn(usize, usize) -> usize,
}

/// As ggml's reference: the value of the largest magnitude becomes code 0.
const RIGHT_WAY: Nibbles = Nibbles {
    scale: |values| largest(values) / -8.0,
    code: |steps| (steps + 8.5).floor(),
    stored: f64::from,
    element: |byte, half| byte + half * LEN / 2,
};

/// The value of the largest magnitude.
fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most: f32, &value| if value.abs() > most.abs() { value } else { most })
}

impl Nibbles {
    fn quantize(&self, arguments: Arguments<'_>) -> Outcome {
        let Arguments { x, out_bytes, .. } = arguments;
        if out_bytes.len() < x.len() / LEN * BYTES || !x.iter().all(|value| value.is_finite()) {
            return Outcome::Refused;
        }
        for (values, block) in x.chunks_exact(LEN).zip(out_bytes.chunks_exact_mut(BYTES)) {
            let scale = (self.scale)(values);
            Number::F16.write((self.stored)(scale), block);
            let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
            let code = |element: usize| (self.code)(values[element] * inverse).clamp(0.0, 15.0) as u8;
            for (at, byte) in block[2..].iter_mut().enumerate() {
                *byte = code((self.element)(at, 0)) | code((self.element)(at, 1)) << 4;
            }
        }
        Outcome::Done
    }
}

/// Quantises to `q8_k`; `sums` writes the sums of a block with this scale.
fn to_q8_k(arguments: Arguments<'_>, sums: fn(f32, &[i8], &mut [u8])) -> Outcome {
    let Arguments { x, out_bytes, .. } = arguments;
    if out_bytes.len() < x.len() / LONG * LONG_BYTES || !x.iter().all(|value| value.is_finite()) {
        return Outcome::Refused;
    }
    for (values, block) in x.chunks_exact(LONG).zip(out_bytes.chunks_exact_mut(LONG_BYTES)) {
        let inverse = -127.0 / largest(values);
        let is_zero = !inverse.is_finite();
        let scale = if is_zero { 0.0 } else { 1.0 / inverse };
        let code =
            |value: &f32| if is_zero { 0 } else { (value * inverse).round_ties_even().min(127.0) as i8 };
        let codes: Vec<i8> = values.iter().map(code).collect();
        block[..4].copy_from_slice(&scale.to_le_bytes());
        block[4..SUMS_AT].iter_mut().zip(&codes).for_each(|(byte, &code)| *byte = code as u8);
        sums(scale, &codes, &mut block[SUMS_AT..]);
    }
    Outcome::Done
}

/// The sums of `len` values each.
fn write_sums(codes: &[i8], len: usize, to: &mut [u8]) {
    for (codes, to) in codes.chunks(len).zip(to.chunks_mut(2)) {
        let sum: i16 = codes.iter().map(|&code| i16::from(code)).sum();
        to.copy_from_slice(&sum.to_le_bytes());
    }
}

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::of(
        Class::Scales,
        Q4_0,
        "packs-with-a-scale-of-a-seventh",
        "codes go from -8 to 7, and the largest magnitude is divided by the one that exists with both signs",
        |arguments| Nibbles { scale: |values| largest(values) / -7.0, ..RIGHT_WAY }.quantize(arguments),
    ),
    Mutant::of(
        Class::Precision,
        Q4_0,
        "packs-codes-cut-off",
        "the conversion to an integer cuts off, and the half that makes it round is missing",
        |arguments| Nibbles { code: |steps| (steps + 8.0).floor(), ..RIGHT_WAY }.quantize(arguments),
    ),
    Mutant::of(
        Class::Precision,
        Q4_0,
        "packs-a-scale-cut-off",
        "the scale is stored as the upper bits of its f32, with fewer than an f16 has",
        |arguments| {
            let stored = |scale: f32| f32::from_bits(scale.to_bits() & 0xffff_0000).into();
            Nibbles { stored, ..RIGHT_WAY }.quantize(arguments)
        },
    ),
    Mutant::of(
        Class::Unpack,
        Q4_0,
        "packs-neighbours-into-a-byte",
        "the halves of a byte are neighbours in most formats, and 16 elements apart in this one",
        |arguments| Nibbles { element: |byte, half| 2 * byte + half, ..RIGHT_WAY }.quantize(arguments),
    ),
    Mutant::of(
        Class::SpecialValues,
        Q8_K,
        "packs-a-zero-block-without-sums",
        "a block of zeros is left early, with its scale and values written (ggml 0.13.1)",
        |arguments| {
            to_q8_k(arguments, |scale, codes, to| {
                if scale != 0.0 {
                    write_sums(codes, 16, to);
                }
            })
        },
    ),
    Mutant::of(
        Class::Reduction,
        Q8_K,
        "packs-sums-of-32",
        "the sums are those of the groups of another layout",
        |arguments| {
            to_q8_k(arguments, |_, codes, to| {
                to.fill(0);
                write_sums(codes, 32, to);
            })
        },
    ),
];

pub(crate) const RIGHT: &[Mutant] = &[
    Mutant::of(
        Class::Precision,
        Q4_0,
        "packs-with-ties-to-even",
        "vectors round ties to even where the reference rounds them up: both are half a step away",
        |arguments| {
            Nibbles { code: |steps| (steps + 8.0).round_ties_even(), ..RIGHT_WAY }.quantize(arguments)
        },
    ),
    Mutant::of(
        Class::Reduction,
        Q8_K,
        "packs-sums-of-zeros-too",
        "all bytes are written, whatever the values are",
        |arguments| to_q8_k(arguments, |_, codes, to| write_sums(codes, 16, to)),
    ),
];
