//! `qk256 check`: every kernel, every rung, then its speed beside the scalar ones.

mod json;
mod junit;
mod speed;
mod table;

use std::io::{Write, stderr};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use qk256_verify::check::{self, Budget, KernelReport, Plan, Progress, Report};
use qk256_verify::guest::Guests;
use qk256_verify::words::count;
use qk256_verify::{Finding, Harness, Weights, interrupt, registry};

use crate::guests::{Libraries, OF_LIBRARIES};

use crate::Verdict;
use crate::output::{self, OutputFile, stdout};
use crate::select::Selection;
use crate::signals;
use crate::usage::{self, KERNELS, REPORTS, RUN, help_end};
use speed::Speed;
use table::Extras;

/// Check kernels against exact oracles, then time them against scalar code.
///
/// Without options it checks every kernel of this project that this CPU can run, for 15 seconds, and then times them. Each finding is
/// printed at once, with the command that repeats it. A table with one line for each kernel comes last.
#[derive(clap::Args)]
#[command(after_help = help_end!(
    "qk256 check                                   every kernel that this CPU can run",
    "qk256 check --op gemv --kernel avx2 --for 5m  one kernel, for longer",
    "qk256 check --lib ./libkernel.so              the kernels of a shared library",
    "qk256 check --seed 7 --cases 5000             the same cases on every machine";
    "0" => "no findings",
    "1" => "a finding, or something required was not checked"
))]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,

    #[command(flatten)]
    libraries: Libraries,

    /// Number of worker processes for each library [default: number of CPU cores]
    #[arg(
        long,
        value_name = "NUMBER",
        value_parser = usage::at_least_one::<usize>,
        requires = "libraries",
        allow_negative_numbers = true,
        help_heading = KERNELS
    )]
    jobs: Option<usize>,

    /// Fail if a kernel is skipped because the CPU lacks this feature, such as avx2. Can be repeated
    ///
    /// A feature that every chosen kernel with FEATURE needs as well counts too: `--require avx2` also requires fma.
    #[arg(long, value_name = "FEATURE", help_heading = KERNELS)]
    require: Vec<String>,

    /// Time for cases, such as 30s, 5m or 8h. The edge cases come first, then random cases
    ///
    /// The tensors of --weights are checked before, and the speed is measured after; both come on top.
    #[arg(long = "for", value_name = "TIME", value_parser = usage::time, default_value = "30s", help_heading = RUN)]
    time: Duration,

    /// Number of cases for each operation, instead of a time
    #[arg(
        long,
        value_name = "NUMBER",
        conflicts_with = "time",
        value_parser = usage::at_least_one::<u64>,
        allow_negative_numbers = true,
        help_heading = RUN
    )]
    cases: Option<u64>,

    /// Seed of the random cases, a whole number [default: a new one for each run; the last line shows it]
    #[arg(
        long,
        value_name = "NUMBER",
        value_parser = usage::whole::<u64>,
        allow_negative_numbers = true,
        help_heading = RUN
    )]
    seed: Option<u64>,

    /// Number of seeds to draw random cases from: SEED, SEED + 1 and so on. With --cases, each gets that many
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 1,
        value_parser = usage::at_least_one::<u64>,
        allow_negative_numbers = true,
        help_heading = RUN
    )]
    seeds: u64,

    /// Also check all 2^32 scales of dequantize, and all one-hot x of gemv up to 1100 columns. Takes minutes
    #[arg(long, help_heading = RUN)]
    exhaustive: bool,

    /// Also check vectors of 2^31 and 2^32 elements, first. Takes seconds for each kernel and 20 GiB of address space
    ///
    /// They take little memory: the same pages are mapped again and again.
    #[arg(long, help_heading = RUN)]
    huge: bool,

    /// Also quantise and check every 2-D f32, f16 or bf16 tensor of this safetensors file
    #[arg(long, value_name = "FILE", help_heading = RUN)]
    weights: Option<PathBuf>,

    /// Stop at the first finding. Other workers may still report what they find until they are stopped
    #[arg(long, visible_alias = "stop-on-finding", help_heading = RUN)]
    fail_fast: bool,

    /// Do not measure the speed
    #[arg(long, help_heading = RUN)]
    no_speed: bool,

    /// Also show what was checked of each kernel: properties, order of summation, case of the worst error
    #[arg(long, short, help_heading = REPORTS)]
    verbose: bool,

    /// Write the report to this file as JSON. `-` is standard output; the table then goes to standard error
    #[arg(long, value_name = "FILE", help_heading = REPORTS)]
    json: Option<PathBuf>,

    /// Write the report to this file as JUnit XML. `-` is standard output, as for --json
    #[arg(long, value_name = "FILE", help_heading = REPORTS)]
    junit: Option<PathBuf>,
}

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
    match args.libraries.open(args.weights.as_ref())? {
        Some(guests) => run_guests(args, &guests),
        None => run_own(args),
    }
}

fn run_own(args: &Args) -> Result<Verdict> {
    let all = registry::kernels();
    let kernels = args.selection.of(&all)?;
    for feature in &args.require {
        if kernels.iter().all(|kernel| !kernel.required_features().contains(&feature.as_str())) {
            bail!(
                "--require {feature}: no chosen kernel needs this feature; `qk256 list` shows the features of each kernel"
            );
        }
    }
    let files = Files::create(args)?;
    let weights = args.weights.as_deref().map(open).transpose()?;
    let mut harness = Harness::new(weights);
    harness.watch_process(true);
    let mut watch = Watch::new(args.fail_fast, Finding::to_string);
    let mut report = check::check(&mut harness, &kernels, &args.plan(), &mut |progress| watch.see(progress))?;
    let speed = if args.no_speed || watch.is_over(report.findings.len()) {
        vec![None; kernels.len()]
    } else {
        watch.bar.set_message("timing");
        speed::measure(&mut harness, &all, &mut report)?
    };
    watch.announce(&report.findings);
    let extras = Extras { beside: &[], weights: harness.weights(), verbose: args.verbose };
    files.write(args, &report, &speed, extras, &watch.end())
}

/// The same for the kernels of libraries.
fn run_guests(args: &Args, guests: &Guests) -> Result<Verdict> {
    if args.exhaustive {
        bail!("--exhaustive works with the kernels of this project only: leave it out, or leave out --lib");
    }
    if !args.require.is_empty() {
        bail!("--require works with the kernels of this project only: leave it out, or leave out --lib");
    }
    let wanted = args.selection.filter();
    args.selection.among(&guests.kernels().collect::<Vec<_>>()).context(OF_LIBRARIES)?;
    let files = Files::create(args)?;
    let jobs = args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let mut watch = Watch::new(args.fail_fast, notice);
    let mut report = guests.check(&args.plan(), &wanted, jobs, &mut |progress| watch.see(progress))?;
    let (speed, beside) = if args.no_speed || watch.is_over(report.findings.len()) {
        (vec![None; report.kernels.len()], Vec::new())
    } else {
        watch.bar.set_message("timing");
        speed::of_guests(guests, &mut report)
    };
    watch.show = Finding::to_string;
    watch.announced.clear();
    watch.announce(&report.findings);
    let extras = Extras { beside: &beside, weights: None, verbose: args.verbose };
    files.write(args, &report, &speed, extras, &watch.end())
}

/// What is printed of a finding at once whose case is made smaller when the run is over.
fn notice(finding: &Finding) -> String {
    let Finding { kernel, rung, case, seconds, .. } = finding;
    format!(
        "found after {:.1} s: {kernel} {} violates `{rung}`; a smaller case follows at the end\n  case:    {case}",
        seconds.unwrap_or_default(),
        finding.operation()
    )
}

/// What a run shows while it goes on, and when it ends.
struct Watch {
    bar: ProgressBar,
    start: Instant,
    fail_fast: bool,
    show: fn(&Finding) -> String,
    /// Findings that were printed.
    announced: Vec<Finding>,
}

/// When a run ended, and what ended it before its time.
struct End {
    seconds: f64,
    signal: Option<&'static str>,
}

impl Watch {
    fn new(fail_fast: bool, show: fn(&Finding) -> String) -> Self {
        Self { bar: progress_bar(), start: Instant::now(), fail_fast, show, announced: Vec::new() }
    }

    /// Shows progress, prints what was found, and decides whether the run goes on.
    fn see(&mut self, progress: Progress<'_>) -> ControlFlow<()> {
        self.announce(progress.found);
        self.bar.set_position((progress.fraction * 1000.0) as u64);
        self.bar.set_message(format!(
            "{}, {}",
            count(progress.cases, "case"),
            count(progress.findings as u64, "finding")
        ));
        if self.is_over(progress.findings) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Prints the findings that were not printed before.
    fn announce(&mut self, findings: &[Finding]) {
        for finding in findings {
            if !self.announced.contains(finding) {
                // The reports have it as well: they are written also where standard error is gone.
                self.bar.suspend(|| drop(writeln!(stderr(), "{}\n", (self.show)(finding))));
                self.announced.push(finding.clone());
            }
        }
    }

    /// Whether nothing more is to be done after so many findings.
    fn is_over(&self, findings: usize) -> bool {
        interrupt::is_requested() || self.fail_fast && findings > 0
    }

    fn end(&self) -> End {
        self.bar.finish_and_clear();
        let signal = signals::received().map(|(_, name)| name);
        End { seconds: self.start.elapsed().as_secs_f64(), signal }
    }
}

impl Args {
    fn plan(&self) -> Plan {
        let seed = self.seed.unwrap_or_else(fresh_seed);
        let budget = self.cases.map_or(Budget::Time(self.time), Budget::Cases);
        Plan { seeds: self.seeds, exhaustive: self.exhaustive, huge: self.huge, ..Plan::new(seed, budget) }
    }
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
    fn write(
        self,
        args: &Args,
        report: &Report<'_>,
        speed: &Speeds,
        extras: Extras<'_>,
        end: &End,
    ) -> Result<Verdict> {
        let outcome = outcome(report, &args.require, end);
        let json = self.json.map(|file| file.write(json::render(report, speed, &outcome, end)?.as_bytes()));
        let junit = self.junit.map(|file| file.write(junit::render(report, end)?.as_bytes()));
        let table = write!(stdout(), "{}", table::render(report, speed, extras));
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

impl End {
    fn shown(&self, signal: &str) -> String {
        format!(
            "{signal} ended the run after {:.1} s: the reports cover what was done until then",
            self.seconds
        )
    }
}

fn open(path: &std::path::Path) -> Result<Weights> {
    let weights = Weights::open(path)?;
    if weights.tensors().is_empty() {
        bail!("{} has no 2-D f32, f16 or bf16 tensor to check on", path.display());
    }
    Ok(weights)
}

/// A seed that people can type.
pub(crate) fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_nanos() as u64 % 1_000_000_007)
}

fn progress_bar() -> ProgressBar {
    let style =
        ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}").expect("the template is well-formed");
    ProgressBar::new(1000).with_style(style)
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

/// Whether the kernel was skipped for want of `feature`, or of another that all chosen kernels need which need it: to require
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

/// A speed for each kernel of the report, in its order.
type Speeds = Vec<Option<Speed>>;

/// Turns a formatting error, which strings never give, into the error type of commands.
fn text(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).context("the report is not UTF-8")
}

#[cfg(test)]
mod tests {
    use qk256_verify::{Arguments, Kernel, KernelFn, Operation, Outcome as CallOutcome};

    use super::*;

    /// Codes of zero, whatever the bytes.
    const ZEROS: KernelFn = KernelFn {
        name: "zeros",
        operation: Operation::Unpack,
        required_features: &[],
        refuses_wrong_sizes: false,
        call: |arguments| {
            let Arguments::Unpack { codes, .. } = arguments else { return CallOutcome::Unsupported };
            codes.fill(0);
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

    const PLAIN: Extras<'_> = Extras { beside: &[], weights: None, verbose: false };

    fn checked<'a>(kernels: &[&'a dyn Kernel]) -> Report<'a> {
        let plan = Plan::new(1, Budget::Cases(20));
        check::check(&mut Harness::new(None), kernels, &plan, &mut |_| ControlFlow::Continue(()))
            .expect("cases have data")
    }

    #[test]
    fn a_wrong_kernel_is_a_finding_in_every_report_and_is_not_timed() {
        let mut report = checked(&[&ZEROS]);
        let speed =
            speed::measure(&mut Harness::new(None), &[Box::new(ZEROS)], &mut report).expect("it has data");
        assert!(speed[0].is_none(), "a wrong kernel has no speed");
        let outcome = outcome(&report, &[], &END);
        assert_eq!(outcome, Outcome::Finding);
        let json: serde_json::Value =
            serde_json::from_str(&json::render(&report, &speed, &outcome, &END).expect("it renders"))
                .expect("it is JSON");
        assert_eq!(json["verdict"], "finding");
        let finding = &json["findings"][0];
        assert_eq!((&finding["kernel"], &finding["operation"]), (&"zeros".into(), &"unpack".into()));
        assert_eq!(
            (&finding["property"], &finding["case"]),
            (&"bit-exact".into(), &"unpack len=1 regime=unit seed=2".into())
        );
        assert_eq!(finding["replay"], "qk256 replay --kernel zeros unpack len=1 regime=unit seed=2");
        let junit = junit::render(&report, &END).expect("it renders");
        assert!(!junit.contains(r#"failures="0""#) && junit.contains("1 of 1 output is wrong"), "{junit}");
        assert!(table::render(&report, &speed, PLAIN).contains("WRONG in "));
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
        let table = table::render(&report, &vec![None, None], PLAIN);
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
