//! For authors of kernels in Rust: a test in a line, that fails with every finding.

use std::ops::ControlFlow;

use crate::case::{Case, Sweep};
use crate::check::{Budget, Plan, check};
use crate::finding::Finding;
use crate::kernel::{Kernel, can_run};
use crate::trial::Harness;

/// The variable that has one case run again in the place of all.
pub const CASE: &str = "QK256_CASE";

/// Drawn cases behind the sweep.
const DRAWN_CASES: u64 = 500;

/// Holds a kernel to everything that `qk256 check` holds kernels to: the sweep of all edges, then drawn cases. Takes seconds. To be called
/// from a test; where [`CASE`] is set only that case is run.
///
/// A kernel whose CPU features are missing is not called; that is said on standard error.
///
/// # Panics
/// With every finding, shrunk, each ending in the command that runs its case again; or if the check shows nothing of the kernel.
pub fn assert_right(kernel: &dyn Kernel) {
    if !can_run(kernel) {
        return;
    }
    let findings = match std::env::var(CASE) {
        Ok(line) => of_one_case(kernel, &line),
        Err(_) => of_all(kernel),
    };
    let blocks: Vec<String> = findings.iter().map(told).collect();
    assert!(findings.is_empty(), "{kernel:?}: {} finding(s)\n{}", findings.len(), blocks.join("\n"));
}

fn of_one_case(kernel: &dyn Kernel, line: &str) -> Vec<Finding> {
    let case: Case = line.parse().unwrap_or_else(|error| panic!("{CASE}: {error}"));
    if case.operation != kernel.operation() {
        return Vec::new();
    }
    Harness::new(None).findings(kernel, &case).unwrap_or_else(|error| panic!("{CASE}: {error}"))
}

fn of_all(kernel: &dyn Kernel) -> Vec<Finding> {
    let cases = Sweep::of(kernel.operation()).len() + DRAWN_CASES;
    let plan = Plan::new(1, Budget::Cases(cases));
    let report = check(&mut Harness::new(None), &[kernel], &plan, &mut |_| ControlFlow::Continue(()))
        .expect("cases without tensors have data");
    if let (true, Some(vacuous)) = (report.findings.is_empty(), report.vacuous()) {
        panic!("{vacuous}");
    }
    report.findings
}

/// A finding with the command that shows it again: the test itself.
fn told(finding: &Finding) -> String {
    let again = format!("{CASE}='{}' cargo test", finding.case);
    Finding { replay: again, ..finding.clone() }.to_string()
}
