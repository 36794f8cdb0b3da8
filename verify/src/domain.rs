//! What a kernel computes, and of what: an operation, the formats of its operands, and what it requires of its callers.

use std::fmt;
use std::hash::{Hash, Hasher};

use crate::activations::{Activations, F32};
use crate::buffer::Buffer;
use crate::data::Distribution;
use crate::format::{self, Format, QK256};
use crate::operation::Operation;
use crate::requirements::{Requirements, Rounding, ScaleUse, least_common_multiple};

/// The calls that a kernel takes. Cases are drawn for a domain, so that kernels of one domain share them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domain {
    /// The operation.
    pub operation: Operation,
    /// The format of the weights.
    pub format: &'static Format,
    /// The kind of activations; [`F32`] where there are none.
    pub activations: &'static Activations,
    /// What callers keep to.
    pub requirements: Requirements,
}

impl Domain {
    /// Every call of an operation on [`QK256`] weights and f32 activations.
    pub const fn new(operation: Operation) -> Self {
        Self { operation, format: &QK256, activations: &F32, requirements: Requirements::NONE }
    }

    /// The same on weights of another format.
    pub const fn of(operation: Operation, format: &'static Format) -> Self {
        Self { format, ..Self::new(operation) }
    }

    /// The products of weights of a format with the quantised activations that kernels multiply it by; `None` where there are none.
    pub fn dot(format: &'static Format) -> Option<Self> {
        Some(Self::of(Operation::Dot, format).with(format.activations?))
    }

    /// The domains of an operation that fuzz targets and properties draw from: `gemm` and `dot` of every format, the others of [`QK256`].
    pub fn drawn(operation: Operation) -> Vec<Self> {
        match operation {
            Operation::Gemm => format::ALL.iter().map(|format| Self::of(operation, format)).collect(),
            Operation::Dot => format::ALL.iter().filter_map(|format| Self::dot(format)).collect(),
            _ => vec![Self::new(operation)],
        }
    }

    /// One of [`drawn`](Self::drawn), by a number.
    pub fn nth_drawn(operation: Operation, number: usize) -> Self {
        let domains = Self::drawn(operation);
        domains[number % domains.len()]
    }

    /// The same with other activations.
    pub const fn with(self, activations: &'static Activations) -> Self {
        Self { activations, ..self }
    }

    /// The same for callers that keep to these requirements.
    pub const fn requiring(self, requirements: Requirements) -> Self {
        Self { requirements, ..self }
    }

    /// Whether a case may choose between scales in a buffer of their own and none.
    pub fn may_be_scaled(&self) -> bool {
        self.has_scales_buffer()
            && self.operation.may_be_scaled()
            && self.requirements.scales == ScaleUse::Optional
    }

    /// Whether every call has scales in a buffer of their own.
    pub fn is_always_scaled(&self) -> bool {
        self.has_scales_buffer()
            && (self.operation.is_always_scaled()
                || (self.operation.may_be_scaled() && self.requirements.scales == ScaleUse::Required))
    }

    /// Whether the format has scales in a buffer of their own.
    fn has_scales_buffer(&self) -> bool {
        self.format.scale().is_separate()
    }

    /// How many codes weights may have, from 0 on.
    pub fn code_count(&self) -> u8 {
        let all = self.format.code_count();
        self.requirements.max_code.map_or(all, |most| all.min(most.saturating_add(1)))
    }

    /// Where x and scales of cases come from.
    pub fn distributions(&self) -> &'static [Distribution] {
        match self.requirements.rounds_x {
            Rounding::None => self.operation.spec().distributions,
            Rounding::Group(_) | Rounding::Row => Distribution::OF_ROUNDED_SUMS,
        }
    }

    /// What the number of columns is a multiple of by the formats themselves: products of quantised activations are defined for whole
    /// blocks.
    pub fn col_unit(&self) -> usize {
        match self.operation.whole_blocks() {
            true => least_common_multiple(self.format.block_len, self.activations.block_len),
            false => 1,
        }
    }

    /// Columns that may come instead of `cols`.
    pub fn cols(&self, cols: usize) -> usize {
        self.requirements.cols(cols, self.col_unit())
    }

    /// What the number of columns is a multiple of, by all that there is.
    pub fn cols_multiple(&self) -> usize {
        least_common_multiple(self.col_unit(), self.requirements.cols_multiple as usize)
    }

    /// The buffers that a call reads.
    pub fn inputs(&self, scaled: bool) -> &'static [Buffer] {
        self.operation.inputs(scaled)
    }

    /// Whether the weights are those of this project, and nothing is required.
    pub fn is_plain(&self) -> bool {
        self.format == &QK256 && self.requirements.is_none()
    }
}

impl From<Operation> for Domain {
    fn from(operation: Operation) -> Self {
        Self::new(operation)
    }
}

impl Hash for Domain {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.operation, self.format.name, self.activations.name, self.requirements).hash(state);
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.operation)?;
        if self.format != &QK256 {
            write!(f, " {}", self.format.name)?;
        }
        if self.activations != &F32 {
            write!(f, " {}", self.activations.name)?;
        }
        Ok(())
    }
}
