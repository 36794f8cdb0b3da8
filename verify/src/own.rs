//! For authors of kernels in Rust: a test in a line, that fails with every finding.

use std::ops::ControlFlow;

pub use qk256_skip::FORBID_SKIPS;
use qk256_skip::skip_part;

use crate::case::{self, Case, Sweep};
use crate::check::{Budget, Plan, check};
use crate::domain::Domain;
use crate::fault_injection::FaultInjection;
use crate::finding::Finding;
use crate::kernel::{Kernel, missing_features};
use crate::trial::Harness;
use crate::words::count;

/// The variable that has one case run again in the place of all.
pub const CASE: &str = "QK256_CASE";

/// Drawn cases behind the sweep.
const DRAWN_CASES: u64 = 500;

/// Elements up to which cases are run: the harness may have been built without optimisation, as tests are.
const MOST_ELEMENTS: usize = 1 << 18;

/// Holds a kernel to what `qk256 check` holds kernels to: the sweep of all edges and shapes, then drawn cases, up to 2^18 elements; `qk256
/// check` has larger ones. Takes seconds. To be called
/// from a test; where [`CASE`] is set only that case is run.
///
/// # Panics
/// With every finding, shrunk, each ending in the command that runs its case again; or if the check shows nothing of the kernel:
/// if this CPU lacks a feature that the kernel requires, or a name is no CPU feature ([`missing_features`]).
/// [`assert_right_or_skip`] may be used where the tests run on different CPUs.
pub fn assert_right(kernel: &dyn Kernel) {
    let missing = missing_features(kernel.required_features());
    assert!(
        missing.is_empty(),
        "{kernel:?} cannot be checked: this CPU lacks {}. To skip it on such a CPU, call assert_right_or_skip",
        missing.join(", ")
    );
    let findings = match std::env::var(CASE) {
        Ok(line) => of_one_case(kernel, &line),
        Err(_) => of_all(kernel),
    };
    let blocks: Vec<String> = findings.iter().map(reported).collect();
    assert!(
        findings.is_empty(),
        "{kernel:?}: {}\n{}",
        count(findings.len() as u64, "finding"),
        blocks.join("\n")
    );
}

/// As [`assert_right`], but on a CPU that lacks a feature that the kernel requires, the kernel is not called: a line on standard error
/// reports the skip (`skipped: TEST (KERNEL) needs FEATURE`), also when the test harness captures the output.
///
/// # Panics
/// As [`assert_right`], but for missing features; those panic if the variable [`FORBID_SKIPS`] forbids the skip. Names that are no CPU
/// feature panic always.
#[track_caller]
pub fn assert_right_or_skip(kernel: &dyn Kernel) {
    let missing = missing_features(kernel.required_features());
    if missing.is_empty() {
        assert_right(kernel);
    } else {
        skip_part(&format!("{kernel:?}"), &missing);
    }
}

fn of_one_case(kernel: &dyn Kernel, line: &str) -> Vec<Finding> {
    let case: Case = line.parse().unwrap_or_else(|error| panic!("{CASE}: {error}"));
    if case.domain() != kernel.domain() {
        return Vec::new();
    }
    Harness::new(None).findings(kernel, &case).unwrap_or_else(|error| panic!("{CASE}: {error}"))
}

fn of_all(kernel: &dyn Kernel) -> Vec<Finding> {
    let cases = Sweep::of(kernel.domain()).len() + DRAWN_CASES;
    let plan = Plan::new(1, Budget::Cases(cases));
    let report =
        check(&mut Harness::with_faults(None, &Small), &[kernel], &plan, &mut |_| ControlFlow::Continue(()))
            .expect("cases without tensors have data");
    if let (true, Some(vacuous)) = (report.findings.is_empty(), report.vacuous()) {
        panic!("{vacuous}");
    }
    report.findings
}

/// Draws another case where one is large.
#[derive(Debug)]
struct Small;

impl FaultInjection for Small {
    fn case(&self, domain: Domain, seed: u64, index: u64) -> Case {
        let case = case::nth(domain, seed, index);
        let is_large = case.once && case.rows * case.cols > MOST_ELEMENTS;
        if is_large { case::from_seed(domain, seed, index) } else { case }
    }
}

/// A finding with the command that shows it again: the test itself.
fn reported(finding: &Finding) -> String {
    let again = format!("{CASE}='{}' cargo test", finding.case);
    Finding { replay: again, ..finding.clone() }.to_string()
}
