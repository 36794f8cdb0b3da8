//! What is put over the data of a case: weights of a tensor, fills, patches, and what callers keep to.

use super::error::MaterializeError;
use crate::buffer::Buffer;
use crate::case::Case;
use crate::format::Coding;
use crate::inputs::Inputs;
use crate::operation::Operation;
use crate::weights::{TensorRows, Weights};

impl Case {
    /// Quantises `rows` by `cols` weights of the tensor, or `len` as one vector, and lays codes and scales over the seeded
    /// ones; the values of a `quantize` are those of the tensor.
    pub(super) fn lay_tensor(
        &self,
        inputs: &mut Inputs,
        weights: &Weights,
        tensor: &TensorRows,
    ) -> Result<(), MaterializeError> {
        if self.operation == Operation::Quantize {
            inputs.x = weights.vector(tensor, self.cols)?;
            return Ok(());
        }
        let quantized = match self.operation.is_matrix() {
            true => weights.quantized_matrix(tensor, self.rows, self.cols)?,
            false => weights.quantized_vector(tensor, self.cols)?,
        };
        let row_bytes = self.shape().row_bytes();
        if self.operation == Operation::Lut {
            let wanted = inputs.codes.iter_mut().zip(quantized.codes());
            wanted.for_each(|(code, real)| *code = real);
        }
        let mut rows = quantized.packed.chunks(row_bytes.max(self.format.block_bytes));
        self.own_bytes(&mut inputs.packed, |own| {
            if let Some(row) = rows.next() {
                own.copy_from_slice(&row[..own.len()]);
            }
        });
        if let Some(scales) = &mut inputs.scales {
            scales.iter_mut().zip(&quantized.scales).for_each(|(scale, &real)| *scale = real);
        }
        Ok(())
    }

    /// Gives every element that an input needs the bits of its fill. Of packed bytes that are the blocks of the rows, padding
    /// included, as with a pattern.
    pub(super) fn lay_fills(&self, inputs: &mut Inputs) {
        let fill = |buffer: Buffer| self.fill[buffer].map(|bits| (bits as u8, f32::from_bits(bits)));
        if let Some((byte, _)) = fill(Buffer::Packed) {
            self.own_bytes(&mut inputs.packed, |own| own.fill(byte));
            self.lay_inner_scales(&mut inputs.packed);
        }
        if let (Some((byte, _)), Some(at)) = (fill(Buffer::Activations), self.activations.values_at) {
            let kind = self.activations;
            inputs
                .quantized
                .chunks_exact_mut(kind.block_bytes)
                .for_each(|block| block[at..at + kind.block_len].fill(byte));
        }
        let needed =
            |buffer, len: usize| self.operation.needed(self.shape(), buffer).min(len as u128) as usize;
        if let Some((byte, _)) = fill(Buffer::Codes) {
            let len = needed(Buffer::Codes, inputs.codes.len());
            inputs.codes[..len].fill(byte);
        }
        if let (Some((_, value)), Some(scales)) = (fill(Buffer::Scales), &mut inputs.scales) {
            let len = needed(Buffer::Scales, scales.len());
            scales[..len].fill(value);
        }
        if let Some((_, value)) = fill(Buffer::X) {
            let len = needed(Buffer::X, inputs.x.len());
            inputs.x[..len].fill(value);
        }
    }

    pub(super) fn lay_patches(&self, inputs: &mut Inputs) -> Result<(), MaterializeError> {
        for patch in &self.patches {
            let (buffer, len) = (patch.buffer, inputs.len(patch.buffer));
            let range = patch.index..patch.index.saturating_add(patch.bits.len());
            let outside =
                || MaterializeError::PatchOutside { buffer: buffer.name(), index: range.end - 1, len };
            let bits = patch.bits.iter();
            match buffer {
                Buffer::Packed => {
                    for (index, &bits) in range.clone().zip(bits) {
                        let place = inputs.packed.place(index).ok_or_else(outside)?;
                        inputs.packed.kept_mut()[place] = bits as u8;
                    }
                }
                Buffer::Codes => {
                    let slots = inputs.codes.get_mut(range.clone()).ok_or_else(outside)?;
                    slots.iter_mut().zip(bits).for_each(|(slot, &bits)| *slot = bits as u8);
                }
                Buffer::Activations => {
                    let slots = inputs.quantized.get_mut(range.clone()).ok_or_else(outside)?;
                    slots.iter_mut().zip(bits).for_each(|(slot, &bits)| *slot = bits as u8);
                }
                Buffer::Scales | Buffer::X | Buffer::Out | Buffer::OutScales | Buffer::Prepared => {
                    let none = &mut Vec::new();
                    let scales = inputs.scales.as_mut().unwrap_or(none);
                    let values = if buffer == Buffer::X { &mut inputs.x } else { scales };
                    let slots = values.get_mut(range.clone()).ok_or_else(outside)?;
                    slots.iter_mut().zip(bits).for_each(|(slot, &bits)| *slot = f32::from_bits(bits));
                }
            }
        }
        Ok(())
    }

    /// Leaves out what never comes: codes above the largest, values below the least, numbers that are not finite. Sums of activations
    /// become those of their values.
    pub(super) fn keep_data_to_requirements(&self, inputs: &mut Inputs) {
        let required = &self.requirements;
        if !inputs.quantized.is_empty() {
            self.keep_activations(&mut inputs.quantized);
        }
        if let Some(most) = required.max_code.filter(|&most| most + 1 < self.format.code_count()) {
            self.own_bytes(&mut inputs.packed, |own| {
                let whole = own.len().saturating_sub(self.format.header_bytes()) / self.format.block_bytes;
                let codes = self.format.codes(own, whole * self.format.block_len);
                let too_large = codes.into_iter().enumerate().filter(|&(_, code)| code > most);
                // Not the remainder: where all codes are the largest of the format, all become the largest that may come.
                too_large.for_each(|(at, _)| self.format.set_code(own, at, most));
            });
        }
        if let Coding::Custom(coding) = &self.format.coding
            && required.weight_min > i8::MIN
        {
            self.own_bytes(&mut inputs.packed, |own| {
                own.chunks_exact_mut(self.format.block_bytes)
                    .for_each(|block| coding.raise_weights(block, required.weight_min));
            });
        }
        if required.finite_only && self.format.has_inner_scales() {
            let places = self.scale_places(&inputs.packed);
            self.own_bytes(&mut inputs.packed, |own| {
                for &(at, number) in &places {
                    let Some(bytes) = own.get_mut(at..at + number.width()) else { return };
                    if !number.read(bytes).is_finite() {
                        number.write(1.0, bytes);
                    }
                }
            });
        }
    }

    fn keep_activations(&self, bytes: &mut [u8]) {
        let (kind, required) = (self.activations, &self.requirements);
        for block in bytes.chunks_exact_mut(kind.block_bytes) {
            if let Some(at) = kind.values_at {
                let values = block[at..at + kind.block_len].iter_mut();
                values.for_each(|byte| *byte = (*byte as i8).max(required.activation_min) as u8);
            }
            if let Some((at, number)) = kind.scale.filter(|_| required.finite_only)
                && !number.read(&block[at..]).is_finite()
            {
                number.write(1.0, &mut block[at..]);
            }
            kind.write_sums(block);
        }
    }
}
