//! Blocks that a quantiser writes whole, scales and all, held against the values that they stand for.
//!
//! Two right quantisers may differ in ties and in the last bit of a scale, so that nothing is held to its bits but sums of integers.

use crate::activations::{SUM_LEN, Sums};
use crate::format::integers::layout;
use crate::format::quantiser::Quantiser;
use crate::format::{Coding, Format, Number};

/// What roundings in f32 may cost, relative to a value.
const SLACK: f64 = 1.0 / (1 << 20) as f64;

/// The same of a step, to which an offset of up to 16 is added before it is rounded.
const SLACK_OF_STEP: f64 = 1.0 / (1 << 16) as f64;

/// What no weight of a block is larger than, times the largest magnitude of its values, whatever a search finds.
const MOST: f64 = 2.0;

/// The values of a block that is quantised.
#[derive(Clone, Debug)]
pub struct PackedTruth {
    format: &'static Format,
    values: Vec<f64>,
}

/// What a block has that it must not have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PackedFault {
    /// What it is of.
    pub of: Part,
    /// What it is.
    pub got: f64,
    /// What it must be near to.
    pub must: f64,
    /// How near.
    pub bound: f64,
}

/// A part of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The scale.
    Scale,
    /// The minimum.
    Minimum,
    /// What an element stands for.
    Element(usize),
    /// A sum of values.
    Sum(usize),
}

impl PackedTruth {
    pub(super) fn of(format: &'static Format, values: &[f32]) -> Self {
        Self { format, values: values.iter().copied().map(f64::from).collect() }
    }

    /// The first fault of what a kernel made of the block; `None` if it is right.
    pub fn fault(&self, block: &[u8]) -> Option<PackedFault> {
        let largest = self.values.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
        let of_values = match Quantiser::of(self.format) {
            Quantiser::Linear { largest: code, has_one_sign } => {
                self.linear(block, largest / code, has_one_sign.then_some(code - 1.0))
            }
            Quantiser::Affine { steps } => self.affine(block, steps),
            Quantiser::Search => self.search(block, largest),
        };
        of_values.or_else(|| self.sums(block, largest))
    }

    /// `clamp` is the largest code of the other sign, where that of the largest magnitude has one sign only.
    fn linear(&self, block: &[u8], scale: f64, clamp: Option<f64>) -> Option<PackedFault> {
        let (at, number) = self.format.scale_places(self.format.block_len)[0];
        if scale > number.max() {
            return None;
        }
        let got = number.read(&block[at..]).abs();
        let fault = within(Part::Scale, got, scale, rounding(number, scale)).err();
        let off = (scale - got).abs();
        let clamped = |value: f64| clamp.map_or(0.0, |code| value.abs() - code * scale);
        let half = |value: f64| (scale / 2.0).max(clamped(value)) + scale * SLACK_OF_STEP;
        let bound = |value: f64| half(value) + code(value, scale) * off + value.abs() * SLACK;
        fault.or_else(|| self.elements(block, bound))
    }

    fn affine(&self, block: &[u8], steps: f64) -> Option<PackedFault> {
        let least = self.values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let scale = (most - least) / steps;
        let places = self.format.scale_places(self.format.block_len);
        let [got, minimum] = [0, 1].map(|place| places[place].1.read(&block[places[place].0..]));
        let number = places[0].1;
        if scale > number.max() || least.abs() > number.max() {
            return None;
        }
        let faults = [
            within(Part::Scale, got, scale, rounding(number, scale) + (most.abs() + least.abs()) * SLACK),
            within(Part::Minimum, minimum, least, rounding(number, least.abs())),
        ];
        let off = (scale - got).abs();
        let bound = |value: f64| {
            scale / 2.0 * (1.0 + SLACK_OF_STEP)
                + code(value - least, scale) * off
                + (minimum - least).abs()
                + (value.abs() + least.abs()) * SLACK
        };
        faults.into_iter().find_map(Result::err).or_else(|| self.elements(block, bound))
    }

    /// What holds of every search: a weight is no larger than values of the block can explain, but for scales that are rounded up to the
    /// least that there is.
    fn search(&self, block: &[u8], largest: f64) -> Option<PackedFault> {
        let places = self.format.scale_places(self.format.block_len);
        // A scale that overflows, where values are so large.
        if places.iter().any(|(_, number)| largest > number.max()) {
            return None;
        }
        let steps = match &self.format.coding {
            Coding::Plain(_) => f64::from(self.format.largest_weight()),
            Coding::Custom(coding) => coding.largest_weight(),
        };
        let lost: f64 = places.iter().map(|(_, number)| number.least() * steps).sum();
        self.elements(block, |value| MOST * largest + value.abs() + lost)
    }

    /// The first element that is farther from its value than the bound of that.
    fn elements(&self, block: &[u8], bound: impl Fn(f64) -> f64) -> Option<PackedFault> {
        let weights = self.format.decode(block, self.values.len());
        let elements = self.values.iter().zip(weights).enumerate();
        elements
            .map(|(at, (&value, weight))| within(Part::Element(at), weight, value, bound(value)))
            .find_map(Result::err)
    }

    /// Sums that layouts of activations have beside the values, of which `largest` is the largest magnitude.
    fn sums(&self, block: &[u8], largest: f64) -> Option<PackedFault> {
        let kind = layout(self.format)?;
        let mut right = block.to_vec();
        kind.write_sums(&mut right);
        match kind.sums? {
            Sums::Groups(at) => {
                let sum = |bytes: &[u8]| f64::from(i16::from_le_bytes([bytes[0], bytes[1]]));
                let sums = block[at..]
                    .chunks(2)
                    .zip(right[at..].chunks(2))
                    .take(kind.block_len / SUM_LEN)
                    .enumerate();
                sums.map(|(group, (got, must))| within(Part::Sum(group), sum(got), sum(must), 0.0))
                    .find_map(Result::err)
            }
            Sums::Scaled(at, number) => self.scaled_sum(block, largest, number.read(&block[at..]), number),
        }
    }

    /// The sum of the values times the scale, as it is before it is rounded or after.
    fn scaled_sum(&self, block: &[u8], largest: f64, got: f64, number: Number) -> Option<PackedFault> {
        let Quantiser::Linear { largest: code, .. } = Quantiser::of(self.format) else { return None };
        let kind = layout(self.format)?;
        let scale = largest / code;
        let sum: f64 = kind.values(block, self.values.len()).into_iter().map(f64::from).sum();
        let (must, off) = (scale * sum, (scale - kind.scales(block, 1)[0]).abs());
        if must.abs() > number.max() || !off.is_finite() {
            return None;
        }
        within(Part::Sum(0), got, must, rounding(number, must.abs()) + off * sum.abs()).err()
    }
}

/// How far a code, at most, counts an error of the scale: the nearest to a value, or the next.
fn code(value: f64, scale: f64) -> f64 {
    if scale == 0.0 { 1.0 } else { value.abs() / scale + 1.0 }
}

/// What it costs to store such a number, and to compute it in f32.
fn rounding(number: Number, value: f64) -> f64 {
    match number {
        // Its reciprocal is computed first, which overflows for what is smaller.
        Number::F32 => value * SLACK + 2_f64.powi(-120),
        _ => value * (2_f64.powi(-11) + SLACK) + number.least() / 2.0,
    }
}

fn within(of: Part, got: f64, must: f64, bound: f64) -> Result<(), PackedFault> {
    // Not so of NaN.
    if (got - must).abs() <= bound { Ok(()) } else { Err(PackedFault { of, got, must, bound }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Q2_K, Q8_1, ggml};

    /// The part that is at fault in a block of these values, which `change` has changed.
    fn fault(
        format: &'static Format,
        values: &[f32],
        block: &[u8],
        change: impl Fn(&mut [u8]),
    ) -> Option<Part> {
        let mut changed = block.to_vec();
        change(&mut changed);
        PackedTruth::of(format, values).fault(&changed).map(|fault| fault.of)
    }

    #[test]
    fn a_block_with_a_minimum_is_held_to_its_scale_minimum_and_codes() {
        let format = ggml::q4_1_by_hand();
        // Steps of a half from -1 on.
        let values: Vec<f32> = (0..32).map(|at| (at % 16) as f32 / 2.0 - 1.0).collect();
        let mut block = [0; 20];
        Number::F16.write(0.5, &mut block);
        Number::F16.write(-1.0, &mut block[2..]);
        (0..16).for_each(|code| block[4 + code] = code as u8 * 0x11);
        assert_eq!(fault(format, &values, &block, |_| {}), None);
        assert_eq!(fault(format, &values, &block, |block| block[0] += 8), Some(Part::Scale));
        assert_eq!(fault(format, &values, &block, |block| block[2] += 8), Some(Part::Minimum));
        assert_eq!(fault(format, &values, &block, |block| block[4 + 3] = 0x43), Some(Part::Element(19)));
    }

    #[test]
    fn a_scaled_sum_is_that_of_the_values_and_a_search_finds_no_weight_beyond_them() {
        let values = [127.0_f32; 32];
        let mut block = [127_u8; 36];
        Number::F16.write(1.0, &mut block);
        Number::F16.write(4064.0, &mut block[2..]);
        assert_eq!(fault(&Q8_1, &values, &block, |_| {}), None);
        assert_eq!(fault(&Q8_1, &values, &block, |block| block[2] += 4), Some(Part::Sum(0)));
        let mut block = [0x11; 84];
        Number::F16.write(1.0, &mut block[80..]);
        Number::F16.write(0.0, &mut block[82..]);
        assert_eq!(fault(&Q2_K, &[1.0; 256], &block, |_| {}), None);
        assert_eq!(fault(&Q2_K, &[1.0; 256], &block, |block| block[0] = 15), Some(Part::Element(0)));
    }
}
