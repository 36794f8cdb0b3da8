//! Formats that no description expresses: what each states for itself.

use std::any::Any;
use std::fmt;
use std::panic::RefUnwindSafe;

use super::Number;

/// How a format that no description expresses codes a block.
pub trait BlockCoding: Any + Sync + RefUnwindSafe + fmt::Debug {
    /// The number of codes, which is one more than the largest.
    fn code_count(&self) -> u8;

    /// Calls `each` with every element of a block, in order.
    ///
    /// # Panics
    /// If the block is not whole.
    fn decode(&self, block: &[u8], each: &mut dyn FnMut(Element));

    /// Puts codes into a block, one for each element, modulo the number of codes. Bytes without codes stay.
    ///
    /// # Panics
    /// If the block is not whole, or there are fewer codes than elements.
    fn encode(&self, codes: &[u8], block: &mut [u8]);

    /// The scales of a block: the first byte of each, and how it is stored.
    fn scales(&self) -> &'static [(usize, Number)];

    /// The weight of each code, where that is the same number in all blocks but for the one scale of the block.
    fn values(&self) -> Option<&'static [i8]> {
        None
    }

    /// The byte of a block that holds the code of an element, and the bits that the code depends on. Other elements may share them. `None`
    /// where a code is not in one byte.
    fn place(&self, element: usize) -> Option<(usize, u8)>;

    /// What a byte that holds no codes is for, in drawings.
    fn label(&self, byte: usize) -> &'static str;

    /// Numbers that a kernel adds in f32 for each block: 1, or 2 where a minimum is subtracted. The bound of a product grows with it.
    fn terms_per_block(&self) -> usize {
        1
    }

    /// What no weight is larger than, in magnitude, if all scales of its block are at most 1.
    fn largest_weight(&self) -> f64;

    /// What every weight is a whole multiple of if all scales of its block are whole: a power of two.
    fn unit(&self) -> f64 {
        1.0
    }

    /// Whether weights are rounded to f32, where kernels of products round the numbers that they are made of or nothing.
    fn rounds_weights(&self) -> bool {
        false
    }

    /// Leaves out weights below `least`, where weights are integers of 8 bits.
    fn raise_weights(&self, _block: &mut [u8], _least: i8) {}
}

/// An element of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Element {
    /// Its code.
    pub code: u8,
    /// Its weight, times the scales that are among the bytes of the row. Exact.
    pub weight: f64,
    /// What the bound of an integer product sums: the magnitude of the weight, and of what a kernel may add and subtract again. With one
    /// scale `(|value of the code| + |largest value|) * |scale|`, with a minimum `|scale * code| + |minimum|`.
    pub magnitude: f64,
}
