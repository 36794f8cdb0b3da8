//! `qk256 overnight`: fuzzing that runs by itself and loses nothing.

mod directory;
mod engine;
mod one;
mod report;
mod triage;

use std::io::{Write, stderr, stdout};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use qk256_verify::fuzz::Target;

use crate::Verdict;
use directory::{Directory, State};
use engine::{Engine, Engines};
pub(crate) use one::{One, Triage, run_one, run_triage};

/// Fuzz every target through the night: findings small and sorted in the morning.
///
/// The time goes to the targets that still bring something new. What is found is replayed in processes of its own, shrunk, and written to
/// `findings/` of the directory; what libFuzzer has learned goes to the corpus. Started again on the same directory, it goes on. Exit code
/// 1 if there is a finding.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How long: 30m, 8h
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration, default_value = "8h")]
    time: Duration,

    /// Only these targets, as docs/fuzzing.md lists them
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = target)]
    targets: Vec<Target>,

    /// Processes at a time [default: as many as there are cores]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,

    /// What chooses the inputs [default: libfuzzer where cargo-fuzz is installed, otherwise builtin]
    #[arg(long, value_enum)]
    engine: Option<Engines>,

    /// The working directory; one run at a time uses it
    #[arg(long, value_name = "DIR", default_value = "overnight")]
    dir: PathBuf,

    /// Say nothing but findings
    #[arg(long)]
    quiet: bool,

    /// How long a target is fuzzed before another may be
    #[arg(long, hide = true, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "60s")]
    slice: Duration,

    /// A wrong kernel of the selftest, to see that it is found; for the builtin engine
    #[arg(long, hide = true, value_name = "NAME")]
    plant: Option<String>,
}

fn target(name: &str) -> Result<Target, String> {
    Target::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = Target::ALL.iter().map(|target| target.name()).collect();
        format!("there is no target `{name}`; there are {}", names.join(", "))
    })
}

pub(crate) fn run(args: &Args) -> Result<Verdict> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    ctrlc::set_handler(move || asked.store(true, Ordering::SeqCst)).context("cannot watch for Ctrl-C")?;
    let directory = Directory::open(&args.dir)?;
    let mut engine = args.start_engine(&directory, &stop)?;
    let mut state = directory.state()?;
    state.begin(engine.name());
    let mut night = Night { args, directory: &directory, engine: engine.as_mut(), stop: &stop, said: 0 };
    // What a run that was killed has left comes first.
    night.triage(&mut state)?;
    night.fuzz(&mut state)?;
    night.merge(&mut state)?;
    let findings = directory.findings()?;
    report::write(&directory, &mut state, &findings)?;
    for finding in &findings {
        writeln!(stderr(), "finding: {}", finding.display())?;
    }
    if !args.quiet {
        writeln!(stdout(), "{} finding(s); the report is {}", findings.len(), directory.report().display())?;
    }
    Ok(if findings.is_empty() { Verdict::Pass } else { Verdict::Finding })
}

impl Args {
    fn targets(&self) -> Vec<Target> {
        if self.targets.is_empty() { Target::ALL.to_vec() } else { self.targets.clone() }
    }

    fn start_engine<'a>(
        &'a self,
        directory: &'a Directory,
        stop: &'a AtomicBool,
    ) -> Result<Box<dyn Engine + 'a>> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let jobs = self.jobs.map_or(cores, usize::from);
        if self.plant.is_some() && self.engine != Some(Engines::Builtin) {
            bail!("--plant is for --engine builtin");
        }
        engine::start(self.engine, jobs, self.plant.as_deref(), directory, stop, self.quiet)
    }
}

/// A night under way.
struct Night<'a> {
    args: &'a Args,
    directory: &'a Directory,
    engine: &'a mut dyn Engine,
    stop: &'a AtomicBool,
    /// Findings that were told.
    said: usize,
}

impl Night<'_> {
    fn fuzz(&mut self, state: &mut State) -> Result<()> {
        let (start, targets) = (Instant::now(), self.args.targets());
        // In a short run every target has its turn, too.
        let fair = self.args.time / (2 * targets.len() as u32);
        let slice = self.args.slice.min(fair.max(Duration::from_secs(1)));
        while !self.stop.load(Ordering::SeqCst) {
            let left = self.args.time.saturating_sub(start.elapsed());
            if left.is_zero() {
                break;
            }
            let target = state.next(&targets);
            let slice = slice.min(left);
            let seen = self.engine.slice(target, slice)?;
            state.take(target, slice, &seen);
            self.triage(state)?;
            // After the findings: a crash in between costs counts, never a finding.
            self.directory.keep(state)?;
            self.tell(state, target, left)?;
        }
        Ok(())
    }

    /// Makes findings of the inputs that engines have left.
    fn triage(&mut self, state: &mut State) -> Result<()> {
        for artifact in self.directory.artifacts()? {
            let fresh = triage::triage(self.directory, &artifact, self.args.plant.as_deref())?;
            state.findings += fresh.len() as u64;
            for slug in fresh {
                self.said += 1;
                self.directory.log(&format!("finding {slug}"))?;
                writeln!(stderr(), "finding: {slug}")?;
            }
        }
        Ok(())
    }

    /// One line for the target that was fuzzed last.
    fn tell(&self, state: &State, target: Target, left: Duration) -> Result<()> {
        let line = state.line(target, left);
        self.directory.log(&line)?;
        if !self.args.quiet {
            writeln!(stdout(), "{line}")?;
        }
        Ok(())
    }

    fn merge(&mut self, state: &mut State) -> Result<()> {
        for target in self.args.targets() {
            let fresh = self.engine.merge(target)?;
            state.merged(target, fresh);
        }
        self.directory.keep(state)
    }
}
