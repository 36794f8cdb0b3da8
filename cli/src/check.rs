//! `qk256 check`: every kernel, every property, then its speed beside the scalar ones.

mod args;
mod json;
mod junit;
mod table;
mod watch;

use std::io::{Write, stderr};

use anyhow::{Context, Result, bail};
use qk256_verify::check::{KernelReport, Report};
use qk256_verify::examiner::{ExamineError, Timing};

use crate::Verdict;
use crate::output::{self, OutputFile, stdout};
use crate::signals;
use table::Extras;
use watch::{End, Watch};

pub(crate) use args::Args;

/// What the run comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Pass,
    Finding,
    /// Nothing was found, but something was not checked that had to be.
    Invalid(String),
    /// Nothing was found before a signal ended the run.
    Interrupted(String),
}

pub(crate) fn run(args: &Args) -> Result<Verdict> {
    signals::watch();
    if args.exhaustive {
        args.libraries.forbid("--exhaustive")?;
    }
    if !args.require.is_empty() {
        args.libraries.forbid("--require")?;
    }
    let examiner = args.libraries.open(args.weights.as_ref())?;
    let kernels = args.selection.among(&examiner.kernels(), &args.libraries.formats)?;
    for feature in &args.require {
        if kernels.iter().all(|kernel| !kernel.required_features().contains(&feature.as_str())) {
            bail!(
                "--require {feature}: no chosen kernel needs this feature; `qk256 list` shows the features of each kernel"
            );
        }
    }
    let files = Files::create(args)?;
    if let Some(weights) = examiner.weights().filter(|weights| weights.tensors().is_empty()) {
        bail!("{} has no 2-D f32, f16 or bf16 tensor to check on", weights.path().display());
    }
    let jobs = args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let mut watch = Watch::new(args.fail_fast);
    let checked = examiner.check(&kernels, &args.plan(), jobs, &mut |progress| watch.see(progress));
    let mut report = match checked {
        Err(error @ ExamineError::Crashed) => {
            watch.end();
            // Nothing more can be done if standard error is gone.
            let _ = writeln!(stderr(), "qk256: {error}");
            return Ok(Verdict::Finding);
        }
        checked => checked?,
    };
    let timing = if args.no_speed || watch.is_over(report.findings.len()) {
        Timing::none(report.kernels.len())
    } else {
        watch.bar.set_message("timing");
        examiner.time(&mut report)?
    };
    watch.announce(&report.findings, true);
    let extras = Extras { timing: &timing, weights: examiner.weights(), verbose: args.verbose };
    files.write(args, &report, extras, &watch.end())
}

/// The files of the reports.
struct Files {
    json: Option<OutputFile>,
    junit: Option<OutputFile>,
}

impl Files {
    /// Makes sure that they can be written.
    fn create(args: &Args) -> Result<Self> {
        let outputs = [("--json", &args.json), ("--junit", &args.junit)];
        let [json, junit] = OutputFile::create_each(outputs)?;
        Ok(Self { json, junit })
    }

    /// Writes all that there is to report of a check. What cannot be written keeps nothing else from being written.
    fn write(self, args: &Args, report: &Report<'_>, extras: Extras<'_>, end: &End) -> Result<Verdict> {
        let outcome = outcome(report, &args.require, end);
        let json = self
            .json
            .map(|file| file.write(json::render(report, &extras.timing.speeds, &outcome, end)?.as_bytes()));
        let junit = self.junit.map(|file| file.write(junit::render(report, end)?.as_bytes()));
        let table = write!(stdout(), "{}", table::render(report, extras));
        let mut complaints = report.harness_faults.clone();
        complaints
            .extend(outcome.why_invalid().map(str::to_owned).or(end.signal.map(|name| end.shown(name))));
        for complaint in complaints {
            // Nothing more can be done if standard error is gone.
            let _ = writeln!(stderr(), "qk256: {complaint}");
        }
        let written = [json, junit, Some(table.map_err(Into::into))];
        output::all_written(written.into_iter().flatten(), outcome.verdict())
    }
}

fn outcome(report: &Report<'_>, required: &[String], end: &End) -> Outcome {
    if !report.findings.is_empty() {
        return Outcome::Finding;
    }
    if let Some(signal) = end.signal {
        return Outcome::Interrupted(end.shown(signal));
    }
    if !report.harness_faults.is_empty() {
        return Outcome::Invalid(
            "not everything was checked: the harness failed, as reported above".to_owned(),
        );
    }
    for kernel in &report.kernels {
        if let Some(feature) = required.iter().find(|feature| is_forbidden_skip(report, kernel, feature)) {
            let missing = kernel.missing.join(", ");
            return Outcome::Invalid(format!(
                "{} was skipped because this CPU lacks {missing}, and --require {feature} forbids that",
                kernel.label()
            ));
        }
    }
    report.vacuous().map_or(Outcome::Pass, |vacuous| Outcome::Invalid(vacuous.to_string()))
}

/// Whether the kernel was skipped because `feature` is missing, or another that all chosen kernels need which need it: to require
/// `avx2` is to require `fma` too, but not AVX-VNNI, which one kernel of several needs beside.
fn is_forbidden_skip(report: &Report<'_>, kernel: &KernelReport<'_>, feature: &str) -> bool {
    let needs = |other: &KernelReport<'_>, feature: &str| other.kernel.required_features().contains(&feature);
    let by_all = |missing: &String| {
        report.kernels.iter().filter(|other| needs(other, feature)).all(|other| needs(other, missing))
    };
    needs(kernel, feature) && kernel.missing.iter().any(by_all)
}

impl Outcome {
    /// The word in the JSON report.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Finding => "finding",
            Self::Invalid(_) | Self::Interrupted(_) => "invalid",
        }
    }

    /// Why the run shows too little.
    fn why_invalid(&self) -> Option<&str> {
        match self {
            Self::Invalid(why) | Self::Interrupted(why) => Some(why),
            Self::Pass | Self::Finding => None,
        }
    }

    const fn verdict(&self) -> Verdict {
        match self {
            Self::Pass => Verdict::Pass,
            Self::Finding | Self::Invalid(_) => Verdict::Finding,
            Self::Interrupted(_) => Verdict::Interrupted,
        }
    }
}

/// Turns a formatting error, which strings never give, into the error type of commands.
fn text(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).context("the report is not UTF-8")
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use qk256_verify::check::{self, Budget, Plan};
    use qk256_verify::examiner::InProcess;
    use qk256_verify::{
        Domain, Examiner, Harness, Kernel, KernelFn, Operation, Outcome as CallOutcome, registry,
    };

    use super::*;

    /// Codes of zero, whatever the bytes.
    const ZEROS: KernelFn = KernelFn {
        name: "zeros",
        domain: Domain::new(Operation::Unpack),
        required_features: &[],
        refuses_wrong_sizes: false,
        call: |arguments| {
            arguments.out_bytes.fill(0);
            CallOutcome::Done
        },
    };

    /// Needs a feature of another architecture, which this CPU never has.
    const UNREACHABLE: KernelFn = KernelFn {
        name: "unreachable",
        required_features: &["sve2"],
        call: |_| panic!("a kernel is not called without its features"),
        ..ZEROS
    };

    const END: End = End { seconds: 1.0, signal: None };

    const PLAN: Plan = Plan::new(1, Budget::Cases(20));

    /// The table of a report, with nothing more than is always shown.
    fn table(report: &Report<'_>, timing: &Timing) -> String {
        table::render(report, Extras { timing, weights: None, verbose: false })
    }

    fn checked<'a>(kernels: &[&'a dyn Kernel]) -> Report<'a> {
        check::check(&mut Harness::new(None), kernels, &PLAN, &mut |_| ControlFlow::Continue(()))
            .expect("cases have data")
    }

    #[test]
    fn a_wrong_kernel_is_a_finding_in_every_report_and_is_not_timed() {
        let examiner = InProcess::of(vec![Box::new(ZEROS)], Harness::new(None));
        let report = examiner.check(&examiner.kernels(), &PLAN, 1, &mut |_| ControlFlow::Continue(()));
        let mut report = report.expect("cases have data");
        let timing = examiner.time(&mut report).expect("it has data");
        assert!(timing.speeds[0].is_none(), "a wrong kernel has no speed");
        let outcome = outcome(&report, &[], &END);
        assert_eq!(outcome, Outcome::Finding);
        let json: serde_json::Value =
            serde_json::from_str(&json::render(&report, &timing.speeds, &outcome, &END).expect("it renders"))
                .expect("it is JSON");
        assert_eq!(json["verdict"], "finding");
        let finding = &json["findings"][0];
        assert_eq!((&finding["kernel"], &finding["operation"]), (&"zeros".into(), &"unpack".into()));
        assert_eq!(
            (&finding["property"], &finding["case"]),
            (&"bit-exact".into(), &"unpack len=1 dist=unit seed=2".into())
        );
        assert_eq!(
            (&finding["index"], &finding["got"], &finding["wrong"]),
            (&0.into(), &0.into(), &1.into())
        );
        assert_eq!(finding["replay"], "qk256 replay --kernel zeros unpack len=1 dist=unit seed=2");
        let junit = junit::render(&report, &END).expect("it renders");
        assert!(!junit.contains(r#"failures="0""#) && junit.contains("1 of 1 output is wrong"), "{junit}");
        assert!(table(&report, &timing).contains("WRONG in "));
    }

    #[test]
    fn a_skip_is_counted_and_fails_only_where_the_feature_is_required() {
        let all = registry::kernels();
        let scalar = all[0].as_ref();
        let report = checked(&[scalar, &UNREACHABLE]);
        assert_eq!(outcome(&report, &[], &END), Outcome::Pass);
        assert!(
            matches!(outcome(&report, &["sve2".to_owned()], &END), Outcome::Invalid(why) if why.contains("sve2"))
        );
        let table = table(&report, &Timing::none(2));
        assert!(table.contains("skipped: no sve2"), "{table}");
        assert!(
            table.contains(
                "\n1 kernel skipped: this CPU lacks sve2\n20 cases, 1 kernel, seed 1: no findings\n"
            ),
            "{table}"
        );
        assert!(junit::render(&report, &END).expect("it renders").contains(r#"skipped="1""#));
    }

    #[test]
    fn requiring_a_feature_requires_what_goes_with_it_and_not_what_one_kernel_needs_beside() {
        const PLAIN: KernelFn = KernelFn { name: "plain", required_features: &["sse2"], ..ZEROS };
        const BESIDE: KernelFn =
            KernelFn { name: "beside", required_features: &["sse2", "sve2"], ..UNREACHABLE };
        const OTHER: KernelFn = KernelFn { name: "other", ..BESIDE };
        let forbidden = |kernels: &[&dyn Kernel], feature: &str| {
            let report = checked(kernels);
            report.kernels.iter().filter(|kernel| is_forbidden_skip(&report, kernel, feature)).count()
        };
        // There is a kernel that does with less than the skipped one.
        assert_eq!(forbidden(&[&PLAIN, &BESIDE], "sse2"), 0);
        assert_eq!(forbidden(&[&PLAIN, &BESIDE], "sve2"), 1);
        // There is none: whatever needs the one needs the other.
        assert_eq!(forbidden(&[&BESIDE, &OTHER], "sse2"), 2);
    }

    #[test]
    fn a_run_that_can_check_nothing_is_invalid() {
        assert!(matches!(outcome(&checked(&[&UNREACHABLE]), &[], &END), Outcome::Invalid(_)));
    }
}
