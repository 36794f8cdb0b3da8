//! The report as JUnit XML.

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::{Line, Report};
use crate::judge::Verdict;

pub(super) fn render(report: &Report) -> Result<String, String> {
    let mut document = quick_junit::Report::new("qk256 gate");
    let mut suites: Vec<TestSuite> = Vec::new();
    for line in &report.rows {
        let operation = line.on.split(' ').next().unwrap_or_default();
        let at = suites.iter().position(|suite| suite.name.as_str() == operation).unwrap_or_else(|| {
            suites.push(TestSuite::new(operation));
            suites.len() - 1
        });
        suites[at].add_test_case(test_case(line, operation));
    }
    document.add_test_suites(suites);
    let mut bytes = Vec::new();
    document
        .serialize(&mut bytes)
        .map_err(|error| format!("cannot write the report as JUnit XML: {error}"))?;
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

fn test_case(line: &Line, operation: &str) -> TestCase {
    let status = match line.verdict {
        Verdict::Met => TestCaseStatus::success(),
        Verdict::NotJudged => skipped("not judged on this CPU: gate/gates.toml has no limit for it"),
        Verdict::Skipped => skipped(&format!("no {}", line.missing.join(", "))),
        // What is not known is an error of the run, not a failure of the kernel.
        Verdict::Missed | Verdict::Inconclusive | Verdict::Invalid => {
            let missed = line.verdict == Verdict::Missed;
            let kind = if missed { NonSuccessKind::Failure } else { NonSuccessKind::Error };
            let mut failure = TestCaseStatus::non_success(kind);
            failure.set_message(line.complaint().unwrap_or_default());
            failure
        }
    };
    let bar = line.at_least.map_or(String::new(), |at_least| format!(" at least {at_least}"));
    let mut case = TestCase::new(line.name() + &bar, status);
    case.set_classname(operation);
    case
}

fn skipped(why: &str) -> TestCaseStatus {
    let mut skipped = TestCaseStatus::skipped();
    skipped.set_message(why);
    skipped
}

#[cfg(test)]
mod tests {
    use super::super::tests::of_every_kind;

    #[test]
    fn a_miss_is_a_failure_and_doubt_is_an_error() {
        let junit = of_every_kind().junit().expect("it renders");
        for count in [
            r#"tests="6""#,
            r#"errors="2""#,
            r#"failures="1""#,
            r#"skipped message="no avxvnni""#,
            r#"skipped message="not judged on this CPU"#,
        ] {
            assert!(junit.contains(count), "{count}: {junit}");
        }
    }
}
