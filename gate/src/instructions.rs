//! Instructions that kernels execute, as callgrind counts them: the same every time, however busy the machine is.
//!
//! A program runs under valgrind with few calls and with more: the difference is that of the calls alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use qk256_kernels::Level;
use qk256_verify::Kernel;
use qk256_verify::kernel::missing_features;
use qk256_verify::timing::Workload;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::host::{Process, Program};
use super::judge::{Estimate, Verdict};
use super::message::Request;
use super::report::{Line, Machine, Report};
use super::rows::Task;
use super::{GateError, Watch};

/// The file of the repository.
pub const OWN_PATH: &str = "gate/instructions.toml";

/// The first argument of a process that is to call a kernel under valgrind: operation, kernel, size and number of calls follow.
pub const CALLER: &str = "gate-caller";

/// The exit code of such a process on a CPU, that of valgrind, that lacks what the kernel needs: it can say nothing.
const NOT_HERE: i32 = 3;

/// Calls of the two runs.
const CALLS: [u64; 2] = [10, 30];

/// The smallest ratio of the recorded count to that of today.
const AT_LEAST: f64 = 0.99;

/// What is counted: vectors in the first-level cache, one row, a small matrix, both with scales as well, and as little and as much precision as there is.
const TASKS: [&str; 9] = [
    "unpack 1024",
    "lut 1024",
    "dequantize 1024",
    "gemv 1x1024",
    "gemv 64x2560",
    "gemv 1x1024-scaled",
    "gemv 64x2560-scaled",
    "gemv_fixed 64x2560-1",
    "gemv_fixed 64x2560-4",
];

/// The head of the file.
const HEAD: &str = "# Instructions that a call of each kernel executes, under callgrind. Written by `qk256 gate --instructions --update`; another compiler\n\
                    # executes others.\n\n";

/// Counts, and the compiler of what was counted.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    rustc: String,
    /// By kernel and task: `avx2 dequantize 1024`.
    calls: BTreeMap<String, u64>,
}

impl Counts {
    /// Counts every kernel of the programs `worker`, which checks them first, and `caller`, which calls them.
    ///
    /// # Errors
    /// If a kernel is wrong, there is no valgrind, or a process fails.
    pub fn of(worker: &Program, caller: &Program, watch: &mut Watch<'_>) -> Result<Self, GateError> {
        let found = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
        found.map_err(|error| GateError::Start {
            program: "valgrind, which counts instructions (apt-get install valgrind)".to_owned(),
            error,
        })?;
        watch(0.0, "checking");
        let kernels = checked(worker)?;
        watch(0.1, "counting instructions");
        let count = |(task, name): &(Task, String)| {
            let counted = per_call(caller, task, name)?;
            Ok(counted.map(|calls| (format!("{name} {task}"), calls)))
        };
        let counted = kernels.par_iter().map(count).collect::<Result<Vec<_>, GateError>>()?;
        Ok(Self { rustc: Machine::this().rustc, calls: counted.into_iter().flatten().collect() })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, or is not such a file.
    pub fn read(path: &Path) -> Result<Self, GateError> {
        let problem = |why: String| GateError::Rows {
            file: path.display().to_string(),
            why: format!("{}; `qk256 gate --instructions --update` writes the file", why.trim_end()),
        };
        let text = std::fs::read_to_string(path).map_err(|error| problem(error.to_string()))?;
        toml::from_str(&text).map_err(|error| problem(error.to_string()))
    }

    /// The text of a file.
    pub fn text(&self) -> String {
        HEAD.to_owned() + &toml::to_string(self).expect("counts are TOML")
    }

    /// Holds these counts against those of the file `name`: a kernel may not execute more than 1 % more.
    pub fn judge(&self, recorded: &Self, name: &str, start: Instant) -> Report {
        let line = |(kernel, now): (&String, &u64)| {
            let (kernel, on) = kernel.split_once(' ').expect("a kernel and a task");
            let line = Line {
                kernel: kernel.to_owned(),
                on: on.to_owned(),
                over: name.to_owned(),
                at_least: Some(AT_LEAST),
                why: "instruction counts have no noise: look at the machine code, or accept the count with --update"
                    .to_owned(),
                ..Line::default()
            };
            let skipped = |why: &str| Line { missing: vec![why.to_owned()], ..line.clone() };
            match recorded.calls.get(&format!("{kernel} {on}")) {
                _ if recorded.rustc != self.rustc => skipped(&format!("record by {}", self.rustc)),
                None => skipped("record; --update makes one"),
                Some(then) => {
                    let estimate = Estimate::exact(*then as f64 / *now as f64);
                    Line { verdict: estimate.judge(AT_LEAST), estimate: Some(estimate), ..line }
                }
            }
        };
        let mut lines: Vec<Line> = self.calls.iter().map(line).collect();
        // A kernel that is not counted any more must not pass in silence.
        let gone = recorded.calls.keys().filter(|kernel| !self.calls.contains_key(*kernel));
        lines.extend(gone.map(|kernel| Line {
            kernel: kernel.clone(),
            over: name.to_owned(),
            at_least: Some(AT_LEAST),
            missing: vec!["count of it on this machine".to_owned()],
            verdict: Verdict::Skipped,
            ..Line::default()
        }));
        Report::new("instructions", lines, None, start.elapsed())
    }
}

/// The kernels that this CPU can run, examined on the tasks. Of each level those that a plain call runs: what the other paths of
/// AVX2 execute is in these, and one of them allocates, which takes as long as the state of the heap says.
fn checked(worker: &Program) -> Result<Vec<(Task, String)>, GateError> {
    let mut process = Process::start(worker)?;
    let mut kernels = Vec::new();
    for task in TASKS {
        let task: Task = task.parse().expect("the table is well-formed");
        let is_counted = |operation: &str, name: &str, missing: &[String]| {
            let is_plain = Level::ALL.iter().any(|level| level.name() == name);
            operation == task.operation.name() && is_plain && missing.is_empty()
        };
        let offered = process.offered().iter();
        let own: Vec<(String, String)> = offered
            .filter(|kernel| is_counted(&kernel.operation, &kernel.name, &kernel.missing))
            .map(|kernel| (kernel.operation.clone(), kernel.name.clone()))
            .collect();
        kernels.extend(own.iter().map(|(_, name)| (task, name.clone())));
        process.ask(&Request::Prepare { task: task.to_string(), kernels: own, check: true })?;
    }
    Ok(kernels)
}

/// Instructions of a call; `None` if valgrind has no CPU for the kernel.
fn per_call(caller: &Program, task: &Task, name: &str) -> Result<Option<u64>, GateError> {
    let mut totals = [0; 2];
    for (total, calls) in totals.iter_mut().zip(CALLS) {
        match count(caller, task, name, calls)? {
            Some(counted) => *total = counted,
            None => return Ok(None),
        }
    }
    Ok(Some((totals[1] - totals[0]) / (CALLS[1] - CALLS[0])))
}

/// Instructions of a process that makes N calls.
fn count(caller: &Program, task: &Task, name: &str, calls: u64) -> Result<Option<u64>, GateError> {
    let refused = |why: String| GateError::Refused { program: "valgrind".to_owned(), why };
    let scratch = tempfile::NamedTempFile::new().map_err(|error| refused(error.to_string()))?;
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", scratch.path().display()))
        .args(&caller.words)
        .args([&task.to_string(), name, &calls.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| refused(error.to_string()))?;
    match output.status.code() {
        Some(0) => {}
        Some(code) if code == NOT_HERE => return Ok(None),
        _ => {
            let printed = String::from_utf8_lossy(&output.stderr);
            return Err(refused(format!("{name} on {task}: {}\n{printed}", output.status)));
        }
    }
    let counts = std::fs::read_to_string(scratch.path()).map_err(|error| refused(error.to_string()))?;
    let total = counts.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
    total.map(Some).ok_or_else(|| refused("it wrote no totals".to_owned()))
}

/// Makes calls of a kernel that has been checked. `false` if this CPU cannot.
///
/// # Errors
/// If there is no such kernel, or no such task.
pub fn call(kernels: &[Box<dyn Kernel>], task: &str, name: &str, calls: u64) -> Result<bool, String> {
    let task: Task = task.parse()?;
    let is_wanted = |own: &&dyn Kernel| own.name() == name && own.operation() == task.operation;
    let kernel = kernels.iter().map(AsRef::as_ref).find(is_wanted);
    let kernel = kernel.ok_or_else(|| format!("there is no {name} of {task}"))?;
    if !missing_features(kernel.required_features()).is_empty() {
        return Ok(false);
    }
    Workload::of(task.case()).time(kernel, calls);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(rustc: &str, calls: &[(&str, u64)]) -> Counts {
        let calls = calls.iter().map(|(kernel, calls)| ((*kernel).to_owned(), *calls)).collect();
        Counts { rustc: rustc.to_owned(), calls }
    }

    #[test]
    fn one_percent_more_is_let_pass_and_two_are_missed() {
        let recorded =
            counts("1", &[("avx2 unpack 1024", 1000), ("avx2 lut 1024", 1000), ("scalar lut 1024", 1000)]);
        let now =
            counts("1", &[("avx2 unpack 1024", 1010), ("avx2 lut 1024", 1020), ("scalar lut 1024", 500)]);
        let report = now.judge(&recorded, "file", Instant::now());
        let verdicts: Vec<_> = report.rows.iter().map(|line| (line.name(), line.verdict)).collect();
        assert_eq!(
            verdicts,
            [
                ("avx2 lut 1024 over file".to_owned(), Verdict::Missed),
                ("avx2 unpack 1024 over file".to_owned(), Verdict::Met),
                ("scalar lut 1024 over file".to_owned(), Verdict::Met),
            ]
        );
    }

    #[test]
    fn what_cannot_be_compared_is_skipped_with_its_reason() {
        let recorded = counts("1", &[("avx2 unpack 1024", 1000)]);
        let other_compiler =
            counts("2", &[("avx2 unpack 1024", 5000)]).judge(&recorded, "file", Instant::now());
        assert_eq!(other_compiler.rows[0].verdict, Verdict::Skipped);
        let renamed = counts("1", &[("new unpack 1024", 1000)]).judge(&recorded, "file", Instant::now());
        let reasons: Vec<_> = renamed.rows.iter().map(|line| line.missing[0].as_str()).collect();
        assert_eq!(reasons, ["record; --update makes one", "count of it on this machine"]);
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let written = counts("rustc 1", &[("avx2 unpack 1024", 1000), ("scalar lut 7", 3)]);
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let path = folder.path().join("instructions.toml");
        std::fs::write(&path, written.text()).expect("there is room for a file");
        let read = Counts::read(&path).expect("it was written so");
        assert_eq!((read.rustc, read.calls), (written.rustc, written.calls));
        let missing = Counts::read(&folder.path().join("none")).expect_err("there is none").to_string();
        assert!(missing.contains("--update` writes the file"), "{missing}");
    }
}
