//! The table that a check ends in: one line a kernel, at most [`MAX_WIDTH`](qk256_verify::words::MAX_WIDTH) columns.

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use comfy_table::{Attribute, Cell, CellAlignment, Color};
use qk256_verify::check::{KernelReport, Refusal, Report, SweepReport, Worst};
use qk256_verify::examiner::{Reference, Timing};
use qk256_verify::timing::{Ratio, Speed};
use qk256_verify::trace::Width;
use qk256_verify::words::{count, folded};
use qk256_verify::{Property, Weights};

use crate::list::needs;
use crate::output;

const HEADER: [&str; 7] = ["operation", "kernel", "verdict", "cases", "worst error", "time", "speed-up"];

/// Columns of numbers.
const NUMBERS: [usize; 4] = [3, 4, 5, 6];

/// What a report is rendered with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extras<'a> {
    /// How fast the kernels are.
    pub(crate) timing: &'a Timing,
    /// Weights that the kernels were checked on.
    pub(crate) weights: Option<&'a Weights>,
    /// Whether what was checked of each kernel is shown as well.
    pub(crate) verbose: bool,
}

/// The table, notes on what was skipped or left open, and the summary line.
pub(crate) fn render(report: &Report<'_>, extras: Extras<'_>) -> String {
    let mut table = output::fitted_table(HEADER);
    for column in NUMBERS {
        table
            .column_mut(column)
            .expect("the header has that many columns")
            .set_cell_alignment(CellAlignment::Right);
    }
    for (kernel, speed) in report.kernels.iter().zip(&extras.timing.speeds) {
        table.add_row(row(kernel, speed.as_ref()));
    }
    for own in &extras.timing.references {
        table.add_row(own_row(own));
    }
    let mut text = format!("{table}\n");
    if extras.timing.speeds.iter().any(Option::is_some) {
        text += "time: of one call; speed-up: over the fastest scalar kernel; --verbose shows more\n";
    }
    describe(&mut text, report, extras).expect("writing to a string does not fail");
    text
}

fn row(report: &KernelReport<'_>, speed: Option<&Speed>) -> Vec<Cell> {
    let cases = if report.is_skipped() { "-".to_owned() } else { report.counts.cases.to_string() };
    vec![
        Cell::new(report.kernel.domain()),
        Cell::new(report.kernel.name()),
        verdict(report),
        Cell::new(cases),
        Cell::new(worst(report)),
        Cell::new(speed.map_or("-".to_owned(), |speed| time(speed.nanoseconds))),
        Cell::new(speedup(speed)),
    ]
}

/// A kernel of ours that plugins were timed beside.
fn own_row(own: &Reference) -> Vec<Cell> {
    let name = format!("{} (qk256)", own.name);
    let cells = [
        &own.domain.to_string(),
        &name,
        "-",
        "-",
        "-",
        &time(own.speed.nanoseconds),
        &speedup(Some(&own.speed)),
    ];
    cells.map(Cell::new).to_vec()
}

fn verdict(report: &KernelReport<'_>) -> Cell {
    match report.counts.failed {
        _ if report.is_skipped() => {
            Cell::new(format!("skipped: no {}", report.missing.join(", "))).fg(Color::Yellow)
        }
        0 if report.supports_nothing() => Cell::new("not supported").fg(Color::Yellow),
        0 if report.counts.cases == 0 => Cell::new("not checked").fg(Color::Yellow),
        0 => Cell::new("ok").fg(Color::Green),
        failed => Cell::new(format!("WRONG in {}", count(failed, "case")))
            .fg(Color::Red)
            .add_attribute(Attribute::Bold),
    }
}

fn worst(report: &KernelReport<'_>) -> String {
    match &report.counts.worst {
        _ if report.counts.failed > 0 => "-".to_owned(),
        Some(worst) => format!("{:.1e}", worst.error.absolute),
        // What has its bits by definition has no error, unless it rounds: then it is within the bound.
        None if report.counts.properties.of(Property::BitExact) > 0
            && report.counts.properties.of(Property::Bound) == 0 =>
        {
            "0".to_owned()
        }
        None => "-".to_owned(),
    }
}

fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        ns if ns < 10_000.0 => format!("{ns:.0} ns"),
        ns => format!("{:.0} us", ns / 1000.0),
    }
}

/// Over the fastest scalar kernel of the operation.
fn speedup(speed: Option<&Speed>) -> String {
    speed.and_then(over_best_scalar).map_or("-".to_owned(), |ratio| format!("{:.2}", ratio.median))
}

fn over_best_scalar(speed: &Speed) -> Option<Ratio> {
    let ratios = [speed.over_scalar, speed.over_fast_scalar, speed.over_twin];
    ratios.into_iter().flatten().min_by(|a, b| a.median.total_cmp(&b.median))
}

fn describe(text: &mut String, report: &Report<'_>, extras: Extras<'_>) -> fmt::Result {
    if extras.verbose {
        for (kernel, speed) in report.kernels.iter().zip(&extras.timing.speeds) {
            details(text, kernel, speed.as_ref())?;
        }
        legend(text, report, extras)?;
    }
    for kernel in &report.kernels {
        let requirements = kernel.kernel.domain().requirements;
        if !requirements.is_none() {
            writeln!(text, "{}: requires {requirements}", kernel.label())?;
        }
        if let Some(why) = &kernel.given_up {
            writeln!(text, "{}: no longer called after {why}", kernel.label())?;
        }
        if requirements.varies_with_rows {
            let what = "not invariant to the number of rows, as declared: held to the bound for each number";
            writeln!(text, "{}: {what}", kernel.label())?;
        }
    }
    for (kernel, speed) in report.kernels.iter().zip(&extras.timing.speeds) {
        if let Some(prepare) = speed.as_ref().and_then(|speed| speed.prepare_nanoseconds) {
            writeln!(
                text,
                "{}: prepares the weights in {}, no part of its time",
                kernel.label(),
                time(prepare as f64)
            )?;
        }
    }
    report.kernels.iter().try_for_each(|kernel| not_done(text, kernel))?;
    skipped(text, report)?;
    report.notes.iter().try_for_each(|note| writeln!(text, "note: {note}"))?;
    summary(text, report)
}

/// How much of the run a kernel had no part in: kinds of calls that it does not support, and legal cases that it refused.
fn not_done(text: &mut String, report: &KernelReport<'_>) -> fmt::Result {
    if report.supports_nothing() {
        let cases = report.counts.support.values().map(|support| support.unsupported).sum();
        return writeln!(text, "{}: not supported ({})", report.label(), count(cases, "case"));
    }
    for (kind, support) in report.counts.support.iter().filter(|(_, support)| support.unsupported > 0) {
        let cases = count(support.unsupported, "case");
        writeln!(text, "{}: does not support {kind} ({cases})", report.label())?;
    }
    let Some(Refusal { case, why }) = &report.counts.smallest_refused else { return Ok(()) };
    let legal = count(report.counts.cases - report.counts.wrong_sizes, "legal case");
    writeln!(
        text,
        "{}: {} of {legal} refused or not supported; nothing else was checked on them",
        report.label(),
        report.counts.refused
    )?;
    writeln!(text, "  the smallest:  {case}")?;
    folded(text, "                 ", why)
}

/// What was checked of one kernel.
fn details(text: &mut String, report: &KernelReport<'_>, speed: Option<&Speed>) -> fmt::Result {
    if report.is_skipped() {
        return Ok(());
    }
    let registers = report.trace.width().map_or("registers not seen".to_owned(), |width| match width {
        Width::Narrow => "scalar and 128-bit registers".to_owned(),
        wide => format!("{} registers", wide.name()),
    });
    let features = needs(report.kernel.required_features());
    writeln!(text, "\n{} (features: {features}; {registers})", report.label())?;
    let properties: Vec<&str> = report.counts.properties.applied().map(Property::name).collect();
    folded(text, "  checked:      ", &properties.join(", "))?;
    if let Some(order) = order(report) {
        folded(text, "  order:        ", &order)?;
    }
    if report.exhausted {
        folded(text, "  exhaustive:   ", "every one of 2^32 scales, or every one-hot x up to 1100 columns")?;
    }
    if let Some(Worst { error: worst, case }) = &report.counts.worst {
        writeln!(text, "  worst error:  {:.1e} ({:.1} ulp) in this case:", worst.absolute, worst.ulps)?;
        writeln!(text, "                {case}")?;
    }
    for (base, ratio) in [
        ("scalar", speed.and_then(|speed| speed.over_scalar)),
        ("fast_scalar", speed.and_then(|speed| speed.over_fast_scalar)),
        ("its portable twin", speed.and_then(|speed| speed.over_twin)),
    ] {
        if let Some(Ratio { median, low, high }) = ratio {
            writeln!(
                text,
                "  speed-up:     {median:.2} over {base} (80 % of rounds: {low:.2} to {high:.2})"
            )?;
        }
    }
    Ok(())
}

/// How a kernel adds up a row, as far as it is known.
fn order(report: &KernelReport<'_>) -> Option<String> {
    if report.kernel.domain().requirements.varies_with_rows {
        return Some("depends on the number of rows, as declared".to_owned());
    }
    if report.counts.unexplained {
        return Some(
            "no order of summation explains every row; those rows are held to the bound alone".to_owned(),
        );
    }
    if report.counts.rounds_once {
        return Some("the exact sum, rounded once; every bit is known".to_owned());
    }
    let (columns, depth) = report.counts.depth?;
    let rank = if depth + 1 == columns {
        "as accurate as a sum in order"
    } else {
        "more accurate than a sum in order"
    };
    Some(format!(
        "known; {columns} columns add up at depth {depth}, which is {rank}; largest error {:.2} of its bound",
        report.counts.share
    ))
}

/// What the columns and lines mean.
fn legend(text: &mut String, report: &Report<'_>, extras: Extras<'_>) -> fmt::Result {
    writeln!(text)?;
    if let Some(weights) = extras.weights {
        let (tensors, skipped) = (weights.tensors().len() as u64, weights.skipped());
        let path = weights.path().display();
        writeln!(
            text,
            "weights: {} of {path}; {skipped} not checked (not 2-D f32, f16 or bf16)",
            count(tensors, "tensor")
        )?;
    }
    if extras.timing.speeds.iter().any(Option::is_some) {
        writeln!(
            text,
            "time: median of one call, on 1024 elements or 2560x2560 without scales, kernels timed in turn"
        )?;
        writeln!(text, "time of gemv_fixed: with 4 digits; includes rounding x")?;
    }
    writeln!(
        text,
        "worst error: absolute, on data with the flat limit of 1e-4; properties: docs/verification.md"
    )?;
    sweeps(text, report)
}

/// How much of the sweeps was run.
fn sweeps(text: &mut String, report: &Report<'_>) -> fmt::Result {
    let sum = |of: fn(&SweepReport) -> usize| report.sweeps.iter().map(of).sum::<usize>();
    let (edges, pairs) = (sum(|sweep| sweep.edges), sum(|sweep| sweep.pairs));
    let (all_edges, all_pairs) = (sum(|sweep| sweep.all_edges), sum(|sweep| sweep.all_pairs));
    let (shapes, all_shapes) = (sum(|sweep| sweep.shapes), sum(|sweep| sweep.all_shapes));
    writeln!(
        text,
        "sweep: {edges} of {all_edges} edges, {pairs} of {all_pairs} pairs of edges, {shapes} of {all_shapes} further shapes"
    )
}

fn skipped(text: &mut String, report: &Report<'_>) -> fmt::Result {
    if report.without_memory > 0 {
        let cases = count(report.without_memory, "case");
        writeln!(text, "{cases} skipped: too little address space for sparse memory (see ulimit -v)")?;
    }
    let lacks: BTreeSet<&str> =
        report.kernels.iter().flat_map(|kernel| kernel.missing.iter().map(String::as_str)).collect();
    if !lacks.is_empty() {
        let skipped = report.kernels.iter().filter(|kernel| kernel.is_skipped()).count();
        let skipped = count(skipped as u64, "kernel");
        writeln!(text, "{skipped} skipped: this CPU lacks {}", Vec::from_iter(lacks).join(", "))?;
    }
    Ok(())
}

/// Cases, kernels, seed and verdict.
fn summary(text: &mut String, report: &Report<'_>) -> fmt::Result {
    let checked = report.kernels.iter().filter(|kernel| kernel.counts.cases > 0).count() as u64;
    let verdict = match report.findings.len() as u64 {
        0 => "no findings".to_owned(),
        findings => count(findings, "finding"),
    };
    let (cases, kernels) = (count(report.cases, "case"), count(checked, "kernel"));
    writeln!(text, "{cases}, {kernels}, seed {}: {verdict}", report.seed)
}
