//! `cargo run --release -p qk256-benches --example instructions`: instructions that each kernel executes for 16 elements, as
//! callgrind counts them. The same every time, however busy the machine is.
//!
//! The program runs itself under valgrind, with few calls and with more: the difference is that of the calls alone. Exit 0:
//! the table is printed; kernels that valgrind cannot run are listed under it. Exit 1: a kernel is wrong, or valgrind failed.
//! Exit 2: there is no valgrind.

use std::env;
use std::error::Error;
use std::io::IsTerminal;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use comfy_table::{CellAlignment, Table, presets};
use qk256_benches::{Verified, kernels_here};
use qk256_verify::kernel::missing_features;
use qk256_verify::timing::Workload;
use qk256_verify::{Case, Harness, Kernel, registry};

/// Calls of the two runs.
const FEW: u64 = 10;
const MORE: u64 = 30;

/// Elements that a count is for.
const UNIT: f64 = 16.0;

/// What is counted: vectors in the first-level cache, a small matrix, one row, and as little and as much precision as there
/// is.
const CASES: [&str; 7] = [
    "unpack len=1024",
    "lut len=1024",
    "dequantize len=1024",
    "gemv rows=64 cols=2560",
    "gemv rows=1 cols=1024",
    "gemv_fixed rows=64 cols=2560 digits=1",
    "gemv_fixed rows=64 cols=2560 digits=4",
];

/// The first argument of a run under valgrind: the name of the kernel, the case and the number of calls follow.
const CALL: &str = "--call";

/// Exit code of such a run on a CPU, that of valgrind, that lacks what the kernel needs.
const NOT_HERE: u8 = 3;

/// Exit code of the program where there is no valgrind.
const NO_VALGRIND: u8 = 2;

type Failure = Box<dyn Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [flag, kernel, case, calls] = &arguments[..]
        && flag == CALL
    {
        return call(kernel, case, calls);
    }
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!(
            "instructions: there is no valgrind; it is in the package `valgrind` (apt-get install valgrind)"
        );
        return NO_VALGRIND.into();
    }
    match count_all() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("instructions: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Counts every case and prints the table.
fn count_all() -> Result<(), Failure> {
    let scratch = tempfile::tempdir()?;
    let (mut table, mut uncountable) = (Table::new(), Vec::new());
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["case", "kernel", "instructions per 16 elements", "per call"]);
    for line in CASES {
        let case: Case = line.parse()?;
        for kernel in checked(&case)? {
            progress(&format!("{line}: {kernel}"));
            match per_call(&kernel, &case, scratch.path())? {
                Some(count) => {
                    let elements = (case.rows * case.cols) as f64;
                    let per_unit = format!("{:.2}", count * UNIT / elements);
                    table.add_row([line.to_owned(), kernel, per_unit, format!("{count:.0}")]);
                }
                None => uncountable.push(format!("{kernel} on `{line}`")),
            }
        }
    }
    progress("");
    for column in [2, 3] {
        table.column_mut(column).expect("four columns").set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    uncountable
        .iter()
        .for_each(|name| println!("not countable: {name}: valgrind hides the features it needs"));
    Ok(())
}

/// The names of the kernels that can be timed here and are right on the case.
fn checked(case: &Case) -> Result<Vec<String>, Failure> {
    let kernels = kernels_here(case.operation);
    let verified =
        Verified::new(&mut Harness::new(None), kernels.iter().map(AsRef::as_ref), Workload::of(case.clone()));
    let verified = verified
        .map_err(|findings| findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"))?;
    Ok(verified.kernels().iter().map(|kernel| kernel.name().to_owned()).collect())
}

/// Instructions of a call; `None` if valgrind has no CPU for the kernel.
fn per_call(kernel: &str, case: &Case, scratch: &Path) -> Result<Option<f64>, Failure> {
    let mut totals = [0; 2];
    for (total, calls) in totals.iter_mut().zip([FEW, MORE]) {
        match run(kernel, case, calls, scratch)? {
            Some(counted) => *total = counted,
            None => return Ok(None),
        }
    }
    let [few, more] = totals;
    Ok(Some((more - few) as f64 / (MORE - FEW) as f64))
}

/// Instructions of a process that makes so many calls.
fn run(kernel: &str, case: &Case, calls: u64, scratch: &Path) -> Result<Option<u64>, Failure> {
    let counts = scratch.join("callgrind.out");
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", counts.display()))
        .arg(env::current_exe()?)
        .args([CALL, kernel, &case.to_string(), &calls.to_string()])
        .output()?;
    match output.status.code() {
        Some(0) => {}
        Some(code) if code == i32::from(NOT_HERE) => return Ok(None),
        _ => {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{kernel} on `{case}` under valgrind: {}\n{said}", output.status).into());
        }
    }
    total(&std::fs::read_to_string(counts)?).map(Some)
}

/// The number of instructions that a file of callgrind is about.
fn total(counts: &str) -> Result<u64, Failure> {
    let line = counts.lines().find_map(|line| line.strip_prefix("totals: "));
    Ok(line.ok_or("callgrind wrote no totals")?.trim().parse()?)
}

/// Makes the calls, of a kernel that has been checked.
fn call(kernel: &str, case: &str, calls: &str) -> ExitCode {
    let case: Case = case.parse().expect("the case of the parent");
    let calls = calls.parse().expect("the number of the parent");
    let is_wanted = |own: &dyn Kernel| own.name() == kernel && own.operation() == case.operation;
    let kernels = registry::kernels();
    let kernel =
        kernels.iter().map(AsRef::as_ref).find(|own| is_wanted(*own)).expect("the kernel of the parent");
    if !missing_features(kernel.required_features()).is_empty() {
        return NOT_HERE.into();
    }
    Workload::of(case).time(kernel, calls);
    ExitCode::SUCCESS
}

/// Overwrites the line of progress on a terminal; elsewhere, nothing.
fn progress(line: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{line}");
    }
}
