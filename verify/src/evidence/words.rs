//! Evidence in words.

use std::fmt;

use super::{Allowed, Bits, Call, Evidence, Miss, Place, Wrong, WrongBlock, WrongCode, ulp};
use crate::buffer::Buffer;
use crate::operation::Change;
use crate::words::count;

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Judged(wrong) => write!(f, "{wrong}"),
            Self::Order(Wrong { wrong, of, first, .. }) => write!(
                f,
                "{wrong} of {of} rows are not what the kernel's own order of summation gives, which predicts other rows with random \
                 codes and with these; the first is {first} (`qk256 reveal` shows the order)"
            ),
            Self::Blocks { wrong, of, first } => {
                write!(f, "{wrong} of {of} blocks are wrong; the first is {first}")
            }
            Self::Further(Call::FewRows(count), Miss { place: Place::Row(row), got, expected }) => {
                let noun = if *count == 1 { "row" } else { "rows" };
                write!(f, "row {row} is {expected} in this matrix and {got} in one of {count} {noun}")
            }
            Self::Further(Call::OneVector, Miss { place, got, expected }) => {
                write!(f, "{place} is {expected} in this batch and {got} for the vector alone")
            }
            Self::Further(call, Miss { place, got, expected }) if call.is_same_call() => {
                write!(f, "{call}, {} is {got}; it was {expected}", place.element())
            }
            Self::Further(call, Miss { place, got, expected }) => {
                write!(f, "{call}: {} must be {expected}, got {got}", place.element())
            }
            Self::Repeated(Miss { place, got, expected }) => write!(
                f,
                "{}, or another output that lies in the same memory, is {got}; it must be {expected}",
                place.element()
            ),
            Self::Access(violation) => write!(f, "the kernel {violation}"),
            Self::Input { buffer, byte, was, is } => {
                let name = buffer.name();
                write!(f, "byte {byte} of `{name}` was {was:#04x} before the call and is {is:#04x} after it")
            }
            Self::Words(words) => f.write_str(words),
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wrong, of, first, worst } = self;
        let noun = match first.place {
            Place::Row(_) => "row",
            Place::Result { .. } => "result",
            Place::Element { .. } => "output",
        };
        let are = if *wrong == 1 { "is" } else { "are" };
        write!(f, "{wrong} of {} {are} wrong; the first is {first}", count(*of, noun))?;
        worst.iter().try_for_each(|worst| write!(f, "; the worst is {worst}"))
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: got {}, must be {}", self.place, self.got, self.expected)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row(row) => write!(f, "row {row}"),
            Self::Result { vector, row, .. } => write!(f, "row {row} of vector {vector}"),
            Self::Element { index, block_len, .. } => {
                write!(f, "element {} of block {}", index % block_len, index / block_len)
            }
        }
    }
}

impl Place {
    /// As an element of its buffer.
    fn element(self) -> String {
        let (buffer, index) = match self {
            Self::Row(row) => (Buffer::Out, row),
            Self::Result { index, .. } => (Buffer::Out, index),
            Self::Element { buffer, index, .. } => (buffer, index),
        };
        format!("{}[{index}]", buffer.name())
    }
}

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { width, bits } = self;
        if *width == 1 { write!(f, "{bits:#04x}") } else { write!(f, "{:e} ({bits:#010x})", self.number()) }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(bits) => write!(f, "{bits}"),
            Self::Near { nearest, bound, error } => {
                let ulps = error / ulp(nearest.number());
                write!(f, "within {bound:e} of {nearest}; error {error:e}, {ulps:.1} ulp")
            }
            Self::Infinity(infinity) => write!(f, "{}", infinity.number()),
            Self::Nan => f.write_str("NaN"),
            Self::NotFinite => f.write_str("NaN or infinite"),
        }
    }
}

impl fmt::Display for WrongBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, code, scale: [got, expected], error, least } = self;
        write!(f, "block {number}: ")?;
        if let Some(WrongCode { element, codes: [got, expected], value }) = code {
            let value = value.map_or("padding".to_owned(), |value| format!("value {:e}", value.number()));
            write!(f, "code {got} of element {element} ({value}), must be {expected}; ")?;
        }
        write!(f, "scale {got}, must be {expected}; squared error {error:e}, the least is {least:e}")
    }
}

impl Call {
    /// Whether what is asked is the same as in the first call.
    fn is_same_call(self) -> bool {
        matches!(self, Self::Again | Self::Number(_) | Self::Moved | Self::AtOnce)
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Again => "called again",
            Self::Number(number) => return write!(f, "in call number {number}"),
            Self::Moved => "at other addresses and over other old contents",
            Self::AtOnce => "called alone and then from several threads at once, each with other data",
            Self::Changed(Change::Padding) => "with padding codes, gaps and slack changed",
            Self::Changed(Change::Complement) => "with every code complemented",
            Self::Changed(Change::NegatedX | Change::NegatedScales) => {
                "with x, or the scales, negated in the same buffers"
            }
            Self::Changed(Change::PowerOfTwo) => "with x times a power of two",
            Self::Changed(Change::RowOrder) => "with the rows in another order",
            Self::Changed(Change::BlockOrder) => "with the blocks in another order",
            Self::Changed(Change::OneBlock) => "called with one block alone, in buffers without slack",
            Self::Changed(Change::VectorOrder) => "with the vectors in another order",
            Self::Changed(Change::FewRows) | Self::FewRows(_) => "with some of the rows alone",
            Self::Changed(Change::OneVector) | Self::OneVector => "with one of the vectors alone",
        })
    }
}
