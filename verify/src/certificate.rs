//! What is known of every input of a shape, not only of those that were tried.
//!
//! One call is recorded instruction by instruction (`recorder`), and then executed once more on symbols (`machine`): each byte of the
//! weights is eight unknown bits, each element of x and of the scales is an unknown f32. What does not depend on these is known from the
//! recording. The first instruction that lets data choose a way, that touches memory out of bounds, or that does with data what no rule
//! describes, ends it. In the end each output is an expression over all inputs, which is held against the definition of the operation
//! (`outputs`). docs/certificate.md says what that proves.

mod address;
mod arithmetic;
mod bits;
mod code;
mod evaluate;
mod expression;
mod library;
mod machine;
pub mod memcheck;
mod memory;
mod modules;
mod outputs;
mod recorder;
mod refusal;
mod semantics;
mod subject;
mod summation;
mod terms;
mod value;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::case::Case;
use crate::kernel::{Kernel, Outcome, missing_features};
use crate::operation::Operation;
use crate::trace;
use machine::Machine;
use outputs::Wiring;
pub use refusal::{Refusal, Shown};
pub use semantics::Effect;
use subject::Subject;

/// Calls on other data whose outputs are held against what the certificate predicts.
pub const PREDICTED_CALLS: u64 = 4;

/// What every certificate assumes.
pub const ASSUMPTIONS: [&str; 5] = [
    "the CPU does what its manual says, and this program's rules for instructions say the same",
    "the file holds the machine code of this hash, and calls come with buffers of exactly these sizes that do not overlap, and with a stack pointer that is as aligned as it was",
    "the functions of the C library that are named do what the C standard says",
    "x and scales are finite and nothing overflows; MXCSR has its initial rounding and keeps subnormals",
    "one thread calls at a time, as it does for any kernel that has no state",
];

/// What was shown of a kernel on a shape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// The SHA-256 of the instructions that were executed, each with its distance from the start of its file.
    pub code: String,
    /// Instructions executed.
    pub steps: u64,
    /// Different instructions among them.
    pub instructions: usize,
    /// Accesses to memory.
    pub accesses: u64,
    /// What instructions did to data, and how many.
    pub effects: Vec<(Effect, u64)>,
    /// Instructions that read a constant whose address is made of codes. Each address that it can be was looked at.
    pub lookups: u64,
    /// Functions of the C library that were called, and how often.
    pub called: Vec<(String, u64)>,
    /// Outputs.
    pub outputs: usize,
    /// Products of weights and activations that they are made of, each exactly once.
    pub terms: usize,
    /// The most additions that round on the way of a product into its sum.
    pub depth: u32,
    /// The most operations that round, products included.
    pub roundings: u32,
    /// For activations of at most 1, the largest error of an output, where there are no scales.
    pub largest_error: Option<f64>,
}

/// Whether calls can be followed here: emulators have no trap flag.
pub fn is_possible() -> bool {
    !trace::is_emulated()
}

/// Shows what can be shown of the calls of a case's shape; its data do not matter.
///
/// # Errors
/// The first fault: what could not be shown, and the instruction at fault.
///
/// # Panics
/// If the case has no data.
pub fn certify(kernel: &dyn Kernel, case: &Case) -> Result<Certificate, Refusal> {
    applies(kernel)?;
    let mut subject = Subject::new(case);
    if subject.is_prepared_by(kernel) {
        return Err(Refusal::of(Shown::Call, "prepares its weights, which is not followed yet"));
    }
    // What a first call does once, such as finding functions of other libraries, is no part of the others.
    if subject.call(kernel) != Some(Outcome::Done) {
        return Err(Refusal::of(Shown::Call, "does not do this call"));
    }
    let (recording, slot) = subject.record(kernel)?;
    let mut machine = Machine::new(&recording.entry, kernel.library().is_some());
    subject.lay(&mut machine, slot, kernel);
    machine.give_arguments(&recording.entry);
    recording.each(|before, _| machine.step(before))?;
    if machine.keeps_memory() {
        return Err(Refusal::of(Shown::Addresses, "keeps a block of memory that it has allocated"));
    }
    let wiring = subject.verify(&mut machine)?;
    predict(kernel, case, &machine, &subject)?;
    Ok(certificate(&machine, &wiring, case))
}

/// Whether this can be asked of a kernel at all.
fn applies(kernel: &dyn Kernel) -> Result<(), Refusal> {
    let refused = |what: String| Err(Refusal::of(Shown::Call, what));
    if !is_possible() {
        return refused("cannot be followed: the CPU, or what emulates it, has no trap flag".to_owned());
    }
    let domain = kernel.domain();
    let missing = missing_features(kernel.required_features());
    if !missing.is_empty() {
        return refused(format!("needs {}, which this CPU lacks", missing.join(", ")));
    }
    if kernel.shares_work() {
        return refused("leaves work to other threads, whose instructions are not followed".to_owned());
    }
    if matches!(domain.operation, Operation::Quantize) {
        return refused(
            "chooses codes by comparing values, so that its way depends on x by design".to_owned(),
        );
    }
    if domain.operation == Operation::Dot {
        return refused("sums integers, of which there is no rule here yet".to_owned());
    }
    let requirements = domain.requirements;
    if requirements.alignment > 4 || requirements.over_read > 0 || requirements.whole_last_stride {
        return refused(format!("requires {requirements} of its buffers, which is not followed yet"));
    }
    let reads_scales = !matches!(domain.operation, Operation::Unpack | Operation::Lut);
    if domain.format.plain().is_none() || (reads_scales && domain.format.has_inner_scales()) {
        return refused(format!(
            "multiplies weights of {}, whose scales are among the packed bytes: there is no rule for these yet",
            domain.format.name
        ));
    }
    Ok(())
}

/// Holds the outputs of calls on other data against the expressions.
fn predict(kernel: &dyn Kernel, case: &Case, machine: &Machine, traced: &Subject) -> Result<(), Refusal> {
    for seed in 0..PREDICTED_CALLS {
        let mut subject = Subject::new(&Case { seed: case.seed + 1 + seed, ..case.clone() });
        if subject.call(kernel) != Some(Outcome::Done) {
            return Err(Refusal::of(Shown::Call, "does not do a call with other data"));
        }
        if let Some(at) = subject.first_unpredicted(machine, traced) {
            let what =
                format!("gives another output {at} on other data than the instructions that were followed");
            return Err(Refusal::of(Shown::Order, what));
        }
    }
    Ok(())
}

fn certificate(machine: &Machine, wiring: &Wiring, case: &Case) -> Certificate {
    let is_unscaled = case.operation.sums_floats() && !case.scaled;
    let sum = f64::from(case.format.largest_weight()) * case.cols as f64;
    Certificate {
        code: hash(machine),
        steps: machine.steps,
        instructions: machine.code().count(),
        accesses: machine.accesses,
        effects: machine.effects.iter().map(|(&effect, &count)| (effect, count)).collect(),
        lookups: machine.lookups,
        called: machine.called.iter().map(|(&name, &count)| (name.to_owned(), count)).collect(),
        outputs: wiring.outputs,
        terms: wiring.terms,
        depth: wiring.depth,
        roundings: wiring.roundings,
        largest_error: is_unscaled.then(|| gamma(wiring.roundings) * sum),
    }
}

/// `k u / (1 - k u)`, for `u` half a unit in the last place of 1 (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1).
fn gamma(roundings: u32) -> f64 {
    let part = f64::from(roundings) * f64::from(f32::EPSILON) / 2.0;
    part / (1.0 - part)
}

fn hash(machine: &Machine) -> String {
    let mut hash = Sha256::new();
    for (address, bytes) in machine.code() {
        hash.update(machine.memory.modules.offset(address).to_le_bytes());
        hash.update(bytes);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
