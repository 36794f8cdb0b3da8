//! `qk256 check`: every kernel, every rung, then its speed beside the scalar ones.

mod json;
mod junit;
mod speed;
mod table;

use std::io::{Write, stderr, stdout};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use qk256_verify::check::{self, Budget, KernelReport, Plan, Progress, Report};
use qk256_verify::guest::Guests;
use qk256_verify::{Harness, Weights, registry};

use crate::guests::Libraries;

use crate::Verdict;
use crate::output::OutputFile;
use crate::select::Selection;
use speed::{Beside, Speed};
use table::Extras;

/// Check kernels against exact oracles, then time them beside scalar code.
///
/// Without options: every kernel that this CPU can run, for about twenty seconds.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,

    #[command(flatten)]
    libraries: Libraries,

    /// Workers for each library at a time [default: as many as there are cores]
    #[arg(long, value_name = "NUMBER", requires = "libraries")]
    jobs: Option<usize>,

    /// How long to go on with cases, the sweep of all edges first: 30s, 5m, 8h. The tensors of --weights are checked whole and
    /// come before, the timing comes after
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration, default_value = "15s")]
    time: Duration,

    /// Make this many cases for each operation, the sweep of all edges first, whatever time it takes
    #[arg(long, value_name = "NUMBER", conflicts_with = "time", value_parser = clap::value_parser!(u64).range(1..))]
    cases: Option<u64>,

    /// The seed of the run; a fresh one is drawn, and shown, if there is none
    #[arg(long)]
    seed: Option<u64>,

    /// Go on with the drawn cases of so many seeds, from the first on. With --cases each seed gets so many
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,

    /// Try what can be tried whole, too: all 2^32 scales of dequantize, and every one-hot x of gemv up to 1100 columns. Takes
    /// minutes, whatever the time or number given
    #[arg(long)]
    exhaustive: bool,

    /// Time nothing
    #[arg(long)]
    no_speed: bool,

    /// Show what was checked of each kernel: properties, order of summation, the case of the worst error
    #[arg(long, short)]
    verbose: bool,

    /// Quantise every 2-D f32, f16 or bf16 tensor of this safetensors file and check each kernel on it
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,

    /// Write the report to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write the report to this file as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    /// Fail if kernels are skipped for want of this CPU feature, or of one that all kernels need which need it. May be given
    /// several times
    #[arg(long, value_name = "FEATURE")]
    require: Vec<String>,
}

/// What the run comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Pass,
    Finding,
    /// Nothing was found, but something was not checked that had to be.
    Invalid(String),
}

pub(crate) fn run(args: &Args) -> Result<Verdict> {
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
                "--require {feature}: no chosen kernel needs this feature; `qk256 list` shows what each needs"
            );
        }
    }
    let files = Files::create(args)?;
    let weights = args.weights.as_deref().map(open).transpose()?;
    let mut harness = Harness::new(weights);
    let bar = progress_bar();
    let mut report = check::check(&mut harness, &kernels, &args.plan(), &mut |progress| {
        show(&bar, progress);
        ControlFlow::Continue(())
    })?;
    let speed = if args.no_speed {
        vec![None; kernels.len()]
    } else {
        bar.set_message("timing");
        speed::measure(&mut harness, &all, &mut report)?
    };
    bar.finish_and_clear();
    files.write(args, &report, &speed, &[], harness.weights())
}

/// The same for the kernels of libraries.
fn run_guests(args: &Args, guests: &Guests) -> Result<Verdict> {
    if args.exhaustive || !args.require.is_empty() {
        bail!("--exhaustive and --require are for our own kernels; leave them out with --lib");
    }
    let wanted = args.selection.filter();
    if !guests.kernels().any(&wanted) {
        bail!("no library has a kernel of that name and that operation");
    }
    let files = Files::create(args)?;
    let bar = progress_bar();
    let jobs = args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let mut report = guests.check(&args.plan(), &wanted, jobs, &mut |progress| {
        show(&bar, progress);
        ControlFlow::Continue(())
    })?;
    let (speed, beside) = if args.no_speed {
        (vec![None; report.kernels.len()], Vec::new())
    } else {
        bar.set_message("timing");
        speed::of_guests(guests, &mut report)
    };
    bar.finish_and_clear();
    files.write(args, &report, &speed, &beside, None)
}

impl Args {
    fn plan(&self) -> Plan {
        let seed = self.seed.unwrap_or_else(fresh_seed);
        let budget = self.cases.map_or(Budget::Time(self.time), Budget::Cases);
        Plan { seeds: self.seeds, exhaustive: self.exhaustive, ..Plan::new(seed, budget) }
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
        let create = |path: &Option<PathBuf>| path.as_deref().map(OutputFile::create).transpose();
        Ok(Self { json: create(&args.json)?, junit: create(&args.junit)? })
    }

    /// Writes all that there is to say of a check; `beside` are kernels of ours that guests were timed beside.
    fn write(
        self,
        args: &Args,
        report: &Report<'_>,
        speed: &Speeds,
        beside: &[Beside],
        weights: Option<&Weights>,
    ) -> Result<Verdict> {
        let outcome = outcome(report, &args.require);
        for finding in &report.findings {
            writeln!(stderr(), "{finding}\n")?;
        }
        write!(
            stdout(),
            "{}",
            table::render(report, speed, Extras { beside, weights, verbose: args.verbose })
        )?;
        if let Some(file) = self.json {
            file.write(json::render(report, speed, &outcome)?.as_bytes())?;
        }
        if let Some(file) = self.junit {
            file.write(junit::render(report)?.as_bytes())?;
        }
        for fault in &report.harness_faults {
            writeln!(stderr(), "qk256: {fault}")?;
        }
        if let Outcome::Invalid(why) = &outcome {
            writeln!(stderr(), "qk256: {why}")?;
        }
        Ok(if outcome == Outcome::Pass { Verdict::Pass } else { Verdict::Finding })
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

fn show(bar: &ProgressBar, progress: Progress<'_>) {
    bar.set_position((progress.fraction * 1000.0) as u64);
    bar.set_message(format!("{} cases, {} findings", progress.cases, progress.findings));
}

fn outcome(report: &Report<'_>, required: &[String]) -> Outcome {
    if !report.findings.is_empty() {
        return Outcome::Finding;
    }
    if !report.harness_faults.is_empty() {
        return Outcome::Invalid("not everything was checked, because of faults of the harness".to_owned());
    }
    for kernel in &report.kernels {
        if let Some(feature) = required.iter().find(|feature| is_forbidden_skip(report, kernel, feature)) {
            let missing = kernel.missing.join(", ");
            return Outcome::Invalid(format!(
                "{} was skipped, since this CPU lacks {missing}, and --require {feature} forbids that",
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
            Self::Invalid(_) => "invalid",
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

    /// Needs what no CPU has.
    const UNREACHABLE: KernelFn = KernelFn {
        name: "unreachable",
        required_features: &["avx9"],
        call: |_| panic!("a kernel is not called without its features"),
        ..ZEROS
    };

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
        let outcome = outcome(&report, &[]);
        assert_eq!(outcome, Outcome::Finding);
        let json: serde_json::Value =
            serde_json::from_str(&json::render(&report, &speed, &outcome).expect("it renders"))
                .expect("it is JSON");
        assert_eq!(json["verdict"], "finding");
        let finding = &json["findings"][0];
        assert_eq!((&finding["kernel"], &finding["operation"]), (&"zeros".into(), &"unpack".into()));
        assert_eq!(
            (&finding["property"], &finding["case"]),
            (&"bit-exact".into(), &"unpack len=1 regime=unit seed=2".into())
        );
        assert_eq!(finding["replay"], "qk256 replay --kernel zeros unpack len=1 regime=unit seed=2");
        let junit = junit::render(&report).expect("it renders");
        assert!(!junit.contains(r#"failures="0""#) && junit.contains("outputs are wrong"), "{junit}");
        assert!(table::render(&report, &speed, PLAIN).contains("WRONG in "));
    }

    #[test]
    fn a_skip_is_counted_and_fails_only_where_the_feature_is_required() {
        let all = registry::kernels();
        let scalar = all[0].as_ref();
        let report = checked(&[scalar, &UNREACHABLE]);
        assert_eq!(outcome(&report, &[]), Outcome::Pass);
        assert!(
            matches!(outcome(&report, &["avx9".to_owned()]), Outcome::Invalid(why) if why.contains("avx9"))
        );
        let table = table::render(&report, &vec![None, None], PLAIN);
        assert!(table.contains("skipped: no avx9"), "{table}");
        assert!(
            table.contains(
                "\n1 kernel skipped: this CPU lacks avx9\n20 cases, 1 kernel, seed 1: no findings\n"
            ),
            "{table}"
        );
        assert!(junit::render(&report).expect("it renders").contains(r#"skipped="1""#));
    }

    #[test]
    fn requiring_a_feature_requires_what_goes_with_it_and_not_what_one_kernel_needs_beside() {
        const PLAIN: KernelFn = KernelFn { name: "plain", required_features: &["sse2"], ..ZEROS };
        const BESIDE: KernelFn =
            KernelFn { name: "beside", required_features: &["sse2", "avx9"], ..UNREACHABLE };
        const OTHER: KernelFn = KernelFn { name: "other", ..BESIDE };
        let forbidden = |kernels: &[&dyn Kernel], feature: &str| {
            let report = checked(kernels);
            report.kernels.iter().filter(|kernel| is_forbidden_skip(&report, kernel, feature)).count()
        };
        // There is a kernel that does with less than the skipped one.
        assert_eq!(forbidden(&[&PLAIN, &BESIDE], "sse2"), 0);
        assert_eq!(forbidden(&[&PLAIN, &BESIDE], "avx9"), 1);
        // There is none: whatever needs the one needs the other.
        assert_eq!(forbidden(&[&BESIDE, &OTHER], "sse2"), 2);
    }

    #[test]
    fn a_run_that_can_check_nothing_is_invalid() {
        assert!(matches!(outcome(&checked(&[&UNREACHABLE]), &[]), Outcome::Invalid(_)));
    }
}
