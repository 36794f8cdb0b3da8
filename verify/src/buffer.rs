//! The buffers that calls read and write.

use std::ops::{Index, IndexMut};

use serde::{Deserialize, Serialize};

/// One argument of a kernel that points to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Buffer {
    /// Packed codes, bytes.
    Packed,
    /// One code a byte: what `lut` reads.
    Codes,
    /// Block scales, f32.
    Scales,
    /// Activations, f32, of a batch one vector behind the other; of `quantize` the values.
    X,
    /// The first output: codes (`unpack`), weights (`lut`, `dequantize`), a result for each row of a product, or packed codes (`quantize`).
    Out,
    /// The second output of `quantize`: block scales, f32.
    OutScales,
    /// Quantised activations of `dot`, bytes.
    Activations,
    /// Weights as a kernel has prepared them, bytes.
    Prepared,
}

impl Buffer {
    /// Every buffer, in the order of arguments.
    pub const ALL: [Self; 8] = [
        Self::Packed,
        Self::Codes,
        Self::Scales,
        Self::X,
        Self::Out,
        Self::OutScales,
        Self::Activations,
        Self::Prepared,
    ];

    /// The buffers that some operation writes.
    pub const OUTPUTS: [Self; 2] = [Self::Out, Self::OutScales];

    /// The name in cases and findings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Packed => "packed",
            Self::Codes => "codes",
            Self::Scales => "scales",
            Self::X => "x",
            Self::Out => "out",
            Self::OutScales => "out_scales",
            Self::Activations => "activations",
            Self::Prepared => "prepared",
        }
    }

    /// Whether kernels write it.
    pub const fn is_output(self) -> bool {
        matches!(self, Self::Out | Self::OutScales)
    }

    /// The buffer of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|buffer| buffer.name() == name)
    }
}

/// One value for each buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerBuffer<T>([T; Buffer::ALL.len()]);

impl<T> Index<Buffer> for PerBuffer<T> {
    type Output = T;

    fn index(&self, buffer: Buffer) -> &T {
        &self.0[buffer as usize]
    }
}

impl<T> IndexMut<Buffer> for PerBuffer<T> {
    fn index_mut(&mut self, buffer: Buffer) -> &mut T {
        &mut self.0[buffer as usize]
    }
}

/// Bytes below which offsets of buffers stay: those of a vector of 256 bits.
pub const OFFSET_BYTES: usize = 32;
