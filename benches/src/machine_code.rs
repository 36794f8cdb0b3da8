//! Proof in the machine code: the program disassembles itself and holds the loops of its kernels to what is claimed of them.
//!
//! No intrinsic may be a call instead of an instruction, no innermost loop with vectors may call anything, and the hot loops
//! of each kernel must be there and move no more vectors to and from the stack than the table of expectations allows.
//! Exit 0: so it is, or this is no x86-64 Linux, which is reported. Exit 1: it is not, or the program cannot be read.

mod decode;
mod executable;
mod expectations;
mod judge;
mod loops;
#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
mod mutants;
mod report;

use std::hint::black_box;
use std::process::ExitCode;

use qk256_verify::registry;

use expectations::{EXPECTATIONS, KERNELS, SHOWN};

/// Whether there are kernels of x86-64 here, in a file of the format that this reads.
const IS_READABLE: bool = cfg!(all(target_arch = "x86_64", target_os = "linux"));

/// Judges the kernels of the running program. The table goes to standard output, whatever is wrong to standard error.
pub fn run() -> ExitCode {
    if !IS_READABLE {
        println!("machine code: skipped: it is read on x86-64 Linux only");
        return ExitCode::SUCCESS;
    }
    // So that all of them are in the program.
    black_box(registry::kernels());
    match judge_kernels() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("machine code: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all claims hold.
fn judge_kernels() -> Result<bool, decode::Problem> {
    let is_kernel = |path: &str| KERNELS.iter().any(|prefix| path.starts_with(prefix));
    let kernels = executable::functions(is_kernel)?;
    let others = executable::functions(|path| path.starts_with(SHOWN))?;
    let shown: Vec<_> = others.iter().flat_map(judge::loops_of).collect();
    Ok(report::finish(&judge::judge(&kernels, EXPECTATIONS), &shown))
}

#[cfg(all(test, not(all(target_arch = "x86_64", target_os = "linux"))))]
mod tests {
    #[test]
    #[ignore = "machine code is read on x86-64 Linux only"]
    fn mutants_are_found() {}
}
