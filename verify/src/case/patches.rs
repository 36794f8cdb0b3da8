//! Patches of a case: kept, moved and dropped as its shape changes.

use super::{Case, Patch};
use crate::buffer::Buffer;
use crate::data::Distribution;

impl Case {
    /// Fills a buffer in the place of what its patches say.
    pub(super) fn fill_with(&mut self, buffer: Buffer, bits: u32) {
        self.fill[buffer] = Some(bits);
        self.patches.retain(|patch| patch.buffer != buffer);
    }

    /// Drops the elements of the patches of a buffer that are `bits`.
    pub(super) fn drop_patched(&mut self, buffer: Buffer, bits: u32) {
        let mut kept: Vec<Patch> = Vec::new();
        for patch in std::mem::take(&mut self.patches) {
            if patch.buffer != buffer {
                kept.push(patch);
                continue;
            }
            let mut start = patch.index;
            for run in patch.bits.split(|&each| each == bits) {
                if !run.is_empty() {
                    kept.push(Patch { buffer, index: start, bits: run.to_vec() });
                }
                start += run.len() + 1;
            }
        }
        self.patches = kept;
    }

    /// Takes columns away in front, so that patches of x, and of the scales of a single row, keep their distance to the
    /// last column.
    pub(super) fn cut_front(&mut self, cols: usize) {
        let scales = |case: &Self| case.format.separate_scales(0, case.shape().blocks()).len();
        let before = scales(self);
        let cut = self.cols.saturating_sub(cols);
        self.cols = cols;
        let cut_scales = before.saturating_sub(scales(self));
        for patch in &mut self.patches {
            let cut = match patch.buffer {
                Buffer::X | Buffer::Codes => cut,
                Buffer::Scales => cut_scales,
                Buffer::Packed | Buffer::Out | Buffer::OutScales | Buffer::Activations | Buffer::Prepared => {
                    0
                }
            };
            patch.index = patch.index.saturating_sub(cut);
        }
    }

    /// Says the special values of the distribution `special` in patches, which keep their place when the shape changes. The data
    /// stay as they are.
    pub(super) fn sprinkle_by_patches(&mut self) {
        let plain = Self { distribution: Distribution::Ten, ..self.clone() };
        let (Distribution::Special, Ok(special), Ok(ordinary)) =
            (self.distribution, self.materialize(None), plain.materialize(None))
        else {
            return;
        };
        let scales = special.scales.iter().flatten().zip(ordinary.scales.iter().flatten());
        let x = special.x.iter().zip(&ordinary.x);
        let values = scales.enumerate().map(|(at, pair)| (Buffer::Scales, at, pair));
        let values = values.chain(x.enumerate().map(|(at, pair)| (Buffer::X, at, pair)));
        let sprinkled = values.filter(|(_, _, (special, ordinary))| special.to_bits() != ordinary.to_bits());
        let patches = sprinkled.map(|(buffer, index, (special, _))| Patch {
            buffer,
            index,
            bits: vec![special.to_bits()],
        });
        *self = Self { patches: patches.chain(plain.patches.iter().cloned()).collect(), ..plain };
    }

    /// Drops what patches have past the end of their buffer.
    pub(super) fn fit_patches(&mut self) {
        self.cut_patches();
        self.fit();
    }

    /// The same, of a case whose sizes are fitted.
    pub(super) fn cut_patches(&mut self) {
        let (shape, operation) = (self.shape(), self.operation);
        let used = operation.inputs(self.scaled);
        let slack = self.slack;
        self.patches.retain_mut(|patch| {
            let needed = operation.needed(shape, patch.buffer);
            let len = needed.saturating_add_signed(i128::from(slack[patch.buffer])).min(usize::MAX as u128);
            patch.bits.truncate((len as usize).saturating_sub(patch.index));
            used.contains(&patch.buffer) && !patch.bits.is_empty()
        });
    }
}
