//! `qk256 certify`: what is known of every input of a shape.

mod one;
mod words;

use std::io::Write;
use std::ops::RangeInclusive;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use qk256_verify::certificate::{Certificate, Refusal, Shown};
use qk256_verify::child::{Answer, Child, Errors, Patience};
use qk256_verify::kernel::missing_features;
use qk256_verify::{Domain, Examiner, Kernel, Operation};
use serde::{Deserialize, Serialize};

pub(crate) use one::{Args as OneArgs, run as run_one};

use crate::Verdict;
use crate::output::stdout;
use crate::plugins::Libraries;
use crate::select::only;
use crate::usage::{self, REPORTS, RUN, help_end};

/// How long a shape may take: larger ones than are certified take minutes.
const PATIENCE: Duration = Duration::from_secs(600);

/// Show what is true of every input of a shape, not only of inputs that were tried.
///
/// The command records one call instruction by instruction and executes it once more on unknown weights, scales and activations. It refuses
/// the kernel if a path or an address depends on data, if an access is outside of the buffers, if an instruction does with data what a
/// right kernel does not need, or if an output is not the sum that it must be. docs/certificate.md says what a certificate proves.
///
/// Needs x86-64 Linux and valgrind.
#[derive(clap::Args)]
#[command(after_help = help_end!(
    "qk256 certify avx2 --op gemv --rows 8 --cols 1024",
    "qk256 certify avx2 --op gemv --rows 4 --cols 1..300 --scaled",
    "qk256 certify --lib ./libkernel.so --op gemm --rows 8 --cols 512 --batch 3 --json";
    "0" => "every shape is certified",
    "1" => "a shape is refused: the first fault is printed"
))]
pub(crate) struct Args {
    /// Name of a kernel, such as avx2 (`qk256 list` shows the names). Not needed for a library with one kernel of the operation
    #[arg(required_unless_present = "libraries")]
    kernel: Option<String>,

    #[command(flatten)]
    libraries: Libraries,

    /// The operation: unpack, lut, dequantize, gemv or gemm; the others are refused
    #[arg(long = "op", value_name = "NAME", default_value = "gemv", help_heading = RUN)]
    operation: Operation,

    /// Number of rows, or several as FIRST..LAST
    #[arg(long, value_name = "NUMBER", value_parser = range, default_value = "1", help_heading = RUN)]
    rows: RangeInclusive<usize>,

    /// Number of columns, or of elements of a vector operation; several as FIRST..LAST
    #[arg(long, value_name = "NUMBER", value_parser = range, help_heading = RUN)]
    cols: RangeInclusive<usize>,

    /// Number of vectors of a gemm
    #[arg(
        long,
        value_name = "NUMBER",
        value_parser = usage::at_least_one::<usize>,
        default_value_t = 1,
        help_heading = RUN
    )]
    batch: usize,

    /// Use block scales
    #[arg(long, help_heading = RUN)]
    scaled: bool,

    /// Print JSON, one object a line for each shape
    #[arg(long, help_heading = REPORTS)]
    json: bool,
}

/// A number, or `FIRST..LAST`.
fn range(text: &str) -> Result<RangeInclusive<usize>, String> {
    let why = || "give a number from 1 on, or a range such as 1..300".to_owned();
    let number = |text: &str| text.parse().ok().filter(|&number: &usize| number > 0).ok_or_else(why);
    match text.split_once("..") {
        Some((first, last)) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(first..=last).ok_or_else(why)
        }
        None => number(text).map(|number| number..=number),
    }
}

/// A shape in question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Shape {
    rows: usize,
    cols: usize,
    batch: usize,
    scaled: bool,
}

/// What is known of a shape.
#[derive(Debug, Serialize, Deserialize)]
struct Known {
    /// The certificate, or why there is none.
    verdict: Result<Certificate, Refusal>,
    /// What valgrind saw, where it was asked.
    memcheck: Option<Memcheck>,
}

/// What memcheck has to say of calls on undefined data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Memcheck {
    /// No branch and no address depends on data.
    Clean,
    /// It was not asked, for a reason.
    NotAsked(String),
    /// What it complains of.
    Complaint(String),
}

pub(crate) fn run(args: &Args) -> Result<Verdict> {
    let valgrind = find_valgrind()?;
    let examiner = args.libraries.open(None)?;
    let kernel = chosen(args, examiner.as_ref())?;
    let mut verdict = Verdict::Pass;
    for shape in shapes(args) {
        let known = examine(args, kernel, shape, &valgrind)?;
        if known.verdict.is_err() {
            verdict = Verdict::Finding;
        }
        match args.json {
            true => writeln!(stdout(), "{}", words::json(kernel, shape, &known))?,
            false => write!(stdout(), "{}", words::text(kernel, shape, &known))?,
        }
    }
    Ok(verdict)
}

/// The kernel that is named; of this project that of its own format, unless another is named.
fn chosen<'a>(args: &Args, examiner: &'a dyn Examiner) -> Result<&'a dyn Kernel> {
    let is_it = |kernel: &&dyn Kernel| {
        kernel.domain() == Domain::new(args.operation) && Some(kernel.name()) == args.kernel.as_deref()
    };
    let named = args.libraries.formats.words();
    let own = examiner.kernels().into_iter().find(|kernel| named.is_empty() && is_it(kernel));
    match own.filter(|kernel| missing_features(kernel.required_features()).is_empty()) {
        Some(kernel) => Ok(kernel),
        None => only(examiner, &args.libraries.formats, args.operation, args.kernel.as_deref()),
    }
}

fn shapes(args: &Args) -> impl Iterator<Item = Shape> {
    let rows = if args.operation.is_matrix() { args.rows.clone() } else { 1..=1 };
    let &Args { batch, scaled, .. } = args;
    rows.flat_map(move |rows| args.cols.clone().map(move |cols| Shape { rows, cols, batch, scaled }))
}

/// Follows a call in a process of its own, and then asks memcheck in another.
fn examine(args: &Args, kernel: &dyn Kernel, shape: Shape, valgrind: &[String]) -> Result<Known> {
    let crash =
        |how: String| Refusal { shown: Shown::Call, what: format!("ends its process by {how}"), at: None };
    let mut known = match in_child(args, kernel, shape, &[])? {
        Ok(known) => known,
        Err(how) => Known { verdict: Err(crash(how)), memcheck: None },
    };
    let memcheck = match &known.verdict {
        Ok(certificate) if certificate.lookups > 0 => Memcheck::NotAsked(
            "it takes every look-up for an error; the addresses of each were looked at one by one".to_owned(),
        ),
        Ok(_) => in_child(args, kernel, shape, valgrind)?
            .unwrap_or_else(|how| Memcheck::Complaint(format!("its process ends by {how}"))),
        Err(_) => return Ok(known),
    };
    if let Memcheck::Complaint(what) = &memcheck {
        let what = format!("does not depend on data as far as it was followed, but on undefined data {what}");
        known.verdict = Err(Refusal { shown: Shown::Obliviousness, what, at: None });
    }
    known.memcheck = Some(memcheck);
    Ok(known)
}

/// What a child of this program finds out, run by `under`; or the signal that ended it.
fn in_child<T: serde::de::DeserializeOwned>(
    args: &Args,
    kernel: &dyn Kernel,
    shape: Shape,
    under: &[String],
) -> Result<Result<T, String>> {
    let program = std::env::current_exe().context("cannot find this program")?.to_string_lossy().into_owned();
    let mut words = under.to_vec();
    words.push(program);
    words.extend(one::words(kernel, args, shape, !under.is_empty()));
    let mut child = Child::start(Command::new(&words[0]).args(&words[1..]), Errors::Kept)
        .with_context(|| format!("cannot start {}", words[0]))?;
    let patience = Patience { is_interruptible: true, ..Patience::of(PATIENCE) };
    match child.finish(&patience) {
        (Some(answer), _) => Ok(Ok(answer)),
        (None, Answer::Ended(status)) if status.signal().is_some() => {
            Ok(Err(format!("signal {}", status.signal().expect("just seen"))))
        }
        (None, Answer::Interrupted) => Err(qk256_verify::examiner::ExamineError::Interrupted.into()),
        (None, end) => {
            bail!(
                "the kernel could not be followed: its process gave no answer ({end:?}): {}",
                child.errors()
            )
        }
    }
}

/// The command that runs a program under memcheck.
fn find_valgrind() -> Result<Vec<String>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join("valgrind"))
        .find(|file: &PathBuf| file.is_file());
    let Some(found) = found else {
        bail!(
            "valgrind is not installed: certify needs it; on Debian, Ubuntu and Fedora the package is `valgrind`"
        );
    };
    Ok(vec![found.to_string_lossy().into_owned(), "-q".to_owned()])
}
