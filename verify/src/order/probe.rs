//! A row of a kernel, and the question how many columns join before two of them meet.

use crate::buffer::Buffer;
use crate::format::{Format, Number};
use crate::kernel::{Arguments, Kernel, Outcome, prepared_call};
use crate::memory::{Placement, Region, fault, floats, floats_mut};
use crate::mxcsr::Mode;
use crate::operation::Operation;
use crate::words::count;

/// Columns up to which a tree is revealed: counts are exact far beyond, but questions take as long as they are many.
const MAX_COLS: usize = 1 << 17;

/// Bytes of codes of the largest matrix.
const MAX_BYTES: usize = 1 << 30;

/// So large that adding all ones to it changes nothing, in f32 and in f64 too, and far from overflow.
const LARGE: f32 = (1_u128 << 80) as f32;

/// What a gemv is asked about: a row of a matrix of N rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Rows of the matrix.
    pub rows: usize,
    /// Its columns.
    pub cols: usize,
    /// The row in question.
    pub row: usize,
    /// Whether the matrix has scales in a buffer of their own, of which the order may depend.
    pub scaled: bool,
}

impl Subject {
    /// The first row of the smallest matrix that a kernel takes.
    pub(crate) fn of(kernel: &dyn Kernel, cols: usize, scaled: bool) -> Self {
        Self { rows: kernel.domain().requirements.rows(1), ..Self::one_row(cols, scaled) }
    }

    /// The only row of a matrix of one.
    pub const fn one_row(cols: usize, scaled: bool) -> Self {
        Self { rows: 1, cols, row: 0, scaled }
    }
}

/// Why there is no tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevealError {
    /// Another operation does not add f32.
    #[error("`{0}` does not add f32 numbers; only gemv and gemm have an order to reveal")]
    NotGemv(Operation),
    /// A format in which no row of ones can be written.
    #[error("no code of `{0}` has the weight 1, by which an order is revealed")]
    NoOne(&'static str),
    /// A row outside of the matrix.
    #[error("there is no row {}: the matrix has {}, counted from 0", .0.row, count(.0.rows as u64, "row"))]
    NoRow(Subject),
    /// A matrix that takes too long, or too much memory.
    #[error(
        "a matrix of {} x {} is too large: at most {MAX_COLS} columns and {MAX_BYTES} bytes of codes",
        .0.rows,
        .0.cols
    )]
    TooLarge(Subject),
    /// The kernel did not do it.
    #[error("the kernel answers {0:?}")]
    Answer(Outcome),
    /// The counts are not those of any tree of additions of two numbers.
    #[error("no tree of additions of two f32 numbers explains what it gives: {0}")]
    NoTree(String),
}

/// The operands of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Operands {
    /// One code a column.
    pub codes: Vec<u8>,
    /// One activation a column.
    pub x: Vec<f32>,
    /// One scale a block; empty where there are none.
    pub scales: Vec<f32>,
}

/// A row of ones, ready for two large numbers. Its memory is guarded, so that a kernel that writes where it must not spoils
/// nothing; nobody looks at what it touches.
pub(super) struct Probe<'a> {
    kernel: &'a dyn Kernel,
    format: &'static Format,
    /// The scales that are among the bytes of a row.
    inner_scales: Vec<(usize, Number)>,
    subject: Subject,
    row_stride: usize,
    packed: Region,
    /// The codes that were packed last, and what they became.
    codes: Vec<u8>,
    row: Vec<u8>,
    /// One of each block of each row; those of one row are alike for all.
    scales: Region,
    x: Region,
    y: Region,
}

impl<'a> Probe<'a> {
    pub(super) fn new(
        kernel: &'a dyn Kernel,
        subject: Subject,
        placement: Placement,
    ) -> Result<Self, RevealError> {
        let Subject { rows, cols, row, .. } = subject;
        let format = kernel.domain().format;
        if !kernel.operation().sums_floats() {
            return Err(RevealError::NotGemv(kernel.operation()));
        }
        let domain = kernel.domain();
        let Some(one) = format.code_of(1).filter(|&one| one < domain.code_count()) else {
            return Err(RevealError::NoOne(format.name));
        };
        if row >= rows {
            return Err(RevealError::NoRow(subject));
        }
        let row_stride = format.row_bytes(cols);
        let bytes = rows.checked_mul(row_stride.max(1)).filter(|&bytes| bytes <= MAX_BYTES);
        let (Some(_), true) = (bytes, cols <= MAX_COLS) else { return Err(RevealError::TooLarge(subject)) };
        let region = |buffer, len| {
            let mut region = Region::unprotected(buffer);
            let (width, is_output) = (domain.operation.width(buffer), buffer.is_output());
            region.place(len, domain.requirements.place(placement, width, is_output));
            region
        };
        let mut packed = region(Buffer::Packed, rows * row_stride);
        let codes = vec![one; cols];
        let inner_scales = if cols == 0 { Vec::new() } else { format.scale_places(cols) };
        let mut ones = format.pack(&codes);
        inner_scales.iter().for_each(|&(at, number)| number.write(1.0, &mut ones[at..]));
        packed.bytes_mut().chunks_mut(row_stride.max(1)).for_each(|row| row.copy_from_slice(&ones));
        let mut x = region(Buffer::X, cols * size_of::<f32>());
        floats_mut(x.bytes_mut()).fill(1.0);
        let all_scales =
            rows.checked_sub(1).map_or(0, |last| format.separate_scales(last, format.blocks(cols)).end);
        let mut scales = region(Buffer::Scales, all_scales * size_of::<f32>());
        floats_mut(scales.bytes_mut()).fill(1.0);
        let y = region(Buffer::Out, rows * size_of::<f32>());
        Ok(Self { kernel, format, inner_scales, subject, row_stride, packed, codes, row: ones, scales, x, y })
    }

    /// The format of the weights.
    pub(super) fn format(&self) -> &'static Format {
        self.format
    }

    /// The code of the weight 1.
    pub(super) fn code_of_one(&self) -> u8 {
        self.format().code_of(1).expect("without one there is no probe")
    }

    /// How many codes the kernel takes, from 0 on.
    pub(super) fn code_count(&self) -> u8 {
        self.kernel.domain().code_count()
    }

    /// Scales of a row.
    pub(super) fn scales(&self) -> usize {
        match self.inner_scales.len() {
            0 if self.subject.scaled => {
                self.format.separate_scales(0, self.format.blocks(self.subject.cols)).len()
            }
            inner => inner,
        }
    }

    /// Whether there are scales.
    pub(super) fn is_scaled(&self) -> bool {
        self.subject.scaled || !self.inner_scales.is_empty()
    }

    /// The scale that is stored for this one: the nearest that the format holds.
    pub(super) fn stored(&self, scale: f32) -> f32 {
        let Some(&(_, number)) = self.inner_scales.first() else { return scale };
        let mut bytes = [0; size_of::<f32>()];
        number.write(scale.into(), &mut bytes);
        number.read(&bytes) as f32
    }

    /// The columns below the addition that brings columns `i` and `j` together.
    pub(super) fn together(&mut self, i: usize, j: usize) -> Result<usize, RevealError> {
        self.put(i, j, [LARGE, -LARGE]);
        let later = self.product();
        self.put(i, j, [1.0, 1.0]);
        let (later, cols) = (later?, self.subject.cols);
        let counts = later.fract() == 0.0 && (0.0..=(cols - 2) as f32).contains(&later);
        if counts {
            Ok(cols - later as usize)
        } else {
            Err(RevealError::NoTree(format!("{later} columns join after columns {i} and {j} have met")))
        }
    }

    fn put(&mut self, i: usize, j: usize, values: [f32; 2]) {
        let x = floats_mut(self.x.bytes_mut());
        [x[i], x[j]] = values;
    }

    /// The product for these activations and, in every row, these codes and, where there are scales, these scales.
    pub(super) fn product_of(&mut self, operands: &Operands) -> Result<f32, RevealError> {
        let Operands { codes, x, scales } = operands;
        floats_mut(self.x.bytes_mut()).copy_from_slice(x);
        if self.codes != *codes {
            self.row = self.format.pack(codes);
            self.codes.clone_from(codes);
        }
        for (&(at, number), &scale) in self.inner_scales.iter().zip(scales) {
            number.write(scale.into(), &mut self.row[at..]);
        }
        // Every time: a kernel may have changed them.
        for row in self.packed.bytes_mut().chunks_mut(self.row_stride.max(1)) {
            row.copy_from_slice(&self.row);
        }
        if self.subject.scaled {
            for row in floats_mut(self.scales.bytes_mut()).chunks_mut(scales.len().max(1)) {
                row.copy_from_slice(scales);
            }
        }
        self.product()
    }

    fn product(&mut self) -> Result<f32, RevealError> {
        let Subject { rows, cols, row, scaled, .. } = self.subject;
        fault::go_on();
        let mode = Mode::now();
        let arguments = Arguments {
            packed: self.packed.given(),
            scales: scaled.then(|| floats(self.scales.given())),
            x: floats(self.x.given()),
            out: floats_mut(self.y.given_mut()),
            rows,
            cols,
            row_stride: self.row_stride,
            batch: 1,
            x_stride: cols,
            out_stride: rows,
            ..Arguments::default()
        };
        let outcome = prepared_call(self.kernel, arguments);
        // Whether it left another is judged elsewhere; here nothing may depend on it.
        mode.restore();
        if outcome == Outcome::Done {
            Ok(floats(self.y.bytes())[row])
        } else {
            Err(RevealError::Answer(outcome))
        }
    }
}
