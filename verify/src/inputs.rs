//! The data of one call, before it is laid out in guarded memory: what cases make and oracles judge.

use crate::operation::{Buffer, Operation, PerBuffer, Shape};

/// Everything that a call needs but for its addresses and its output.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The operation to call.
    pub operation: Operation,
    /// Dimensions passed to it.
    pub shape: Shape,
    /// Packed bytes, padding, gaps between rows and spare bytes included.
    pub packed: Vec<u8>,
    /// One code a byte, for `lut`.
    pub codes: Vec<u8>,
    /// Block scales; `None` for a gemv without scales.
    pub scales: Option<Vec<f32>>,
    /// Activations.
    pub x: Vec<f32>,
    /// Elements of the output buffer.
    pub out_len: usize,
    /// Elements by which each buffer starts past a 32-byte boundary.
    pub offset: PerBuffer<u8>,
    /// Concurrent callers, at least 1.
    pub threads: u8,
    /// Data are independent draws with unit scales, |x| <= 1 and an amplitude at which even in-order sums keep the flat
    /// bound.
    pub flat: bool,
}

impl Inputs {
    /// Elements of `buffer`.
    pub fn len(&self, buffer: Buffer) -> usize {
        match buffer {
            Buffer::Packed => self.packed.len(),
            Buffer::Codes => self.codes.len(),
            Buffer::Scales => self.scales.as_ref().map_or(0, Vec::len),
            Buffer::X => self.x.len(),
            Buffer::Out => self.out_len,
        }
    }

    /// The buffers that the operation reads.
    pub fn buffers(&self) -> &'static [Buffer] {
        self.operation.inputs(self.scales.is_some())
    }

    /// Whether every size is as the operation demands. Otherwise the call must be refused.
    pub fn is_legal(&self) -> bool {
        let long_enough =
            |buffer: Buffer| self.len(buffer) as u128 >= self.shape.needed(self.operation, buffer);
        self.shape.stride_is_legal()
            && self.buffers().iter().copied().all(long_enough)
            && long_enough(Buffer::Out)
    }

    /// Outputs that the call must write: the first so many elements of the output buffer.
    pub fn outputs(&self) -> usize {
        if self.operation.is_matrix() { self.shape.rows } else { self.out_len }
    }
}
