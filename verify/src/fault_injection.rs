//! What a harness draws, expects and reports, each part replaceable: a harness is proved by replacing one and seeing that it
//! then misses what it must find.

use std::fmt;

use crate::case::{self, Case};
use crate::domain::Domain;
use crate::inputs::Inputs;
use crate::judge::{self, Judgement};
use crate::operation::{Count, Element, Operation};
use crate::oracle::{self, Expected};
use crate::property::Failure;

/// The parts of a [`Harness`](crate::Harness). The default methods are the real ones, [`Real`] is all of them; whatever
/// overrides one is a fault on purpose, for `qk256 selftest`.
pub trait FaultInjection: fmt::Debug + Sync {
    /// Case number `index` of a domain in the run that `seed` names.
    fn case(&self, domain: Domain, seed: u64, index: u64) -> Case {
        case::nth(domain, seed, index)
    }

    /// What legal inputs must give.
    fn expected(&self, inputs: &Inputs) -> Expected {
        oracle::expected(inputs)
    }

    /// Whether outputs are what was expected; `depth` is the most additions that a term goes through, where that is known.
    fn judge(&self, inputs: &Inputs, expected: &Expected, depth: Option<usize>, output: &[u32]) -> Judgement {
        judge::judge(inputs, expected, depth, output)
    }

    /// The bits that every element of the output holds before a call.
    fn old_contents(&self, operation: Operation, old: OldContents) -> u32 {
        old.bits(operation)
    }

    /// Whether a failure becomes a finding.
    fn reports(&self, _failure: &Failure) -> bool {
        true
    }
}

/// The parts that are not replaced.
#[derive(Clone, Copy, Debug)]
pub struct Real;

impl FaultInjection for Real {}

/// What the output holds before a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldContents {
    /// NaN, or a code that does not exist.
    Poison,
    /// A large finite value, or another code that does not exist.
    Large,
}

impl OldContents {
    /// The bits of each element, of bytes the low ones.
    pub const fn bits(self, operation: Operation) -> u32 {
        match (self, operation.spec().out) {
            (Self::Poison, (Element::Byte, Count::Columns)) => 0xfe,
            (Self::Large, (Element::Byte, Count::Columns)) => 0x5a,
            // Packed codes and scales. As below, but that no code of the low byte is the same in both, and none the padding's code 2
            // four times.
            (Self::Poison, (Element::Byte, _)) => 0x7fc0_de1b,
            (Self::Large, (Element::Byte, _)) => 0x7e96_76e4,
            // A NaN with a payload that no arithmetic makes.
            (Self::Poison, _) => 0x7fc0_dead,
            // About 1e38: it cannot vanish in a sum, as a small one would.
            (Self::Large, _) => 0x7e96_7699,
        }
    }
}
