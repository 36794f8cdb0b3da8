//! The report as JUnit XML: a suite for each operation and format, a test case for each kernel and property.

use anyhow::{Context, Result};
use qk256_verify::Domain;
use qk256_verify::Property;
use qk256_verify::check::{KernelReport, Report};
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::{End, text};

pub(super) fn render(report: &Report<'_>, end: &End) -> Result<String> {
    let mut document = quick_junit::Report::new("qk256 check");
    for name in suites(report) {
        let mut suite = TestSuite::new(name.as_str());
        for kernel in report.kernels.iter().filter(|kernel| kernel.kernel.domain().to_string() == name) {
            suite.add_test_cases(test_cases(report, kernel));
        }
        suite.add_property(("seed", report.seed.to_string().as_str()));
        document.add_test_suite(suite);
    }
    if let Some(signal) = end.signal {
        document.add_test_suite(interrupted(&end.shown(signal)));
    }
    let mut bytes = Vec::new();
    document.serialize(&mut bytes).context("cannot write the report as JUnit XML")?;
    text(bytes)
}

/// Operations with the formats that are not plain, each once, in the order of operations.
fn suites(report: &Report<'_>) -> Vec<String> {
    let mut domains: Vec<Domain> = report.kernels.iter().map(|kernel| kernel.kernel.domain()).collect();
    domains.sort_by_key(|domain| domain.operation);
    let mut names: Vec<String> = Vec::new();
    for name in domains.iter().map(ToString::to_string) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// That the run was not whole: an error, which is no pass.
fn interrupted(why: &str) -> TestSuite {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    status.set_message(why);
    let mut suite = TestSuite::new("run");
    suite.add_test_case(TestCase::new("completed", status));
    suite
}

fn test_cases(report: &Report<'_>, kernel: &KernelReport<'_>) -> Vec<TestCase> {
    let name = kernel.kernel.name();
    if let Some(why) = kernel.why_skipped() {
        let mut skipped = TestCaseStatus::skipped();
        skipped.set_message(why);
        return vec![TestCase::new(name, skipped)];
    }
    let own = |property: Property| {
        report.findings.iter().filter(move |finding| {
            finding.properties().contains(&property)
                && finding.kernel == name
                && finding.case.domain() == kernel.kernel.domain()
        })
    };
    let properties = Property::ALL
        .into_iter()
        .filter(|&property| kernel.counts.properties.of(property) > 0 || own(property).next().is_some());
    properties
        .map(|property| {
            let blocks: Vec<String> = own(property).map(ToString::to_string).collect();
            let status = own(property).next().map_or(TestCaseStatus::success(), |finding| {
                let mut failure = TestCaseStatus::non_success(NonSuccessKind::Failure);
                failure.set_message(finding.detail()).set_description(blocks.join("\n\n"));
                failure
            });
            let mut case = TestCase::new(format!("{name} {property}"), status);
            case.set_classname(kernel.kernel.domain().to_string());
            case
        })
        .collect()
}
