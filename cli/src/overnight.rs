//! `qk256 overnight`: fuzzing that runs by itself and loses nothing.

mod directory;
mod engine;
mod kernels;
mod one;
mod progress;
mod report;
mod slow;
mod state;
mod triage;

use std::io::{Write, stderr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use qk256_verify::fuzz::{Domains, Target};
use qk256_verify::interrupt;
use qk256_verify::words::count;

use crate::Verdict;
use crate::output::{self, stdout};
use crate::signals;
use crate::usage::{self, REPORTS, RUN, help_end};
use directory::{CASE, Directory, is_full};
use engine::{Engine, Engines, Setting};
use kernels::Kernels;
pub(crate) use one::{One, Triage, run_one, run_triage};
use progress::Progress;
pub(crate) use slow::{TimeInputs, run_time_inputs};
use state::State;
use triage::NOT_AGAIN;

/// Fuzz all targets for hours, and keep each finding as a small case with a report.
///
/// Time goes to the targets that still find something new. Each finding is repeated in its own process, shrunk, and written to the folder
/// `findings` of DIR; DIR/report.md is the report. Inputs that reach new code go to the corpus. A run on the same DIR continues the last one.
///
/// With --lib the kernels of shared libraries are fuzzed, each by cases that keep to its requirements. Everything about them stays in DIR:
/// nothing goes to the corpus or the regressions of this project. DIR is then for these libraries only.
#[derive(clap::Args)]
#[command(after_help = help_end!(
    "qk256 overnight",
    "qk256 overnight --for 30m --targets gemv,gemv_scaled",
    "qk256 overnight --lib ./libkernel.so --dir kernel-night";
    "0" => "no findings",
    "1" => "a finding"
))]
pub(crate) struct Args {
    /// Time to fuzz, such as 30m or 8h
    #[arg(long = "for", value_name = "TIME", value_parser = usage::time, default_value = "8h", help_heading = RUN)]
    time: Duration,

    /// Only these targets, separated by commas, such as gemv,unpack [default: all; with --lib, those that call a kernel of it]
    ///
    /// docs/fuzzing.md lists them.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = target, help_heading = RUN)]
    targets: Vec<Target>,

    #[command(flatten)]
    kernels: Kernels,

    /// Number of processes at a time [default: number of CPU cores]
    #[arg(
        long,
        value_name = "NUMBER",
        value_parser = usage::at_least_one::<u16>,
        allow_negative_numbers = true,
        help_heading = RUN
    )]
    jobs: Option<u16>,

    /// Source of the inputs [default: libfuzzer if cargo-fuzz is installed, otherwise builtin]
    #[arg(long, value_enum, help_heading = RUN)]
    engine: Option<Engines>,

    /// Working folder. One run at a time uses it
    #[arg(long, value_name = "DIR", default_value = "overnight", help_heading = REPORTS)]
    dir: PathBuf,

    /// Print findings only
    #[arg(long, help_heading = REPORTS)]
    quiet: bool,

    /// How long a target is fuzzed before another may be
    #[arg(long, hide = true, value_name = "TIME", value_parser = usage::time, default_value = "5m")]
    slice: Duration,
}

fn target(name: &str) -> Result<Target, String> {
    Target::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = Target::ALL.iter().map(|target| target.name()).collect();
        format!("there is no target `{name}`; there are {}", names.join(", "))
    })
}

pub(crate) fn run(args: &Args) -> Result<Verdict> {
    fuzz_through_the_night(args).map_err(|error| match is_full(&error) {
        true => error.context(format!("{}, and start this again", full(&args.dir))),
        false => error,
    })
}

/// What to do about a full disk.
fn full(dir: &Path) -> String {
    format!("the disk of {} is full, and nothing that was found is lost: make room there", dir.display())
}

fn fuzz_through_the_night(args: &Args) -> Result<Verdict> {
    signals::watch();
    let stop = interrupt::flag();
    let domains = args.kernels.domains()?;
    let targets = args.targets(&domains)?;
    let directory = Directory::open(&args.dir)?;
    let mut state = State::read(&directory)?;
    state.claim(&directory, args.kernels.libraries())?;
    let mut engine = args.start_engine(&directory, stop)?;
    state.begin(engine.name());
    let progress = Progress::new(args.quiet, &targets);
    let end = Instant::now() + args.time;
    let (directory, engine) = (&directory, engine.as_mut());
    let mut night = Night { args, domains, targets, directory, engine, stop, progress, end };
    // What a run that was killed has left comes first.
    let fuzzed = night.settle(&mut state).and_then(|()| {
        night.end = Instant::now() + args.time;
        night.fuzz(&mut state)
    });
    let finished = night.finish(&mut state);
    let findings = directory.findings()?;
    // Whatever ended the night, and also where the corpus cannot be written.
    report::write(directory, &state, &findings)?;
    fuzzed.and(finished)?;
    findings.iter().for_each(|finding| show(finding, &args.kernels));
    let summary = match args.quiet {
        true => Ok(()),
        false => {
            let report = directory.report();
            writeln!(
                stdout(),
                "{}; the report is {}",
                count(findings.len() as u64, "finding"),
                report.display()
            )
        }
    };
    let verdict = match signals::received() {
        _ if !findings.is_empty() => Verdict::Finding,
        Some(_) => Verdict::Interrupted,
        None => Verdict::Pass,
    };
    output::all_written([summary.map_err(Into::into)].into_iter(), verdict)
}

/// Prints a finding, with the command that shows it again if its case alone does. The report names it as well.
fn show(finding: &Path, kernels: &Kernels) {
    let _ = writeln!(stderr(), "finding: {}", finding.display());
    let [stem, kind] = [finding.file_stem(), finding.extension()].map(Option::unwrap_or_default);
    if kind == CASE && !stem.to_string_lossy().ends_with(NOT_AGAIN) {
        let _ = writeln!(stderr(), "  again:   {}", kernels.replay(finding));
    }
}

impl Args {
    /// What is fuzzed: of libraries only what calls a kernel.
    fn targets(&self, domains: &Domains) -> Result<Vec<Target>> {
        let is_chosen = !self.targets.is_empty();
        if !self.kernels.are_of_libraries() {
            return Ok(if is_chosen { self.targets.clone() } else { Target::ALL.to_vec() });
        }
        let targets = if is_chosen { self.targets.clone() } else { domains.targets() };
        domains.require(&targets)?;
        Ok(targets)
    }

    fn start_engine<'a>(
        &'a self,
        directory: &'a Directory,
        stop: &'a AtomicBool,
    ) -> Result<Box<dyn Engine + 'a>> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = self.jobs.map_or(cores, usize::from);
        let kernels = &self.kernels;
        engine::start(self.engine, Setting { jobs, kernels, directory, stop, quiet: self.quiet })
    }
}

/// A night under way.
struct Night<'a> {
    args: &'a Args,
    domains: Domains,
    targets: Vec<Target>,
    directory: &'a Directory,
    engine: &'a mut dyn Engine,
    stop: &'a AtomicBool,
    progress: Progress,
    end: Instant,
}

impl Night<'_> {
    fn fuzz(&mut self, state: &mut State) -> Result<()> {
        // In a short run every target has its turn, too.
        let fair = self.args.time / (2 * self.targets.len() as u32);
        let slice = self.args.slice.min(fair.max(Duration::from_secs(1)));
        loop {
            self.patiently(|night| Ok(night.directory.room()?))?;
            let are_still = self.args.kernels.are_still(&self.targets);
            if self.is_over() {
                return Ok(());
            }
            are_still?;
            let target = state.next(&self.targets);
            let slice = slice.min(self.left());
            let (start, end, progress) = (Instant::now(), self.end, &self.progress);
            let seen = self.engine.slice(target, slice, &mut |seen| {
                let mut now = state.clone();
                now.take(target, start.elapsed(), seen);
                progress.show(target, &now.line(target, end.saturating_duration_since(Instant::now())));
            })?;
            state.take(target, start.elapsed().min(slice), &seen);
            self.settle(state)?;
            let line = state.line(target, self.left());
            self.progress.settle(target, &line)?;
            self.patiently(|night| night.directory.log(&line))?;
        }
    }

    /// Makes findings of the inputs that engines have left, and then keeps what was counted: a crash in between costs counts, never a
    /// finding.
    fn settle(&mut self, state: &mut State) -> Result<()> {
        self.patiently(|night| {
            night.triage(state)?;
            state.keep(night.directory)
        })
    }

    fn triage(&mut self, state: &mut State) -> Result<()> {
        for artifact in self.directory.artifacts()? {
            let fresh = triage::triage(self.directory, &artifact, &self.args.kernels, &self.domains)?;
            state.found(artifact.target, fresh.len() as u64);
            for slug in fresh {
                self.progress.warn(&format!("finding: {slug}"))?;
                self.directory.log(&format!("finding {slug}"))?;
            }
        }
        Ok(())
    }

    /// Puts what was learned into the corpus, and looks at what is slow.
    fn finish(&mut self, state: &mut State) -> Result<()> {
        self.progress.end();
        for &target in &self.targets {
            let fresh = self.engine.merge(target)?;
            state.of(target).merged += fresh;
            // Who has pressed Ctrl-C does not want to wait for this.
            let slowest =
                if self.stop.load(Ordering::SeqCst) { Vec::new() } else { self.engine.slowest(target)? };
            if !slowest.is_empty() {
                state.of(target).slowest = slowest;
            }
        }
        state.keep(self.directory)
    }

    /// Does it. Where the disk is full, says so and does it again when there is room, while there is time.
    fn patiently(&mut self, mut work: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        let mut printed = false;
        loop {
            match work(self) {
                Err(error) if is_full(&error) && !self.is_over() => {
                    if !printed {
                        self.progress.warn(&format!("{}, and it goes on", full(self.directory.path())))?;
                        printed = true;
                    }
                    std::thread::sleep(Duration::from_millis(500));
                }
                Ok(()) if printed => return self.progress.warn("there is room again: it goes on"),
                result => return result,
            }
        }
    }

    fn is_over(&self) -> bool {
        self.left().is_zero() || self.stop.load(Ordering::SeqCst)
    }

    fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }
}
