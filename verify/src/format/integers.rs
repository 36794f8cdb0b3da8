//! Blocks of 8-bit integers as weights, or as what a quantiser writes: the layouts of quantised activations.

use std::any::Any;

use super::{BlockCoding, Coding, Element, Format, Number};
use crate::activations::{self, Activations};

/// The formats, which are not among those of [`ALL`](super::ALL): this project has no kernels of them.
pub(super) const INTEGERS: [&Format; 3] = [&Q8_0, &Q8_1, &Q8_K];

/// 8-bit weights of ggml.
pub const Q8_0: Format = of(&activations::Q8_0, &Integers(&activations::Q8_0));

/// What ggml quantises activations to that are multiplied by weights with a minimum.
pub const Q8_1: Format = of(&activations::Q8_1, &Integers(&activations::Q8_1));

/// What ggml quantises activations to that are multiplied by blocks of 256 weights.
pub const Q8_K: Format = of(&activations::Q8_K, &Integers(&activations::Q8_K));

const fn of(kind: &'static Activations, coding: &'static Integers) -> Format {
    Format {
        name: kind.name,
        origin: "ggml",
        block_len: kind.block_len,
        block_bytes: kind.block_bytes,
        coding: Coding::Custom(coding),
        activations: Some(&activations::Q8_0),
    }
}

/// A layout of activations.
#[derive(Debug)]
struct Integers(&'static Activations);

/// The layout whose blocks a format has, if they are those of activations.
pub(crate) fn layout(format: &Format) -> Option<&'static Activations> {
    match format.coding {
        Coding::Plain(_) => None,
        Coding::Custom(coding) => {
            (coding as &'static dyn Any).downcast_ref::<Integers>().map(|integers| integers.0)
        }
    }
}

/// The least integer that has no opposite.
const LARGEST: f64 = 128.0;

impl Integers {
    fn values<'b>(&self, block: &'b mut [u8]) -> &'b mut [u8] {
        let at = self.0.values_at.unwrap_or_default();
        &mut block[at..at + self.0.block_len]
    }
}

/// Codes are the lower halves of the integers: patterns of them are what the harness makes.
impl BlockCoding for Integers {
    fn code_count(&self) -> u8 {
        16
    }

    fn decode(&self, block: &[u8], each: &mut dyn FnMut(Element)) {
        let scale = self.0.scales(block, 1)[0];
        for value in self.0.values(block, self.0.block_len) {
            let integer = f64::from(value);
            let magnitude = (integer.abs() + LARGEST) * scale.abs();
            each(Element { code: value as u8 & 15, weight: integer * scale, magnitude });
        }
    }

    fn encode(&self, codes: &[u8], block: &mut [u8]) {
        self.values(block).iter_mut().zip(codes).for_each(|(byte, code)| *byte = (code & 15) * 0x11);
    }

    fn scales(&self) -> &'static [(usize, Number)] {
        self.0.scale.as_slice()
    }

    fn place(&self, element: usize) -> Option<(usize, u8)> {
        Some((self.0.values_at? + element, u8::MAX))
    }

    fn label(&self, byte: usize) -> &'static str {
        match self.0.scale {
            Some((at, number)) if (at..at + number.width()).contains(&byte) => "scale",
            _ => "sums",
        }
    }

    fn largest_weight(&self) -> f64 {
        LARGEST
    }

    fn raise_weights(&self, block: &mut [u8], least: i8) {
        self.values(block).iter_mut().for_each(|byte| *byte = (*byte as i8).max(least) as u8);
    }
}
