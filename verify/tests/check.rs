//! What a run of `check` does, and what it must not let pass, through the public API.

use std::ops::ControlFlow;

use qk256_verify::check::{Budget, Plan, Progress, Report, check};
use qk256_verify::{Arguments, Harness, Kernel, KernelFn, Operation, Outcome};

/// Codes of zero, whatever the bytes.
const ZEROS: KernelFn = KernelFn {
    name: "zeros",
    operation: Operation::Unpack,
    required_features: &[],
    refuses_wrong_sizes: false,
    call: |arguments| {
        let Arguments::Unpack { codes, .. } = arguments else { return Outcome::Unsupported };
        codes.fill(0);
        Outcome::Done
    },
};

fn checked<'a>(
    kernels: &[&'a dyn Kernel],
    plan: Plan,
    watch: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Report<'a> {
    check(&mut Harness::new(None), kernels, &plan, watch).expect("cases without tensors have data")
}

#[test]
fn a_watcher_ends_the_run_at_the_first_finding_and_has_it_as_it_was_met() {
    let plan = Plan { minimize: false, ..Plan::new(1, Budget::Cases(1000)) };
    let stop = &mut |progress: Progress<'_>| {
        assert_eq!(progress.found.len(), progress.findings);
        if progress.findings > 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let report = checked(&[&ZEROS], plan, stop);
    assert_eq!((report.findings.is_empty(), report.kernels[0].failed), (false, 1));
    assert!(report.cases < 100, "{} cases were made", report.cases);
    let whole = checked(&[&ZEROS], Plan::new(1, Budget::Cases(20)), &mut |_| ControlFlow::Continue(()));
    assert!(whole.cases >= 20);
    assert_eq!(whole.findings[0].case.to_string(), "unpack len=1 regime=unit seed=2");
}
