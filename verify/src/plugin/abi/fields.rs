//! The fields of a kernel: what they say, or what is wrong with one.

use std::ffi::{CStr, c_char};

use super::RawKernel;
use crate::activations::{self, Activations};
use crate::domain::Domain;
use crate::features::{self, UnknownFeature};
use crate::format::{self, Format, QK256};
use crate::operation::Operation;
use crate::requirements::{MOST_ALIGNMENT, MOST_OVER_READ, Requirements, Rounding, ScaleUse, is_alignment};

/// Bits of the flags.
const REFUSES_WRONG_SIZES: u32 = 1;
const NO_SCALES: u32 = 1 << 1;
const SCALES_REQUIRED: u32 = 1 << 2;
const WHOLE_LAST_STRIDE: u32 = 1 << 3;
const FINITE_ONLY: u32 = 1 << 4;
const VARIES_WITH_ROWS: u32 = 1 << 5;
const ALL_FLAGS: u32 = (1 << 6) - 1;

/// `rounds_x` of a kernel that has one scale a row.
const BY_ROW: u32 = u32::MAX;

/// The operations whose operands a call of C can carry.
const OPERATIONS: [Operation; 6] = [
    Operation::Unpack,
    Operation::Dequantize,
    Operation::Gemv,
    Operation::Gemm,
    Operation::Dot,
    Operation::GemvFixed,
];

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// The field.
    pub(super) field: &'static str,
    /// What is wrong, and what to write in its place.
    pub(super) what: String,
}

impl Problem {
    pub(super) fn new(field: &'static str, what: impl Into<String>) -> Self {
        Self { field, what: what.into() }
    }
}

/// The string of a field.
///
/// # Safety
/// The pointer is null or that of a string that stays as it is for as long as this process lives.
///
/// # Errors
/// If there is none, or it is no UTF-8.
pub(super) unsafe fn text(field: &'static str, text: *const c_char) -> Result<&'static str, Problem> {
    if text.is_null() {
        return Err(Problem::new(field, "is NULL: it must be a string"));
    }
    // SAFETY: the caller says that it is a string, which stays.
    let text = unsafe { CStr::from_ptr(text) };
    match text.to_str() {
        Ok("") => Err(Problem::new(field, "is empty: it must be a string")),
        Ok(text) => Ok(text),
        Err(_) => Err(Problem::new(field, format!("is not UTF-8: {}", text.to_string_lossy()))),
    }
}

/// What the kernel computes, of what, and for whom.
///
/// # Safety
/// As of [`text`], for each string.
///
/// # Errors
/// The first field whose value makes no sense.
pub(super) unsafe fn domain(raw: &RawKernel) -> Result<Domain, Problem> {
    // SAFETY: as the caller says.
    let operation = operation(unsafe { text("operation", raw.operation)? })?;
    // SAFETY: as the caller says.
    let format = format(operation, unsafe { text("format", raw.format)? })?;
    // SAFETY: as the caller says.
    let activations = activations(operation, unsafe { text("activations", raw.activations)? })?;
    let domain = Domain::of(operation, format).with(activations);
    let domain = domain.requiring(requirements(raw, &domain)?);
    let (unit, most) = (domain.cols_multiple() as u64, domain.requirements.max_cols);
    if let Some(most) = most.filter(|&most| most < unit) {
        let what = format!(
            "is {most}, but columns come in multiples of {unit}: no shape is left; raise it, or write 0"
        );
        return Err(Problem::new("max_cols", what));
    }
    Ok(domain)
}

/// The features of a list of words; a null pointer has none.
///
/// # Safety
/// As of [`text`].
///
/// # Errors
/// If a word is no feature.
pub(super) unsafe fn features(list: *const c_char) -> Result<Vec<&'static str>, Problem> {
    // SAFETY: the pointer is not null, and the caller says that it is then that of a string, which stays.
    let is_empty = list.is_null() || unsafe { CStr::from_ptr(list) }.is_empty();
    if is_empty {
        return Ok(Vec::new());
    }
    // SAFETY: as the caller says.
    let words = unsafe { text("features", list)? }.split([' ', ',']).filter(|word| !word.is_empty());
    let unknown = |error: UnknownFeature| {
        Problem::new(
            "features",
            format!("has an unknown word: {error}; write all that the code uses, with spaces"),
        )
    };
    words.map(features::named).collect::<Result<_, _>>().map_err(unknown)
}

/// Whether wrong sizes are refused.
pub(super) fn refuses_wrong_sizes(raw: &RawKernel) -> bool {
    raw.flags & REFUSES_WRONG_SIZES != 0
}

fn operation(name: &str) -> Result<Operation, Problem> {
    let names = OPERATIONS.map(Operation::name).join(", ");
    let what = match name.parse::<Operation>() {
        Ok(operation) if OPERATIONS.contains(&operation) => return Ok(operation),
        Ok(operation) => format!(
            "is \"{operation}\", whose operands a qk256_call cannot carry: check such kernels in Rust (docs/adding-a-kernel.md); those of \
             libraries are of {names}"
        ),
        Err(_) => format!("is \"{name}\", which is no operation: write one of {names}"),
    };
    Err(Problem::new("operation", what))
}

fn format(operation: Operation, name: &str) -> Result<&'static Format, Problem> {
    let Some(format) = format::find(name) else {
        let names: Vec<&str> = format::ALL.iter().map(|format| format.name).collect();
        let what = format!(
            "is \"{name}\", which is no format: write one of {}; a TOML file may describe another (docs/formats.md), and is given by \
             `--format FILE.toml`",
            names.join(", ")
        );
        return Err(Problem::new("format", what));
    };
    if operation.has_digits() && format != &QK256 {
        let what = format!("is \"{name}\", but {operation} is defined for {} only", QK256.name);
        return Err(Problem::new("format", what));
    }
    Ok(format)
}

fn activations(operation: Operation, name: &str) -> Result<&'static Activations, Problem> {
    let wanted = operation == Operation::Dot;
    let fitting = activations::ALL.iter().filter(|kind| kind.is_quantized() == wanted);
    let names: Vec<&str> = fitting.map(|kind| kind.name).collect();
    let names = names.join(", ");
    let what = match Activations::find(name) {
        Some(kind) if kind.is_quantized() == wanted => return Ok(kind),
        Some(_) => format!("is \"{name}\", which does not fit {operation}: write {names}"),
        None => format!("is \"{name}\", which is no kind of activations: {operation} has {names}"),
    };
    Err(Problem::new("activations", what))
}

/// What the kernel requires of calls of its operation, formats and all. What has no meaning there is left out, so that kernels that
/// require the same are of one domain.
fn requirements(raw: &RawKernel, domain: &Domain) -> Result<Requirements, Problem> {
    let is_set = |flag: u32| raw.flags & flag != 0;
    if raw.flags & !ALL_FLAGS != 0 {
        let what = format!("is {:#x}: the bits beyond {ALL_FLAGS:#x} are reserved, and 0", raw.flags);
        return Err(Problem::new("flags", what));
    }
    let is_matrix = domain.operation.is_matrix();
    Ok(Requirements {
        // The C ABI has no field for it.
        cols_list: None,
        cols_multiple: raw.cols_multiple.max(1),
        rows_multiple: if is_matrix { raw.rows_multiple.max(1) } else { 1 },
        max_cols: (raw.max_cols > 0).then_some(raw.max_cols),
        max_batch: (raw.max_batch > 0 && domain.operation.is_batched()).then_some(raw.max_batch),
        scales: scales(raw, domain)?,
        whole_last_stride: is_matrix && is_set(WHOLE_LAST_STRIDE),
        varies_with_rows: is_matrix && is_set(VARIES_WITH_ROWS),
        alignment: alignment(raw.alignment)?,
        over_read: over_read(raw.over_read)?,
        max_code: max_code(raw.max_code, domain.format)?,
        activation_min: activation_min(raw.activation_min, domain)?,
        // Formats of 8-bit integers are those of ggml's own libraries.
        weight_min: i8::MIN,
        finite_only: is_set(FINITE_ONLY),
        rounds_x: rounds_x(raw.rounds_x, domain)?,
    })
}

fn scales(raw: &RawKernel, domain: &Domain) -> Result<ScaleUse, Problem> {
    let (never, always) = (raw.flags & NO_SCALES != 0, raw.flags & SCALES_REQUIRED != 0);
    let Domain { operation, format, .. } = domain;
    let has_buffer = format.scale().is_separate();
    let what = match (never, always) {
        (true, true) => {
            "has both QK256_FLAG_NO_SCALES and QK256_FLAG_SCALES_REQUIRED: set one of them, or none"
                .to_owned()
        }
        (true, _) if has_buffer && operation.is_always_scaled() => {
            format!(
                "has QK256_FLAG_NO_SCALES, but {operation} of {} always has scales: remove the flag",
                format.name
            )
        }
        (_, true) if !has_buffer => format!(
            "has QK256_FLAG_SCALES_REQUIRED, but {} has no scales in a buffer of their own: remove the flag",
            format.name
        ),
        (_, true) if !operation.may_be_scaled() && !operation.is_always_scaled() => {
            format!("has QK256_FLAG_SCALES_REQUIRED, but {operation} has no scales: remove the flag")
        }
        (true, _) if domain.may_be_scaled() => return Ok(ScaleUse::Never),
        (_, true) if domain.may_be_scaled() => return Ok(ScaleUse::Required),
        _ => return Ok(ScaleUse::Optional),
    };
    Err(Problem::new("flags", what))
}

fn alignment(bytes: u32) -> Result<u32, Problem> {
    match bytes {
        0 => Ok(1),
        bytes if is_alignment(bytes) => Ok(bytes),
        _ => {
            let what = format!("is {bytes}: write a power of two up to {MOST_ALIGNMENT}, or 0");
            Err(Problem::new("alignment", what))
        }
    }
}

fn over_read(bytes: u32) -> Result<u32, Problem> {
    let what = || {
        format!(
            "is {bytes}: write the bytes past the end of an input that may be read, {MOST_OVER_READ} at most"
        )
    };
    (bytes <= MOST_OVER_READ).then_some(bytes).ok_or_else(|| Problem::new("over_read", what()))
}

fn max_code(code: u32, format: &Format) -> Result<Option<u8>, Problem> {
    let largest = format.code_count() - 1;
    match u8::try_from(code) {
        Ok(0) => Ok(None),
        // The largest is what every kernel takes.
        Ok(code) if code == largest => Ok(None),
        Ok(code) if code < largest => Ok(Some(code)),
        _ => {
            let what = format!(
                "is {code}: the codes of {} are 0 to {largest}; write 0 for all of them",
                format.name
            );
            Err(Problem::new("max_code", what))
        }
    }
}

fn activation_min(min: i32, domain: &Domain) -> Result<i8, Problem> {
    let what = match min {
        0 => return Ok(i8::MIN),
        -128 | -127 if domain.activations.is_quantized() => return Ok(min as i8),
        -128 | -127 => {
            format!("is {min}, but {} activations are not quantised: write 0", domain.activations.name)
        }
        _ => format!("is {min}: write -128 or -127, or 0 for -128"),
    };
    Err(Problem::new("activation_min", what))
}

fn rounds_x(len: u32, domain: &Domain) -> Result<Rounding, Problem> {
    match len {
        0 => Ok(Rounding::None),
        _ if !domain.operation.sums_floats() => {
            let what =
                format!("is {len}, but {} has no f32 x that a kernel could round: write 0", domain.operation);
            Err(Problem::new("rounds_x", what))
        }
        BY_ROW => Ok(Rounding::Row),
        len => Ok(Rounding::Group(len)),
    }
}
