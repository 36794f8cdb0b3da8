//! A block of weights: integers, and what they are multiplied by.

use crate::format::{BitOrder, Coding, Format, Number, Plain, Scale};

/// The scale of the blocks of a row that are not scaled by themselves: that before the row, if there is one.
#[inline(always)]
pub(super) fn scale_of_row(format: &Format, row: &[u8]) -> f32 {
    match &format.coding {
        Coding::Plain(Plain { scale: Scale::BeforeRow(number), .. }) => float(*number, row),
        _ => 1.0,
    }
}

/// The scale of a block; that of its row where it has none.
#[inline(always)]
pub(super) fn scale_of_block(format: &Format, of_row: f32, block: &[u8]) -> f32 {
    match &format.coding {
        Coding::Plain(Plain { scale: Scale::InBlock(at, number), .. }) => float(*number, &block[*at..]),
        _ => of_row,
    }
}

/// The scale of block number `at` of a matrix, from a buffer of scales.
#[inline(always)]
pub(super) fn separate(format: &Format, scales: &[f32], at: usize) -> f32 {
    scales[if format.scale() == Scale::Tensor { 0 } else { at }]
}

/// A number as f32, which holds every f16 and bf16.
#[inline(always)]
pub(super) fn float(number: Number, bytes: &[u8]) -> f32 {
    match number {
        Number::F16 => float_of_half(u16::from_le_bytes([bytes[0], bytes[1]])),
        Number::Bf16 => f32::from_bits(u32::from(u16::from_le_bytes([bytes[0], bytes[1]])) << 16),
        Number::F32 => f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
        Number::HalfE8m0 | Number::HalfE4m3 | Number::SplitF16 => {
            unreachable!("no format that a reference kernel knows has such scales")
        }
    }
}

/// The number that these bits are in binary16 (IEEE 754, section 3.6). By integers and one multiplication: scalar code runs on every CPU.
#[inline(always)]
fn float_of_half(bits: u16) -> f32 {
    const FRACTION_BITS: u32 = f32::MANTISSA_DIGITS - 11;
    let (sign, rest) = (u32::from(bits & 0x8000) << 16, u32::from(bits & 0x7fff));
    let magnitude = match rest {
        0x7c00.. => 0x7f80_0000 | rest << FRACTION_BITS,
        // The exponents begin 112 lower, subnormal numbers too.
        _ => (f32::from_bits(rest << FRACTION_BITS) * 2_f32.powi(112)).to_bits(),
    };
    f32::from_bits(sign | magnitude)
}

/// Writes the integers that the codes of a block of a plain format stand for.
#[inline(always)]
pub(super) fn integers(plain: &Plain, block: &[u8], integers: &mut [i8]) {
    each_code(plain, block, |at, code| integers[at] = plain.values[usize::from(code)]);
}

/// Calls `each` with the place and the code of each element, group by group and slot by slot.
#[inline(always)]
pub(super) fn each_code(plain: &Plain, block: &[u8], mut each: impl FnMut(usize, u8)) {
    let (slots, mask) = (8 / plain.bits as usize, ((1_u16 << plain.bits) - 1) as u8);
    let groups = block[plain.codes_at..].chunks_exact(plain.group);
    for (group, bytes) in groups.enumerate() {
        for slot in 0..slots {
            let shift = match plain.order {
                BitOrder::LsbFirst => plain.bits * slot as u32,
                BitOrder::MsbFirst => 8 - plain.bits * (slot as u32 + 1),
            };
            for (at, byte) in bytes.iter().enumerate() {
                each((group * slots + slot) * plain.group + at, byte >> shift & mask);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_is_the_float_that_it_stands_for() {
        for bits in 0..=u16::MAX {
            let (float, exact) = (float_of_half(bits), half::f16::from_bits(bits).to_f32_const());
            assert!(
                float.to_bits() == exact.to_bits() || float.is_nan() && exact.is_nan(),
                "{bits:#x}: {float:e}"
            );
        }
    }
}
