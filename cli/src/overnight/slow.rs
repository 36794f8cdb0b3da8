//! The inputs that take longest: what makes a fuzzer slow, and may be a bug.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use qk256_verify::fuzz::{Bench, Target};
use serde::{Deserialize, Serialize};

use super::directory::files;
use super::kernels::Kernels;
use crate::Verdict;
use crate::output::stdout;

/// Inputs of a target that are reported.
const TOLD: usize = 3;

/// Time after which no further input is timed.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// An input and its time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Slow {
    /// The case, or the beginning of the text that is none.
    pub(super) case: String,
    /// Of the CPU, threads included.
    pub(super) milliseconds: f64,
}

impl Slow {
    /// Runs an input, and once more: the first of its number of columns pays for what is kept.
    pub(super) fn time(bench: &mut Bench, target: Target, input: &[u8]) -> Self {
        let mut time = || {
            let start = cpu_time();
            bench.run(target, input);
            cpu_time() - start
        };
        let milliseconds = time().min(time()).as_secs_f64() * 1e3;
        let case = match bench.domains().case(target, input) {
            Some(case) => case.to_string(),
            None => input.escape_ascii().to_string().chars().take(80).collect(),
        };
        Self { case, milliseconds }
    }

    /// Leaves the slowest, in order.
    pub(super) fn keep_the_slowest(inputs: &mut Vec<Self>) {
        inputs.sort_by(|a, b| b.milliseconds.total_cmp(&a.milliseconds));
        inputs.dedup_by(|a, b| a.case == b.case);
        inputs.truncate(TOLD);
    }
}

/// Time the inputs of folders: what `overnight` calls itself with.
#[derive(clap::Args)]
pub(crate) struct TimeInputs {
    #[arg(long, value_parser = super::target)]
    target: Target,

    #[command(flatten)]
    kernels: Kernels,

    #[arg(value_name = "DIR", required = true)]
    folders: Vec<PathBuf>,
}

/// Writes the slowest inputs to standard output as JSON.
pub(crate) fn run_time_inputs(args: &TimeInputs) -> Result<Verdict> {
    let start = Instant::now();
    // SAFETY: the process was started for this alone.
    let mut bench = unsafe { args.kernels.bench() }?;
    let mut slowest = Vec::new();
    for folder in &args.folders {
        for path in files(folder)? {
            let input = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            slowest.push(Slow::time(&mut bench, args.target, &input));
            Slow::keep_the_slowest(&mut slowest);
            if start.elapsed() > LIMIT {
                break;
            }
        }
    }
    writeln!(stdout(), "{}", serde_json::to_string(&slowest)?)?;
    Ok(Verdict::Pass)
}

/// What this process has had of the CPUs.
pub(super) fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime writes one timespec, which is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use qk256_verify::Operation;

    use super::*;

    #[test]
    fn the_slowest_are_reported_once_and_in_order() {
        let slow = |case: &str, milliseconds| Slow { case: case.to_owned(), milliseconds };
        let mut inputs = vec![slow("a", 1.0), slow("b", 4.0), slow("c", 2.0), slow("b", 5.0), slow("d", 3.0)];
        Slow::keep_the_slowest(&mut inputs);
        assert_eq!(inputs, [slow("b", 5.0), slow("d", 3.0), slow("c", 2.0)]);
        assert!(
            Slow::time(&mut Bench::own(), Target::of(Operation::Gemv, false), &[0; 16]).milliseconds > 0.0
        );
    }
}
