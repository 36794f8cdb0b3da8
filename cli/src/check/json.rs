//! The report as JSON: DESIGN's `verdict`, `seed`, `cases`, `kernels` and `findings`.

use anyhow::Result;
use qk256_verify::check::{KernelReport, Report, SweepReport, Worst};
use qk256_verify::number;
use qk256_verify::property::PropertyCounts;
use qk256_verify::timing::Speed;
use qk256_verify::trace::Width;
use qk256_verify::{Arguments, Case, Finding, Property};
use serde::Serialize;

use super::{End, Outcome};

#[derive(Serialize)]
struct Document<'a> {
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why_invalid: Option<&'a str>,
    seed: u64,
    cases: u64,
    /// Cases left out because the system gives no sparse memory.
    skipped_cases: u64,
    sweeps: &'a [SweepReport],
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
struct KernelJson<'a> {
    kernel: &'a str,
    operation: &'static str,
    /// The format of the weights.
    format: &'static str,
    /// The kind of activations.
    activations: &'static str,
    /// What callers keep to, in the words of a case; empty if nothing is required.
    requirements: String,
    /// Whether it has a step that repacks the weights once.
    prepares: bool,
    required_features: &'a [&'a str],
    missing_features: &'a [String],
    skipped: bool,
    why_skipped: Option<String>,
    cases: u64,
    wrong_size_cases: u64,
    unsupported_cases: u64,
    /// Legal cases that had to be done and were refused or not supported.
    refused_cases: u64,
    smallest_refused_case: Option<&'a Case>,
    smallest_refused_detail: Option<&'a str>,
    failed_cases: u64,
    /// The widest registers seen in use.
    runs: Option<&'static str>,
    given_up: Option<&'a str>,
    unexplained_order: bool,
    rounds_once: bool,
    /// Declared by the kernel: a row's bits may depend on the number of rows.
    varies_with_rows: bool,
    tried_whole: bool,
    /// Applications of each property.
    properties: PropertyCounts,
    accuracy: Option<AccuracyJson>,
    /// On data of the flat bound.
    worst_error: Option<&'a Worst>,
    timing: Option<Speed>,
}

/// How accurate a gemv is: the depth of its additions, and how much of the bound of oracle 5 its errors come to.
#[derive(Serialize)]
struct AccuracyJson {
    columns: Option<usize>,
    depth: Option<usize>,
    #[serde(with = "number")]
    largest_share_of_bound: f64,
}

pub(super) fn render(
    report: &Report<'_>,
    speeds: &[Option<Speed>],
    outcome: &Outcome,
    end: &End,
) -> Result<String> {
    let document = Document {
        verdict: outcome.word(),
        why_invalid: outcome.why_invalid(),
        seed: report.seed,
        cases: report.cases,
        skipped_cases: report.without_memory,
        sweeps: &report.sweeps,
        kernels: report
            .kernels
            .iter()
            .zip(speeds)
            .map(|(kernel, speed)| kernel_json(kernel, *speed))
            .collect(),
        notes: &report.notes,
        harness_faults: &report.harness_faults,
        seconds: (end.seconds * 1e3).round() / 1e3,
        ended_by: end.signal,
        findings: &report.findings,
    };
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

fn kernel_json<'a>(report: &'a KernelReport<'_>, timing: Option<Speed>) -> KernelJson<'a> {
    let counts = &report.counts;
    let domain = report.kernel.domain();
    let refused = counts.smallest_refused.as_ref();
    KernelJson {
        kernel: report.kernel.name(),
        operation: domain.operation.name(),
        format: domain.format.name,
        activations: domain.activations.name,
        requirements: domain.requirements.to_string(),
        prepares: report.kernel.prepared_bytes(&Arguments::default()).is_some(),
        required_features: report.kernel.required_features(),
        missing_features: &report.missing,
        skipped: report.is_skipped(),
        why_skipped: report.why_skipped(),
        cases: counts.cases,
        wrong_size_cases: counts.wrong_sizes,
        unsupported_cases: counts.unsupported,
        refused_cases: counts.refused,
        smallest_refused_case: refused.map(|refusal| &refusal.case),
        smallest_refused_detail: refused.map(|refusal| refusal.why.as_str()),
        failed_cases: counts.failed,
        runs: report.trace.width().map(Width::name),
        given_up: report.given_up.as_deref(),
        unexplained_order: counts.unexplained,
        rounds_once: counts.rounds_once,
        varies_with_rows: domain.requirements.varies_with_rows,
        tried_whole: report.exhausted,
        properties: counts.properties,
        accuracy: (counts.properties.of(Property::Bound) > 0).then_some(AccuracyJson {
            columns: counts.depth.map(|(columns, _)| columns),
            depth: counts.depth.map(|(_, depth)| depth),
            largest_share_of_bound: counts.share,
        }),
        worst_error: counts.worst.as_ref(),
        timing,
    }
}
