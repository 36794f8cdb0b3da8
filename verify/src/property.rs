//! The names of everything that is checked.

mod counts;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::buffer::Buffer;
use crate::evidence::Evidence;
pub use counts::PropertyCounts;

/// One thing that a kernel is held to. The numbered ones are the oracle ladder of docs/verification.md; the others are
/// the contract and the metamorphic relations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Property {
    /// Oracle 1: bit-identical.
    BitExact,
    /// Oracle 2: bit-identical, where no order of summation rounds.
    ExactRegime,
    /// Oracle 3: bit-identical to the kernel's own order of summation, revealed from outside.
    Order,
    /// Oracle 4: 1e-4, flat.
    #[serde(rename = "flat-1e-4")]
    Flat,
    /// Oracle 5: gamma_d times the sum of absolute terms; in fixed point, what rounding x and y may come to.
    Bound,
    /// Oracle 6: NaN, infinities.
    #[serde(rename = "special-values")]
    Special,
    /// Nothing outside of the buffers is read or written, nor slack elements of the output.
    Memory,
    /// Inputs are left as they were.
    #[serde(rename = "inputs-unchanged")]
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
    /// The same bits where several threads make the first call of a process at once.
    FirstCall,
    /// Padding codes, gaps between rows and slack elements do not matter.
    Padding,
    /// Complemented codes negate weights and sums, and give 3 less each code.
    Complement,
    /// Negated x, and negated scales, negate the output; called with new bytes in buffers that the kernel has seen.
    Negation,
    /// A power of two times x gives the power of two times y.
    PowerOfTwo,
    /// Permuted rows give permuted y.
    RowOrder,
    /// A row has the same bits whatever the number of rows of its matrix.
    Invariance,
    /// Registers that a call must preserve are preserved. Asked of plugins, and of whoever calls through [`crate::registers`].
    Registers,
    /// The process is left as it was: signals, limits, variables, CPUs, threads and the like.
    #[serde(rename = "process-state")]
    Process,
    /// Repeated calls need no more memory.
    Leak,
    /// The call does not crash the process, by a signal or an abort. This and what follows is asked of plugins.
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

impl Property {
    /// Every property, in the order of reports.
    pub const ALL: [Self; 29] = [
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
        Self::FirstCall,
        Self::Padding,
        Self::Complement,
        Self::Negation,
        Self::PowerOfTwo,
        Self::RowOrder,
        Self::Invariance,
        Self::Registers,
        Self::Process,
        Self::Leak,
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
            Self::FirstCall => "first-call",
            Self::Padding => "padding",
            Self::Complement => "complement",
            Self::Negation => "negation",
            Self::PowerOfTwo => "power-of-two",
            Self::RowOrder => "row-order",
            Self::Invariance => "invariance",
            Self::Registers => "registers",
            Self::Process => "process-state",
            Self::Leak => "leak",
            Self::Crash => "crash",
            Self::Hang => "hang",
            Self::Exit => "exit",
            Self::Descriptors => "descriptors",
            Self::Output => "output",
        }
    }

    /// Whether it is about the process that a plugin runs in, and so asked of plugins only.
    pub const fn is_of_plugins(self) -> bool {
        matches!(self, Self::Crash | Self::Hang | Self::Exit | Self::Descriptors | Self::Output)
    }

    /// Whether it is seen only where the process is [watched](crate::Harness::watch_process), which is one that is there for the kernel.
    pub const fn is_of_processes(self) -> bool {
        matches!(self, Self::FirstCall | Self::Registers | Self::Process | Self::Leak) || self.is_of_plugins()
    }

    /// Whether it is about the values of the output: an oracle, or a relation between calls.
    pub const fn is_of_values(self) -> bool {
        self.number().is_some()
            || matches!(
                self,
                Self::Placement
                    | Self::Repeat
                    | Self::Threads
                    | Self::Padding
                    | Self::Complement
                    | Self::Negation
                    | Self::PowerOfTwo
                    | Self::RowOrder
                    | Self::Invariance
            )
    }

    /// How strict it is beside others that one cause violates: 0 is the strictest, the one that a finding is named by. What ends
    /// the call comes first, then what it touches, then the oracles, then the relations, the plainest first.
    pub const fn strictness(self) -> u8 {
        match self {
            Self::Crash | Self::Hang | Self::Exit | Self::Panic => 0,
            Self::Sizes => 1,
            Self::Memory => 2,
            Self::Inputs => 3,
            Self::Mxcsr => 4,
            Self::BitExact => 5,
            Self::ExactRegime => 6,
            Self::Order => 7,
            Self::Flat => 8,
            Self::Bound => 9,
            Self::Special => 10,
            Self::Repeat => 11,
            Self::Placement => 12,
            Self::Threads => 13,
            Self::Padding => 14,
            Self::RowOrder => 15,
            Self::Invariance => 16,
            Self::Complement => 17,
            Self::Negation => 18,
            Self::PowerOfTwo => 19,
            Self::Descriptors => 20,
            Self::Output => 21,
            Self::FirstCall => 22,
            Self::Registers => 23,
            Self::Process => 24,
            Self::Leak => 25,
        }
    }

    /// The number on the oracle ladder, if it is one of its properties.
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

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One property that a call did not pass, why as far as that is known, and how a person can see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// What was violated.
    pub property: Property,
    /// What kind of failure it is.
    pub cause: Cause,
    /// First and worst place, values with their bits, the bound.
    pub evidence: Evidence,
    /// Further properties that the same cause violates on the same case, the strictest first. They have none themselves.
    pub also: Vec<Failure>,
}

impl Failure {
    /// A violation of one property.
    pub fn new(property: Property, cause: Cause, evidence: impl Into<Evidence>) -> Self {
        Self { property, cause, evidence: evidence.into(), also: Vec::new() }
    }

    /// The evidence in words.
    pub fn detail(&self) -> String {
        self.evidence.to_string()
    }

    /// Itself and what the same cause violates beside, the strictest first.
    pub fn all(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.also)
    }

    /// One failure of all that one cause violates; `None` of nothing.
    pub(crate) fn of_one_cause(mut all: Vec<Self>) -> Option<Self> {
        all.sort_by_key(|failure| failure.property.strictness());
        let mut all = all.into_iter();
        let strictest = all.next()?;
        Some(Self { also: all.collect(), ..strictest })
    }

    /// Whether it is a violation of `property` by `cause`, or has one beside.
    pub fn shows(&self, property: Property, cause: Cause) -> bool {
        self.all().any(|failure| failure.property == property && failure.cause.is_like(cause))
    }
}

/// What kind of failure a violation is. One property that is violated in two ways has two causes, and two findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cause {
    /// A call that must be refused is done.
    Accepted,
    /// A legal call is refused.
    Refused,
    /// A legal call is not supported, although others of its kind are.
    Unsupported,
    /// Outputs are written by a call that is refused or not supported.
    Written,
    /// The answer is none of those that there are.
    UnknownAnswer,
    /// An output is larger than it must be.
    TooHigh,
    /// An output is smaller than it must be.
    TooLow,
    /// An output is NaN and must be a number.
    Nan,
    /// An output is a number and must be NaN.
    NotNan,
    /// An output is infinite and must not be, or the other way round.
    Infinite,
    /// The same question has two answers.
    Nondeterministic,
    /// An access outside of a buffer.
    OutOfBounds {
        /// The buffer next to the access.
        buffer: Buffer,
        /// Whether it lies past the end, and not before the start.
        past_end: bool,
        /// Whether it was a write.
        write: bool,
    },
    /// A write to elements of the output that the call does not own.
    Slack,
    /// An input holds other bytes than before.
    Changed(Buffer),
    /// A floating-point mode was left changed.
    Mode,
    /// A panic.
    Panic,
    /// What the kernel did to its process: the property says what.
    Process,
}

impl Cause {
    /// What is wrong with an output of `width` bytes whose bits are `got` and must be `must`.
    pub(crate) fn of_bits(width: usize, must: u32, got: u32) -> Self {
        if width == 1 {
            return if got > must { Self::TooHigh } else { Self::TooLow };
        }
        let (must, got) = (f32::from_bits(must), f32::from_bits(got));
        match () {
            () if must.is_nan() => Self::NotNan,
            () if got.is_nan() => Self::Nan,
            () if must.is_infinite() || got.is_infinite() => Self::Infinite,
            () if got.total_cmp(&must).is_gt() => Self::TooHigh,
            () => Self::TooLow,
        }
    }

    /// Whether two failures of one property may well have one cause while a case shrinks: the sign of a deviation goes with the
    /// data.
    pub fn is_like(self, other: Self) -> bool {
        let deviates = |cause| matches!(cause, Self::TooHigh | Self::TooLow);
        self == other || (deviates(self) && deviates(other))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Unsupported => "unsupported",
            Self::Written => "written although not done",
            Self::UnknownAnswer => "unknown answer",
            Self::TooHigh => "too high",
            Self::TooLow => "too low",
            Self::Nan => "NaN",
            Self::NotNan => "not NaN",
            Self::Infinite => "infinite",
            Self::Nondeterministic => "nondeterministic",
            Self::OutOfBounds { buffer, past_end, write } => {
                let deed = if *write { "writes" } else { "reads" };
                let side = if *past_end { "past the end" } else { "before the start" };
                return write!(f, "{deed} {side} of {}", buffer.name());
            }
            Self::Slack => "writes past the last row",
            Self::Changed(buffer) => return write!(f, "changes {}", buffer.name()),
            Self::Mode => "mode",
            Self::Panic => "panic",
            Self::Process => "process",
        };
        f.write_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_has_one_name() {
        for property in Property::ALL {
            assert_eq!(serde_json::to_value(property).expect("it is JSON"), property.name());
        }
    }
}
