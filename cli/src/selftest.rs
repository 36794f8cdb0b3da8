//! `qk256 selftest`: whether the harness finds what it must, leaves alone what is right, and is missed where it is blind.

mod list;
mod museum;
mod peers;
mod subject;
mod table;

use std::io::{Write, stderr};
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use qk256_mutants::museum as bugs;
use qk256_verify::interrupt;

use crate::Verdict;
use crate::output::{self, OutputFile, stdout};
use crate::signals;
use crate::usage::{self, KERNELS, REPORTS, RUN, Seed, help_end};
use subject::{Kind, Subject, Verdict as Seen};

/// Check this tool itself: it must catch every wrong kernel and leave the right ones alone.
///
/// Over 500 kernels are wrong on purpose, and over 90 are right but unusual. Each is checked in its own process, by the cases that
/// `check` runs first. Then one part of the harness at a time is made faulty, and that must be noticed. Takes 6 to 8 minutes.
#[derive(clap::Args)]
#[command(after_help = help_end!(
    "qk256 selftest",
    "qk256 selftest --only thread --seed 7",
    "qk256 selftest --museum";
    "0" => "every wrong kernel is caught, no right one is flagged, every fault is noticed",
    "1" => "one of these does not hold"
))]
pub(crate) struct Args {
    /// Only kernels and faults with this text in their names
    #[arg(long, value_name = "TEXT", help_heading = KERNELS)]
    only: Option<String>,

    #[command(flatten)]
    seed: Seed,

    /// Check right kernels and faulty harnesses by the whole sweep, not by its edges and 3000 shapes. Takes 8 minutes
    #[arg(long, help_heading = RUN)]
    whole: bool,

    /// Number of processes at a time [default: number of CPU cores]
    #[arg(
        long,
        value_name = "NUMBER",
        value_parser = usage::at_least_one::<usize>,
        allow_negative_numbers = true,
        help_heading = RUN
    )]
    jobs: Option<usize>,

    /// Write the results to this file as JSON. `-` is standard output; the table then goes to standard error
    #[arg(long, value_name = "FILE", help_heading = REPORTS)]
    json: Option<PathBuf>,

    /// Only wrong kernels: find the smallest case of each, and try to certify the kernel on its shape. Takes minutes
    ///
    /// The JSON report then has the case and the refusal of each as `certificate`.
    #[arg(long, help_heading = RUN)]
    certify: bool,

    /// Only wrong kernels that have a bug of public history, in a table of these bugs (docs/bugs.md)
    #[arg(long, help_heading = KERNELS, conflicts_with = "peers")]
    museum: bool,

    /// Check the wrong kernels of products by the tests of other projects too, written anew, and count what each sees (docs/bugs.md). Takes
    /// minutes
    #[arg(long, help_heading = RUN, conflicts_with = "certify")]
    peers: bool,

    /// Examine this one in this process, and write what was seen to standard output as JSON: what the command calls itself with
    #[arg(long, hide = true, value_name = "KIND/NAME")]
    alone: Option<Subject>,

    /// Descriptor of the memory for the number of cases made so far
    #[arg(long, hide = true, value_name = "DESCRIPTOR", requires = "alone")]
    progress: Option<RawFd>,
}

pub(crate) fn run(args: &Args) -> Result<Verdict> {
    let seed = args.seed.value();
    if let Some(subject) = &args.alone {
        let verdict = subject.examine(seed, args.whole, args.certify, args.progress)?;
        writeln!(stdout(), "{}", serde_json::to_string(&verdict)?)?;
        return Ok(Verdict::Pass);
    }
    signals::watch();
    let json = args.json.as_deref().map(OutputFile::create).transpose()?;
    let mut subjects = if args.peers { list::with_peers() } else { list::all() };
    subjects.retain(|subject| args.only.as_ref().is_none_or(|part| subject.name().contains(part.as_str())));
    subjects.retain(|subject| !args.certify || matches!(subject.kind, Kind::Wrong));
    let has_bug =
        |subject: &Subject| matches!(subject.kind, Kind::Wrong) && bugs::of(subject.name()).next().is_some();
    subjects.retain(|subject| !args.museum || has_bug(subject));
    if subjects.is_empty() {
        bail!(
            "--only {}: no kernel and no fault of the selftest has this in its name; without --only the table lists them all",
            args.only.as_deref().unwrap_or_default()
        );
    }
    let start = Instant::now();
    let seen = examine_all(&subjects, args, seed)?;
    let of = subjects.len();
    let results: Vec<(Subject, Seen)> =
        subjects.into_iter().zip(seen).filter_map(|(subject, seen)| Some((subject, seen?))).collect();
    let ended_by = signals::received().map(|(_, name)| name).filter(|_| results.len() < of);
    let json = json.map(|file| file.write(table::json(&results, seed, ended_by)?.as_bytes()));
    let table = match (args.museum, args.peers) {
        (true, _) => museum::render(&results, seed, start.elapsed()),
        (_, true) => peers::render(&results, seed, start.elapsed()),
        _ => table::render(&results, seed, start.elapsed()),
    };
    let table = write!(stdout(), "{table}");
    for (subject, seen) in results.iter().filter(|(subject, seen)| !subject.is_as_it_must_be(seen)) {
        // Nothing more can be done if standard error is gone.
        let _ = writeln!(stderr(), "{}\n", table::complaint(subject, seen, seed));
    }
    if let Some(signal) = ended_by {
        let done = results.len();
        let _ =
            writeln!(stderr(), "qk256: {signal} ended the selftest after {done} of {of} kernels and faults");
    }
    let well = results.iter().all(|(subject, seen)| subject.is_as_it_must_be(seen));
    let verdict = match ended_by {
        _ if !well => Verdict::Finding,
        Some(_) => Verdict::Interrupted,
        None => Verdict::Pass,
    };
    output::all_written([Some(table.map_err(Into::into)), json].into_iter().flatten(), verdict)
}

/// What became of each subject, in processes of their own, some at a time; `None` of those that an early end left out.
fn examine_all(subjects: &[Subject], args: &Args, seed: u64) -> Result<Vec<Option<Seen>>> {
    let jobs = args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let style =
        ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}").expect("the template is well-formed");
    let bar = ProgressBar::new(subjects.len() as u64).with_style(style);
    let todo = Mutex::new(subjects.iter().enumerate());
    let seen: Mutex<Vec<Result<Option<Seen>>>> = Mutex::new(subjects.iter().map(|_| Ok(None)).collect());
    let work = || {
        loop {
            let next = todo.lock().expect("no thread panics while it holds this").next();
            let Some((place, subject)) = next.filter(|_| !interrupt::is_requested()) else { return };
            bar.set_message(subject.name());
            let result = subject.in_a_process(seed, args.whole, args.certify);
            seen.lock().expect("no thread panics while it holds this")[place] = result;
            bar.inc(1);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(work);
        }
    });
    bar.finish_and_clear();
    seen.into_inner().expect("no thread panics while it holds this").into_iter().collect()
}

/// Time that a subject may take in all: far more than it needs.
const LIMIT: Duration = Duration::from_secs(300);
