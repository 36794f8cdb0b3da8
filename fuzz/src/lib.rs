//! What a fuzz target is made of: a sentence of `qk256_verify::fuzz`, and a mutator that knows the edges. [`target!`] is for the targets
//! of this project, [`kernel!`] for a kernel of anybody's.

#[doc(hidden)]
pub use libfuzzer_sys;
#[doc(hidden)]
pub use qk256_verify;

/// Declares the program of a [`Target`](qk256_verify::fuzz::Target), by its name.
#[macro_export]
macro_rules! target {
    ($target:ident) => {
        $crate::libfuzzer_sys::fuzz_target!(|data: &[u8]| {
            $crate::qk256_verify::fuzz::run($crate::qk256_verify::fuzz::Target::$target, data)
        });
        $crate::mutator!($crate::qk256_verify::fuzz::Target::$target);
    };
}

/// Declares the program that fuzzes one kernel: an expression of a type that implements [`Kernel`](qk256_verify::Kernel).
///
/// ```
/// # #[allow(unexpected_cfgs, reason = "the macro asks for what cargo-fuzz sets")]
/// # mod program {
/// use qk256_verify::{Arguments, KernelFn, Operation, Outcome};
///
/// const MINE: KernelFn = KernelFn {
///     name: "mine",
///     operation: Operation::Unpack,
///     required_features: &[],
///     refuses_wrong_sizes: false,
///     call: |arguments| {
///         let Arguments::Unpack { packed, codes } = arguments else { return Outcome::Unsupported };
///         codes.iter_mut().enumerate().for_each(|(at, code)| *code = packed[at / 4] >> (2 * (at % 4)) & 3);
///         Outcome::Done
///     },
/// };
///
/// qk256_fuzz::kernel!(MINE);
/// # }
/// ```
#[macro_export]
macro_rules! kernel {
    ($kernel:expr) => {
        $crate::libfuzzer_sys::fuzz_target!(|data: &[u8]| {
            $crate::qk256_verify::fuzz::run_kernel(&$kernel, data)
        });
        $crate::mutator!($crate::qk256_verify::fuzz::Target::of(
            $crate::qk256_verify::Kernel::operation(&$kernel),
            false
        ));
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! mutator {
    ($target:expr) => {
        $crate::libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
            let otherwise = $crate::libfuzzer_sys::fuzzer_mutate;
            $crate::qk256_verify::fuzz::mutate($target, data, size, max_size, seed, otherwise)
        });
    };
}
