//! The C ABI, version 1: what is looked up in a shared library, and how it is called.

use std::cell::Cell;
use std::error::Error;
use std::ffi::{CStr, c_char, c_void};
use std::path::{Path, PathBuf};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use super::OPERATIONS;
use crate::kernel::{Arguments, Kernel, Outcome, UnknownOutcome};
use crate::operation::Operation;
use crate::registers;

/// The version of the ABI that is spoken here.
pub const ABI_VERSION: u32 = 1;

/// The answer of a function that does not do what it is asked for.
const QK256_UNSUPPORTED: i32 = 1;

/// Bit 0 of the flags: wrong sizes are refused.
const REFUSES_WRONG_SIZES: u32 = 1;

/// Bit 1: the bits of a row may depend on the number of rows.
const VARIES_WITH_ROWS: u32 = 2;

type Unpack = unsafe extern "C" fn(*const u8, usize, *mut u8, usize) -> i32;
type Dequantize = unsafe extern "C" fn(*const u8, usize, *const f32, usize, *mut f32, usize) -> i32;
type Gemv = unsafe extern "C" fn(
    *const u8,
    usize,
    *const f32,
    usize,
    *const f32,
    usize,
    *mut f32,
    usize,
    usize,
    usize,
    usize,
) -> i32;

/// Why a library is no plugin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The system cannot load it.
    #[error("cannot load {path}: {why}")]
    NotLoaded {
        /// The library.
        path: String,
        /// The system's reason.
        why: String,
    },
    /// It does not say which ABI it speaks.
    #[error(
        "{0} is not a plugin: it exports no `qk256_abi_version`; verify/include/qk256_kernel.h lists what to export"
    )]
    NoVersion(String),
    /// It speaks another ABI.
    #[error(
        "{path} has version {version} of the ABI, and this qk256 has {ABI_VERSION}: build it with the header of this qk256"
    )]
    Version {
        /// The library.
        path: String,
        /// What it says.
        version: u32,
    },
    /// It has no kernel.
    #[error(
        "{0} exports none of `qk256_unpack`, `qk256_dequantize` and `qk256_gemv`: there is nothing to check"
    )]
    NoOperation(String),
}

/// A kernel of a library, callable in this process.
#[derive(Clone)]
pub(super) struct PluginKernel {
    name: String,
    library: PathBuf,
    refuses_wrong_sizes: bool,
    varies_with_rows: bool,
    /// Whether calls go through [`registers::call`], which takes as long as some twenty instructions.
    sees_registers: bool,
    function: Function,
}

#[derive(Clone, Copy)]
enum Function {
    Unpack(Unpack),
    Dequantize(Dequantize),
    Gemv(Gemv),
}

/// The kernels of the library at `path`, loaded into this process for good. A process that has anything to lose starts another
/// ([`Plugins`](super::Plugins)).
///
/// # Safety
/// Whatever the library does, when it is loaded and when its kernels are called, it does to this process: it may write to any memory,
/// and end the process. The caller answers for it: the library is known to keep to `verify/include/qk256_kernel.h`, or the process is
/// there for nothing else.
///
/// # Errors
/// If it is no plugin.
pub unsafe fn load_here(path: &Path) -> Result<Vec<Box<dyn Kernel>>, LoadError> {
    // SAFETY: the caller answers for the library.
    let kernels = unsafe { load(path)? };
    Ok(kernels.into_iter().map(|kernel| Box::new(kernel) as Box<dyn Kernel>).collect())
}

/// The same, as what they are.
///
/// # Safety
/// As of [`load_here`].
pub(super) unsafe fn load(path: &Path) -> Result<Vec<PluginKernel>, LoadError> {
    let shown = || path.display().to_string();
    let not_loaded = |why: String| LoadError::NotLoaded { path: shown(), why };
    // A name without a slash would be searched for elsewhere.
    let whole = path.canonicalize().map_err(|error| not_loaded(error.to_string()))?;
    // Bound at once: a symbol that is missing is then missed here, by its name, and not in the middle of a call.
    // SAFETY: the caller answers for what the library does when it is loaded.
    let library = unsafe { Library::open(Some(&whole), RTLD_NOW | RTLD_LOCAL) };
    let library = library.map_err(|error| not_loaded(reason(&error)))?;
    let library: &'static Library = Box::leak(Box::new(library));
    let version = symbol::<unsafe extern "C" fn() -> u32>(library, "qk256_abi_version");
    // SAFETY: the ABI gives the function this type.
    let version = unsafe { version.ok_or_else(|| LoadError::NoVersion(shown()))?() };
    if version != ABI_VERSION {
        return Err(LoadError::Version { path: shown(), version });
    }
    let flags = symbol::<unsafe extern "C" fn() -> u32>(library, "qk256_flags");
    // SAFETY: as above.
    let flags = flags.map_or(0, |flags| unsafe { flags() });
    let file = || path.file_stem().map_or("plugin".to_owned(), |stem| stem.to_string_lossy().into_owned());
    let name = name(library).unwrap_or_else(file);
    let kernel = |function| PluginKernel {
        name: name.clone(),
        library: path.to_owned(),
        refuses_wrong_sizes: flags & REFUSES_WRONG_SIZES != 0,
        varies_with_rows: flags & VARIES_WITH_ROWS != 0,
        sees_registers: false,
        function,
    };
    let functions = OPERATIONS.into_iter().filter_map(|operation| function(library, operation));
    let kernels: Vec<PluginKernel> = functions.map(kernel).collect();
    if kernels.is_empty() { Err(LoadError::NoOperation(shown())) } else { Ok(kernels) }
}

/// What the loader says; libloading's own words only name the function that failed.
fn reason(error: &libloading::Error) -> String {
    error.source().map_or(error.to_string(), ToString::to_string)
}

/// What the library calls itself, if it says.
fn name(library: &'static Library) -> Option<String> {
    let name = symbol::<unsafe extern "C" fn() -> *const c_char>(library, "qk256_kernel_name")?;
    // SAFETY: the ABI gives the function this type.
    let text = unsafe { name() };
    if text.is_null() {
        return None;
    }
    // SAFETY: the ABI says that it is a string that lives as long as the library.
    let name = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
    (!name.is_empty()).then_some(name)
}

fn function(library: &'static Library, operation: Operation) -> Option<Function> {
    let name = symbol_name(operation);
    match operation {
        Operation::Unpack => symbol(library, &name).map(Function::Unpack),
        Operation::Dequantize => symbol(library, &name).map(Function::Dequantize),
        Operation::Gemv => symbol(library, &name).map(Function::Gemv),
        _ => None,
    }
}

/// What the function of an operation is called.
pub(super) fn symbol_name(operation: Operation) -> String {
    format!("qk256_{operation}")
}

thread_local! {
    /// Whether this thread is in a function of the library. No shared counter: calls are timed.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Whether the thread that calls this is in a function of the library, which it is in a signal handler if the signal came there.
pub(super) fn is_inside() -> bool {
    INSIDE.get()
}

fn symbol<T: Copy>(library: &'static Library, name: &str) -> Option<T> {
    // SAFETY: the ABI gives each name that is looked up here the type that it is looked up with.
    unsafe { library.get::<T>(name.as_bytes()) }.ok().map(|symbol| *symbol)
}

impl PluginKernel {
    /// The same kernel, whose calls see which registers are preserved.
    pub(super) fn seeing_registers(&self) -> Self {
        Self { sees_registers: true, ..self.clone() }
    }
}

impl Function {
    /// The function and the arguments of its call as words.
    fn words(self, arguments: Arguments<'_>) -> (*const c_void, [u64; registers::ARGUMENTS]) {
        let Arguments { packed, scales, x, out_bytes, out, rows, cols, row_stride, .. } = arguments;
        let mut words = [0; registers::ARGUMENTS];
        let mut pass =
            |all: &[usize]| words.iter_mut().zip(all).for_each(|(word, &each)| *word = each as u64);
        let packed = [address(packed), packed.len()];
        let scales = scales.map_or([0, 0], |scales| [address(scales), scales.len()]);
        let address = match self {
            Self::Unpack(call) => {
                pass([packed, [address_mut(out_bytes), out_bytes.len()]].as_flattened());
                call as *const c_void
            }
            Self::Dequantize(call) => {
                pass([packed, scales, [address_mut(out), out.len()]].as_flattened());
                call as *const c_void
            }
            Self::Gemv(call) => {
                pass([packed, scales, [address(x), x.len()], [address_mut(out), out.len()]].as_flattened());
                words[8..].copy_from_slice(&[rows, cols, row_stride].map(|size| size as u64));
                call as *const c_void
            }
        };
        (address, words)
    }
}

/// Where a slice begins.
fn address<T>(slice: &[T]) -> usize {
    slice.as_ptr().expose_provenance()
}

/// The same of one that the call writes.
fn address_mut<T>(slice: &mut [T]) -> usize {
    slice.as_mut_ptr().expose_provenance()
}

impl Kernel for PluginKernel {
    fn name(&self) -> &str {
        &self.name
    }

    fn operation(&self) -> Operation {
        match self.function {
            Function::Unpack(_) => Operation::Unpack,
            Function::Dequantize(_) => Operation::Dequantize,
            Function::Gemv(_) => Operation::Gemv,
        }
    }

    fn refuses_wrong_sizes(&self) -> bool {
        self.refuses_wrong_sizes
    }

    fn varies_with_rows(&self) -> bool {
        self.varies_with_rows && self.operation() == Operation::Gemv
    }

    fn library(&self) -> Option<&Path> {
        Some(&self.library)
    }

    fn call(&self, arguments: Arguments<'_>) -> Outcome {
        // SAFETY (of all): each pointer is that of a slice with the length beside it. For what the library does with them whoever loaded
        // it answers (`load_here`).
        INSIDE.set(true);
        let result = if self.sees_registers {
            let (function, words) = self.function.words(arguments);
            // SAFETY: see above.
            unsafe { registers::call(function, words) }
        } else {
            let Arguments { packed, scales, x, out_bytes, out, rows, cols, row_stride, .. } = arguments;
            let (p, p_len, y, y_len) = (packed.as_ptr(), packed.len(), out.as_mut_ptr(), out.len());
            let (s, s_len) = scales.map_or((std::ptr::null(), 0), |scales| (scales.as_ptr(), scales.len()));
            match self.function {
                // SAFETY: see above.
                Function::Unpack(call) => unsafe { call(p, p_len, out_bytes.as_mut_ptr(), out_bytes.len()) },
                // SAFETY: see above.
                Function::Dequantize(call) => unsafe { call(p, p_len, s, s_len, y, y_len) },
                Function::Gemv(call) => {
                    let (x, x_len) = (x.as_ptr(), x.len());
                    // SAFETY: see above.
                    unsafe { call(p, p_len, s, s_len, x, x_len, y, y_len, rows, cols, row_stride) }
                }
            }
        };
        INSIDE.set(false);
        match result {
            0 => Outcome::Done,
            QK256_UNSUPPORTED => Outcome::Unsupported,
            2 => Outcome::Refused,
            // It becomes a finding, as any panic of a kernel, and says what it is.
            other => std::panic::panic_any(UnknownOutcome(other)),
        }
    }
}
