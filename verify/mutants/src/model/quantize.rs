//! A quantiser, a block at a time, each step of which can be replaced.

use qk256_verify::{Arguments, Outcome};

use super::{BLOCK_BYTES, BLOCK_ELEMENTS, CODES_PER_BYTE};

/// The code of +1, of zeros and of padding.
pub(crate) const ONE: u8 = 2;

/// What a quantiser reads and writes.
pub(crate) struct Values<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) packed: &'a mut [u8],
    pub(crate) scales: &'a mut [f32],
}

impl<'a> Values<'a> {
    pub(crate) fn unchecked(arguments: Arguments<'a>) -> Self {
        let Arguments { x: values, out_bytes: packed, out: scales, .. } = arguments;
        Self { values, packed, scales }
    }

    pub(crate) fn blocks(&self) -> usize {
        self.values.len().div_ceil(BLOCK_ELEMENTS)
    }

    pub(crate) fn has_room(&self) -> bool {
        self.packed.len() >= BLOCK_BYTES * self.blocks() && self.scales.len() >= self.blocks()
    }

    /// `None` for wrong sizes and for values that are not finite.
    pub(crate) fn of(arguments: Arguments<'a>) -> Option<Self> {
        let this = Self::unchecked(arguments);
        (this.has_room() && this.values.iter().all(|value| value.is_finite())).then_some(this)
    }

    /// The values of a block.
    pub(crate) fn block(&self, block: usize) -> &'a [f32] {
        let rest = &self.values[block * BLOCK_ELEMENTS..];
        &rest[..rest.len().min(BLOCK_ELEMENTS)]
    }

    /// Writes what a block becomes.
    pub(crate) fn write(&mut self, block: usize, quantized: &Quantized) {
        self.scales[block] = quantized.scale;
        let bytes = &mut self.packed[block * BLOCK_BYTES..][..BLOCK_BYTES];
        for (byte, codes) in bytes.iter_mut().zip(quantized.codes.chunks(CODES_PER_BYTE)) {
            *byte = codes.iter().rev().fold(0, |byte, code| byte << 2 | code);
        }
    }
}

/// What a block becomes.
#[derive(Clone, Debug)]
pub(crate) struct Quantized {
    pub(crate) codes: [u8; BLOCK_ELEMENTS],
    pub(crate) scale: f32,
}

/// How a block is quantised, step by step.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    /// The magnitude of a value, given those of its block.
    pub(crate) magnitude: fn(f32, &[f32]) -> f64,
    /// The sums of weight times magnitude: without twos, with one, and so on, of magnitudes that do not increase.
    pub(crate) products: fn(&[f64]) -> Vec<f64>,
    /// The scale for a product, a sum of squared weights and a number of twos.
    pub(crate) scale: fn(f64, f64, usize) -> f32,
    /// By how much the error is less than that of no scale at all: of magnitudes, twos, scale, product and sum of squared weights.
    pub(crate) gain: fn(&[f64], usize, f64, f64, f64) -> f64,
    /// Whether a gain is taken in the place of the best so far.
    pub(crate) is_better: fn(f64, f64) -> bool,
    /// Whether more twos are tried after this gain and the best.
    pub(crate) goes_on: fn(f64, f64) -> bool,
    /// The code of a value that is worth two, or one.
    pub(crate) code: fn(f32, bool) -> u8,
    pub(crate) padding: u8,
}

/// As docs/format.md defines it.
pub(crate) const RIGHT_WAY: Way = Way {
    magnitude: |value, _| f64::from(value.abs()),
    products: |magnitudes| {
        let start: f64 = magnitudes.iter().sum();
        let sums = magnitudes.iter().scan(start, |sum, a| {
            *sum += a;
            Some(*sum)
        });
        std::iter::once(start).chain(sums).collect()
    },
    scale: |product, squared, twos| {
        ((product / squared) as f32).min(if twos == 0 { f32::MAX } else { f32::MAX / 2.0 })
    },
    gain: |_, _, scale, product, squared| scale * (2.0 * product - scale * squared),
    is_better: |gain, best| gain > best,
    goes_on: |_, _| true,
    code: |value, is_two| match (value < 0.0, is_two) {
        (true, true) => 0,
        (true, false) => 1,
        (false, false) => ONE,
        (false, true) => 3,
    },
    padding: ONE,
};

impl Way {
    /// Writes what these blocks become.
    pub(crate) fn write(&self, values: &mut Values<'_>, blocks: std::ops::Range<usize>) {
        for block in blocks {
            let quantized = self.block(values.block(block));
            values.write(block, &quantized);
        }
    }

    /// What one block of finite values becomes.
    pub(crate) fn block(&self, values: &[f32]) -> Quantized {
        let magnitude = |(at, &value)| ((self.magnitude)(value, values), at);
        let mut order: Vec<(f64, usize)> = values.iter().enumerate().map(magnitude).collect();
        order.sort_by(|a, b| b.0.total_cmp(&a.0));
        let magnitudes: Vec<f64> = order.iter().map(|(magnitude, _)| *magnitude).collect();
        let (twos, scale) = self.best(&magnitudes);
        let mut codes = [self.padding; BLOCK_ELEMENTS];
        for (rank, &(_, at)) in order.iter().enumerate() {
            codes[at] = (self.code)(values[at], rank < twos);
        }
        Quantized { codes, scale }
    }

    fn best(&self, magnitudes: &[f64]) -> (usize, f32) {
        let (mut best, mut best_gain) = ((0, 0.0), 0.0);
        for (twos, product) in (self.products)(magnitudes).into_iter().enumerate() {
            let squared = (magnitudes.len() + 3 * twos) as f64;
            let scale = (self.scale)(product, squared, twos);
            let gain = (self.gain)(magnitudes, twos, scale.into(), product, squared);
            if !(self.goes_on)(gain, best_gain) {
                break;
            }
            if (self.is_better)(gain, best_gain) {
                (best, best_gain) = ((twos, scale), gain);
            }
        }
        best
    }

    /// Quantises block by block.
    pub(crate) fn quantize(self, arguments: Arguments<'_>) -> Outcome {
        by_blocks(arguments, |values, block| self.block(values.block(block)))
    }
}

/// A quantiser whose block `b` becomes `quantized(reads, b)`.
pub(crate) fn by_blocks(
    arguments: Arguments<'_>,
    mut quantized: impl FnMut(&Values<'_>, usize) -> Quantized,
) -> Outcome {
    let Some(mut values) = Values::of(arguments) else { return Outcome::Refused };
    for block in 0..values.blocks() {
        let quantized = quantized(&values, block);
        values.write(block, &quantized);
    }
    Outcome::Done
}
