//! Kernels of the registry, checked on the very data that they are then timed on.

use std::time::Duration;

use qk256_verify::kernel::missing_features;
use qk256_verify::timing::{self, Race, Workload};
use qk256_verify::trial::Prepared;
use qk256_verify::{Case, Domain, Finding, Harness, Kernel, Operation, registry};

/// The kernels of the registry for `operation` on plain data that can be timed on this CPU. Says on standard error what it lacks.
pub fn kernels_here(operation: Operation) -> Vec<Box<dyn Kernel>> {
    let mut kernels = registry::kernels();
    kernels.retain(|kernel| {
        let (missing, is_meant) =
            (missing_features(kernel.required_features()), kernel.domain() == Domain::new(operation));
        if is_meant && !missing.is_empty() {
            eprintln!("skipped: {kernel:?} needs what this CPU lacks: {}", missing.join(", "));
        }
        is_meant && missing.is_empty() && !kernel.shares_work()
    });
    kernels
}

/// A workload and the kernels that were found right on it: nothing else is timed here.
#[derive(Debug)]
pub struct Verified<'a> {
    kernels: Vec<&'a dyn Kernel>,
    workload: Workload,
}

impl<'a> Verified<'a> {
    /// Examines each of `kernels` by its case of `workload`. Those that do not support it are left out, and standard error
    /// says so.
    ///
    /// # Errors
    /// What was found, if any of them violates anything.
    pub fn new(
        harness: &mut Harness,
        kernels: impl IntoIterator<Item = &'a dyn Kernel>,
        workload: Workload,
    ) -> Result<Self, Vec<Finding>> {
        let mut cases: Vec<(Case, Prepared)> = Vec::new();
        let (mut right, mut findings) = (Vec::new(), Vec::new());
        for kernel in kernels {
            let case = workload.case_for(kernel);
            if cases.iter().all(|(prepared, _)| *prepared != case) {
                let prepared = harness.prepare(&case).expect("the workload has made the data of its case");
                cases.push((case.clone(), prepared));
            }
            let (_, prepared) = cases.iter().find(|(prepared, _)| *prepared == case).expect("just prepared");
            let trial = harness.examine(kernel, prepared);
            match trial.skipped {
                Some(why) => eprintln!("skipped: {kernel:?} on `{case}`: {why}"),
                None => right.push(kernel),
            }
            let finding = |failure| Finding::new(kernel, &case, harness.weights(), failure);
            findings.extend(trial.failures.into_iter().map(finding));
        }
        if findings.is_empty() { Ok(Self { kernels: right, workload }) } else { Err(findings) }
    }

    /// The same without a look: kernels that were examined on this workload before, and limits, which do less than the work and
    /// so would pass no check.
    pub(crate) fn trusting(kernels: Vec<&'a dyn Kernel>, workload: Workload) -> Self {
        Self { kernels, workload }
    }

    /// The kernels.
    pub fn kernels(&self) -> &[&'a dyn Kernel] {
        &self.kernels
    }

    /// What they are timed on.
    pub fn workload(&self) -> &Workload {
        &self.workload
    }

    /// The same, for other kernels.
    pub(crate) fn into_workload(self) -> Workload {
        self.workload
    }

    /// CPU time of `calls` calls of the kernel at place `kernel`.
    pub fn time(&mut self, kernel: usize, calls: u64) -> Duration {
        self.workload.time(self.kernels[kernel], calls)
    }

    /// Times the kernels at these places beside each other; one may stand there twice.
    pub fn race(&mut self, places: &[usize], budget: Duration) -> Race {
        let kernels: Vec<&dyn Kernel> = places.iter().map(|&place| self.kernels[place]).collect();
        timing::race(&kernels, &mut self.workload, budget)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qk256_verify::{Arguments, Outcome};

    /// A kernel that writes the same code everywhere, or does not unpack at all.
    struct Constant(Option<u8>);

    impl Kernel for Constant {
        fn name(&self) -> &str {
            "constant"
        }

        fn domain(&self) -> Domain {
            Domain::new(Operation::Unpack)
        }

        fn refuses_wrong_sizes(&self) -> bool {
            false
        }

        fn call(&self, arguments: Arguments<'_>) -> Outcome {
            let Some(code) = self.0 else { return Outcome::Unsupported };
            arguments.out_bytes.fill(code);
            Outcome::Done
        }
    }

    fn verify(kernel: Constant) -> Result<usize, Vec<Finding>> {
        let mut kernels = kernels_here(Operation::Unpack);
        kernels.truncate(1);
        kernels.push(Box::new(kernel));
        let workload = Workload::new(Operation::Unpack, 1, 256, false);
        Verified::new(&mut Harness::new(None), kernels.iter().map(AsRef::as_ref), workload)
            .map(|verified| verified.kernels().len())
    }

    #[test]
    fn a_kernel_that_is_wrong_on_the_workload_is_not_timed() {
        let findings = verify(Constant(Some(1))).expect_err("all ones are not what the bytes say");
        assert!(findings.iter().all(|finding| finding.kernel == "constant"), "{findings:?}");
        assert!(!findings.is_empty());
    }

    #[test]
    fn a_kernel_that_does_not_support_the_workload_is_left_out() {
        assert_eq!(verify(Constant(None)), Ok(1));
    }
}
