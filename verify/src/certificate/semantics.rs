//! What instructions do to data: families of them by their effect, each by the names of Intel's manual (Intel 64 and IA-32 Architectures
//! Software Developer's Manual, volume 2).

mod floats;
mod integers;
mod moves;
mod shuffles;

use serde::{Deserialize, Serialize};

pub(super) use integers::shifted_left;
pub(super) use shuffles::looked_up;

use super::value::{Datum, Values};

/// What an instruction does to data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Copies bytes to another place.
    Move,
    /// Copies bytes to other lanes.
    Shuffle,
    /// Picks one of some values by codes.
    Choice,
    /// Works on bits: and, or, exclusive or.
    Mask,
    /// Moves bits.
    Shift,
    /// Adds or multiplies integers made of codes.
    Integer,
    /// Makes f32 numbers of integers made of codes.
    Conversion,
    /// Adds or subtracts f32 numbers.
    Sum,
    /// Multiplies f32 numbers.
    Product,
    /// Multiplies and adds f32 numbers, with one rounding.
    Fused,
}

impl Effect {
    /// In reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Move => "move",
            Self::Shuffle => "shuffle",
            Self::Choice => "choice by codes",
            Self::Mask => "mask",
            Self::Shift => "shift",
            Self::Integer => "integer sum or product of codes",
            Self::Conversion => "integers of codes to f32",
            Self::Sum => "f32 sum",
            Self::Product => "f32 product",
            Self::Fused => "f32 product and sum in one",
        }
    }
}

/// An instruction, with its operands.
pub(super) struct Operands<'a> {
    pub(super) name: &'a str,
    /// What the destination holds before.
    pub(super) destination: Vec<Datum>,
    /// The operands behind the destination, but for those that are part of the instruction.
    pub(super) sources: Vec<Vec<Datum>>,
    /// A number that is part of the instruction.
    pub(super) immediate: Option<u64>,
    /// Whether the destination is memory.
    pub(super) is_store: bool,
    /// Whether the first source is memory.
    pub(super) is_load: bool,
    /// Whether both sources are the same register.
    pub(super) is_of_one_register: bool,
}

impl Operands<'_> {
    /// The bytes that are written.
    fn len(&self) -> usize {
        self.destination.len()
    }

    /// The last source: of an instruction that works in place the destination.
    fn last(&self) -> &[Datum] {
        self.sources.last().unwrap_or(&self.destination)
    }

    /// The two sources: with only one, the destination is the other.
    fn pair(&self) -> [&[Datum]; 2] {
        match &self.sources[..] {
            [a, b, ..] => [a, b],
            [b] => [&self.destination, b],
            [] => [&self.destination, &self.destination],
        }
    }

    fn control(&self) -> u64 {
        self.immediate.unwrap_or(0)
    }
}

/// What an instruction writes to its destination, as many bytes or fewer, and how it makes that of its operands; `None` of one that is not
/// known here.
pub(super) fn apply(values: &mut Values, operands: &Operands<'_>) -> Option<(Effect, Vec<Datum>)> {
    let moved = moves::apply(operands).map(|data| (Effect::Move, data));
    moved
        .or_else(|| shuffles::apply(operands).map(|data| (Effect::Shuffle, data)))
        .or_else(|| shuffles::choose(values, operands))
        .or_else(|| integers::apply(values, operands))
        .or_else(|| floats::apply(values, operands))
}
