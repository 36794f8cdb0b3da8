//! The report as JSON: DESIGN's `verdict`, `seed`, `cases`, `kernels` and `findings`.

use std::collections::BTreeMap;

use anyhow::Result;
use qk256_verify::check::{KernelReport, Report, SweepReport};
use qk256_verify::judge::WorstError;
use qk256_verify::number;
use qk256_verify::timing::Ratio;
use qk256_verify::trace::Width;
use qk256_verify::{Finding, Property};
use serde::Serialize;

use super::speed::Speed;
use super::{End, Outcome, Speeds};

#[derive(Serialize)]
struct Document<'a> {
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why_invalid: Option<&'a str>,
    seed: u64,
    cases: u64,
    /// Cases left out because the system gives no sparse memory.
    skipped_cases: u64,
    sweeps: Vec<SweepJson>,
    kernels: Vec<KernelJson<'a>>,
    /// What happened to processes of plugins that was not the kernels' doing.
    notes: &'a [String],
    harness_faults: &'a [String],
    /// How long the run took, with what came after the cases.
    seconds: f64,
    /// The signal that ended the run, if one did.
    ended_by: Option<&'static str>,
    findings: &'a [Finding],
}

#[derive(Serialize)]
struct SweepJson {
    operation: &'static str,
    edges: usize,
    all_edges: usize,
    pairs: usize,
    all_pairs: usize,
    shapes: usize,
    all_shapes: usize,
}

#[derive(Serialize)]
struct KernelJson<'a> {
    kernel: &'a str,
    operation: &'static str,
    required_features: &'a [&'a str],
    missing_features: &'a [String],
    skipped: bool,
    why_skipped: Option<String>,
    cases: u64,
    wrong_size_cases: u64,
    unsupported_cases: u64,
    /// Legal cases that had to be done and were refused or not supported.
    refused_cases: u64,
    smallest_refused_case: Option<String>,
    smallest_refused_detail: Option<&'a str>,
    failed_cases: u64,
    /// The widest registers seen in use.
    runs: Option<&'static str>,
    given_up: Option<&'a str>,
    unexplained_order: bool,
    /// Declared by the kernel: a row's bits may depend on the number of rows.
    varies_with_rows: bool,
    tried_whole: bool,
    /// Applications of each property.
    properties: BTreeMap<&'static str, u64>,
    accuracy: Option<AccuracyJson>,
    /// On data of the flat bound.
    worst_error: Option<WorstJson>,
    timing: Option<TimingJson>,
}

/// How accurate a gemv is: the depth of its additions, and how much of the bound of oracle 5 its errors come to.
#[derive(Serialize)]
struct AccuracyJson {
    columns: Option<usize>,
    depth: Option<usize>,
    #[serde(with = "number")]
    largest_share_of_bound: f64,
}

#[derive(Serialize)]
struct WorstJson {
    #[serde(flatten)]
    error: WorstError,
    case: String,
}

#[derive(Serialize)]
struct TimingJson {
    rows: usize,
    cols: usize,
    #[serde(with = "number")]
    nanoseconds: f64,
    speedup_over_scalar: Option<Ratio>,
    speedup_over_fast_scalar: Option<Ratio>,
}

pub(super) fn render(report: &Report<'_>, speeds: &Speeds, outcome: &Outcome, end: &End) -> Result<String> {
    let document = Document {
        verdict: outcome.word(),
        why_invalid: outcome.why_invalid(),
        seed: report.seed,
        cases: report.cases,
        skipped_cases: report.without_memory,
        sweeps: report.sweeps.iter().map(sweep_json).collect(),
        kernels: report
            .kernels
            .iter()
            .zip(speeds)
            .map(|(kernel, speed)| kernel_json(kernel, speed.as_ref()))
            .collect(),
        notes: &report.notes,
        harness_faults: &report.harness_faults,
        seconds: (end.seconds * 1e3).round() / 1e3,
        ended_by: end.signal,
        findings: &report.findings,
    };
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn sweep_json(sweep: &SweepReport) -> SweepJson {
    SweepJson {
        operation: sweep.operation.name(),
        edges: sweep.met.edges,
        all_edges: sweep.whole.edges,
        pairs: sweep.met.pairs,
        all_pairs: sweep.whole.pairs,
        shapes: sweep.met.shapes,
        all_shapes: sweep.whole.shapes,
    }
}

fn kernel_json<'a>(report: &'a KernelReport<'_>, speed: Option<&Speed>) -> KernelJson<'a> {
    let worst = report.worst.as_ref();
    KernelJson {
        kernel: report.kernel.name(),
        operation: report.kernel.operation().name(),
        required_features: report.kernel.required_features(),
        missing_features: &report.missing,
        skipped: report.is_skipped(),
        why_skipped: report.why_skipped(),
        cases: report.cases,
        wrong_size_cases: report.wrong_sizes,
        unsupported_cases: report.unsupported,
        refused_cases: report.refused,
        smallest_refused_case: report.smallest_refused.as_ref().map(|(case, _)| case.to_string()),
        smallest_refused_detail: report.smallest_refused.as_ref().map(|(_, why)| why.as_str()),
        failed_cases: report.failed,
        runs: report.trace.width().map(Width::name),
        given_up: report.given_up.as_deref(),
        unexplained_order: report.unexplained,
        varies_with_rows: report.kernel.varies_with_rows(),
        tried_whole: report.exhausted,
        properties: report
            .properties
            .applied()
            .map(|property| (property.name(), report.properties.of(property)))
            .collect(),
        accuracy: (report.properties.of(Property::Bound) > 0).then_some(AccuracyJson {
            columns: report.depth.map(|(columns, _)| columns),
            depth: report.depth.map(|(_, depth)| depth),
            largest_share_of_bound: report.share,
        }),
        worst_error: worst.map(|(error, case)| WorstJson { error: *error, case: case.to_string() }),
        timing: speed.map(|speed| TimingJson {
            rows: speed.shape.0,
            cols: speed.shape.1,
            nanoseconds: speed.nanoseconds,
            speedup_over_scalar: speed.over_scalar,
            speedup_over_fast_scalar: speed.over_fast_scalar,
        }),
    }
}
