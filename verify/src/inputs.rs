//! The data of one call, before it is laid out in guarded memory: what cases make and oracles judge.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::buffer::{Buffer, PerBuffer};
use crate::kernel::Arguments;
use crate::operation::{DIGITS, MAX_FIXED_COLUMNS, Operation};
use crate::requirements::Requirements;
use crate::shape::{Shape, Threads};
use crate::words::count;

/// Everything that a call needs but for its addresses and its output.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The operation to call.
    pub operation: Operation,
    /// Dimensions passed to it.
    pub shape: Shape,
    /// Packed bytes, padding, gaps between rows and slack bytes included.
    pub packed: PackedBytes,
    /// One code a byte, for `lut`.
    pub codes: Vec<u8>,
    /// Block scales; `None` for a gemv without scales.
    pub scales: Option<Vec<f32>>,
    /// Activations in f32, those of all vectors.
    pub x: Vec<f32>,
    /// Quantised activations, in whole blocks.
    pub quantized: Vec<u8>,
    /// Elements of the output buffer.
    pub out_len: usize,
    /// Elements of the second output buffer, of `quantize`.
    pub out_scales_len: usize,
    /// Elements by which each buffer starts past a 32-byte boundary.
    pub offset: PerBuffer<u8>,
    /// What the call keeps to.
    pub requirements: Requirements,
    /// Concurrent callers.
    pub threads: Threads,
    /// Bytes of stack that the kernel is called on; 0 is the stack of the caller.
    pub stack: usize,
    /// Elements after which the data of a long vector begin anew, of which packed bytes, codes and scales are one period; otherwise 0.
    pub period: usize,
    /// Digits of `gemv_fixed`.
    pub digits: u8,
    /// Data are independent draws with unit scales, |x| <= 1 and an amplitude at which even in-order sums keep the flat
    /// bound.
    pub flat: bool,
}

impl Inputs {
    /// The arguments of a call in plain memory, with these outputs.
    pub fn arguments<'a>(&'a self, out_bytes: &'a mut [u8], out: &'a mut [f32]) -> Arguments<'a> {
        let Shape { rows, cols, row_stride, batch, x_stride, out_stride, .. } = self.shape;
        Arguments {
            packed: self.packed.kept(),
            codes: &self.codes,
            scales: self.scales.as_deref(),
            x: &self.x,
            activations: &self.quantized,
            prepared: &[],
            out_bytes,
            out,
            rows,
            cols,
            row_stride,
            batch,
            x_stride,
            out_stride,
            digits: self.digits.into(),
        }
    }

    /// The f32 activations of a vector.
    ///
    /// # Panics
    /// If the call is not legal, or there is no such vector.
    pub fn vector(&self, vector: usize) -> &[f32] {
        let start = if vector == 0 { 0 } else { vector * self.shape.x_stride };
        &self.x[start..][..self.shape.cols]
    }

    /// Elements of `buffer`.
    pub fn len(&self, buffer: Buffer) -> usize {
        if self.period > 0 && buffer != Buffer::Out && self.buffers().contains(&buffer) {
            return self.operation.needed(self.shape, buffer) as usize;
        }
        match buffer {
            Buffer::Packed => self.packed.len(),
            Buffer::Codes => self.codes.len(),
            Buffer::Scales => self.scales.as_ref().map_or(0, Vec::len),
            Buffer::X => self.x.len(),
            Buffer::Activations => self.quantized.len(),
            Buffer::Out => self.out_len,
            Buffer::OutScales => self.out_scales_len,
            Buffer::Prepared => 0,
        }
    }

    /// The buffers that the operation reads.
    pub fn buffers(&self) -> &'static [Buffer] {
        self.operation.inputs(self.scales.is_some())
    }

    /// Whether everything is as the operation demands. Otherwise the call must be refused.
    pub fn is_legal(&self) -> bool {
        self.fault().is_none()
    }

    /// The sizes of the call beside what it needs: why it is legal, where it is.
    pub fn sizes(&self) -> String {
        let shape = self.shape;
        let row_bytes = shape.row_bytes();
        let matrix = match shape.rows {
            _ if !self.operation.is_matrix() => format!("{} elements", shape.cols),
            rows @ (0 | 1) => {
                let rows = count(rows as u64, "row");
                format!("{rows} of {} columns, for which the stride does not matter", shape.cols)
            }
            rows => format!(
                "{rows} rows of {} columns, {} bytes apart ({row_bytes} are enough)",
                shape.cols, shape.row_stride
            ),
        };
        let batch = match shape.batch {
            _ if !self.operation.is_batched() => String::new(),
            batch @ (0 | 1) => format!("; {}", count(batch as u64, "vector")),
            batch => format!(
                "; {batch} vectors, {} elements apart, and their results {} elements",
                shape.x_stride, shape.out_stride
            ),
        };
        let lengths = self.buffers().iter().chain(self.operation.outputs()).map(|&buffer| {
            let needed = self.operation.needed(shape, buffer);
            format!("`{}` has {} of {needed} elements", buffer.name(), self.len(buffer))
        });
        format!("{matrix}{batch}; {}", lengths.collect::<Vec<_>>().join(", "))
    }

    /// Why the call must be refused, if it must.
    pub fn fault(&self) -> Option<Fault> {
        match self.operation {
            _ if !self.is_legal_in_size() => Some(Fault::Sizes),
            operation if operation.has_digits() => self.fault_of_fixed(),
            _ => self.not_finite(),
        }
    }

    /// Whether all buffers are long enough, and strides are large enough.
    fn is_legal_in_size(&self) -> bool {
        let long_enough =
            |buffer: Buffer| self.len(buffer) as u128 >= self.operation.needed(self.shape, buffer);
        let whole = !self.operation.whole_blocks()
            || (self.shape.cols.is_multiple_of(self.shape.format.block_len)
                && self.shape.cols.is_multiple_of(self.shape.activations.block_len));
        whole
            && self.shape.stride_is_legal()
            && self.buffers().iter().chain(self.operation.outputs()).copied().all(long_enough)
    }

    /// What fixed point has no room for, where all sizes are legal.
    fn fault_of_fixed(&self) -> Option<Fault> {
        let cols = self.shape.cols;
        if cols > MAX_FIXED_COLUMNS {
            return Some(Fault::Columns(cols));
        }
        if !DIGITS.contains(&self.digits) {
            return Some(Fault::Digits(self.digits));
        }
        self.not_finite()
    }

    /// An x that the operation has no room for, where all sizes are legal.
    fn not_finite(&self) -> Option<Fault> {
        let x = if self.operation.needs_finite_x() { &self.x[..self.shape.cols] } else { &[] };
        let index = x.iter().position(|x| !x.is_finite())?;
        Some(Fault::NotFinite { index, value: x[index] })
    }

    /// The number of elements of an output buffer up to the last that the call must write.
    pub fn extent(&self, buffer: Buffer) -> usize {
        self.operation.needed(self.shape, buffer).min(self.len(buffer) as u128) as usize
    }

    /// Outputs that the call must write, those of all buffers together.
    pub fn outputs(&self) -> usize {
        self.operation
            .outputs()
            .iter()
            .flat_map(|&buffer| self.written(buffer))
            .map(|piece| piece.len())
            .sum()
    }

    /// Where output `at` stands: first come the elements that it must write, buffer by buffer, and then the slack of
    /// each.
    ///
    /// # Panics
    /// If there is no such output.
    pub fn output_place(&self, at: usize) -> (Buffer, usize) {
        let mut before = 0;
        let found = self.output_pieces().find_map(|(buffer, piece)| {
            before += piece.len();
            (at < before).then(|| (buffer, piece.end + at - before))
        });
        found.expect("there is such an output")
    }

    /// The elements of the outputs in the order in which they are reported: what must be written of each buffer, then the slack of each,
    /// and what lies between the results of vectors.
    pub fn output_pieces(&self) -> impl Iterator<Item = (Buffer, Range<usize>)> {
        let outputs = self.operation.outputs().iter().copied();
        let written =
            outputs.clone().flat_map(|buffer| self.written(buffer).map(move |piece| (buffer, piece)));
        let gaps = outputs.clone().flat_map(|buffer| self.gaps(buffer).map(move |piece| (buffer, piece)));
        written.chain(gaps).chain(outputs.map(|buffer| (buffer, self.extent(buffer)..self.len(buffer))))
    }

    /// The elements of an output that must be written, piece by piece: one for each vector.
    pub(crate) fn written(&self, buffer: Buffer) -> impl Iterator<Item = Range<usize>> + use<> {
        let (batch, step, len) = self.results_of(buffer);
        (0..batch).map(move |vector| vector * step..vector * step + len)
    }

    /// What lies between the results of vectors.
    fn gaps(&self, buffer: Buffer) -> impl Iterator<Item = Range<usize>> + use<> {
        let (batch, step, len) = self.results_of(buffer);
        (1..batch).map(move |vector| (vector - 1) * step + len..vector * step)
    }

    /// How many pieces of an output must be written, how far apart they are, and their length.
    fn results_of(&self, buffer: Buffer) -> (usize, usize, usize) {
        match self.shape.batch {
            batch if batch > 1 && self.is_legal_in_size() => (batch, self.shape.out_stride, self.shape.rows),
            _ => (1, 0, self.extent(buffer)),
        }
    }
}

/// The packed bytes of a call. Where rows lie so far apart that no memory holds the gaps, only the blocks of the rows are kept,
/// and the gaps are zeros: the buffer of the call is then sparse memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackedBytes {
    /// What is kept: the whole buffer, or the blocks of one row after the other. Copied when one of those that share it is changed.
    kept: Arc<Vec<u8>>,
    /// Where that is less than the whole buffer.
    sparse: Option<Sparse>,
}

/// Rows far apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sparse {
    /// Bytes of the buffer.
    len: usize,
    /// Bytes from the start of a row to the start of the next.
    row_stride: usize,
    /// Bytes of a row.
    row_bytes: usize,
}

impl PackedBytes {
    /// A buffer that is kept whole.
    pub fn whole(bytes: Vec<u8>) -> Self {
        Self { kept: Arc::new(bytes), sparse: None }
    }

    /// A buffer of `len` bytes of which only the rows are kept, which stand in `rows` one behind the other; none of them where
    /// the buffer is too short for all.
    pub fn sparse(rows: Vec<u8>, shape: Shape, len: usize) -> Self {
        let sparse = Sparse { len, row_stride: shape.row_stride, row_bytes: shape.row_bytes() };
        Self { kept: Arc::new(rows), sparse: Some(sparse) }
    }

    /// Bytes of the buffer.
    pub fn len(&self) -> usize {
        self.sparse.map_or(self.kept.len(), |sparse| sparse.len)
    }

    /// Whether the buffer has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the gaps are not kept.
    pub fn is_sparse(&self) -> bool {
        self.sparse.is_some()
    }

    /// Whether both are one: copies of which none was changed.
    pub(crate) fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.kept, &other.kept) && self.sparse == other.sparse
    }

    /// The bytes that are kept, to be changed.
    pub fn kept_mut(&mut self) -> &mut [u8] {
        Arc::make_mut(&mut self.kept).as_mut_slice()
    }

    /// The bytes that are kept.
    pub fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// Where byte `index` of the buffer is kept; `None` for one in a gap of sparse memory, or past the end.
    pub fn place(&self, index: usize) -> Option<usize> {
        let place = match self.sparse {
            None => index,
            Some(sparse) => {
                let (row, byte) = (index / sparse.row_stride.max(1), index % sparse.row_stride.max(1));
                (byte < sparse.row_bytes).then_some(row * sparse.row_bytes + byte)?
            }
        };
        (place < self.kept.len()).then_some(place)
    }

    /// The buffer from the start of row `row` of `shape` on, for as long as what is kept goes on.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn from_row(&self, shape: Shape, row: usize) -> &[u8] {
        &self.kept[self.row_start(shape, row)..]
    }

    /// The blocks of a row of `shape`.
    ///
    /// # Panics
    /// As [`from_row`](Self::from_row).
    pub fn row_mut(&mut self, shape: Shape, row: usize) -> &mut [u8] {
        let start = self.row_start(shape, row);
        &mut self.kept_mut()[start..][..shape.row_bytes()]
    }

    fn row_start(&self, shape: Shape, row: usize) -> usize {
        row * self.sparse.map_or(shape.row_stride, |sparse| sparse.row_bytes)
    }

    /// What is kept, piece by piece, each with its place in the buffer.
    pub fn pieces(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let (step, length) = match self.sparse {
            None => (0, self.kept.len().max(1)),
            Some(sparse) => (sparse.row_stride, sparse.row_bytes.max(1)),
        };
        self.kept.chunks(length).enumerate().map(move |(at, piece)| (at * step, piece))
    }
}

/// Why a call must be refused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// A buffer is too short, the stride too small, or a product overflows.
    Sizes,
    /// More columns than [`MAX_FIXED_COLUMNS`].
    Columns(usize),
    /// Another number of digits than those of [`DIGITS`].
    Digits(u8),
    /// An activation that no fixed point has, or a value that has no code.
    NotFinite {
        /// The first such element of x.
        index: usize,
        /// Its value.
        value: f32,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sizes => f.write_str("wrong sizes"),
            Self::Columns(columns) => write!(f, "{columns} columns, where {MAX_FIXED_COLUMNS} are the most,"),
            Self::Digits(digits) => write!(f, "{digits} digits"),
            Self::NotFinite { index, value } => {
                write!(f, "activations that are not finite (x[{index}] is {value})")
            }
        }
    }
}
