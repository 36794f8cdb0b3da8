//! What a fuzz target is made of: a sentence of `qk256_verify::fuzz`, and a mutator that knows the edges. [`target!`] is for the targets
//! of this project, [`kernel!`] for a kernel of anybody's.

#[doc(hidden)]
pub use libfuzzer_sys;
#[doc(hidden)]
pub use qk256_verify;
use qk256_verify::fuzz::Target;

/// Declares the program of a [`Target`], by its name.
#[macro_export]
macro_rules! target {
    ($target:literal) => {
        $crate::libfuzzer_sys::fuzz_target!(|data: &[u8]| { $crate::run($crate::named($target), data) });
        $crate::mutator!($crate::named($target));
    };
}

/// The target of this name.
///
/// # Panics
/// If there is none.
#[doc(hidden)]
pub fn named(name: &str) -> Target {
    Target::from_name(name).unwrap_or_else(|| panic!("there is no fuzz target {name}"))
}

#[doc(hidden)]
pub fn run(target: Target, data: &[u8]) {
    qk256_verify::fuzz::run(target, data);
    #[cfg(feature = "plant")]
    plant::run(target, data);
}

/// The wrong kernel that the environment names, among the right ones. Without the feature there is none in the program.
#[cfg(feature = "plant")]
mod plant {
    use std::sync::LazyLock;

    use qk256_mutants::{Mutant, wrong};
    use qk256_verify::fuzz::{Target, run_on};

    static PLANTED: LazyLock<Option<Mutant>> = LazyLock::new(|| {
        let name = std::env::var("QK256_PLANT").ok()?;
        wrong().into_iter().find(|mutant| mutant.name == name)
    });

    pub(super) fn run(target: Target, data: &[u8]) {
        if let Some(mutant) = &*PLANTED {
            run_on(target, &mutant.kernel, data);
        }
    }
}

/// Declares the program that fuzzes one kernel: an expression of a type that implements [`Kernel`](qk256_verify::Kernel).
///
/// ```
/// # #[allow(unexpected_cfgs, reason = "the macro asks for what cargo-fuzz sets")]
/// # mod program {
/// use qk256_verify::{Arguments, Domain, KernelFn, Operation, Outcome};
///
/// const MINE: KernelFn = KernelFn {
///     name: "mine",
///     domain: Domain::new(Operation::Unpack),
///     required_features: &[],
///     refuses_wrong_sizes: false,
///     call: |arguments| {
///         let Arguments { packed, out_bytes: codes, .. } = arguments;
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
