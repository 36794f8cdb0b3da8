//! The speed gate: every promised speed-up is measured, and one that is not met fails the run.
//!
//! Exit 0: every row ran and is met, or this CPU lacks what the candidate needs, which is said. Exit 1: a row is missed, a
//! kernel is wrong, the control is off, or a row could not run. docs/benchmarking.md says how it judges.

mod demands;
mod report;
mod verdict;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use qk256_verify::kernel::missing_features;
use qk256_verify::registry::SCALAR;
use qk256_verify::timing::Workload;
use qk256_verify::{Harness, Kernel, Operation, registry};

use crate::{Verified, kernels_here};
use demands::{Contest, contests};
use verdict::{Heat, Settled, settle};

/// The option by which a CPU that lacks what a candidate needs fails the gate.
pub const REQUIRE_AVX2: &str = "--require-avx2";

/// Runs the gate. The table goes to standard output, whatever is wrong to standard error. Rows that this CPU cannot run
/// fail only if `skips_fail`.
pub fn run(skips_fail: bool) -> ExitCode {
    let (contests, skipped): (Vec<_>, Vec<_>) = contests().into_iter().partition(is_possible);
    let kernels: Vec<_> = Operation::ALL.map(|operation| (operation, kernels_here(operation))).into();
    match decide(&contests, &kernels) {
        Ok(settled) => report::finish(&contests, &settled, report::count_rows(&skipped), skips_fail),
        Err(problem) => {
            eprintln!("{problem}\n\ngate: failed before anything was timed");
            ExitCode::FAILURE
        }
    }
}

/// Whether this CPU has all that the candidate of the contest needs. One that the registry does not have is another
/// matter: it fails later.
fn is_possible(contest: &Contest) -> bool {
    let lacks = |kernel: &dyn Kernel| !missing_features(kernel.required_features()).is_empty();
    !registry::kernels().iter().any(|kernel| {
        kernel.operation() == contest.operation
            && contest.demanded.iter().any(|row| row.candidate == kernel.name())
            && lacks(kernel.as_ref())
    })
}

/// Verifies everything, then times everything.
fn decide(
    contests: &[Contest],
    kernels: &[(Operation, Vec<Box<dyn Kernel>>)],
) -> Result<Vec<Settled>, String> {
    let mut harness = Harness::new(None);
    let mut entered = Vec::new();
    for contest in contests {
        let of_operation = kernels.iter().filter(|(operation, _)| *operation == contest.operation);
        entered.extend(of_operation.map(|(_, kernels)| enter(&mut harness, contest, kernels)));
    }
    let mut entered = entered.into_iter().collect::<Result<Vec<_>, _>>()?;
    let demanded: Vec<_> = contests.iter().map(|contest| &contest.demanded[..]).collect();
    let settled = settle(&demanded, |at, budget| {
        progress(&format!("race {} of {}: {}", at + 1, contests.len(), contests[at]));
        race(&mut entered[at], &contests[at], budget)
    });
    progress("");
    Ok(settled)
}

/// Checks the kernels on what the contest times them on, and that none that it needs is missing.
fn enter<'a>(
    harness: &mut Harness,
    contest: &Contest,
    kernels: &'a [Box<dyn Kernel>],
) -> Result<Verified<'a>, String> {
    progress(&format!("checking {contest}"));
    let workload = Workload::new(contest.operation, contest.rows, contest.cols, false);
    let verified = Verified::new(harness, kernels, workload)
        .map_err(|findings| findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"))?;
    let names: Vec<_> = verified.kernels().iter().map(|kernel| kernel.name()).collect();
    for row in &contest.demanded {
        let base = names.iter().find(|name| name.starts_with(row.base)).copied();
        for wanted in [SCALAR, row.candidate, base.unwrap_or(row.base)] {
            if !names.contains(&wanted) {
                return Err(format!("no kernel `{wanted}` runs {contest}; there are {}", names.join(", ")));
            }
        }
    }
    Ok(verified)
}

/// Races all kernels of the contest, the scalar one against itself too.
fn race(verified: &mut Verified<'_>, contest: &Contest, budget: Duration) -> Heat {
    let names: Vec<_> = verified.kernels().iter().map(|kernel| kernel.name().to_owned()).collect();
    let place = |name: &str| names.iter().position(|other| other == name);
    let scalar = place(SCALAR).expect("every kernel is there, as `enter` saw");
    let again = names.len();
    let places: Vec<usize> = (0..again).chain([scalar]).collect();
    let race = verified.race(&places, budget);
    let speedup = |row: &demands::Row| {
        let candidate = place(row.candidate).expect("every kernel is there, as `enter` saw");
        let bases = (0..names.len()).filter(|&base| names[base].starts_with(row.base));
        let fastest = bases.min_by(|&a, &b| race.nanoseconds(a).total_cmp(&race.nanoseconds(b)));
        let base = fastest.expect("every base is there, as `enter` saw");
        (names[base].clone(), race.speedup(candidate, base))
    };
    Heat { control: race.speedup(scalar, again), speedups: contest.demanded.iter().map(speedup).collect() }
}

/// Overwrites the line of progress on a terminal; elsewhere, nothing.
fn progress(line: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{line}");
    }
}
