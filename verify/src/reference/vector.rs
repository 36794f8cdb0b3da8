//! `unpack` and `dequantize`.

use super::block::{each_code, integers, scale_of_block, scale_of_row, separate};
use super::custom;
use crate::format::{Coding, Format, Scale};
use crate::kernel::{Arguments, Outcome};

/// Packed bytes to codes.
#[inline(always)]
pub(super) fn unpack(format: &Format, arguments: Arguments<'_>) -> Outcome {
    let mut block_codes = vec![0; format.block_len];
    let blocks =
        arguments.packed.get(format.header_bytes()..).unwrap_or_default().chunks_exact(format.block_bytes);
    for (to, block) in arguments.out_bytes.chunks_mut(format.block_len).zip(blocks) {
        codes(format, block, &mut block_codes);
        to.copy_from_slice(&block_codes[..to.len()]);
    }
    Outcome::Done
}

/// Packed bytes to weights times their scales.
#[inline(always)]
pub(super) fn dequantize(format: &Format, arguments: Arguments<'_>) -> Outcome {
    let Arguments { packed, scales, out, .. } = arguments;
    if out.is_empty() {
        return Outcome::Done;
    }
    let of_row = scale_of_row(format, packed);
    let blocks = packed[format.header_bytes()..].chunks_exact(format.block_bytes);
    let mut weights = vec![0.0; format.block_len];
    for (number, (to, block)) in out.chunks_mut(format.block_len).zip(blocks).enumerate() {
        let separate = scales.map(|scales| separate(format, scales, number));
        write_weights(format, block, separate.unwrap_or(of_row), &mut weights);
        to.copy_from_slice(&weights[..to.len()]);
    }
    Outcome::Done
}

/// Writes the weights of a block times its scale, or times `otherwise` where it has none of its own.
#[inline(always)]
fn write_weights(format: &Format, block: &[u8], otherwise: f32, weights: &mut [f32]) {
    match &format.coding {
        Coding::Plain(plain) => {
            let scale = scale_of_block(format, otherwise, block);
            let mut of_block = vec![0; weights.len()];
            integers(plain, block, &mut of_block);
            let is_scaled = plain.scale != Scale::None;
            let weight =
                |integer: i8| if is_scaled { f32::from(integer) * scale } else { f32::from(integer) };
            weights.iter_mut().zip(of_block).for_each(|(to, integer)| *to = weight(integer));
        }
        Coding::Custom(_) => custom::weights(format, block, weights),
    }
}

/// Writes the codes of a block, one a byte.
#[inline(always)]
fn codes(format: &Format, block: &[u8], codes: &mut [u8]) {
    match &format.coding {
        Coding::Plain(plain) => each_code(plain, block, |at, code| codes[at] = code),
        Coding::Custom(_) => custom::codes(format, block, codes),
    }
}
