//! What a fuzz target is made of: a sentence of `qk256_verify::fuzz`, and a mutator that knows the edges. [`target!`] is for the targets
//! of this project, [`kernel!`] for a kernel of anybody's.
//!
//! A target examines the kernels of this project. With the variable [`LIBRARIES`] it examines those of shared libraries in their place.

use std::cell::RefCell;
use std::env;
use std::error::Error;
use std::path::PathBuf;

#[doc(hidden)]
pub use libfuzzer_sys;
#[doc(hidden)]
pub use qk256_verify;
use qk256_verify::Library;
use qk256_verify::format;
use qk256_verify::fuzz::{Bench, Target};

/// The variable that names the shared libraries, as `qk256 check --lib` takes them, separated as in `PATH`.
pub const LIBRARIES: &str = "QK256_LIB";

/// The variable that chooses kernels of the libraries by their formats, as `--format` does: names, and TOML files that describe others.
pub const FORMATS: &str = "QK256_FORMAT";

/// Declares the program of a [`Target`], by its name.
#[macro_export]
macro_rules! target {
    ($target:literal) => {
        $crate::libfuzzer_sys::fuzz_target!(
            init: $crate::start($crate::named($target)),
            |data: &[u8]| { $crate::run($crate::named($target), data) }
        );
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

thread_local! {
    static BENCH: RefCell<Option<Bench>> = const { RefCell::new(None) };
}

/// Makes ready what a target examines. If there is nothing, the process ends with exit code 2 and the reason.
#[doc(hidden)]
pub fn start(target: Target) {
    match bench(target) {
        Ok(bench) => BENCH.set(Some(bench)),
        Err(error) => {
            eprintln!("{}: {error}", target.name());
            std::process::exit(2)
        }
    }
}

#[doc(hidden)]
pub fn run(target: Target, data: &[u8]) {
    BENCH.with_borrow_mut(|bench| bench.as_mut().expect("the target was started").run(target, data));
}

/// The kernels that a target examines.
fn bench(target: Target) -> Result<Bench, Box<dyn Error>> {
    let libraries: Vec<Library> = listed(LIBRARIES).into_iter().map(Library::plugin).collect();
    if libraries.is_empty() {
        return Ok(own());
    }
    let named = |name: PathBuf| format::named_or_loaded(&name.to_string_lossy());
    let formats = listed(FORMATS).into_iter().map(named).collect::<Result<Vec<_>, _>>()?;
    // SAFETY: the process is there to call these kernels: who runs it has named them.
    let bench = unsafe { Bench::of_libraries(&libraries, &formats) }?;
    bench.domains().require(&[target])?;
    Ok(bench)
}

/// What a variable lists.
fn listed(variable: &str) -> Vec<PathBuf> {
    let value = env::var_os(variable).unwrap_or_default();
    env::split_paths(&value).filter(|path| !path.as_os_str().is_empty()).collect()
}

#[cfg(not(feature = "plant"))]
fn own() -> Bench {
    Bench::own()
}

/// With the wrong kernel that the environment names, among the right ones. Without the feature there is none in the program.
#[cfg(feature = "plant")]
fn own() -> Bench {
    let name = env::var("QK256_PLANT").unwrap_or_default();
    let planted = qk256_mutants::wrong().into_iter().find(|mutant| mutant.name == name);
    planted.into_iter().fold(Bench::own(), |bench, mutant| bench.with(Box::new(mutant.kernel)))
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
