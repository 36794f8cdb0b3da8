//! The kernels in question, and what is seen of each.

use std::process::ExitCode;

use qk256_verify::certificate::memcheck::{Complaint, is_watching, watch};
use qk256_verify::kernel::missing_features;
use qk256_verify::{Case, Kernel, Operation, registry};

use crate::canaries::CANARIES;

/// Columns, or elements: all remainders of everything that the kernels do at a time, and some that take several blocks.
const SHORT: std::ops::RangeInclusive<usize> = 1..=300;
const LONG: [usize; 6] = [511, 512, 513, 1000, 2048, 2100];

/// Rows: one, pairs and what is left of them, and enough for x to be permuted.
const ROWS: [usize; 6] = [1, 2, 3, 5, 33, 50];

/// The exit code.
pub(crate) fn run() -> ExitCode {
    if !is_watching() {
        eprintln!("undefined: this says nothing without valgrind: docs/verification.md");
        return ExitCode::from(2);
    }
    let complaints = match std::env::args().nth(1).as_deref() {
        Some("canaries") => unseen_canaries(),
        _ => dependent_kernels(),
    };
    complaints.iter().for_each(|complaint| eprintln!("undefined: {complaint}"));
    if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A line for each kernel that valgrind complains of.
fn dependent_kernels() -> Vec<String> {
    let all = registry::kernels();
    let is_simd = |kernel: &&dyn Kernel| kernel.name().starts_with("avx") && !kernel.shares_work();
    let mut complaints = Vec::new();
    for kernel in all.iter().map(AsRef::as_ref).filter(is_simd) {
        let missing = missing_features(kernel.required_features());
        if !missing.is_empty() {
            println!("skipped {kernel:?}: this CPU, as valgrind shows it, lacks {}", missing.join(", "));
            continue;
        }
        let cases: Vec<Case> = cases(kernel.operation()).collect();
        match cases.iter().find_map(|case| Some((case, watch(kernel, case).err()?))) {
            None => println!("no path of {kernel:?} depends on data in {} cases", cases.len()),
            Some((case, complaint)) => complaints.push(format!("{kernel:?}: {complaint}: {case}")),
        }
    }
    complaints
}

/// A line for each canary that valgrind does not complain of, in any case.
fn unseen_canaries() -> Vec<String> {
    let mut complaints = Vec::new();
    for canary in CANARIES {
        for case in [1, 7, 300].map(|cols| Case::new(canary.domain, 1, cols)) {
            match watch(&canary, &case) {
                Err(complaint @ Complaint::Errors(_)) => println!("{}: {complaint}: {case}", canary.name),
                other => complaints.push(format!("{} is not seen ({other:?}): {case}", canary.name)),
            }
        }
    }
    complaints
}

fn cases(operation: Operation) -> impl Iterator<Item = Case> {
    let rows = if operation.is_matrix() { &ROWS[..] } else { &[1] };
    let digits = if operation.has_digits() { 1..=4 } else { 1..=1 };
    let scaled = if operation == Operation::Gemv { &[false, true][..] } else { &[false] };
    let shapes = SHORT.chain(LONG).flat_map(|cols| rows.iter().map(move |&rows| (rows, cols)));
    shapes.flat_map(move |(rows, cols)| {
        let of = move |digits| {
            let plain = Case { digits, ..Case::new(operation, rows, cols) };
            scaled.iter().map(move |&scaled| Case { scaled: plain.scaled || scaled, ..plain.clone() })
        };
        digits.clone().flat_map(of)
    })
}
