//! `qk256 gate`: is every promised speed-up there, and is nothing slower than it was?

mod files;

use std::io::{Write, stderr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use qk256_gate::against::Sides;
use qk256_gate::instructions::{self, Counts};
use qk256_gate::rows::Demands;
use qk256_gate::{
    Cpu, Effort, GateError, Program, Report, WORKER, against, calibrate, libraries, promises, worker,
};
use qk256_verify::plugin::load_here;
use qk256_verify::words::folded;
use qk256_verify::{Library, interrupt, registry};

use crate::Verdict;
use crate::format_option::Formats;
use crate::ggml_option::{self, GgmlChoice};
use crate::output::{self, OutputFile, stdout};
use crate::plugins::Libraries;
use crate::signals;
use crate::usage::{self, REPORTS, RUN, help_end};
use files::Files;

/// Measure the promised speed-ups, or the speed of this build against another.
///
/// Each row of gate/gates.toml names a kernel, a size, a base and the speed-up over the base that must be reached. Every row is
/// measured in several processes. A row is met if its whole 95 % interval reaches the limit. Takes about 1 minute.
#[derive(clap::Args)]
#[command(after_help = help_end!(
    "qk256 gate                                     the promised speed-ups",
    "qk256 gate --only 'gemv 2560'                  some of them",
    "qk256 gate --against old/target/release/qk256  this build against an older one",
    "qk256 gate --lib ./new.so --against ./old.so   a library against an older one";
    "0" => "every row that was judged is met",
    "1" => "a row is missed, or a kernel is wrong";
    "3" => "no row is missed, but some could not be judged: too much noise, or too close to the limit"
))]
pub(crate) struct Args {
    /// Only rows with this text in `KERNEL OPERATION SIZE over BASE`, such as `avx2 gemv`
    #[arg(long, value_name = "TEXT", help_heading = ROWS)]
    only: Option<String>,

    /// Read the rows from this TOML file [default: gate/gates.toml, as it was when this program was built]
    #[arg(long, value_name = "FILE", help_heading = ROWS)]
    rows: Option<PathBuf>,

    /// Fail if no row of a kernel that needs this CPU feature, such as avx2, can run. Can be repeated
    #[arg(long, value_name = "FEATURE", help_heading = ROWS)]
    require: Vec<String>,

    /// Measure the rows whose limits depend on the CPU, and print the table of this CPU for gate/gates.toml
    #[arg(long, conflicts_with_all = ["against", "instructions", "require"], help_heading = ROWS)]
    calibrate: bool,

    /// Compare with another build: its `qk256` program. With --lib: with another library
    #[arg(long, value_name = "PROGRAM", help_heading = COMPARISON)]
    against: Option<PathBuf>,

    /// The shared library to compare with that of --against
    #[arg(long, value_name = "FILE", group = "library", requires = "against", help_heading = COMPARISON)]
    lib: Option<PathBuf>,

    /// The build of ggml to compare with that of --against
    #[arg(
        long,
        value_name = "LIBRARY",
        group = "library",
        requires = "against",
        value_parser = ggml_option::file,
        help_heading = COMPARISON
    )]
    ggml: Option<PathBuf>,

    #[command(flatten)]
    of_ggml: GgmlChoice,

    #[command(flatten)]
    formats: Formats,

    /// Also count the instructions of each kernel with valgrind, and compare them with those in FILE
    #[arg(
        long,
        value_name = "FILE",
        num_args = 0..=1,
        default_missing_value = instructions::OWN_PATH,
        long_help = concat!(
            "Also count the instructions of each kernel with valgrind (callgrind), and compare them with those in FILE ",
            "[FILE left out: gate/instructions.toml]"
        ),
        help_heading = COMPARISON
    )]
    instructions: Option<PathBuf>,

    /// Write the counted instructions to the file of --instructions, and compare nothing
    #[arg(long, requires = "instructions", help_heading = COMPARISON)]
    update: bool,

    /// Count instructions only, and measure no times
    #[arg(long, requires = "instructions", conflicts_with = "against", help_heading = COMPARISON)]
    no_times: bool,

    /// Number of processes in which every row is measured, at least 3
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = Effort::default().processes,
        value_parser = at_least_three,
        allow_negative_numbers = true,
        help_heading = RUN
    )]
    processes: usize,

    /// Time after which no further process is started, such as 80s or 5m. Rows too close to the limit get up to 15
    #[arg(long = "for", value_name = "TIME", value_parser = usage::time, default_value = "80s", help_heading = RUN)]
    time: Duration,

    /// Write the report to this file as JSON. `-` is standard output; the table then goes to standard error
    #[arg(long, value_name = "FILE", help_heading = REPORTS)]
    json: Option<PathBuf>,

    /// Write the report to this file as JUnit XML
    #[arg(long, value_name = "FILE", help_heading = REPORTS)]
    junit: Option<PathBuf>,

    /// Append the report to this file as Markdown, such as $GITHUB_STEP_SUMMARY
    #[arg(long, value_name = "FILE", help_heading = REPORTS)]
    markdown: Option<PathBuf>,

    /// Write the figures to this file as OpenMetrics text, the format of GitLab's metrics reports
    #[arg(long, value_name = "FILE", help_heading = REPORTS)]
    metrics: Option<PathBuf>,

    /// Write the rows that are not met to this file as a GitLab code-quality report
    #[arg(long, value_name = "FILE", help_heading = REPORTS)]
    code_quality: Option<PathBuf>,

    /// Append the figures to this file as a line of JSON. `qk256 history` shows such a file
    #[arg(long, value_name = "FILE", help_heading = REPORTS)]
    record: Option<PathBuf>,
}

/// Options that choose rows.
pub(crate) const ROWS: &str = "Rows";

/// Options about what is compared.
const COMPARISON: &str = "Comparison";

fn at_least_three(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number >= 3 => Ok(number),
        _ => Err("give a whole number from 3 on: an interval needs three processes".to_owned()),
    }
}

/// Time kernels for a gate in another process.
#[derive(clap::Args)]
pub(crate) struct WorkerArgs {
    #[arg(long, value_name = "FILE", group = "library")]
    lib: Option<PathBuf>,

    #[arg(long, value_name = "LIBRARY", group = "library", value_parser = ggml_option::file)]
    ggml: Option<PathBuf>,

    #[command(flatten)]
    of_ggml: GgmlChoice,

    #[command(flatten)]
    formats: Formats,
}

/// Call a kernel under callgrind.
#[derive(clap::Args)]
pub(crate) struct CallerArgs {
    task: String,
    kernel: String,
    calls: u64,
}

pub(crate) fn run(args: &Args) -> Result<Verdict> {
    signals::watch();
    let files = Files::create(args)?;
    let start = Instant::now();
    let measured = match measure(args) {
        Err(_) if interrupt::is_requested() => return Ok(Verdict::Interrupted),
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
    let signal = signals::received().map(|(_, name)| name);
    if let Some(signal) = signal {
        report.cut_short(signal, args.processes);
    }
    for feature in &args.require {
        report.require(feature)?;
    }
    let mut written = files.write(args, &report);
    if args.calibrate && signal.is_none() {
        let verdict = print_bars(&report)?;
        return output::all_written(written.into_iter(), verdict);
    }
    written.push(write!(stdout(), "{}", report.table()).map_err(Into::into));
    for complaint in report.complaints() {
        // Nothing more can be done if standard error is gone.
        let _ = writeln!(stderr(), "{complaint}");
    }
    for note in report.notes() {
        let mut text = String::new();
        folded(&mut text, "", &note).expect("a string takes all");
        written.push(write!(stdout(), "{text}").map_err(Into::into));
    }
    written.push(writeln!(stdout(), "{}", report.summary()).map_err(Into::into));
    if let Some(signal) = signal {
        let seconds = start.elapsed().as_secs_f64();
        let _ = writeln!(
            stderr(),
            "qk256: {signal} ended the gate after {seconds:.1} s: the reports cover what was measured"
        );
    }
    let verdict = match report.verdict.exit_code() {
        1 => Verdict::Finding,
        _ if signal.is_some() => Verdict::Interrupted,
        0 => Verdict::Pass,
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
    if args.lib.is_none() && args.ggml.is_none() && !args.formats.words().is_empty() {
        bail!(
            "--format works with --lib or --ggml only: the rows of the gate are about this project's own format"
        );
    }
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
                Some(only) => format!("no row contains --only {only:?}"),
                None => "the file has no rows for this".to_owned(),
            };
            bail!("there is nothing to measure: {why}; the rows are those of gate/gates.toml, or of --rows")
        }
        None => Some(promises::run(&Program::itself(&[WORKER])?, &demands, args.effort(), &mut watch)?),
    };
    if let Some(path) = &args.instructions {
        match (count(args, path, &mut watch), &mut report) {
            // Times were measured, and a signal ended the counting.
            (Err(_), Some(_)) if interrupt::is_requested() => {}
            (counted, Some(report)) => counted?.into_iter().for_each(|counted| report.extend(counted)),
            (counted, None) => report = counted?,
        }
    }
    bar.finish_and_clear();
    Ok(report)
}

fn compare(args: &Args, other: &Path, demands: &Demands, watch: &mut dyn FnMut(f64, &str)) -> Result<Report> {
    if let Some([lib, other]) = args.libraries(other) {
        // Here it is known what is wrong with one of them.
        Libraries::of(&[lib.clone(), other.clone()], &args.formats).open(None)?;
        let formats = args.formats.words();
        return Ok(libraries::run([&lib, &other], &formats, &demands.against, args.effort(), watch)?);
    }
    // A bare name would be looked up in PATH.
    let other = other.canonicalize().with_context(|| format!("cannot read {}", other.display()))?;
    let (new, old) = ([Program::itself(&[WORKER])?], [Program::at(&other, &[WORKER])]);
    Ok(against::run(&new, &old, &demands.against, Sides::Builds, args.effort(), watch)?)
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

impl Args {
    /// The new library and the old one, if libraries are compared.
    fn libraries(&self, old: &Path) -> Option<[Library; 2]> {
        let plugins = self.lib.as_ref().map(|new| [new.as_path(), old].map(Library::plugin));
        let ggml = self.ggml.as_ref().map(|new| [new.as_path(), old].map(|path| self.of_ggml.library(path)));
        plugins.or(ggml)
    }

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

pub(crate) fn work(args: &WorkerArgs) -> Result<Verdict> {
    let ggml = args.ggml.as_ref().map(|path| args.of_ggml.library(path));
    let kernels = match &args.lib.as_ref().map(Library::plugin).or(ggml) {
        Some(lib) => {
            // SAFETY: the worker of the gate is a process that times these kernels and does nothing else.
            let mut kernels = unsafe { load_here(lib)? };
            // The linker may move scalar code by half; that of a library's twin is there to compare with.
            kernels.retain(|kernel| args.formats.have(kernel.as_ref()) && kernel.name() != registry::TWIN);
            kernels
        }
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
