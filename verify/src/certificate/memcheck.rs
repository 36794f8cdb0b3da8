//! A call whose weights, scales and activations nobody knows, under valgrind, whose memcheck reports a branch or an address that depends on
//! them. The idea is that of Langley's ctgrind.

mod valgrind;

use super::subject::Subject;
use crate::case::Case;
use crate::kernel::{Kernel, Outcome};
use crate::operation::Operation;

/// Whether valgrind runs this program.
pub fn is_watching() -> bool {
    valgrind::is_watching()
}

/// What is wrong with a call on undefined data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Complaint {
    /// Branches or addresses depend on data.
    #[error("valgrind saw {0} errors")]
    Errors(usize),
    /// The kernel answers something else.
    #[error("it does not do this")]
    Undone,
    /// The data were not what the outputs depend on.
    #[error("output {0} is defined, so what it depends on was not undefined")]
    Defined(usize),
    /// Nobody knows why.
    #[error("the outputs are other than on defined data")]
    Different,
}

/// Calls `kernel` with data that are undefined, and with the same, defined.
///
/// # Errors
/// What is wrong with the first of these.
///
/// # Panics
/// If the case has no data.
pub fn watch(kernel: &dyn Kernel, case: &Case) -> Result<(), Complaint> {
    let [mut call, mut defined] = [Subject::new(case), Subject::new(case)];
    make_undefined(&mut call);
    let before = valgrind::errors();
    let outcome = call.call(kernel);
    let errors = valgrind::errors() - before;
    if errors > 0 {
        return Err(Complaint::Errors(errors));
    }
    if [outcome, defined.call(kernel)] != [Some(Outcome::Done); 2] {
        return Err(Complaint::Undone);
    }
    if let Some(at) = first_defined_output(&call) {
        return Err(Complaint::Defined(at));
    }
    if outputs(&mut call) != outputs(&mut defined) {
        return Err(Complaint::Different);
    }
    Ok(())
}

/// From now on nobody knows the weights, the scales and x; but of `gemv_fixed` x is known, which is rounded by its magnitude.
fn make_undefined(call: &mut Subject) {
    let inputs = &mut call.inputs;
    valgrind::make_undefined(inputs.packed.kept_mut());
    valgrind::make_undefined(&mut inputs.codes);
    valgrind::make_undefined(&mut inputs.quantized);
    inputs.scales.iter_mut().for_each(|scales| valgrind::make_undefined(scales));
    if inputs.operation != Operation::GemvFixed {
        valgrind::make_undefined(&mut inputs.x);
    }
}

fn first_defined_output(call: &Subject) -> Option<usize> {
    let codes = call.codes.iter().position(|code| !valgrind::is_undefined(code));
    codes.or_else(|| call.floats.iter().position(|float| !valgrind::is_undefined(float)))
}

/// Outputs as bits, defined from now on.
fn outputs(call: &mut Subject) -> Vec<u32> {
    valgrind::make_defined(&mut call.codes);
    valgrind::make_defined(&mut call.floats);
    let codes = call.codes.iter().map(|&code| code.into());
    codes.chain(call.floats.iter().map(|float| float.to_bits())).collect()
}
