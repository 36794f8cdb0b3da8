//! A kernel of a library, callable in this process.

use std::ffi::c_void;

use super::call::Call;
use super::fields::{self, Problem};
use super::{INSIDE, RawKernel};
use crate::domain::Domain;
use crate::kernel::{Arguments, Kernel, Outcome, UnknownOutcome};
use crate::library::Library;
use crate::registers;

/// A kernel of a library, callable in this process.
#[derive(Clone, Debug)]
pub(in crate::plugin) struct PluginKernel {
    name: &'static str,
    library: Library,
    domain: Domain,
    features: Vec<&'static str>,
    refuses_wrong_sizes: bool,
    /// Whether calls go through [`registers::call`], which takes as long as some twenty instructions.
    sees_registers: bool,
    run: Run,
    prepares: Option<Prepares>,
}

/// What a call executes.
#[derive(Clone, Copy, Debug)]
enum Run {
    /// A function that takes such a call.
    Direct(unsafe extern "C" fn(*const Call) -> i32),
    /// A function of other parameters, by way of one that fills them.
    Through(Adapter, Function),
}

/// Any function of a library.
pub(in crate::plugin) type Function = unsafe extern "C" fn();

/// Calls a function of a library, of parameters that it knows, with what is in a call.
pub(in crate::plugin) type Adapter = unsafe extern "C" fn(*const Call, Function) -> i32;

/// The step that repacks weights.
#[derive(Clone, Copy, Debug)]
struct Prepares {
    bytes: unsafe extern "C" fn(*const Call) -> usize,
    prepare: unsafe extern "C" fn(*const Call, *mut u8) -> i32,
}

impl PluginKernel {
    /// The kernel that an entry of the table of `library` describes.
    ///
    /// # Safety
    /// The pointers to strings are null or those of strings that stay as they are for as long as this process lives.
    ///
    /// # Errors
    /// The first field whose value makes no sense.
    pub(super) unsafe fn of(raw: &RawKernel, library: &Library) -> Result<Self, Problem> {
        // SAFETY: as the caller says.
        let name = unsafe { fields::text("name", raw.name)? };
        // SAFETY: as the caller says.
        let domain = unsafe { fields::domain(raw)? };
        // SAFETY: as the caller says.
        let features = unsafe { fields::features(raw.features)? };
        let prepares = match (raw.prepared_bytes, raw.prepare) {
            (Some(bytes), Some(prepare)) => Some(Prepares { bytes, prepare }),
            (None, None) => None,
            (Some(_), None) => {
                return Err(Problem::new("prepare", "is NULL beside `prepared_bytes`: set both or none"));
            }
            (None, Some(_)) => {
                return Err(Problem::new("prepared_bytes", "is NULL beside `prepare`: set both or none"));
            }
        };
        let run = raw.run.ok_or_else(|| {
            Problem::new("run", "is NULL: it must be the function that performs the operation")
        })?;
        let (library, refuses_wrong_sizes) = (library.clone(), fields::refuses_wrong_sizes(raw));
        Ok(Self {
            name,
            library,
            domain,
            features,
            refuses_wrong_sizes,
            sees_registers: false,
            run: Run::Direct(run),
            prepares,
        })
    }

    /// The kernel that a function of `library` is, which `adapter` knows how to call. It leaves the check of sizes to its caller.
    ///
    /// # Safety
    /// The function is one of the type that the adapter takes it for, and stays for as long as this process lives.
    pub(in crate::plugin) unsafe fn through(
        (adapter, function): (Adapter, Function),
        name: &'static str,
        domain: Domain,
        (library, features): (&Library, &[&'static str]),
    ) -> Self {
        Self {
            name,
            library: library.clone(),
            domain,
            features: features.to_vec(),
            refuses_wrong_sizes: false,
            sees_registers: false,
            run: Run::Through(adapter, function),
            prepares: None,
        }
    }

    /// The same kernel, whose calls see which registers are preserved.
    pub(in crate::plugin) fn seeing_registers(&self) -> Self {
        Self { sees_registers: true, ..self.clone() }
    }

    /// Whether it has a step that repacks weights.
    pub(in crate::plugin) fn prepares(&self) -> bool {
        self.prepares.is_some()
    }

    /// Calls a function of the library with one or two pointers.
    fn call_with(
        &self,
        function: *const c_void,
        arguments: [u64; registers::ARGUMENTS],
        plain: impl FnOnce() -> i32,
    ) -> i32 {
        INSIDE.set(true);
        let result = if self.sees_registers {
            // SAFETY: the function is one of the library, of the type that the ABI gives it, which takes these pointers. For what it does with
            // them whoever loaded it answers (`load_here`).
            unsafe { registers::call(function, arguments) }
        } else {
            plain()
        };
        INSIDE.set(false);
        result
    }
}

/// What an answer of C says.
fn outcome(answer: i32) -> Outcome {
    match answer {
        0 => Outcome::Done,
        1 => Outcome::Unsupported,
        2 => Outcome::Refused,
        // It becomes a finding, as any panic of a kernel, and says what it is.
        other => std::panic::panic_any(UnknownOutcome(other)),
    }
}

/// Where a call lies.
fn address(call: &Call) -> u64 {
    (&raw const *call).expose_provenance() as u64
}

impl Kernel for PluginKernel {
    fn name(&self) -> &str {
        self.name
    }

    fn domain(&self) -> Domain {
        self.domain
    }

    fn required_features(&self) -> &[&str] {
        &self.features
    }

    fn refuses_wrong_sizes(&self) -> bool {
        self.refuses_wrong_sizes
    }

    fn library(&self) -> Option<&Library> {
        Some(&self.library)
    }

    fn prepared_bytes(&self, arguments: &Arguments<'_>) -> Option<usize> {
        let Prepares { bytes, .. } = self.prepares?;
        let call = Call::of_weights(arguments);
        INSIDE.set(true);
        // SAFETY: the call is a live one, whose pointers are those of slices. For what the library does whoever loaded it answers.
        let needed = unsafe { bytes(&raw const call) };
        INSIDE.set(false);
        Some(needed)
    }

    fn prepare(&self, arguments: &Arguments<'_>, prepared: &mut [u8]) -> Outcome {
        let Some(Prepares { prepare, .. }) = self.prepares else { return Outcome::Unsupported };
        let (call, to) = (Call::of_weights(arguments), prepared.as_mut_ptr());
        let words = [address(&call), to.expose_provenance() as u64];
        // SAFETY: both are live, and `to` has as many bytes as the kernel asked for. For what the library does whoever loaded it answers.
        outcome(self.call_with(prepare as *const c_void, words, || unsafe { prepare(&raw const call, to) }))
    }

    fn call(&self, arguments: Arguments<'_>) -> Outcome {
        let call = Call::new(self.domain.operation, arguments);
        match self.run {
            // SAFETY: the call is a live one, whose pointers are those of slices with the lengths beside them. For what the library does
            // with them whoever loaded it answers.
            Run::Direct(run) => outcome(self.call_with(
                run as *const c_void,
                [address(&call), 0],
                || unsafe { run(&raw const call) },
            )),
            Run::Through(adapter, function) => {
                let words = [address(&call), (function as *const c_void).expose_provenance() as u64];
                // SAFETY: as above; the function is of the type that the adapter takes it for (`through`).
                outcome(self.call_with(adapter as *const c_void, words, || unsafe {
                    adapter(&raw const call, function)
                }))
            }
        }
    }
}
