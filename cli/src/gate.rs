//! `qk256 gate`: is every promised speed-up there, and is nothing slower than it was?

use std::io::{Write, stderr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use qk256_benches::gate::against::Sides;
use qk256_benches::gate::instructions::{self, Counts};
use qk256_benches::gate::rows::{self, Demands};
use qk256_benches::gate::{
    Cpu, Effort, GateError, Program, Report, WORKER, against, calibrate, history, libraries, promises, worker,
};
use qk256_verify::guest::load_here;
use qk256_verify::registry;

use crate::Verdict;
use crate::output::{self, OutputFile, stdout};

/// Measure the speed-ups that are promised, or this build against another.
///
/// Exit code 0: every row is met. 1: a row is missed, or a kernel is wrong. 2: bad usage or bad input. 3: nothing is missed, and not
/// every row could be judged: the machine was too restless, or a ratio lies at its bar.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rows of this file in the place of those of benches/gates.toml
    #[arg(long, value_name = "FILE")]
    rows: Option<PathBuf>,

    /// Only rows in whose text, `KERNEL OPERATION SIZE over BASE`, this occurs
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,

    /// Measure the rows whose bars are figures of single CPUs, and print the table of this CPU for benches/gates.toml
    #[arg(long, conflicts_with_all = ["against", "instructions", "require"])]
    calibrate: bool,

    /// Measure this build against another: its `qk256`. With --lib: that library against another
    #[arg(long, value_name = "PROGRAM")]
    against: Option<PathBuf>,

    /// The library, with the C ABI, that is measured against another
    #[arg(long, value_name = "FILE", requires = "against")]
    lib: Option<PathBuf>,

    /// Hold the instructions that each kernel executes, counted by callgrind, against this file
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = instructions::OWN_PATH)]
    instructions: Option<PathBuf>,

    /// Write what was counted to the file of --instructions
    #[arg(long, requires = "instructions")]
    update: bool,

    /// Time nothing: with --instructions
    #[arg(long, requires = "instructions", conflicts_with = "against")]
    no_times: bool,

    /// Processes in which every row is measured
    #[arg(long, value_name = "NUMBER", default_value_t = Effort::default().processes, value_parser = at_least_three)]
    processes: usize,

    /// Begin no further process for rows that are neither met nor missed after this time
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration, default_value = "80s")]
    time: Duration,

    /// Fail if no row of a kernel that needs this CPU feature can run. May be given several times
    #[arg(long, value_name = "FEATURE")]
    require: Vec<String>,

    /// Write the report to this file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write it as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    /// Append it as Markdown, as $GITHUB_STEP_SUMMARY wants it
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,

    /// Write the figures as OpenMetrics text, which GitLab's metrics reports are
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,

    /// Write what is not met as GitLab's code-quality report
    #[arg(long, value_name = "FILE")]
    code_quality: Option<PathBuf>,

    /// Append the figures to this file, a line of JSON, for `qk256 history`
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

fn at_least_three(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number >= 3 => Ok(number),
        _ => Err("an interval needs three processes at least".to_owned()),
    }
}

/// Show how the figures of recorded runs move.
#[derive(clap::Args)]
pub(crate) struct HistoryArgs {
    /// What `qk256 gate --record` has written
    file: PathBuf,

    /// Only rows in whose text, `KERNEL OPERATION SIZE over BASE`, this occurs
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,

    /// Only the last so many runs
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    last: Option<u64>,
}

/// Time kernels for a gate in another process.
#[derive(clap::Args)]
pub(crate) struct WorkerArgs {
    #[arg(long, value_name = "FILE")]
    lib: Option<PathBuf>,
}

/// Call a kernel under callgrind.
#[derive(clap::Args)]
pub(crate) struct CallerArgs {
    task: String,
    kernel: String,
    calls: u64,
}

pub(crate) fn run(args: &Args) -> Result<Verdict> {
    let files = Files::create(args)?;
    let measured = match measure(args) {
        Err(error) => match error.downcast_ref::<GateError>() {
            Some(GateError::Wrong(_) | GateError::Ended { .. } | GateError::Silent { .. }) => {
                writeln!(stderr(), "qk256: {error}")?;
                return Ok(Verdict::Finding);
            }
            _ => return Err(error),
        },
        Ok(measured) => measured,
    };
    let Some(mut report) = measured else { return Ok(Verdict::Pass) };
    for feature in &args.require {
        require(&mut report, feature)?;
    }
    let mut written = files.write(args, &report);
    if args.calibrate {
        let verdict = print_bars(&report)?;
        return output::all_written(written.into_iter(), verdict);
    }
    written.push(write!(stdout(), "{}", report.table()).map_err(Into::into));
    for complaint in report.complaints() {
        // Nothing more can be done if standard error is gone.
        let _ = writeln!(stderr(), "{complaint}");
    }
    for note in report.notes() {
        written.push(writeln!(stdout(), "{note}").map_err(Into::into));
    }
    written.push(writeln!(stdout(), "{}", report.summary()).map_err(Into::into));
    let verdict = match report.verdict.exit_code() {
        0 => Verdict::Pass,
        1 => Verdict::Finding,
        _ => Verdict::Unknown,
    };
    output::all_written(written.into_iter(), verdict)
}

/// The table of this CPU on standard output, so that it can be appended to the file; what was measured on standard error.
fn print_bars(report: &Report) -> Result<Verdict> {
    write!(stderr(), "{}", report.table())?;
    match calibrate::table(report) {
        Ok(table) => {
            write!(stdout(), "\n{table}")?;
            Ok(Verdict::Pass)
        }
        Err(error @ GateError::Noisy { .. }) => {
            writeln!(stderr(), "qk256: {error}")?;
            Ok(Verdict::Unknown)
        }
        Err(error) => Err(error.into()),
    }
}

/// All that was asked for; `None` if counts were only to be written.
fn measure(args: &Args) -> Result<Option<Report>> {
    let mut demands = args.demands()?;
    if let Some(only) = &args.only {
        demands.retain(only);
    }
    if args.calibrate {
        demands.retain_reached();
    }
    let bar = progress_bar();
    let mut watch = |part: f64, what: &str| {
        bar.set_position((part * 1000.0) as u64);
        bar.set_message(what.to_owned());
    };
    let mut report = match &args.against {
        _ if args.no_times => None,
        Some(other) => Some(compare(args, other, &demands, &mut watch)?),
        None if demands.rows.is_empty() && demands.decoding.is_empty() => {
            let why = match &args.only {
                Some(only) => format!("--only {only:?} occurs in none"),
                None => "the file has no table that makes one".to_owned(),
            };
            bail!("no row is left: {why}")
        }
        None => Some(promises::run(&Program::itself(&[WORKER])?, &demands, args.effort(), &mut watch)?),
    };
    if let Some(path) = &args.instructions
        && let Some(counted) = count(args, path, &mut watch)?
    {
        match &mut report {
            Some(report) => report.extend(counted),
            None => report = Some(counted),
        }
    }
    bar.finish_and_clear();
    Ok(report)
}

fn compare(args: &Args, other: &Path, demands: &Demands, watch: &mut dyn FnMut(f64, &str)) -> Result<Report> {
    for file in args.lib.iter().map(PathBuf::as_path).chain([other]) {
        // Said here, where the option is known, and not by a process that cannot start.
        std::fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    }
    if let Some(lib) = &args.lib {
        return Ok(libraries::run(lib, other, &library, &demands.against, args.effort(), watch)?);
    }
    // A bare name would be looked up in PATH.
    let other = other.canonicalize().with_context(|| format!("cannot find {}", other.display()))?;
    let (new, old) = ([Program::itself(&[WORKER])?], [Program::at(&other, &[WORKER])]);
    Ok(against::run(&new, &old, &demands.against, Sides::Builds, args.effort(), watch)?)
}

/// A process with the kernels of a library.
fn library(file: &Path) -> Result<Program, GateError> {
    let not_text = || GateError::Nothing(format!("{}: the name of a library must be UTF-8", file.display()));
    let path = file.to_str().ok_or_else(not_text)?;
    Ok(Program { name: path.to_owned(), ..Program::itself(&[WORKER, "--lib", path])? })
}

/// Counts instructions: a report on them, or none if they were written to the file.
fn count(args: &Args, path: &Path, watch: &mut dyn FnMut(f64, &str)) -> Result<Option<Report>> {
    let start = Instant::now();
    // Before the work begins: it takes half a minute.
    let recorded = if args.update { None } else { Some(Counts::read(path)?) };
    let file = args.update.then(|| OutputFile::create(path)).transpose()?;
    let counts = Counts::of(&Program::itself(&[WORKER])?, &Program::itself(&[instructions::CALLER])?, watch)?;
    if let Some(file) = file {
        file.write(counts.text().as_bytes())?;
    }
    Ok(recorded.map(|recorded| counts.judge(&recorded, &path.display().to_string(), start)))
}

/// Fails the report if no row of a kernel ran that needs the feature.
fn require(report: &mut Report, feature: &str) -> Result<()> {
    let kernels = registry::kernels();
    let needs = |name: &str| {
        let mut of_name = kernels.iter().filter(|kernel| kernel.name() == name);
        of_name.any(|kernel| kernel.required_features().contains(&feature))
    };
    if !report.rows.iter().any(|line| needs(&line.kernel)) {
        bail!("--require {feature}: no row is about a kernel that needs this feature");
    }
    report.require(feature, |line| needs(&line.kernel));
    Ok(())
}

impl Args {
    fn effort(&self) -> Effort {
        let own = Effort::default();
        Effort { processes: self.processes, most: own.most.max(self.processes), time: self.time }
    }

    fn demands(&self) -> Result<Demands> {
        let cpu = Cpu::this();
        let Some(path) = &self.rows else { return Ok(Demands::own(cpu.as_ref())) };
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Demands::parse(&text, cpu.as_ref()).map_err(|why| anyhow::anyhow!("{}: {why}", path.display()))
    }
}

/// The files of the report.
struct Files {
    json: Option<OutputFile>,
    junit: Option<OutputFile>,
    metrics: Option<OutputFile>,
    code_quality: Option<OutputFile>,
    markdown: Option<OutputFile>,
}

impl Files {
    /// Makes sure that they can be written.
    fn create(args: &Args) -> Result<Self> {
        let [json, junit, metrics, code_quality] = OutputFile::create_each([
            ("--json", &args.json),
            ("--junit", &args.junit),
            ("--metrics", &args.metrics),
            ("--code-quality", &args.code_quality),
        ])?;
        let appended = |path: &Option<PathBuf>| path.as_deref().map(OutputFile::append_to).transpose();
        let (markdown, record) = (appended(&args.markdown)?, appended(&args.record)?);
        output::distinct(&[
            ("--json", json.as_ref()),
            ("--junit", junit.as_ref()),
            ("--metrics", metrics.as_ref()),
            ("--code-quality", code_quality.as_ref()),
            ("--markdown", markdown.as_ref()),
            ("--record", record.as_ref()),
        ])?;
        Ok(Self { json, junit, metrics, code_quality, markdown })
    }

    /// Writes each; what cannot be written keeps no other from being written.
    fn write(self, args: &Args, report: &Report) -> Vec<Result<()>> {
        let demands = args.rows.as_deref().unwrap_or(Path::new(rows::OWN_PATH));
        let write = |file: Option<OutputFile>, text: String| match file {
            Some(file) => file.write(text.as_bytes()),
            None => Ok(()),
        };
        let record = |path: &PathBuf| {
            history::record(report, path).with_context(|| format!("cannot write {}", path.display()))
        };
        vec![
            write(self.json, report.json()),
            report.junit().map_err(anyhow::Error::msg).and_then(|text| write(self.junit, text)),
            write(self.metrics, report.open_metrics()),
            write(self.code_quality, report.code_quality(&demands.display().to_string())),
            write(self.markdown, report.markdown()),
            args.record.as_ref().map_or(Ok(()), record),
        ]
    }
}

pub(crate) fn history(args: &HistoryArgs) -> Result<Verdict> {
    let shown = args.file.display();
    let text = std::fs::read_to_string(&args.file).with_context(|| format!("cannot read {shown}"))?;
    let (mut entries, broken) = history::read(&text);
    for line in broken {
        writeln!(stderr(), "{shown}: line {line} is no run of the gate: left out")?;
    }
    if let Some(last) = args.last {
        entries.drain(..entries.len().saturating_sub(last as usize));
    }
    if entries.is_empty() {
        bail!("{shown} has no run of the gate: `qk256 gate --record {shown}` adds one");
    }
    write!(stdout(), "{}", history::trends(&entries, &args.only))?;
    Ok(Verdict::Pass)
}

pub(crate) fn work(args: &WorkerArgs) -> Result<Verdict> {
    let kernels = match &args.lib {
        // SAFETY: the worker of the gate is a process that times these kernels and does nothing else.
        Some(lib) => unsafe { load_here(lib)? },
        None => worker::own_kernels(),
    };
    worker::serve(&kernels).context("the worker lost its gate")?;
    Ok(Verdict::Pass)
}

pub(crate) fn call(args: &CallerArgs) -> Result<Verdict> {
    let called = instructions::call(&worker::own_kernels(), &args.task, &args.kernel, args.calls);
    Ok(if called.map_err(anyhow::Error::msg)? { Verdict::Pass } else { Verdict::Unknown })
}

fn progress_bar() -> ProgressBar {
    let style =
        ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}").expect("the template is well-formed");
    ProgressBar::new(1000).with_style(style)
}
