//! Every SIMD kernel on weights, scales and activations that nobody knows: valgrind reports a branch or an address that depends
//! on them.
//!
//! The idea is that of Langley's ctgrind. To be run under valgrind, which the exit code relies on: 0 if it saw nothing, 1
//! otherwise. With the word `canaries` it is the other way round: 0 if it saw each of some kernels that do depend on their
//! data. docs/verification.md has the commands and says what this proves.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod canaries;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod kernels;

use std::process::ExitCode;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn main() -> ExitCode {
    kernels::run()
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn main() -> ExitCode {
    eprintln!("undefined: this says nothing but on x86-64 Linux");
    ExitCode::from(2)
}
