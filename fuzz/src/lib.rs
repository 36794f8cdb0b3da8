//! What a fuzz target is made of: a sentence of `qk256_verify::fuzz`, and a mutator that knows the edges.

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

        $crate::libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
            $crate::qk256_verify::fuzz::mutate(
                $crate::qk256_verify::fuzz::Target::$target,
                data,
                size,
                max_size,
                seed,
                $crate::libfuzzer_sys::fuzzer_mutate,
            )
        });
    };
}
