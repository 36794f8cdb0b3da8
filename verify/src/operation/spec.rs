//! What an operation is made of: the words in which each describes itself.

use serde::{Deserialize, Serialize};

use crate::buffer::Buffer;
use crate::data::Distribution;
use crate::format::Format;

/// An operation, described. Cases, oracles, relations and timing follow from it.
#[derive(Debug)]
pub struct Spec {
    /// The name in cases, options, reports and the tables of plugins.
    pub name: &'static str,
    /// The buffers that it reads, in the order of arguments, in a call without scales.
    pub inputs: &'static [Buffer],
    /// The same in a call with scales in a buffer of their own, which only formats without inner ones have.
    pub scaled_inputs: &'static [Buffer],
    /// Whether calls have such scales.
    pub scaling: Scaling,
    /// The buffers that it writes.
    pub outputs: &'static [Buffer],
    /// What the elements of [`Buffer::Out`] are, and how many there are.
    pub out: (Element, Count),
    /// Rows and columns, or a length.
    pub form: Form,
    /// Whether there is a batch of vectors.
    pub is_batched: bool,
    /// Whether rows consist of whole blocks.
    pub whole_blocks: bool,
    /// Whether x is rounded to a number of digits that the call states.
    pub has_digits: bool,
    /// Whether an x that is not finite must be refused.
    pub needs_finite_x: bool,
    /// What the outputs must be.
    pub truth: Truth,
    /// Changes of the inputs whose effect on the output is known exactly.
    pub relations: &'static [(Change, Effect)],
    /// Where x and scales of drawn cases come from.
    pub distributions: &'static [Distribution],
    /// The fuzz targets of its legal cases, and whether these have scales. A program in `fuzz/` and seeds in `corpus/` have the name.
    pub fuzz_targets: &'static [(&'static str, bool)],
    /// What can be tried whole, if anything.
    pub exhaustive: Option<Exhaustive>,
    /// Rows and columns by which kernels are compared.
    pub usual_shape: (usize, usize),
    /// Rows and columns of a small call that is traced instruction by instruction, and needs few of them for setting up.
    pub traced_shape: (usize, usize),
    /// Elements up to which shapes are called, where a call takes long.
    pub most_elements: usize,
}

/// Whether calls have scales in a buffer of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaling {
    /// None has.
    Never,
    /// Some have.
    Optional,
    /// All have.
    Always,
}

/// What an element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// A byte.
    Byte,
    /// An f32.
    Float,
}

/// How many elements a buffer needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// One a column.
    Columns,
    /// One a row, and of a batch one a row for each vector.
    Rows,
    /// One a block of each row.
    Blocks,
    /// The blocks of all rows, with what lies between rows: bytes.
    Matrix,
}

/// What states the sizes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Rows, columns and a stride.
    Matrix,
    /// The length of this buffer.
    Vector(Buffer),
}

/// What the outputs of a legal call must be.
#[derive(Clone, Copy, Debug)]
pub enum Truth {
    /// Element `i` has these bits, any NaN for a NaN.
    Elements(fn(&Elements<'_>, usize) -> u32),
    /// Each row is the sum of weights times x, in f32 and any order.
    Sums,
    /// Each row is the sum of weights times x in fixed point.
    FixedSums,
    /// Each row is the sum of weights times quantised activations.
    Products,
    /// The codes and scale of each block have the least squared error.
    Quantized,
}

/// The inputs of a vector operation, decoded by the format's description.
#[derive(Debug)]
pub struct Elements<'a> {
    /// The format.
    pub format: &'static Format,
    /// The code of each element: as it was packed, or as it is given to `lut`.
    pub codes: &'a [u8],
    /// One scale a block.
    pub scales: &'a [f32],
    /// The weights with their scales, exact, where these are among the packed bytes; otherwise none.
    pub decoded: &'a [f64],
}

impl Elements<'_> {
    /// The weight of an element.
    pub fn weight(&self, at: usize) -> i8 {
        self.format.weight(self.codes[at])
    }

    /// The weight of an element times its scale, exact.
    pub fn scaled_weight(&self, at: usize) -> f64 {
        let separate = || {
            let weight = f64::from(self.weight(at));
            self.scales.get(self.format.scale_of(at)).map_or(weight, |&scale| weight * f64::from(scale))
        };
        self.decoded.get(at).copied().unwrap_or_else(separate)
    }
}

/// A change of the inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Padding codes, gaps between rows and slack.
    Padding,
    /// Every code complemented. Only where the format is symmetric.
    Complement,
    /// x negated; of quantised activations their scales, where they have some.
    NegatedX,
    /// The scales negated.
    NegatedScales,
    /// x times a power of two, where nothing leaves the range of normal numbers.
    PowerOfTwo,
    /// The rows in another order.
    RowOrder,
    /// A few rows as a matrix of their own.
    FewRows,
    /// The vectors of a batch in another order.
    VectorOrder,
    /// One vector of a batch alone.
    OneVector,
    /// The blocks in another order.
    BlockOrder,
    /// One block alone.
    OneBlock,
}

/// What a change does to the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Same,
    /// Each code is the largest code less what it was.
    Complement,
    /// Each output is negated.
    Negated,
    /// The codes of values that are not zero are complemented.
    Mirrored,
    /// Each output is multiplied by the power of two.
    Scaled,
    /// The codes stay, the scales are multiplied by the power of two.
    Rescaled,
    /// The outputs are moved with what they belong to.
    Moved,
}

/// Inputs of which all can be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhaustive {
    /// Every scale.
    Scales,
    /// Every column of every row, one at a time.
    Wiring,
}
