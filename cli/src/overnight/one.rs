//! One process of the builtin engine: inputs of one target, one after the other.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use qk256_verify::fuzz::{Bench, Target, mutate};
use qk256_verify::{Case, Finding};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use super::kernels::Kernels;
use super::slow::{Slow, cpu_time};
use crate::Verdict;
use crate::output::{OutputFile, stdout};

/// The largest input that is made.
const MAX_LEN: usize = 400;

/// What the names of inputs begin with that were being tried when a process ended.
pub(super) const TRIED: &str = "tried";

/// Bad inputs that one process keeps: a kernel that is wrong everywhere is wrong in all of them.
const MAX_BAD: usize = 16;

/// Inputs that are kept to be changed.
const POOL: usize = 4096;

/// Fuzz one target: what `overnight` calls itself with.
#[derive(clap::Args)]
pub(crate) struct One {
    #[arg(long, value_parser = super::target)]
    target: Target,

    #[arg(long)]
    seed: u64,

    #[arg(long)]
    milliseconds: u64,

    /// Where bad inputs go
    #[arg(long, value_name = "DIR")]
    artifacts: PathBuf,

    /// The input that is being tried, should it end the process
    #[arg(long, value_name = "FILE")]
    seen: PathBuf,

    #[command(flatten)]
    kernels: Kernels,
}

/// What a process says every second, and at its end.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Stats {
    pub(super) executions: u64,
    /// Kinds of cases that were met.
    pub(super) kinds: u64,
    /// At its end: the inputs that take longest.
    pub(super) slowest: Vec<Slow>,
}

/// Inputs that are timed again at the end of a process, to see which are the slowest.
const SLOW: usize = 8;

pub(crate) fn run_one(args: &One) -> Result<Verdict> {
    // SAFETY: the process was started for this alone.
    let mut bench = unsafe { args.kernels.bench() }?;
    // What an earlier process was trying when it ended: it may be why, or somebody killed it.
    save(args, TRIED, &std::fs::read(&args.seen).unwrap_or_default())?;
    let trying = File::create(&args.seen).with_context(|| format!("cannot write {}", args.seen.display()))?;
    let mut rng = ChaCha8Rng::seed_from_u64(args.seed);
    let (mut pool, mut kinds, mut stats) = (Vec::new(), HashSet::new(), Stats::default());
    let (start, limit) = (Instant::now(), Duration::from_millis(args.milliseconds));
    let (mut bad, mut slow, mut printed) = (0, Vec::new(), start);
    while start.elapsed() < limit {
        let input = input(args.target, &pool, &mut rng);
        trying
            .set_len(0)
            .and_then(|()| trying.write_all_at(&input, 0))
            .context("cannot keep the input on disk")?;
        let before = cpu_time();
        let passed = passes(&mut bench, args.target, &input);
        if passed {
            slow.push((cpu_time() - before, input.clone()));
            slow.sort_unstable_by(|a, b| b.cmp(a));
            slow.truncate(SLOW);
        } else if bad < MAX_BAD {
            save(args, "input", &input)?;
            bad += 1;
        }
        stats.executions += 1;
        if bench.domains().case(args.target, &input).is_some_and(|case| kinds.insert(kind(&case))) {
            let place = if pool.len() < POOL { pool.len() } else { rng.next_u64() as usize % POOL };
            if place == pool.len() { pool.push(input) } else { pool[place] = input }
        }
        stats.kinds = kinds.len() as u64;
        if printed.elapsed() > Duration::from_secs(1) {
            writeln!(stdout(), "{}", serde_json::to_string(&stats)?)?;
            printed = Instant::now();
        }
    }
    trying.set_len(0).context("cannot empty the file of the input")?;
    stats.slowest = slow.iter().map(|(_, input)| Slow::time(&mut bench, args.target, input)).collect();
    Slow::keep_the_slowest(&mut stats.slowest);
    writeln!(stdout(), "{}", serde_json::to_string(&stats)?)?;
    Ok(Verdict::Pass)
}

/// Look at one input in this process: what `overnight` calls itself with.
#[derive(clap::Args)]
pub(crate) struct Triage {
    #[arg(long, value_parser = super::target)]
    target: Target,

    #[arg(long, value_name = "FILE")]
    input: PathBuf,

    #[command(flatten)]
    kernels: Kernels,
}

/// Writes the findings of an input, shrunk, to standard output as JSON.
pub(crate) fn run_triage(args: &Triage) -> Result<Verdict> {
    let input =
        std::fs::read(&args.input).with_context(|| format!("cannot read {}", args.input.display()))?;
    let mut findings = Vec::new();
    match args.kernels.domains()?.case(args.target, &input) {
        // Text, of which the parsers say by a panic what is wrong.
        None => Bench::own().run(args.target, &input),
        Some(case) => {
            let examiner = args.kernels.examiner()?;
            let kernels = examiner.kernels();
            for &kernel in kernels.iter().filter(|kernel| kernel.domain() == case.domain()) {
                for failure in examiner.examine(kernel, &[], &case)?.failures {
                    let found = Finding::new(kernel, &case, None, failure);
                    findings.push(examiner.minimize(kernel, &found)?);
                }
            }
        }
    }
    writeln!(stdout(), "{}", serde_json::to_string(&findings)?)?;
    Ok(Verdict::Pass)
}

/// An input from scratch, or one that was kept, changed.
fn input(target: Target, pool: &[Vec<u8>], rng: &mut ChaCha8Rng) -> Vec<u8> {
    let draw = rng.next_u64() as usize;
    let mut data = match pool.get(draw / 4 % pool.len().max(1)) {
        Some(kept) if !draw.is_multiple_of(4) => kept.clone(),
        _ => {
            let mut fresh = vec![0; 8 + draw / 4 % 120];
            rng.fill_bytes(&mut fresh);
            fresh
        }
    };
    let size = data.len();
    data.resize(MAX_LEN, 0);
    let seed = rng.next_u32();
    // Of a change of bytes the seed says which.
    rng.fill_bytes(&mut data[size..]);
    let size = mutate(target, &mut data, size, MAX_LEN, seed, change);
    data.truncate(size);
    data
}

/// Changes a byte, or takes one on that lies behind.
fn change(data: &mut [u8], size: usize, max_size: usize) -> usize {
    let Some(&choice) = data.get(size) else { return size };
    if choice % 4 == 0 || size == 0 {
        return (size + 1).min(max_size);
    }
    let place = usize::from(choice) * 31 % size;
    data[place] = data[place].wrapping_add(choice);
    size
}

/// What a case is like: its sizes as far as kernels make a difference, and its data.
fn kind(case: &Case) -> u64 {
    let mut hasher = DefaultHasher::new();
    let size = |value: usize| (value.min(64), value % 64, usize::BITS - value.leading_zeros());
    (case.operation, size(case.cols), case.rows.min(9), case.rows % 4, case.scaled).hash(&mut hasher);
    (case.distribution.name(), case.digits, case.stride.signum(), case.patches.len()).hash(&mut hasher);
    hasher.finish()
}

fn passes(bench: &mut Bench, target: Target, input: &[u8]) -> bool {
    // The message of the panic is made again, from the input, when it is looked at.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let passed = catch_unwind(AssertUnwindSafe(|| bench.run(target, input))).is_ok();
    std::panic::set_hook(hook);
    passed
}

/// Keeps a bad input, whole or not at all.
fn save(args: &One, kind: &str, input: &[u8]) -> Result<()> {
    if input.is_empty() {
        return Ok(());
    }
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    OutputFile::create(&args.artifacts.join(format!("{kind}-{:016x}", hasher.finish())))?.write(input)
}
