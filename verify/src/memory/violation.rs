//! The words for an access that no kernel may make.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::buffer::Buffer;
use crate::words::count;

/// An access that no kernel may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Violation {
    /// An access outside of a buffer.
    OutOfBounds {
        /// The buffer next to the access.
        buffer: Buffer,
        /// Whether it was a write. Reads are seen only where they hit a guard page.
        write: bool,
        /// Bytes from the nearer end of the buffer: 1 is the byte right behind the last, -1 the one right before the first.
        distance: isize,
    },
    /// A write to what a kernel may only read, whatever was written.
    ReadOnly {
        /// The buffer, an input or an output with slack.
        buffer: Buffer,
        /// The first byte written, counted from the start of the buffer.
        byte: usize,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::OutOfBounds { buffer, write, distance } => {
                let deed = if write { "writes" } else { "reads" };
                write!(f, "{deed} {}", beside(buffer, distance))
            }
            Self::ReadOnly { buffer, byte } => {
                write!(f, "writes byte {byte} of `{}`, which it may only read", buffer.name())
            }
        }
    }
}

/// The place N bytes from the nearer end of `buffer`, as [`Violation::OutOfBounds`] counts them, in words.
pub(crate) fn beside(buffer: Buffer, distance: isize) -> String {
    let side = if distance > 0 { "past the end" } else { "before the start" };
    format!("{} {side} of `{}`", count(distance.unsigned_abs() as u64, "byte"), buffer.name())
}
