//! The harness of qk256: cases, exact oracles, guarded memory and the judgement of 2-bit kernels.
//!
//! A [`Kernel`] is examined by [`Case`]s in a [`Harness`]; whatever it violates is a [`Finding`] that ends in the command to
//! see it again. Whatever makes cases ([`case`]) and whatever judges them ([`oracle`], [`judge`]) know nothing of each other:
//! they share the vocabulary of [`operation`] and the data of [`inputs`].

pub mod activations;
pub mod buffer;
pub mod case;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub mod certificate;
pub mod check;
pub mod child;
pub mod data;
pub mod domain;
pub mod evidence;
pub mod examiner;
pub mod exhaustive;
pub mod fault_injection;
pub mod features;
pub mod finding;
pub mod format;
pub mod fuzz;
pub mod inputs;
pub mod interrupt;
pub mod judge;
pub mod kernel;
pub mod library;
pub mod memory;
pub mod mxcsr;
pub mod number;
pub mod operation;
pub mod oracle;
pub mod order;
pub mod own;
pub mod parts;
pub mod plugin;
mod process;
pub mod property;
mod quiet;
pub mod reference;
pub mod registers;
pub mod registry;
pub mod requirements;
pub mod shape;
pub mod timing;
pub mod trace;
pub mod trial;
pub mod weights;
pub mod words;

pub use case::Case;
pub use domain::Domain;
pub use examiner::Examiner;
pub use fault_injection::FaultInjection;
pub use finding::Finding;
pub use kernel::{Arguments, Kernel, KernelFn, Outcome};
pub use library::Library;
pub use operation::Operation;
pub use order::Order;
pub use own::{assert_right, assert_right_or_skip};
pub use property::Property;
pub use requirements::Requirements;
pub use trial::Harness;
pub use weights::Weights;
