//! Every SIMD kernel on weights, scales and activations that nobody knows: valgrind reports a branch or an address that depends
//! on them.
//!
//! The idea is that of Langley's ctgrind. To be run under valgrind, which the exit code relies on: 0 if it saw nothing, 1
//! otherwise. With the word `canaries` it is the other way round: 0 if it saw each of some kernels that do depend on their
//! data. docs/verification.md has the commands and says what this proves.

mod canaries;
mod valgrind;

use std::iter;
use std::process::ExitCode;

use qk256_verify::inputs::Inputs;
use qk256_verify::kernel::missing_features;
use qk256_verify::{Arguments, Case, Kernel, Operation, Outcome, registry};

use canaries::CANARIES;

/// Columns, or elements: all remainders of everything that the kernels do at a time, and some that take several blocks.
const SHORT: std::ops::RangeInclusive<usize> = 1..=300;
const LONG: [usize; 6] = [511, 512, 513, 1000, 2048, 2100];

/// Rows: one, pairs and what is left of them, and enough for x to be permuted.
const ROWS: [usize; 6] = [1, 2, 3, 5, 33, 50];

fn main() -> ExitCode {
    if !valgrind::is_watching() {
        eprintln!("undefined: this says nothing without valgrind: docs/verification.md");
        return ExitCode::from(2);
    }
    let complaints = match std::env::args().nth(1).as_deref() {
        Some("canaries") => unseen_canaries(),
        _ => dependent_kernels(),
    };
    complaints.iter().for_each(|complaint| eprintln!("undefined: {complaint}"));
    if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A line for each kernel that valgrind complains of.
fn dependent_kernels() -> Vec<String> {
    let all = registry::kernels();
    let is_simd = |kernel: &&dyn Kernel| kernel.name().starts_with("avx") && !kernel.shares_work();
    let mut complaints = Vec::new();
    for kernel in all.iter().map(AsRef::as_ref).filter(is_simd) {
        let missing = missing_features(kernel.required_features());
        if !missing.is_empty() {
            println!("skipped {kernel:?}: this CPU, as valgrind shows it, lacks {}", missing.join(", "));
            continue;
        }
        let cases: Vec<Case> = cases(kernel.operation()).collect();
        match cases.iter().find_map(|case| Some((case, watch(kernel, case).err()?))) {
            None => println!("no path of {kernel:?} depends on data in {} cases", cases.len()),
            Some((case, complaint)) => complaints.push(format!("{kernel:?}: {complaint}: {case}")),
        }
    }
    complaints
}

/// A line for each canary that valgrind does not complain of, in any case.
fn unseen_canaries() -> Vec<String> {
    let mut complaints = Vec::new();
    for canary in CANARIES {
        for case in [1, 7, 300].map(|cols| Case::new(canary.domain, 1, cols)) {
            match watch(&canary, &case) {
                Err(complaint @ Complaint::Errors(_)) => println!("{}: {complaint}: {case}", canary.name),
                other => complaints.push(format!("{} is not seen ({other:?}): {case}", canary.name)),
            }
        }
    }
    complaints
}

fn cases(operation: Operation) -> impl Iterator<Item = Case> {
    let rows = if operation.is_matrix() { &ROWS[..] } else { &[1] };
    let digits = if operation.has_digits() { 1..=4 } else { 1..=1 };
    let scaled = if operation == Operation::Gemv { &[false, true][..] } else { &[false] };
    let shapes = SHORT.chain(LONG).flat_map(|cols| rows.iter().map(move |&rows| (rows, cols)));
    shapes.flat_map(move |(rows, cols)| {
        let of = move |digits| {
            let plain = Case { digits, ..Case::new(operation, rows, cols) };
            scaled.iter().map(move |&scaled| Case { scaled: plain.scaled || scaled, ..plain.clone() })
        };
        digits.clone().flat_map(of)
    })
}

/// What is wrong with a call on undefined data.
#[derive(Debug, PartialEq, thiserror::Error)]
enum Complaint {
    #[error("valgrind saw {0} errors")]
    Errors(usize),
    #[error("it does not do this")]
    Undone,
    #[error("output {0} is defined, so what it depends on was not undefined")]
    Defined(usize),
    #[error("the outputs are other than on defined data")]
    Different,
}

/// Calls `kernel` with data that are undefined, and with the same, defined.
fn watch(kernel: &dyn Kernel, case: &Case) -> Result<(), Complaint> {
    let inputs = case.materialize(None).expect("seeded cases have data");
    let mut defined = Call::new(&inputs);
    let mut call = Call::new(&inputs);
    call.make_undefined();
    let before = valgrind::errors();
    let outcome = kernel.call(call.arguments());
    let errors = valgrind::errors() - before;
    if errors > 0 {
        return Err(Complaint::Errors(errors));
    }
    if outcome != Outcome::Done || kernel.call(defined.arguments()) != Outcome::Done {
        return Err(Complaint::Undone);
    }
    if let Some(at) = call.first_defined_output() {
        return Err(Complaint::Defined(at));
    }
    if call.outputs() != defined.outputs() {
        return Err(Complaint::Different);
    }
    Ok(())
}

/// The buffers of a call.
struct Call {
    inputs: Inputs,
    codes: Vec<u8>,
    floats: Vec<f32>,
}

impl Call {
    fn new(inputs: &Inputs) -> Self {
        let writes_codes = inputs.operation == Operation::Unpack;
        let len = |is_written| if is_written { inputs.out_len } else { 0 };
        Self {
            inputs: inputs.clone(),
            codes: vec![u8::MAX; len(writes_codes)],
            floats: vec![f32::NAN; len(!writes_codes)],
        }
    }

    /// From now on nobody knows the weights, the scales and x; but of `gemv_fixed` x is known, which is rounded by its magnitude.
    fn make_undefined(&mut self) {
        let Inputs { operation, packed, codes, scales, x, quantized, .. } = &mut self.inputs;
        valgrind::make_undefined(packed.kept_mut());
        valgrind::make_undefined(codes);
        valgrind::make_undefined(quantized);
        scales.iter_mut().for_each(|scales| valgrind::make_undefined(scales));
        if *operation != Operation::GemvFixed {
            valgrind::make_undefined(x);
        }
    }

    fn first_defined_output(&self) -> Option<usize> {
        let codes = self.codes.iter().position(|code| !valgrind::is_undefined(code));
        codes.or_else(|| self.floats.iter().position(|float| !valgrind::is_undefined(float)))
    }

    /// Outputs as bits, defined from now on.
    fn outputs(&mut self) -> Vec<u32> {
        valgrind::make_defined(&mut self.codes);
        valgrind::make_defined(&mut self.floats);
        let codes = self.codes.iter().map(|&code| code.into());
        iter::chain(codes, self.floats.iter().map(|float| float.to_bits())).collect()
    }

    fn arguments(&mut self) -> Arguments<'_> {
        self.inputs.arguments(&mut self.codes, &mut self.floats)
    }
}
