//! Kernels of anybody, from any language: shared libraries with the C ABI of `verify/include/qk256_kernel.h`.
//!
//! A library is loaded by a worker process and nowhere else ([`serve`]), since a kernel may crash, hang, or end the process. The host
//! ([`Plugins`]) hands out cases by number; when a worker dies it reads from shared memory what was being called, makes a finding of it, and
//! starts the next worker behind it.

mod abi;
mod confirm;
mod declared;
mod ggml;
mod host;
mod load;
mod loaded;
mod message;
mod plugins;
mod process;
mod run;
mod worker;

pub use abi::{ABI_VERSION, KERNEL_BYTES, LoadError, RUN_AT};
pub use host::{Host, PluginError};
pub use load::load_here;
pub use plugins::Plugins;
pub use worker::serve;
