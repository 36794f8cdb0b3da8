//! The C ABI, version 2: what is looked up in a shared library, and how its kernels are called.

mod call;
mod error;
mod fields;
mod kernel;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::HashMap;
use std::error::Error;
use std::ffi::c_char;
use std::path::Path;

use libloading::os::unix::{Library as Loaded, RTLD_LOCAL, RTLD_NOW};

use crate::kernel::Kernel;
use crate::library::Library;
pub(super) use call::Call;
pub use error::LoadError;
pub(super) use kernel::{Adapter, Function, PluginKernel};

/// The version of the ABI that is spoken here.
pub const ABI_VERSION: u32 = 2;

/// The most kernels of a library: a larger number is garbage.
const MOST_KERNELS: usize = 4096;

/// `qk256_kernels`.
type Kernels = unsafe extern "C" fn(u32, *mut usize) -> *const RawKernel;

/// `qk256_kernel`, field by field as in the header.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct RawKernel {
    size: usize,
    name: *const c_char,
    operation: *const c_char,
    format: *const c_char,
    activations: *const c_char,
    features: *const c_char,
    flags: u32,
    cols_multiple: u32,
    rows_multiple: u32,
    max_batch: u32,
    alignment: u32,
    over_read: u32,
    max_cols: u64,
    max_code: u32,
    activation_min: i32,
    rounds_x: u32,
    prepared_bytes: Option<unsafe extern "C" fn(*const call::Call) -> usize>,
    prepare: Option<unsafe extern "C" fn(*const call::Call, *mut u8) -> i32>,
    run: Option<unsafe extern "C" fn(*const call::Call) -> i32>,
}

/// Bytes of `qk256_kernel`, which its first field states.
pub const KERNEL_BYTES: usize = size_of::<RawKernel>();

/// The byte of a `qk256_kernel` where the address of its function stands.
pub const RUN_AT: usize = std::mem::offset_of!(RawKernel, run);

/// The kernels of the table of `library`, those that this CPU cannot run among them.
///
/// # Safety
/// As of [`load_here`](super::load_here).
///
/// # Errors
/// If it is no plugin, or a kernel is described in a way that makes no sense.
pub(super) unsafe fn load(library: &Library) -> Result<Vec<PluginKernel>, LoadError> {
    let shown = || library.to_string();
    // SAFETY: the caller answers for what the library does when it is loaded.
    let opened = unsafe { open(library) }?;
    // SAFETY: the ABI gives the name this type.
    let kernels = unsafe { opened.get::<Kernels>(b"qk256_kernels") };
    let Ok(kernels) = kernels else { return Err(without_table(opened, shown())) };
    let mut count = 0;
    // SAFETY: the ABI gives the function this type; the caller answers for what it does.
    let table = unsafe { kernels(ABI_VERSION, &raw mut count) };
    if table.is_null() {
        return Err(LoadError::Version(shown()));
    }
    if !(1..=MOST_KERNELS).contains(&count) {
        return Err(LoadError::Count { path: shown(), count });
    }
    let raw = read_table(&library.path, table.cast(), count)?;
    let kernel = |(number, raw): (usize, &RawKernel)| {
        // SAFETY: the caller answers for the library: what it gives as strings are strings, which stay.
        let kernel = unsafe { PluginKernel::of(raw, library) };
        kernel.map_err(|problem| LoadError::field(&library.path, number, raw.name, problem))
    };
    let kernels: Vec<PluginKernel> = (1..).zip(&raw).map(kernel).collect::<Result<_, _>>()?;
    all_differ(&library.path, &kernels)?;
    Ok(kernels)
}

/// A library, loaded into this process for good.
///
/// # Safety
/// As of [`load`].
///
/// # Errors
/// Why the system does not load it.
pub(super) unsafe fn open(library: &Library) -> Result<&'static Loaded, LoadError> {
    let not_loaded = |why: String| LoadError::NotLoaded { path: library.to_string(), why };
    // A name without a slash would be searched for elsewhere.
    let whole = library.path.canonicalize().map_err(|error| not_loaded(error.to_string()))?;
    // Bound at once: a symbol that is missing is then missed here, by its name, and not in the middle of a call.
    // SAFETY: the caller answers for what the library does when it is loaded.
    let loaded = unsafe { Loaded::open(Some(&whole), RTLD_NOW | RTLD_LOCAL) };
    Ok(Box::leak(Box::new(loaded.map_err(|error| not_loaded(reason(&error)))?)))
}

/// The entries of a table, each as large as it says.
fn read_table(path: &Path, table: *const u8, count: usize) -> Result<Vec<RawKernel>, LoadError> {
    let mut entries: Vec<RawKernel> = Vec::with_capacity(count);
    for number in 0..count {
        let step = entries.first().map_or(0, |first| first.size);
        // SAFETY: the ABI says that the table has this many entries, each of the size that the first states.
        let entry = unsafe { table.add(number * step) };
        // The first field is read alone: where it is too small, there are not that many bytes.
        // SAFETY: as above.
        let size = unsafe { entry.cast::<usize>().read_unaligned() };
        let is_right = size >= KERNEL_BYTES && (number == 0 || size == step);
        if !is_right {
            return Err(LoadError::Size { path: path.display().to_string(), number: number + 1, size });
        }
        // SAFETY: the entry has at least as many bytes, and every bit pattern is one of numbers and pointers.
        entries.push(unsafe { entry.cast::<RawKernel>().read_unaligned() });
    }
    Ok(entries)
}

/// Cases and commands name a kernel by its name and domain.
fn all_differ(path: &Path, kernels: &[PluginKernel]) -> Result<(), LoadError> {
    let mut met = HashMap::new();
    for (number, kernel) in (1..).zip(kernels) {
        if let Some(first) = met.insert((kernel.name(), kernel.domain()), number) {
            let (path, kernel) = (path.display().to_string(), format!("{:?}", kernel as &dyn Kernel));
            return Err(LoadError::Twice { path, first, second: number, kernel });
        }
    }
    Ok(())
}

/// Why a library has no table: it may be one of version 1.
fn without_table(library: &Loaded, path: String) -> LoadError {
    // SAFETY: the function is looked up and not called.
    let old = unsafe { library.get::<unsafe extern "C" fn() -> u32>(b"qk256_abi_version") };
    if old.is_ok() { LoadError::Old(path) } else { LoadError::NoTable(path) }
}

/// What the loader says; libloading's own words only name the function that failed.
fn reason(error: &libloading::Error) -> String {
    error.source().map_or(error.to_string(), ToString::to_string)
}

thread_local! {
    /// Whether this thread is in a function of the library. No shared counter: calls are timed.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Whether the thread that calls this is in a function of the library, which it is in a signal handler if the signal came there.
pub(super) fn is_inside() -> bool {
    INSIDE.get()
}
