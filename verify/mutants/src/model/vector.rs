//! The operations on one vector, an element at a time.

use qk256_verify::{Arguments, Outcome};

use super::{BLOCK_BYTES, BLOCK_ELEMENTS, code, weight};

/// What a vector operation reads.
pub(crate) struct Vector<'a> {
    /// Packed codes, or of `lut` the codes.
    pub(crate) bytes: &'a [u8],
    pub(crate) scales: &'a [f32],
    /// Elements asked for.
    pub(crate) len: usize,
}

impl Vector<'_> {
    pub(crate) fn blocks(&self) -> usize {
        self.len.div_ceil(BLOCK_ELEMENTS)
    }

    /// The code of an element, from packed bytes.
    pub(crate) fn code(&self, at: usize) -> u8 {
        code(self.bytes, at)
    }

    pub(crate) fn weight(&self, at: usize) -> f32 {
        weight(self.code(at))
    }

    pub(crate) fn scale(&self, at: usize) -> f32 {
        self.scales[at / BLOCK_ELEMENTS]
    }

    fn has_packed(&self) -> bool {
        self.bytes.len() >= BLOCK_BYTES * self.blocks()
    }
}

/// Reads and output of an unpack; `None` for wrong sizes.
pub(crate) fn of_unpack(arguments: Arguments<'_>) -> Option<(Vector<'_>, &mut [u8])> {
    let Arguments { packed, out_bytes: codes, .. } = arguments;
    let vector = Vector { bytes: packed, scales: &[], len: codes.len() };
    vector.has_packed().then_some((vector, codes))
}

/// Reads and output of a lut; `None` for wrong sizes.
pub(crate) fn of_lut(arguments: Arguments<'_>) -> Option<(Vector<'_>, &mut [f32])> {
    let Arguments { codes, out: weights, .. } = arguments;
    let vector = Vector { bytes: codes, scales: &[], len: weights.len() };
    (codes.len() >= vector.len).then_some((vector, weights))
}

/// Reads and output of a dequantize; `None` for wrong sizes.
pub(crate) fn of_dequantize(arguments: Arguments<'_>) -> Option<(Vector<'_>, &mut [f32])> {
    let Arguments { packed, scales, out, .. } = arguments;
    let scales = scales.unwrap_or_default();
    let vector = Vector { bytes: packed, scales, len: out.len() };
    (vector.has_packed() && scales.len() >= vector.blocks()).then_some((vector, out))
}

/// Writes `element(reads, i)` for each element.
fn write<T>(checked: Option<(Vector<'_>, &mut [T])>, element: impl Fn(&Vector<'_>, usize) -> T) -> Outcome {
    let Some((vector, out)) = checked else { return Outcome::Refused };
    out.iter_mut().enumerate().for_each(|(at, slot)| *slot = element(&vector, at));
    Outcome::Done
}

/// An unpack whose element `i` is `code(reads, i)`.
pub(crate) fn unpack(arguments: Arguments<'_>, code: impl Fn(&Vector<'_>, usize) -> u8) -> Outcome {
    write(of_unpack(arguments), code)
}

/// A lut whose element `i` is `weight(reads, i)`.
pub(crate) fn lut(arguments: Arguments<'_>, weight: impl Fn(&Vector<'_>, usize) -> f32) -> Outcome {
    write(of_lut(arguments), weight)
}

/// A dequantize whose element `i` is `value(reads, i)`.
pub(crate) fn dequantize(arguments: Arguments<'_>, value: impl Fn(&Vector<'_>, usize) -> f32) -> Outcome {
    write(of_dequantize(arguments), value)
}

/// A dequantize whose scale of element `i` is `scale(reads, i)`.
pub(crate) fn dequantize_by(arguments: Arguments<'_>, scale: impl Fn(&Vector<'_>, usize) -> f32) -> Outcome {
    dequantize(arguments, |vector, at| vector.weight(at) * scale(vector, at))
}
