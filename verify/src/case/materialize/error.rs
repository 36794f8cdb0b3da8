//! Why a case has no data.

use crate::weights::WeightsError;

/// The largest buffer that a case may ask for.
pub const MAX_BUFFER_BYTES: usize = 1 << 30;

/// Why a case has no data.
#[derive(Debug, thiserror::Error)]
pub enum MaterializeError {
    /// A legal case, but too large for this harness.
    #[error(
        "buffer `{buffer}` of this case needs {bytes} bytes; the most is {MAX_BUFFER_BYTES}: make the sizes smaller"
    )]
    TooLarge {
        /// The buffer's name.
        buffer: &'static str,
        /// Bytes needed.
        bytes: u128,
    },
    /// A matrix whose rows lie so far apart that its memory must be sparse, which this system does not give.
    #[error(
        "this case needs {bytes} bytes of sparse memory, which the system refuses: raise the limit of address space (ulimit -v)"
    )]
    NoSparseMemory {
        /// Bytes from the first row to the last.
        bytes: usize,
    },
    /// A patch outside of its buffer, or in a gap of sparse memory.
    #[error("patch.{buffer}.{index} is in a gap or past the end of `{buffer}`, which has {len} elements")]
    PatchOutside {
        /// The buffer's name.
        buffer: &'static str,
        /// First index that is outside.
        index: usize,
        /// Elements of the buffer.
        len: usize,
    },
    /// The case names a tensor and there is no weights file.
    #[error("the case takes its weights from tensor `{0}`: give the file with --weights")]
    NoWeights(String),
    /// The weights file does not give the tensor.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}
