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
use qk256_verify::timing::Workload;
use qk256_verify::{Harness, Kernel, Operation, registry};

use crate::decode::{self, Scope};
use crate::limit::limits;
use crate::{Verified, kernels_here};
use demands::{Contest, Row, contests};
use verdict::{Heat, Settled, settle};

/// The option by which a CPU that lacks what a candidate needs fails the gate.
pub const REQUIRE_AVX2: &str = "--require-avx2";

/// Runs the gate. The table goes to standard output, whatever is wrong to standard error. Rows that this CPU cannot run
/// fail only if they are of AVX2 and `skips_fail`; those of AVX-VNNI, which many a CPU with AVX2 lacks, never do.
pub fn run(skips_fail: bool) -> ExitCode {
    let (contests, skipped): (Vec<_>, Vec<_>) = contests().into_iter().partition(is_possible);
    let kernels: Vec<_> = Operation::ALL.into_iter().flat_map(kernels_here).collect();
    let skips_fail = skips_fail && skipped.iter().any(Contest::is_of_avx2);
    match decide(&contests, &kernels) {
        Ok(settled) => {
            let met = report::finish(&contests, &settled, report::count_rows(&skipped), skips_fail);
            if decodes() && met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(problem) => {
            eprintln!("{problem}\n\ngate: failed before anything was timed");
            ExitCode::FAILURE
        }
    }
}

/// Whether a whole model is decoded as fast as demanded.
fn decodes() -> bool {
    progress("decoding");
    let met = decode::run(Scope::Barred).unwrap_or_else(|problem| {
        eprintln!("{problem}\n\ngate: nothing was decoded");
        false
    });
    println!("gate: decoding {}", if met { "met its bars" } else { "FAILED" });
    met
}

/// Whether this CPU has all that the candidate of the contest needs. One that the registry does not have is another
/// matter: it fails later.
fn is_possible(contest: &Contest) -> bool {
    let lacks = |kernel: &dyn Kernel| !missing_features(kernel.required_features()).is_empty();
    !registry::kernels().iter().any(|kernel| {
        kernel.operation() == contest.case.operation
            && contest.demanded.iter().any(|row| row.candidate == kernel.name())
            && lacks(kernel.as_ref())
    })
}

/// Verifies everything, then times everything.
fn decide(contests: &[Contest], kernels: &[Box<dyn Kernel>]) -> Result<Vec<Settled>, String> {
    let (mut harness, limits) = (Harness::new(None), limits());
    let entered = contests.iter().map(|contest| enter(&mut harness, contest, kernels, &limits));
    let mut entered = entered.collect::<Result<Vec<_>, _>>()?;
    let demanded: Vec<_> = contests.iter().map(|contest| &contest.demanded[..]).collect();
    let settled = settle(&demanded, |at, budget| {
        progress(&format!("race {} of {}: {}", at + 1, contests.len(), contests[at]));
        race(&mut entered[at], &contests[at], budget)
    });
    progress("");
    Ok(settled)
}

/// What a kernel is called in a contest: its name, after its operation where that is not the contest's.
fn label(contest: &Contest, kernel: &dyn Kernel) -> String {
    let operation = kernel.operation();
    if operation == contest.case.operation {
        kernel.name().to_owned()
    } else {
        format!("{operation} {}", kernel.name())
    }
}

/// Checks the kernels that the contest is about on what it times them on, and that none that it needs is missing.
fn enter<'a>(
    harness: &mut Harness,
    contest: &Contest,
    kernels: &'a [Box<dyn Kernel>],
    limits: &'a [Box<dyn Kernel>],
) -> Result<Verified<'a>, String> {
    progress(&format!("checking {contest}"));
    let workload = Workload::of(contest.case.clone());
    let needed = |kernel: &&'a dyn Kernel| {
        let label = label(contest, *kernel);
        workload.can_time(*kernel)
            && contest.demanded.iter().any(|row| label == row.candidate || label.starts_with(row.base))
    };
    let needed: Vec<_> = kernels.iter().map(AsRef::as_ref).filter(needed).collect();
    let mut verified = Verified::new(harness, needed, workload)
        .map_err(|findings| findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"))?;
    for limit in limits.iter().map(AsRef::as_ref) {
        let label = label(contest, limit);
        let is_named = contest.demanded.iter().any(|row| label.starts_with(row.base));
        if is_named && verified.workload().can_time(limit) {
            verified.add_limit(limit);
        }
    }
    let labels = labels(contest, &verified);
    for row in &contest.demanded {
        let has = |wanted: &dyn Fn(&String) -> bool| labels.iter().any(wanted);
        if !has(&|label| label == row.candidate) || !has(&|label| label.starts_with(row.base)) {
            let (labels, Row { candidate, base, .. }) = (labels.join(", "), row);
            return Err(format!("{contest} needs `{candidate}` and `{base}`; there are {labels}"));
        }
    }
    Ok(verified)
}

fn labels(contest: &Contest, verified: &Verified<'_>) -> Vec<String> {
    verified.kernels().iter().map(|kernel| label(contest, *kernel)).collect()
}

/// Races all kernels of the contest, the base of its first row against itself too.
fn race(verified: &mut Verified<'_>, contest: &Contest, budget: Duration) -> Heat {
    let labels = labels(contest, verified);
    let control = &contest.demanded.first().expect("a contest is about something").base;
    let control = labels.iter().position(|label| label.starts_with(control));
    let control = control.expect("every base is there, as `enter` saw");
    let again = labels.len();
    let places: Vec<usize> = (0..again).chain([control]).collect();
    let race = verified.race(&places, budget);
    let speedup = |row: &Row| {
        let candidate = labels.iter().position(|label| label == row.candidate);
        let candidate = candidate.expect("every kernel is there, as `enter` saw");
        let bases = (0..labels.len()).filter(|&base| labels[base].starts_with(row.base));
        let fastest = bases.min_by(|&a, &b| race.nanoseconds(a).total_cmp(&race.nanoseconds(b)));
        let base = fastest.expect("every base is there, as `enter` saw");
        (labels[base].clone(), race.speedup(candidate, base))
    };
    Heat { control: race.speedup(control, again), speedups: contest.demanded.iter().map(speedup).collect() }
}

/// Overwrites the line of progress on a terminal; elsewhere, nothing.
fn progress(line: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{line}");
    }
}
