//! Why there is no certificate.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The part of a certificate that could not be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// The call can be followed at all.
    Call,
    /// Every access is within a buffer, the stack, or constants.
    Addresses,
    /// Neither the path nor an address depends on data.
    Obliviousness,
    /// No instruction does to data what no kernel needs.
    Instructions,
    /// Each output is made of what it should be made of.
    Wiring,
    /// The outputs of calls are those that the order gives.
    Order,
}

impl Shown {
    /// In reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Addresses => "addresses",
            Self::Obliviousness => "obliviousness",
            Self::Instructions => "instructions",
            Self::Wiring => "wiring",
            Self::Order => "order",
        }
    }
}

/// Why there is no certificate: the first fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// What could not be shown.
    pub shown: Shown,
    /// The fault, in words that follow the kernel's name.
    pub what: String,
    /// The instruction at fault, as `FILE+OFFSET: INSTRUCTION`, where there is one.
    pub at: Option<String>,
}

impl Refusal {
    pub(super) fn of(shown: Shown, what: impl Into<String>) -> Self {
        Self { shown, what: what.into(), at: None }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: the kernel {}", self.shown.name(), self.what)?;
        self.at.as_ref().map_or(Ok(()), |at| write!(f, " (at {at})"))
    }
}
