//! How often the gate errs about libraries whose code lies elsewhere: pairs of C libraries of which the truth is known.
//!
//! ```sh
//! cargo run --release -p qk256-gate --example gate_placement        # 20 pairs of each kind
//! cargo run --release -p qk256-gate --example gate_placement -- 5   # 5 pairs of each kind
//! ```
//!
//! The libraries of a pair are one source, each with a function of another length before the kernels. In the first kind both execute the
//! same instructions; in the second the new one makes 5 % of the calls of one operation twice. Each kind is judged as the
//! gate does, with the code at several places, and as linked. Exit 1 if the gate errs more often than docs/benchmarking.md allows. It
//! needs `cc`.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use comfy_table::{Table, presets};
use qk256_gate::against::{self, Sides};
use qk256_gate::judge::Verdict;
use qk256_gate::rows::{Against, Demands};
use qk256_gate::{Effort, GateError, Program, Report, WORKER, libraries, worker};
use qk256_verify::Library;
use qk256_verify::plugin::load_here;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use tempfile::TempDir;

/// The part of the calls that is made twice.
const PART: f64 = 0.05;

/// What is timed: short calls. Their operations are those of [`SOURCE`].
const TASKS: [&str; 3] = ["unpack 1024", "dequantize 1024", "gemv 1x1024"];

/// The plain kernels of the examples, with what repeats some of their calls, behind a function of PAD bytes. A and B are the parts of 2^32
/// calls that are made twice. They are read at run time, so that all libraries have the same instructions.
const SOURCE: &str = r#"
__attribute__((used)) void pad(void) { __asm__ volatile(".skip %PAD%, 0x90"); }
#define qk256_kernels plain_kernels
#include "plain.c"
#undef qk256_kernels
static volatile const uint32_t PARTS[3] = {%PARTS%};
static uint32_t sums[3];
static int again(int operation) {
    uint32_t part = PARTS[operation];
    sums[operation] += part;
    return sums[operation] < part;
}
static int32_t unpack_again(const qk256_call *call) {
    if (again(0)) unpack(call);
    return unpack(call);
}
static int32_t dequantize_again(const qk256_call *call) {
    if (again(1)) dequantize(call);
    return dequantize(call);
}
static int32_t gemv_again(const qk256_call *call) {
    if (again(2)) gemv(call);
    return gemv(call);
}
static const qk256_kernel AGAIN[] = {
    QK256_KERNEL("again", "unpack", "qk256", "f32", "", 1, unpack_again),
    QK256_KERNEL("again", "dequantize", "qk256", "f32", "", 1, dequantize_again),
    QK256_KERNEL("again", "gemv", "qk256", "f32", "", 1, gemv_again),
};
const qk256_kernel *qk256_kernels(uint32_t abi_version, size_t *count) {
    *count = sizeof AGAIN / sizeof AGAIN[0];
    return abi_version == QK256_ABI_VERSION ? AGAIN : NULL;
}
"#;

type Failure = Box<dyn Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match &words[..] {
        [WORKER, "--lib", library] => serve(Path::new(library)),
        [] => measure(20),
        [pairs] => pairs.parse().map_err(Failure::from).and_then(measure),
        _ => Err("one argument at most: the number of pairs".into()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("gate_placement: {failure}");
            ExitCode::from(2)
        }
    }
}

fn serve(library: &Path) -> Result<bool, Failure> {
    // SAFETY: this process was started to time the library, which the example has built, and does nothing else.
    let kernels = unsafe { load_here(&Library::plugin(library)) }?;
    worker::serve(&kernels)?;
    Ok(true)
}

/// Two builds of one source.
struct Pair {
    _folder: TempDir,
    new: Library,
    old: Library,
    /// The place in [`TASKS`] of what the new one does slower.
    slow: Option<usize>,
}

impl Pair {
    fn build(at: usize, is_slow: bool) -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let mut rng = ChaCha8Rng::seed_from_u64(at as u64);
        let level = ["-O2", "-O3"][at % 2];
        let slow = is_slow.then_some(at % TASKS.len());
        let mut build = |name: &str, slow: Option<usize>| {
            let pad = rng.next_u32() % 4096;
            let part = |operation| if slow == Some(operation) { (PART * 2_f64.powi(32)) as u32 } else { 0 };
            let parts = [0, 1, 2].map(|operation| format!("{}u", part(operation))).join(", ");
            let source = SOURCE.replace("%PAD%", &pad.to_string()).replace("%PARTS%", &parts);
            compile(folder.path(), name, &source, level)
        };
        let (new, old) = (Library::plugin(build("new", slow)?), Library::plugin(build("old", None)?));
        Ok(Self { _folder: folder, new, old, slow })
    }

    fn judge(&self, demands: &Against, is_moved: bool) -> Result<Report, GateError> {
        let (effort, quiet) = (Effort::default(), &mut |_: f64, _: &str| {});
        if is_moved {
            return libraries::run([&self.new, &self.old], &[], demands, effort, quiet);
        }
        let [new, old] =
            [&self.new, &self.old].map(|library| Program::of_library(library, &[]).map(|own| [own]));
        against::run(&new?, &old?, demands, Sides::Libraries, effort, quiet)
    }
}

fn compile(folder: &Path, name: &str, source: &str, level: &str) -> Result<PathBuf, Failure> {
    let verify = concat!(env!("CARGO_MANIFEST_DIR"), "/../verify");
    let (file, library) = (folder.join(format!("{name}.c")), folder.join(format!("{name}.so")));
    fs::write(&file, source)?;
    let mut command = Command::new("cc");
    command.args(["-std=gnu11", "-fPIC", "-shared", level, &format!("-I{verify}/include")]);
    let status = command.arg(format!("-I{verify}/plugins")).arg("-o").args([&library, &file]).status();
    match status {
        Ok(status) if status.success() => Ok(library),
        Ok(status) => Err(format!("{command:?}: {status}").into()),
        Err(error) => Err(format!("cc, which builds the libraries: {error}").into()),
    }
}

/// What was seen of the pairs of a kind.
#[derive(Default)]
struct Seen {
    /// Pairs in which a kernel that is no slower failed.
    false_failures: usize,
    /// Pairs in which the slower kernel failed.
    found: usize,
    /// Pairs with a row that was neither met nor missed.
    undecided: usize,
    /// Of the kernels that are no slower, and of those that are.
    ratios: [Vec<f64>; 2],
    seconds: f64,
}

impl Seen {
    fn add(&mut self, report: &Report, slow: Option<usize>) {
        assert!(report.remarks.is_empty(), "the code could not be moved: {:?}", report.remarks);
        let slow = slow.map(|at| TASKS[at]);
        let missed = |line: &&qk256_gate::Line| line.verdict == Verdict::Missed;
        let failed: Vec<_> = report.rows.iter().filter(missed).collect();
        self.false_failures += usize::from(failed.iter().any(|line| Some(line.on.as_str()) != slow));
        self.found += usize::from(failed.iter().any(|line| Some(line.on.as_str()) == slow));
        let is_open = |verdict| [Verdict::Inconclusive, Verdict::Invalid].contains(&verdict);
        self.undecided += usize::from(report.rows.iter().any(|line| is_open(line.verdict)));
        for line in &report.rows {
            let is_slow = Some(line.on.as_str()) == slow;
            self.ratios[usize::from(is_slow)].extend(line.estimate.map(|estimate| estimate.median));
        }
        self.seconds += report.seconds;
    }

    /// The smallest and the largest ratio.
    fn measured(&self, is_slow: bool) -> String {
        let ratios = &self.ratios[usize::from(is_slow)];
        let low = ratios.iter().copied().reduce(f64::min);
        low.zip(ratios.iter().copied().reduce(f64::max))
            .map_or(String::new(), |(low, high)| format!("{low:.3} to {high:.3}"))
    }
}

/// Judges all pairs. Whether the gate erred no more than it may: no false failure, and one slow-down in twenty not found.
fn measure(pairs: usize) -> Result<bool, Failure> {
    let mut demands = Demands::own(None).against;
    demands.tasks = TASKS.map(|task| task.parse().expect("the table is well-formed")).to_vec();
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "new against old",
        "code",
        "pairs",
        "false failures",
        "found",
        "undecided",
        "no slower",
        "slower",
        "s a pair",
    ]);
    let (mut is_well, start) = (true, Instant::now());
    for (kind, is_slow) in [("the same instructions", false), ("5 % slower", true)] {
        let (mut moved, mut linked) = (Seen::default(), Seen::default());
        for at in 0..pairs {
            let pair = Pair::build(at, is_slow)?;
            moved.add(&pair.judge(&demands, true)?, pair.slow);
            linked.add(&pair.judge(&demands, false)?, pair.slow);
            eprintln!("{kind}: {} of {pairs} pairs, {:.0} s", at + 1, start.elapsed().as_secs_f64());
        }
        is_well &= moved.false_failures == 0 && (!is_slow || moved.found + pairs.div_ceil(20) >= pairs);
        for (code, seen) in [("at several places", moved), ("as linked", linked)] {
            let found = if is_slow { seen.found.to_string() } else { String::new() };
            table.add_row([
                kind.to_owned(),
                code.to_owned(),
                pairs.to_string(),
                seen.false_failures.to_string(),
                found,
                seen.undecided.to_string(),
                seen.measured(false),
                seen.measured(true),
                format!("{:.1}", seen.seconds / pairs as f64),
            ]);
        }
    }
    println!("{table}");
    Ok(is_well)
}
