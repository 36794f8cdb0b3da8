//! Why a library is no plugin.

use std::ffi::{CStr, c_char};
use std::path::Path;

use super::fields::Problem;
use super::{ABI_VERSION, KERNEL_BYTES, MOST_KERNELS};

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
    /// It is no build of ggml that is known.
    #[error("{path} cannot be used as a build of ggml: {why}")]
    Ggml {
        /// The library.
        path: String,
        /// What is missing or other than it is known, and what to do.
        why: String,
    },
    /// It does not export the table of its kernels.
    #[error(
        "{0} is not a plugin: it exports no `qk256_kernels`; verify/include/qk256_kernel.h says what that function returns"
    )]
    NoTable(String),
    /// It is a plugin of version 1.
    #[error(
        "{0} is a plugin of ABI version 1, and this qk256 has version {ABI_VERSION}: define `qk256_kernels` in place of its functions, and \
         rebuild it with the header of this qk256"
    )]
    Old(String),
    /// It speaks another version.
    #[error(
        "{0} does not support version {ABI_VERSION} of the ABI: `qk256_kernels({ABI_VERSION}, ...)` returns NULL; rebuild it with the \
         header of this qk256"
    )]
    Version(String),
    /// It has no kernels, or a number of them that cannot be.
    #[error(
        "{path} states that it has {count} kernels: `qk256_kernels` must write their number, from 1 to {MOST_KERNELS}, to `*count`"
    )]
    Count {
        /// The library.
        path: String,
        /// What it states.
        count: usize,
    },
    /// An entry of the table is smaller than the struct of the header, or not as large as the first.
    #[error(
        "{path}: kernel {number}: `size` is {size}; write sizeof(qk256_kernel), which is {KERNEL_BYTES} with the header of this qk256"
    )]
    Size {
        /// The library.
        path: String,
        /// The kernel, from 1 on.
        number: usize,
        /// What it states.
        size: usize,
    },
    /// A field of a kernel has a value that it cannot have.
    #[error("{path}: kernel {number}{}: `{field}` {problem}", named(.name))]
    Field {
        /// The library.
        path: String,
        /// The kernel, from 1 on.
        number: usize,
        /// Its name, if that can be read.
        name: Option<String>,
        /// The field.
        field: &'static str,
        /// What is wrong, and what to write in its place.
        problem: String,
    },
    /// Two kernels that nothing tells apart.
    #[error("{path}: kernels {first} and {second} are both {kernel}: give one of them another `name`")]
    Twice {
        /// The library.
        path: String,
        /// The first, from 1 on.
        first: usize,
        /// The second.
        second: usize,
        /// Name and domain.
        kernel: String,
    },
}

impl LoadError {
    /// The error that a field of kernel `number` is, whose name is at `name`.
    pub(super) fn field(path: &Path, number: usize, name: *const c_char, problem: Problem) -> Self {
        // SAFETY: the ABI says that it is a string; whoever loads the library answers for that (`load_here`).
        let name = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) });
        let name = name.and_then(|name| name.to_str().ok()).map(str::to_owned);
        let Problem { field, what } = problem;
        Self::Field { path: path.display().to_string(), number, name, field, problem: what }
    }
}

/// The name of a kernel behind its number.
fn named(name: &Option<String>) -> String {
    name.as_ref().filter(|name| !name.is_empty()).map_or(String::new(), |name| format!(" (`{name}`)"))
}
