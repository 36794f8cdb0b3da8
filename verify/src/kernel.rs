//! A kernel under test, and the call that every kernel understands.

use std::fmt;
use std::path::Path;

use crate::features;
use crate::operation::Operation;

/// One implementation of one operation.
///
/// The contract that the harness holds it to is docs/adding-a-kernel.md. A kernel never learns that it is being tested.
pub trait Kernel: Sync {
    /// Short name, the same for every operation of one implementation: `scalar`, `avx2`.
    fn name(&self) -> &str;

    /// The operation that [`call`](Self::call) performs.
    fn operation(&self) -> Operation;

    /// Every CPU feature that the code uses, in the spelling of `is_x86_feature_detected!` or, on aarch64,
    /// `is_aarch64_feature_detected!`; `avx2` does not imply `fma`. [`features`] knows the names.
    fn required_features(&self) -> &[&str] {
        &[]
    }

    /// Whether wrong sizes, and an x that `gemv_fixed` or `quantize` cannot round, are refused with [`Outcome::Refused`]. A kernel that
    /// leaves this to its caller says `false` and is sent legal calls only.
    fn refuses_wrong_sizes(&self) -> bool {
        true
    }

    /// Whether the bits of a row of `gemv` may depend on how many rows the matrix has, since few rows take another path. Such a kernel is
    /// held to the bound for each number of rows, not to one order of summation, and the report says that it is not invariant.
    fn varies_with_rows(&self) -> bool {
        false
    }

    /// Whether other threads do part of the work. The clock of a race is that of the caller's thread, so that such a kernel
    /// is checked and not timed.
    fn shares_work(&self) -> bool {
        false
    }

    /// The shared library that the kernel comes from, if it is a plugin: what `--lib` takes.
    fn library(&self) -> Option<&Path> {
        None
    }

    /// Performs the operation. The harness calls it with arguments of [`operation`](Self::operation) only.
    fn call(&self, arguments: Arguments<'_>) -> Outcome;
}

/// A kernel that is a function: the shortest way to declare one.
///
/// ```
/// use qk256_verify::{Arguments, KernelFn, Operation, Outcome};
///
/// /// Codes of zero, whatever the bytes: a kernel that no check will pass.
/// const ZEROS: KernelFn = KernelFn {
///     name: "zeros",
///     operation: Operation::Unpack,
///     required_features: &[],
///     refuses_wrong_sizes: false,
///     call: |arguments| {
///         arguments.out_bytes.fill(0);
///         Outcome::Done
///     },
/// };
/// # let _ = ZEROS;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct KernelFn {
    /// See [`Kernel::name`].
    pub name: &'static str,
    /// See [`Kernel::operation`].
    pub operation: Operation,
    /// See [`Kernel::required_features`].
    pub required_features: &'static [&'static str],
    /// See [`Kernel::refuses_wrong_sizes`].
    pub refuses_wrong_sizes: bool,
    /// See [`Kernel::call`].
    pub call: fn(Arguments<'_>) -> Outcome,
}

impl Kernel for KernelFn {
    fn name(&self) -> &str {
        self.name
    }

    fn operation(&self) -> Operation {
        self.operation
    }

    fn required_features(&self) -> &[&str] {
        self.required_features
    }

    fn refuses_wrong_sizes(&self) -> bool {
        self.refuses_wrong_sizes
    }

    fn call(&self, arguments: Arguments<'_>) -> Outcome {
        (self.call)(arguments)
    }
}

impl fmt::Debug for dyn Kernel + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name(), self.operation())
    }
}

/// The arguments of one call: the buffers of its operation and its sizes, nothing checked, as a caller in any language could pass them.
/// Buffers that the operation does not use are empty. A vector operation has one row.
#[derive(Debug, Default)]
pub struct Arguments<'a> {
    /// Packed codes: rows of whole blocks, `row_stride` bytes apart.
    pub packed: &'a [u8],
    /// One code a byte, of which the low two bits count: what `lut` reads.
    pub codes: &'a [u8],
    /// One scale a block of each row, row-major; `None` for a product without scales, and where the operation has none.
    pub scales: Option<&'a [f32]>,
    /// `cols` activations; of `quantize` the values.
    pub x: &'a [f32],
    /// The output that consists of bytes: the codes of `unpack`, one a byte, and the packed codes of `quantize`.
    pub out_bytes: &'a mut [u8],
    /// The output that consists of f32: weights (`lut`, `dequantize`), a result for each row (`gemv`, `gemv_fixed`), the scales of
    /// `quantize`.
    pub out: &'a mut [f32],
    /// Rows.
    pub rows: usize,
    /// Columns, or elements of the vector.
    pub cols: usize,
    /// Bytes from one row to the next.
    pub row_stride: usize,
    /// Base-256 digits that each activation of a `gemv_fixed` is rounded to, 1 to 4. A kernel rounds x for itself, so that the rounding is
    /// checked too.
    pub digits: usize,
}

impl Arguments<'_> {
    /// The same arguments, for a call before the one that takes these.
    #[inline]
    pub fn reborrow(&mut self) -> Arguments<'_> {
        Arguments { out_bytes: self.out_bytes, out: self.out, ..*self }
    }
}

/// What a kernel says of a call. The values are those of the C ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The output is written.
    Done = 0,
    /// This kernel does not do that operation, or not with scales.
    Unsupported = 1,
    /// The sizes are wrong, or x is not finite where it must be; nothing was written.
    Refused = 2,
}

/// What a kernel of another language answers that is no [`Outcome`]: the payload of the panic by which its call ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnknownOutcome(pub(crate) i32);

/// The features of `required` that this CPU lacks.
///
/// # Panics
/// If a name is no CPU feature, with the known ones ([`features`] says it as an error): a misspelt feature would be missing on
/// every CPU.
pub fn missing_features<'a>(required: &[&'a str]) -> Vec<&'a str> {
    features::missing(required).unwrap_or_else(|error| panic!("{error}"))
}

/// Whether this CPU has all that `kernel` needs. If not, standard error says what it lacks.
///
/// # Panics
/// As [`missing_features`].
pub(crate) fn can_run(kernel: &dyn Kernel) -> bool {
    let missing = missing_features(kernel.required_features());
    if !missing.is_empty() {
        eprintln!("skipped: {kernel:?}; this CPU lacks {}", missing.join(", "));
    }
    missing.is_empty()
}
