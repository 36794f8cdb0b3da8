//! The table that a check ends in.

use std::collections::BTreeSet;
use std::fmt::Write;

use comfy_table::CellAlignment;
use qk256_verify::check::{KernelReport, Report, SweepReport};
use qk256_verify::timing::Ratio;
use qk256_verify::trace::Width;
use qk256_verify::{Rung, Weights};

use super::Speeds;
use super::speed::{Beside, Speed};
use crate::list::needs;
use crate::output;

const HEADER: [&str; 10] = [
    "operation",
    "kernel",
    "needs",
    "runs",
    "cases",
    "rungs",
    "worst error",
    "time",
    "x scalar",
    "x fast_scalar",
];

/// Operation, kernel, features, cases, rungs, worst error, time and speed-ups, and what the columns mean.
pub(crate) fn render(
    report: &Report<'_>,
    speeds: &Speeds,
    beside: &[Beside],
    weights: Option<&Weights>,
) -> String {
    let mut table = output::table(HEADER);
    for column in [4, 7, 8, 9] {
        table
            .column_mut(column)
            .expect("the header has ten columns")
            .set_cell_alignment(CellAlignment::Right);
    }
    for (kernel, speed) in report.kernels.iter().zip(speeds) {
        table.add_row(row(kernel, speed.as_ref()));
    }
    for own in beside {
        table.add_row(own_row(own));
    }
    let mut text = format!("{table}\n");
    describe(&mut text, report, speeds, weights).expect("writing to a string does not fail");
    text
}

fn row(report: &KernelReport<'_>, speed: Option<&Speed>) -> [String; 10] {
    let kernel = report.kernel;
    let state = |text: String| if report.is_skipped() { "-".to_owned() } else { text };
    [
        kernel.operation().to_string(),
        kernel.name().to_owned(),
        needs(kernel.required_features()),
        report.trace.width().map_or("-", Width::name).to_owned(),
        if report.is_skipped() { "skipped".to_owned() } else { report.cases.to_string() },
        state(rungs(report)),
        state(worst(report)),
        speed.map_or("-".to_owned(), time),
        ratio(speed.and_then(|speed| speed.over_scalar)),
        ratio(speed.and_then(|speed| speed.over_fast_scalar)),
    ]
}

/// A kernel of ours that guests were timed beside.
fn own_row(own: &Beside) -> [String; 10] {
    let nothing = || "-".to_owned();
    [
        own.operation.to_string(),
        format!("{} (ours)", own.name),
        nothing(),
        nothing(),
        nothing(),
        nothing(),
        nothing(),
        time(&own.speed),
        ratio(own.speed.over_scalar),
        ratio(own.speed.over_fast_scalar),
    ]
}

/// The numbered rungs, and how many parts of the contract.
fn rungs(report: &KernelReport<'_>) -> String {
    let numbers: Vec<String> =
        report.rungs.applied().filter_map(Rung::number).map(|n| n.to_string()).collect();
    let others = report.rungs.applied().filter(|rung| rung.number().is_none()).count();
    format!("{} +{others}", numbers.join(" "))
}

fn worst(report: &KernelReport<'_>) -> String {
    match &report.worst {
        _ if report.failed > 0 => format!("WRONG in {}", report.failed),
        Some((worst, _)) => format!("{:.1e} ({:.1} ulp)", worst.absolute, worst.ulps),
        // What has its bits by definition has no error, unless it rounds: then it is within rung 5.
        None if report.rungs.of(Rung::BitExact) > 0 && report.rungs.of(Rung::Bound) == 0 => "0".to_owned(),
        None => "-".to_owned(),
    }
}

fn time(speed: &Speed) -> String {
    match speed.nanoseconds {
        ns if ns < 10_000.0 => format!("{ns:.0} ns"),
        ns => format!("{:.0} us", ns / 1000.0),
    }
}

fn ratio(ratio: Option<Ratio>) -> String {
    ratio.map_or("-".to_owned(), |ratio| format!("{:.2}", ratio.median))
}

/// The cases of the largest errors. Kernels that give the same bits share a line.
fn worst_cases(text: &mut String, report: &Report<'_>) -> std::fmt::Result {
    for (at, row) in report.kernels.iter().enumerate() {
        let Some((worst, case)) = row.worst.as_ref().filter(|(worst, _)| worst.absolute > 0.0) else {
            continue;
        };
        let operation = row.kernel.operation();
        let same =
            |other: &&KernelReport<'_>| other.kernel.operation() == operation && other.worst == row.worst;
        if report.kernels[..at].iter().any(|other| same(&other)) {
            continue;
        }
        let names: Vec<&str> = report.kernels.iter().filter(same).map(|other| other.kernel.name()).collect();
        writeln!(text, "worst error of {operation}, {}, {:.1e}: {case}", names.join(", "), worst.absolute)?;
    }
    Ok(())
}

/// How accurate a right gemv of a library is: of our own, docs/kernels.md says it.
fn accuracy(report: &KernelReport<'_>) -> Option<String> {
    report.kernel.library()?;
    let (columns, depth) = report.depth?;
    let (worst, _) = report.worst.as_ref()?;
    let rank = match depth + 1 == columns {
        true => "right, and only as accurate as sums in order are",
        false => "right, and more accurate than sums in order",
    };
    Some(format!(
        "{}: {rank}: {columns} columns at depth {depth}; worst error {:.1e} ({:.1} ulp) on 1e-4 data; errors on rung 5 up to {:.2} of \
         their bound\n",
        report.label(),
        worst.absolute,
        worst.ulps,
        report.share
    ))
}

/// What was met of the sweeps.
fn sweeps(text: &mut String, report: &Report<'_>) -> std::fmt::Result {
    let sum = |of: fn(&SweepReport) -> usize| report.sweeps.iter().map(of).sum::<usize>();
    let (edges, pairs) = (sum(|sweep| sweep.met.edges), sum(|sweep| sweep.met.pairs));
    let (all_edges, all_pairs) = (sum(|sweep| sweep.whole.edges), sum(|sweep| sweep.whole.pairs));
    writeln!(text, "sweep: {edges} of {all_edges} edges, {pairs} of {all_pairs} pairs of edges")?;
    if report.without_memory > 0 {
        let cases = report.without_memory;
        writeln!(text, "{cases} cases skipped: the system gives no sparse memory (ulimit -v)")?;
    }
    Ok(())
}

fn describe(
    text: &mut String,
    report: &Report<'_>,
    speeds: &Speeds,
    weights: Option<&Weights>,
) -> std::fmt::Result {
    worst_cases(text, report)?;
    for kernel in &report.kernels {
        if let Some(why) = &kernel.given_up {
            writeln!(text, "{}: not called any more after {why}", kernel.label())?;
        }
    }
    for kernel in report.kernels.iter().filter(|kernel| kernel.failed == 0) {
        text.extend(accuracy(kernel));
    }
    let exhausted: Vec<String> =
        report.kernels.iter().filter(|kernel| kernel.exhausted).map(KernelReport::label).collect();
    if !exhausted.is_empty() {
        writeln!(
            text,
            "tried whole (2^32 scales, or every one-hot x up to 1100 columns): {}",
            exhausted.join(", ")
        )?;
    }
    for kernel in report.kernels.iter().filter(|kernel| kernel.unexplained) {
        writeln!(
            text,
            "{}: no order of summation explains all its rows; rung 5 stands alone there",
            kernel.label()
        )?;
    }
    if let Some(weights) = weights {
        let (tensors, skipped) = (weights.tensors().len(), weights.skipped());
        let path = weights.path().display();
        writeln!(
            text,
            "weights: {tensors} tensors of {path}; {skipped} that are not 2-D f32, f16 or bf16 left out"
        )?;
    }
    let skipped = report.kernels.iter().filter(|kernel| kernel.is_skipped()).count();
    if skipped > 0 {
        let missing: BTreeSet<&str> =
            report.kernels.iter().flat_map(|kernel| kernel.missing.iter().map(String::as_str)).collect();
        let missing = Vec::from_iter(missing).join(", ");
        writeln!(text, "{skipped} kernels skipped, for want of {missing}")?;
    }
    if speeds.iter().any(Option::is_some) {
        writeln!(
            text,
            "times: vector operations at 1024 elements, gemv at 2560x2560 without scales; timed in turn, medians"
        )?;
        writeln!(
            text,
            "gemv_fixed: the same 2560x2560 with 4 digits, the rounding of x and its memory included"
        )?;
    }
    writeln!(
        text,
        "runs: the widest registers seen in use; rungs: numbers as in docs/verification.md, + parts of the contract and \
         relations; error: on 1e-4 data"
    )?;
    sweeps(text, report)?;
    let verdict = match report.findings.len() {
        0 => "no findings".to_owned(),
        1 => "1 finding".to_owned(),
        more => format!("{more} findings"),
    };
    writeln!(text, "{} cases, seed {}: {verdict}", report.cases, report.seed)
}
