//! The names of everything that is checked.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One thing that a kernel is held to. The numbered ones are the oracle ladder of docs/verification.md; the others are
/// the contract and the metamorphic relations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Rung {
    /// Rung 1: the very bits.
    BitExact,
    /// Rung 2: the very bits, where no order of summation rounds.
    ExactRegime,
    /// Rung 3: the very bits of the kernel's own order of summation, revealed from outside.
    Order,
    /// Rung 4: 1e-4, flat.
    Flat,
    /// Rung 5: gamma_d times the sum of absolute terms; in fixed point, what rounding x and y may come to.
    Bound,
    /// Rung 6: NaN, infinities.
    Special,
    /// Nothing outside of the buffers is read or written, nor spare elements of the output.
    Memory,
    /// Inputs are left as they were.
    Inputs,
    /// The floating-point mode is left as it was: that of SSE, that of the x87, and its registers empty.
    Mxcsr,
    /// No panic.
    Panic,
    /// Wrong sizes are refused, and an x that cannot be rounded; legal calls are not, and are supported for all sizes or for none.
    Sizes,
    /// The same bits at other addresses and over other old contents of the output.
    Placement,
    /// The same bits when called again.
    Repeat,
    /// The same bits from concurrent threads, each with other data.
    Threads,
    /// Padding codes, gaps between rows and spare elements do not matter.
    Padding,
    /// Complemented codes negate weights and sums, and give 3 less each code.
    Complement,
    /// Negated x, and negated scales, negate the output; called with new bytes in buffers that the kernel has seen.
    Negation,
    /// A power of two times x gives the power of two times y.
    PowerOfTwo,
    /// Permuted rows give permuted y.
    RowOrder,
    /// The call does not take the process down, by a signal or an abort. This and what follows is asked of guests.
    Crash,
    /// The call returns within a time limit.
    Hang,
    /// The call does not end the process as if all were well.
    Exit,
    /// File descriptors stay open.
    Descriptors,
    /// Nothing is written to standard output.
    Output,
}

impl Rung {
    /// Every rung, in the order of reports.
    pub const ALL: [Self; 24] = [
        Self::BitExact,
        Self::ExactRegime,
        Self::Order,
        Self::Flat,
        Self::Bound,
        Self::Special,
        Self::Memory,
        Self::Inputs,
        Self::Mxcsr,
        Self::Panic,
        Self::Sizes,
        Self::Placement,
        Self::Repeat,
        Self::Threads,
        Self::Padding,
        Self::Complement,
        Self::Negation,
        Self::PowerOfTwo,
        Self::RowOrder,
        Self::Crash,
        Self::Hang,
        Self::Exit,
        Self::Descriptors,
        Self::Output,
    ];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BitExact => "bit-exact",
            Self::ExactRegime => "exact-regime",
            Self::Order => "order",
            Self::Flat => "flat-1e-4",
            Self::Bound => "bound",
            Self::Special => "special-values",
            Self::Memory => "memory",
            Self::Inputs => "inputs-unchanged",
            Self::Mxcsr => "mxcsr",
            Self::Panic => "panic",
            Self::Sizes => "sizes",
            Self::Placement => "placement",
            Self::Repeat => "repeat",
            Self::Threads => "threads",
            Self::Padding => "padding",
            Self::Complement => "complement",
            Self::Negation => "negation",
            Self::PowerOfTwo => "power-of-two",
            Self::RowOrder => "row-order",
            Self::Crash => "crash",
            Self::Hang => "hang",
            Self::Exit => "exit",
            Self::Descriptors => "descriptors",
            Self::Output => "output",
        }
    }

    /// Whether it is about the process that a guest runs in, and so asked of guests only.
    pub const fn is_of_guests(self) -> bool {
        matches!(self, Self::Crash | Self::Hang | Self::Exit | Self::Descriptors | Self::Output)
    }

    /// The number on the oracle ladder, if it is one of its rungs.
    pub const fn number(self) -> Option<u8> {
        match self {
            Self::BitExact => Some(1),
            Self::ExactRegime => Some(2),
            Self::Order => Some(3),
            Self::Flat => Some(4),
            Self::Bound => Some(5),
            Self::Special => Some(6),
            _ => None,
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How often each rung was applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RungCounts([u64; Rung::ALL.len()]);

impl RungCounts {
    /// Counts `times` more applications.
    pub fn add(&mut self, rung: Rung, times: u64) {
        self.0[rung as usize] += times;
    }

    /// Applications of `rung`.
    pub fn of(&self, rung: Rung) -> u64 {
        self.0[rung as usize]
    }

    /// Adds the counts of another tally.
    pub fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine += theirs);
    }

    /// The rungs that were applied at all.
    pub fn applied(&self) -> impl Iterator<Item = Rung> {
        Rung::ALL.into_iter().filter(|&rung| self.of(rung) > 0)
    }
}

/// One rung that a call did not pass, and how a person can see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// What was violated.
    pub rung: Rung,
    /// First and worst place, values with their bits, the bound.
    pub detail: String,
}
