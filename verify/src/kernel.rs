//! A kernel under test, and the call that every kernel understands.

use std::fmt;

use crate::domain::Domain;
use crate::features;
use crate::library::Library;
use crate::operation::Operation;

/// One implementation of one operation.
///
/// The contract that the harness holds it to is docs/adding-a-kernel.md. A kernel never learns that it is being tested.
pub trait Kernel: Sync {
    /// Short name, the same for every operation of one implementation: `scalar`, `avx2`.
    fn name(&self) -> &str;

    /// What [`call`](Self::call) performs: the operation, on which formats, for callers that keep to what.
    fn domain(&self) -> Domain;

    /// The operation of the domain.
    fn operation(&self) -> Operation {
        self.domain().operation
    }

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

    /// Whether other threads do part of the work. The clock of a race is that of the caller's thread, so that such a kernel
    /// is checked and not timed.
    fn shares_work(&self) -> bool {
        false
    }

    /// The shared library that the kernel comes from, if it is of one.
    fn library(&self) -> Option<&Library> {
        None
    }

    /// Bytes of the prepared weights that [`call`](Self::call) reads beside or in the place of the packed ones; `None` where there is no
    /// such step.
    fn prepared_bytes(&self, _arguments: &Arguments<'_>) -> Option<usize> {
        None
    }

    /// Prepares the weights of calls with these arguments: writes all of `prepared`, which has [`prepared_bytes`](Self::prepared_bytes).
    fn prepare(&self, _arguments: &Arguments<'_>, _prepared: &mut [u8]) -> Outcome {
        Outcome::Unsupported
    }

    /// Performs the operation. The harness calls it with arguments of [`domain`](Self::domain) only.
    fn call(&self, arguments: Arguments<'_>) -> Outcome;
}

/// A kernel that is a function: the shortest way to declare one.
///
/// ```
/// use qk256_verify::{Arguments, Domain, KernelFn, Operation, Outcome};
///
/// /// Codes of zero, whatever the bytes: a kernel that no check will pass.
/// const ZEROS: KernelFn = KernelFn {
///     name: "zeros",
///     domain: Domain::new(Operation::Unpack),
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
    /// See [`Kernel::domain`].
    pub domain: Domain,
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

    fn domain(&self) -> Domain {
        self.domain
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
        write!(f, "{} {}", self.name(), self.domain())
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
    /// `cols` activations, of a batch one vector behind the other, `x_stride` apart; of `quantize` the values.
    pub x: &'a [f32],
    /// The quantised activations of `dot`: whole blocks.
    pub activations: &'a [u8],
    /// What [`Kernel::prepare`] made of the weights; empty where there is no such step.
    pub prepared: &'a [u8],
    /// The output that consists of bytes: the codes of `unpack`, one a byte, and the packed codes of `quantize`.
    pub out_bytes: &'a mut [u8],
    /// The output that consists of f32: weights (`lut`, `dequantize`), a result for each row (products; of a batch for each vector,
    /// `out_stride` apart), the scales of `quantize`.
    pub out: &'a mut [f32],
    /// Rows.
    pub rows: usize,
    /// Columns, or elements of the vector.
    pub cols: usize,
    /// Bytes from one row to the next.
    pub row_stride: usize,
    /// Vectors; one where there is no batch.
    pub batch: usize,
    /// Elements from one vector to the next.
    pub x_stride: usize,
    /// Elements from the results of one vector to those of the next.
    pub out_stride: usize,
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

/// A call in plain memory, after the kernel has prepared the weights, if it does that.
pub(crate) fn prepared_call(kernel: &dyn Kernel, mut arguments: Arguments<'_>) -> Outcome {
    let Some(bytes) = kernel.prepared_bytes(&arguments) else { return kernel.call(arguments) };
    let mut prepared = vec![0; bytes];
    match kernel.prepare(&arguments, &mut prepared) {
        Outcome::Done => kernel.call(Arguments { prepared: &prepared, ..arguments.reborrow() }),
        other => other,
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
