//! Loading a library, whatever its kernels are found by.

use super::abi::{self, LoadError, PluginKernel};
use super::ggml;
use crate::kernel::Kernel;
use crate::library::{Library, Source};

/// The kernels of a library, loaded into this process for good, those that this CPU cannot run among them. A process that has anything to lose
/// starts another ([`Plugins`](super::Plugins)).
///
/// # Safety
/// Whatever the library does, when it is loaded and when its kernels are called, it does to this process: it may write to any memory,
/// and end the process. The caller answers for it: the library is known to keep to `verify/include/qk256_kernel.h`, or to be a build of ggml, or
/// the process is there for nothing else.
///
/// # Errors
/// If it is not what it is said to be, or a kernel is described in a way that makes no sense.
pub unsafe fn load_here(library: &Library) -> Result<Vec<Box<dyn Kernel>>, LoadError> {
    // SAFETY: the caller answers for the library.
    let kernels = unsafe { load(library)? };
    Ok(kernels.into_iter().map(|kernel| Box::new(kernel) as Box<dyn Kernel>).collect())
}

/// The same, as what they are.
///
/// # Safety
/// As of [`load_here`].
pub(super) unsafe fn load(library: &Library) -> Result<Vec<PluginKernel>, LoadError> {
    match &library.source {
        // SAFETY: the caller answers for the library.
        Source::Table => unsafe { abi::load(library) },
        // SAFETY: as above.
        Source::Ggml(options) => unsafe { ggml::load(library, options) },
    }
}
