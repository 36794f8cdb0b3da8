//! How often the gate errs: runs of it with kernels of which the truth is known.
//!
//! ```sh
//! cargo run --release -p qk256-gate --example gate_errors             # 100 runs each, half an hour
//! cargo run --release -p qk256-gate --example gate_errors -- 20       # 20 runs each
//! cargo run --release -p qk256-gate --example gate_errors -- 20 idle  # only without a neighbour; or: busy
//! cargo run --release -p qk256-gate --example gate_errors -- 20 rows  # only trials in whose name this is
//! ```
//!
//! Kernels are the same on both sides, or do a known part of their work twice, or are scalar in truth. Exit 1 if the gate errs more
//! often than docs/benchmarking.md allows.

use std::env;
use std::error::Error;
use std::hint::black_box;
use std::io::IsTerminal;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use comfy_table::{Table, presets};
use qk256_gate::against::{self, Sides};
use qk256_gate::judge::Verdict;
use qk256_gate::rows::{Demands, Task};
use qk256_gate::{Cpu, Effort, Line, Program, Report, WORKER, promises, worker};
use qk256_verify::timing::{Workload, race};
use qk256_verify::{Arguments, Domain, Kernel, Operation, Outcome, registry};

/// What is slowed down, each on a size whose calls are so short that a slice has hundreds of them.
const TASKS: [&str; 4] = ["unpack 4096", "lut 1024", "dequantize 1024", "gemv 1x1024"];

/// The kernel that is slowed down.
const KERNEL: &str = "avx2";

/// The first argument of a process that does nothing but be in the way.
const NEIGHBOUR: &str = "neighbour";

type Failure = Box<dyn Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match &words[..] {
        [NEIGHBOUR] => be_in_the_way(),
        [WORKER, changes @ ..] => worker::serve(&changed(changes)).map(|()| true).map_err(Failure::from),
        _ => measure(&words),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("gate_errors: {failure}");
            ExitCode::from(2)
        }
    }
}

/// A kernel that calls another, and for a part of the calls twice.
struct Repeating {
    inner: Box<dyn Kernel>,
    /// Calls that are made twice, of each 2^32.
    part: u64,
    /// The sum of the parts so far, modulo 2^32.
    sum: AtomicU64,
}

impl Repeating {
    fn new(inner: Box<dyn Kernel>, part: f64) -> Self {
        Self { inner, part: (part * 2_f64.powi(32)) as u64, sum: AtomicU64::new(0) }
    }
}

impl Kernel for Repeating {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn domain(&self) -> Domain {
        self.inner.domain()
    }

    fn required_features(&self) -> &[&str] {
        self.inner.required_features()
    }

    fn call(&self, mut arguments: Arguments<'_>) -> Outcome {
        // Not an atomic addition, which takes as long as a short kernel: a worker has one thread.
        let sum = self.sum.load(Ordering::Relaxed) + self.part;
        self.sum.store(sum % (1 << 32), Ordering::Relaxed);
        if sum >= 1 << 32 {
            self.inner.call(arguments.reborrow());
        }
        self.inner.call(arguments)
    }
}

/// A kernel under the name of another, whose place it has taken in silence.
struct Impostor {
    inner: Box<dyn Kernel>,
}

impl Kernel for Impostor {
    fn name(&self) -> &str {
        KERNEL
    }

    fn domain(&self) -> Domain {
        self.inner.domain()
    }

    fn call(&self, arguments: Arguments<'_>) -> Outcome {
        self.inner.call(arguments)
    }
}

/// The kernels of a worker with these changes: `OPERATION=PART` makes N calls twice, `scalar` puts scalar code under the name.
fn changed(changes: &[&str]) -> Vec<Box<dyn Kernel>> {
    let falls_back = changes.contains(&registry::SCALAR);
    let part = |operation: Operation| {
        let mut parts = changes.iter().filter_map(|change| change.split_once('='));
        let (_, part) = parts.find(|(name, _)| *name == operation.name())?;
        Some(part.parse().expect("a part is a number"))
    };
    let change = |kernel: Box<dyn Kernel>| -> Box<dyn Kernel> {
        let operation = kernel.operation();
        match part(operation) {
            _ if kernel.name() != KERNEL => kernel,
            _ if falls_back => Box::new(Impostor { inner: own(operation, registry::SCALAR) }),
            Some(part) => Box::new(Repeating::new(kernel, part)),
            None => kernel,
        }
    };
    worker::own_kernels().into_iter().map(change).collect()
}

fn own(operation: Operation, name: &str) -> Box<dyn Kernel> {
    let mut kernels = registry::kernels().into_iter();
    let found = kernels.find(|kernel| kernel.operation() == operation && kernel.name() == name);
    found.expect("the registry has it")
}

/// Copies memory to and fro, for ever.
fn be_in_the_way() -> Result<bool, Failure> {
    let (mut from, mut to) = (vec![1_u8; 32 << 20], vec![0_u8; 32 << 20]);
    loop {
        to.copy_from_slice(black_box(&from));
        std::mem::swap(&mut from, &mut to);
    }
}

/// A process that ends with its owner.
struct Neighbour(Child);

impl Neighbour {
    fn start() -> Result<Self, Failure> {
        Ok(Self(Command::new(env::current_exe()?).arg(NEIGHBOUR).stdin(Stdio::null()).spawn()?))
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // It ends in no other way.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a trial is about.
struct Trial {
    name: String,
    /// Whether the gate must fail every row, or none.
    is_slow: bool,
    /// Runs of 100 in which it may err.
    allowed: usize,
    kind: Kind,
}

enum Kind {
    /// A build with these changes against one in which nothing is made twice, on the tasks of [`TASKS`].
    Against(Vec<String>),
    /// Against the same build, on all tasks of the gate.
    Itself,
    /// The rows on some of [`TASKS`], with these changes.
    Promises(Vec<String>),
}

fn trials() -> Vec<Trial> {
    let parts: Vec<(String, f64)> = TASKS.iter().map(|task| overhead(task)).collect();
    let slow = |percent: f64, allowed| Trial {
        name: format!("--against, {percent} % slower"),
        is_slow: percent > 1.0,
        allowed,
        kind: Kind::Against(
            parts.iter().map(|(name, part)| format!("{name}={}", part * percent / 100.0)).collect(),
        ),
    };
    let scalar = || vec![registry::SCALAR.to_owned()];
    let trial = |name: &str, is_slow, allowed, kind| Trial { name: name.to_owned(), is_slow, allowed, kind };
    vec![
        trial("--against, the same build", false, 1, Kind::Itself),
        slow(1.0, 1),
        slow(5.0, 5),
        slow(10.0, 1),
        slow(30.0, 0),
        trial("--against, scalar in silence", true, 0, Kind::Against(scalar())),
        trial("rows, the kernels as they are", false, 1, Kind::Promises(Vec::new())),
        trial("rows, scalar in silence", true, 0, Kind::Promises(scalar())),
    ]
}

/// The operation of a task, and how much longer a call of [`Repeating`] takes than the kernel itself: the repeated part must grow by
/// as much to be the part of the time that it is meant to be.
fn overhead(task: &str) -> (String, f64) {
    let task: Task = task.parse().expect("the table is well-formed");
    let (inner, wrapped) = (own(task.operation, KERNEL), Repeating::new(own(task.operation, KERNEL), 0.0));
    let race = race(&[&wrapped, inner.as_ref()], &mut Workload::of(task.case()), Duration::from_millis(400));
    (task.operation.name().to_owned(), race.speedup(1, 0).median.max(1.0))
}

/// All trials, beside an idle neighbour and beside a busy one. Whether the gate erred no more than it may.
fn measure(words: &[&str]) -> Result<bool, Failure> {
    let runs = words.first().map_or(Ok(100), |runs| runs.parse::<usize>())?;
    let neighbours = [("idle", false), ("busy", true)];
    let named = neighbours.iter().any(|(name, _)| words.contains(name));
    let is_wanted = |(name, _): &(&str, bool)| !named || words.contains(name);
    let names: Vec<&str> =
        words.iter().copied().skip(1).filter(|word| !["idle", "busy"].contains(word)).collect();
    let mut trials = trials();
    trials.retain(|trial| names.is_empty() || names.iter().any(|name| trial.name.contains(name)));
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "trial",
        "neighbour",
        "runs",
        "erred",
        "allowed",
        "undecided",
        "measured",
        "seconds a run",
    ]);
    let mut is_well = true;
    for (name, is_busy) in neighbours.into_iter().filter(is_wanted) {
        let _neighbour = is_busy.then(Neighbour::start).transpose()?;
        for trial in &trials {
            let seen = trial.run(runs)?;
            let allowed = (trial.allowed * runs).div_ceil(100);
            is_well &= seen.erred <= allowed;
            table.add_row([
                trial.name.clone(),
                name.to_owned(),
                runs.to_string(),
                seen.erred.to_string(),
                allowed.to_string(),
                seen.undecided.to_string(),
                seen.measured(),
                format!("{:.1}", seen.seconds / runs as f64),
            ]);
        }
    }
    println!("{table}");
    println!(
        "erred: runs that failed a kernel that is no slower, or that did not fail each one that is; undecided: runs that reported so"
    );
    Ok(is_well)
}

/// What was seen in the runs of a trial.
#[derive(Default)]
struct Seen {
    erred: usize,
    undecided: usize,
    /// Of each row of each run.
    ratios: Vec<f64>,
    seconds: f64,
}

impl Seen {
    /// The smallest and the largest ratio.
    fn measured(&self) -> String {
        let fold = |fold: fn(f64, f64) -> f64| self.ratios.iter().copied().fold(self.ratios[0], fold);
        format!("{:.3} to {:.3}", fold(f64::min), fold(f64::max))
    }
}

impl Trial {
    fn run(&self, runs: usize) -> Result<Seen, Failure> {
        let mut seen = Seen::default();
        for run in 0..runs {
            progress(&format!("{}: run {} of {runs}", self.name, run + 1));
            let start = Instant::now();
            let report = self.gate()?;
            seen.seconds += start.elapsed().as_secs_f64();
            let judged: Vec<Verdict> = report
                .rows
                .iter()
                .map(|line| line.verdict)
                .filter(|verdict| ![Verdict::NotJudged, Verdict::Skipped].contains(verdict))
                .collect();
            let missed = judged.iter().filter(|verdict| **verdict == Verdict::Missed).count();
            let met = judged.iter().filter(|verdict| **verdict == Verdict::Met).count();
            let errs = if self.is_slow { missed < judged.len() } else { missed > 0 };
            seen.erred += usize::from(errs);
            if errs {
                eprintln!("{}, run {}: {}", self.name, run + 1, report.summary());
                let wrong = |line: &&Line| (line.verdict == Verdict::Missed) != self.is_slow;
                report.rows.iter().filter(wrong).for_each(|line| eprintln!("  {line:?}"));
            }
            seen.undecided += usize::from(missed + met < judged.len());
            seen.ratios.extend(report.rows.iter().filter_map(|line| Some(line.estimate?.median)));
        }
        progress("");
        Ok(seen)
    }

    fn gate(&self) -> Result<Report, Failure> {
        let (mut demands, effort) = (Demands::own(Cpu::this().as_ref()), Effort::default());
        let with = |changes: &[String]| {
            let words: Vec<&str> =
                std::iter::once(WORKER).chain(changes.iter().map(String::as_str)).collect();
            Program::itself(&words)
        };
        let tasks = || TASKS.map(|task| task.parse().expect("the table is well-formed")).to_vec();
        let quiet = &mut |_: f64, _: &str| {};
        Ok(match &self.kind {
            Kind::Against(changes) => {
                let nothing_twice: Vec<String> =
                    tasks().iter().map(|task: &Task| format!("{}=0", task.operation)).collect();
                demands.against.tasks = tasks();
                demands.against.kernels = vec![KERNEL.to_owned()];
                against::run(
                    &[with(changes)?],
                    &[with(&nothing_twice)?],
                    &demands.against,
                    Sides::Builds,
                    effort,
                    quiet,
                )?
            }
            Kind::Itself => {
                against::run(&[with(&[])?], &[with(&[])?], &demands.against, Sides::Builds, effort, quiet)?
            }
            Kind::Promises(changes) => {
                let tasks: Vec<Task> = tasks();
                let is_over_scalar = |base: &str| base == registry::SCALAR || base == registry::FAST_SCALAR;
                demands.rows.retain(|row| tasks.contains(&row.task) && is_over_scalar(&row.base));
                demands.decoding.clear();
                promises::run(&with(changes)?, &demands, effort, quiet)?
            }
        })
    }
}

/// Overwrites the line of progress on a terminal; elsewhere, nothing.
fn progress(line: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{line}");
    }
}
