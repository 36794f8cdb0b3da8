//! A case: a small value with a one-line text form that determines one call, bit for bit, on every machine.

mod covering;
mod file;
mod generate;
mod json;
mod materialize;
mod models;
mod patches;
mod shrink;
mod sweep;
mod text;
mod values;

pub use file::{FileError, parse_file};
pub use generate::{from_seed, nth};
pub use materialize::{MAX_BUFFER_BYTES, MAX_SPARSE_BYTES, MaterializeError};
pub use shrink::shrink;
pub use sweep::{Coverage, Sweep};
pub use text::ParseError;

use crate::activations::Activations;
use crate::buffer::{Buffer, PerBuffer};
use crate::data::{Codes, Distribution, Scales};
use crate::domain::Domain;
use crate::format::Format;
use crate::operation::{DIGITS, Operation};
use crate::requirements::Requirements;
use crate::shape::{Shape, Threads};
use crate::weights::TensorRows;

/// One call, described. Bulk data come from ChaCha by `seed`; `patches` are laid over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What is called.
    pub operation: Operation,
    /// The format of the weights.
    pub format: &'static Format,
    /// The kind of activations.
    pub activations: &'static Activations,
    /// What the case keeps to, data and all.
    pub requirements: Requirements,
    /// Rows of the matrix; 1 for a vector operation.
    pub rows: usize,
    /// Columns of the matrix, or the length of the vector.
    pub cols: usize,
    /// Row stride in bytes beyond the blocks that a row owns; negative is a stride too small.
    pub stride: i64,
    /// Vectors of a batch; 1 for operations without.
    pub batch: usize,
    /// Elements between the vectors of a batch; negative is a stride too small.
    pub x_gap: i64,
    /// Elements between the results of the vectors of a batch; negative is a stride too small.
    pub out_gap: i64,
    /// Whether a product has block scales in a buffer of their own. `dequantize` always has where the format has none inside.
    pub scaled: bool,
    /// Digits that x of a `gemv_fixed` is rounded to, legal if one of [`DIGITS`]; the most for the others.
    pub digits: u8,
    /// Elements by which each buffer starts past a 32-byte boundary in the aligned placement.
    pub offset: PerBuffer<u8>,
    /// Elements by which each buffer is longer than needed; negative is a buffer too short.
    pub slack: PerBuffer<i64>,
    /// Where codes come from.
    pub codes: Codes,
    /// Where x and scales come from.
    pub distribution: Distribution,
    /// How scales relate to each other.
    pub scales: Scales,
    /// Seed of all bulk data.
    pub seed: u64,
    /// Concurrent callers.
    pub threads: Threads,
    /// KiB of stack that the kernel is called on; 0 is the stack of the caller.
    pub stack: u16,
    /// Whether the kernel is called once only, and its result held against the oracle: no relations, no other addresses.
    pub once: bool,
    /// Part of a weights file that gives codes and scales in the place of `codes` and `distribution`.
    pub tensor: Option<TensorRows>,
    /// Bits that every element has that an input needs, in the place of its data; the low byte only where elements are bytes.
    pub fill: PerBuffer<Option<u32>>,
    /// Elements overwritten with given bits.
    pub patches: Vec<Patch>,
}

impl Case {
    /// The plainest case of a shape: dense, aligned, independent unit-range data. Of a domain with requirements the shape may be one that
    /// does not keep to them; the generators raise it.
    pub fn new(domain: impl Into<Domain>, rows: usize, cols: usize) -> Self {
        let domain = domain.into();
        let Domain { operation, format, activations, requirements } = domain;
        Self {
            operation,
            format,
            activations,
            requirements,
            rows,
            cols,
            stride: 0,
            batch: 1,
            x_gap: 0,
            out_gap: 0,
            scaled: domain.is_always_scaled(),
            digits: *DIGITS.end(),
            offset: PerBuffer::default(),
            slack: PerBuffer::default(),
            codes: Codes::Random,
            distribution: Distribution::Unit,
            scales: Scales::Independent,
            seed: 0,
            threads: Threads::ONE,
            stack: 0,
            once: false,
            tensor: None,
            fill: PerBuffer::default(),
            patches: Vec::new(),
        }
    }

    /// The domain that it is a case of.
    pub fn domain(&self) -> Domain {
        let &Self { operation, format, activations, requirements, .. } = self;
        Domain { operation, format, activations, requirements }
    }

    /// Dimensions as they are passed to the kernel. Strides wrap, as a caller's own arithmetic would.
    pub fn shape(&self) -> Shape {
        let mut shape = Shape {
            format: self.format,
            activations: self.activations,
            rows: self.rows,
            cols: self.cols,
            row_stride: 0,
            whole_last_stride: self.requirements.whole_last_stride,
            batch: self.batch,
            x_stride: self.cols.wrapping_add_signed(self.x_gap as isize),
            out_stride: self.rows.wrapping_add_signed(self.out_gap as isize),
        };
        shape.row_stride = shape.row_bytes().wrapping_add_signed(self.stride as isize);
        shape
    }

    /// The buffers of the call that have an address of their own.
    pub fn buffers(&self) -> impl Iterator<Item = Buffer> + use<> {
        self.operation.inputs(self.scaled).iter().chain(self.operation.outputs()).copied()
    }

    /// Drops what the case says of buffers that its operation does not read, and raises sizes and offsets to what it requires.
    pub(crate) fn fit(&mut self) {
        self.keep_to_requirements();
        let (read, written) = (self.operation.inputs(self.scaled), self.operation.outputs());
        for buffer in Buffer::ALL.into_iter().filter(|buffer| !read.contains(buffer)) {
            if !written.contains(&buffer) {
                (self.offset[buffer], self.slack[buffer]) = (0, 0);
            }
            self.fill[buffer] = None;
        }
        if let Some(buffer) = self.operation.stating_length() {
            self.slack[buffer] = 0;
        }
        if !self.operation.reads_codes() {
            self.codes = Codes::Random;
        }
        if !self.scaled {
            self.scales = Scales::Independent;
        }
    }

    /// Raises sizes to what is required, and leaves out data that never come.
    fn keep_to_requirements(&mut self) {
        let domain = self.domain();
        self.cols = domain.cols(self.cols);
        if !self.operation.is_batched() {
            (self.batch, self.x_gap, self.out_gap) = (1, 0, 0);
        }
        if domain.requirements.is_none() {
            return;
        }
        if self.operation.is_matrix() {
            self.rows = self.requirements.rows(self.rows);
        }
        self.batch = self.requirements.batch(self.batch);
        self.scaled = domain.is_always_scaled() || (self.scaled && domain.may_be_scaled());
        let alignment = self.requirements.alignment as usize;
        for buffer in Buffer::ALL {
            let elements = (alignment / self.operation.width(buffer)).max(1);
            self.offset[buffer] = (usize::from(self.offset[buffer]) / elements * elements) as u8;
        }
        if self.stride > 0 && self.rows > 1 {
            // Rows of an aligned matrix are aligned.
            let past = self.shape().row_stride % alignment;
            let up = (alignment - past) % alignment;
            // The largest strides have no room upwards.
            self.stride = self.stride.checked_add(up as i64).unwrap_or(self.stride - past as i64);
        }
        if self.requirements.finite_only {
            self.leave_out_what_is_not_finite();
        }
        // Fewer columns or vectors may be left than the patches were drawn for.
        self.cut_patches();
    }

    fn leave_out_what_is_not_finite(&mut self) {
        if self.distribution == Distribution::Special {
            self.distribution = Distribution::Ten;
        }
        let is_finite = |bits: u32| f32::from_bits(bits).is_finite();
        for buffer in [Buffer::X, Buffer::Scales] {
            self.fill[buffer] = self.fill[buffer].filter(|&bits| is_finite(bits));
        }
        self.patches.retain(|patch| {
            !matches!(patch.buffer, Buffer::X | Buffer::Scales) || patch.bits.iter().copied().all(is_finite)
        });
    }

    /// This call with the data of another case, as far as they fit.
    pub(crate) fn with_data_of(&self, other: &Self) -> Self {
        let Self { codes, distribution, scales, seed, tensor, fill, patches, .. } = other.clone();
        let mut case = Self { codes, distribution, scales, seed, tensor, fill, patches, ..self.clone() };
        case.fit_patches();
        case
    }

    /// The buffers whose length may differ from what is needed: all but the one that states the number of elements.
    pub fn resizable_buffers(&self) -> impl Iterator<Item = Buffer> + use<> {
        let fixed = self.operation.stating_length();
        self.buffers().filter(move |&buffer| Some(buffer) != fixed)
    }
}

/// Consecutive elements of a buffer, given by their bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// The buffer, an input of the operation.
    pub buffer: Buffer,
    /// First element overwritten.
    pub index: usize,
    /// Bits of the elements; the low byte only where elements are bytes.
    pub bits: Vec<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strides_of_an_aligned_matrix_are_aligned_the_largest_as_well() {
        let requirements = Requirements { alignment: 4, ..Requirements::NONE };
        for (stride, aligned) in [(1, 4), (4, 4), (i64::MAX - 64, i64::MAX - 63), (i64::MAX, i64::MAX - 3)] {
            let domain = Domain::new(Operation::Gemv).requiring(requirements);
            let mut case = Case { stride, ..Case::new(domain, 2, 256) };
            case.fit();
            assert_eq!(case.stride, aligned, "{stride}");
        }
    }
}
