//! What a selftest ends in: a row for each kernel and fault, and what they come to.

use std::time::Duration;

use anyhow::Result;
use comfy_table::CellAlignment;
use qk256_mutants::museum;
use qk256_verify::finding::program;
use qk256_verify::words::{count, folded};
use serde::Serialize;

use super::subject::{Kind, Subject, VACUOUS, Verdict};
use crate::output;

/// A subject, and what was seen of it.
type Row = (Subject, Verdict);

/// The tables and the summary.
pub(super) fn render(results: &[Row], seed: u64, time: Duration) -> String {
    let of =
        |kind: &str| results.iter().filter(|(subject, _)| subject.kind.name() == kind).collect::<Vec<_>>();
    let (wrong, right, faults) = (of("wrong"), of("right"), of("fault"));
    let mut text = String::new();
    for (title, rows) in
        [("wrong kernel", &wrong), ("right kernel", &right), ("fault of the harness", &faults)]
    {
        if !rows.is_empty() {
            text += &format!("{}\n\n", table(title, rows));
        }
    }
    if !wrong.is_empty() {
        text += &format!("{}\n", caught(&wrong));
    }
    for (what, rows) in [("right kernels left alone", right), ("faults of the harness noticed", faults)] {
        if !rows.is_empty() {
            let well = rows.iter().filter(|row| row.0.is_as_it_must_be(&row.1)).count();
            text += &format!("{what}: {well} of {}\n", rows.len());
        }
    }
    text + &format!("seed {seed}, {:.0} s\n", time.as_secs_f64())
}

fn table(title: &str, rows: &[&Row]) -> comfy_table::Table {
    let last = match rows[0].0.kind {
        Kind::Fault(_) => ["kernel that it misses", "", "cases", "ms"],
        Kind::Wrong | Kind::Right | Kind::Peer(_) => ["class", "caught by", "cases", "ms"],
    };
    let mut table = output::table([&[title][..], &["operation"], &last].concat());
    for column in [4, 5] {
        table
            .column_mut(column)
            .expect("the header has six columns")
            .set_cell_alignment(CellAlignment::Right);
    }
    for (subject, seen) in rows.iter().copied() {
        table.add_row(row(subject, seen));
    }
    table
}

fn row(subject: &Subject, seen: &Verdict) -> [String; 6] {
    let (class, caught) = match (subject.kind, &seen.caught_by) {
        (Kind::Fault(_), None) => (subject.mutant.name, String::new()),
        (Kind::Fault(_), Some(by)) if by == VACUOUS => {
            (subject.mutant.name, format!("{by}: the check reports it"))
        }
        (Kind::Fault(_), Some(by)) => (subject.mutant.name, format!("NOT NOTICED: caught by {by}")),
        (Kind::Wrong, None) => (subject.mutant.class.name(), "NOT CAUGHT".to_owned()),
        (Kind::Wrong | Kind::Peer(_), Some(by)) => (subject.mutant.class.name(), by.clone()),
        (Kind::Right | Kind::Peer(_), None) => (subject.mutant.class.name(), "-".to_owned()),
        (Kind::Right, Some(by)) => (subject.mutant.class.name(), format!("FALSE ALARM: {by}")),
    };
    [
        subject.name().to_owned(),
        subject.mutant.kernel.domain.to_string(),
        class.to_owned(),
        caught,
        seen.cases.to_string(),
        format!("{:.1}", seen.milliseconds),
    ]
}

/// How many wrong kernels were caught, and how soon.
fn caught(wrong: &[&Row]) -> String {
    let mut times: Vec<(f64, &str)> = wrong
        .iter()
        .filter(|(_, seen)| seen.caught_by.is_some())
        .map(|(subject, seen)| (seen.milliseconds, subject.name()))
        .collect();
    times.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all = format!("wrong kernels caught: {} of {}", times.len(), wrong.len());
    match (times.get(times.len() / 2), times.last()) {
        (Some((median, _)), Some((worst, name))) => {
            format!("{all}; median {median:.1} ms, worst {worst:.0} ms ({name})")
        }
        _ => all,
    }
}

/// The report on a subject that is not as it must be.
pub(super) fn complaint(subject: &Subject, seen: &Verdict, seed: u64) -> String {
    let what = match subject.kind {
        Kind::Wrong => format!(
            "the wrong kernel is not caught in {}: {}",
            count(seen.cases, "case"),
            subject.mutant.history
        ),
        Kind::Right | Kind::Peer(_) => format!("a right kernel is flagged: {}", subject.mutant.history),
        Kind::Fault(_) => {
            format!("the fault is not noticed: {} is still caught", subject.mutant.name)
        }
    };
    let mut text = format!("selftest: {subject}\n");
    folded(&mut text, "  what:    ", &what).expect("a string takes all");
    text += &format!("  again:   {} selftest --only {} --seed {seed}", program(), subject.name());
    if seen.finding.is_empty() { text } else { format!("{text}\n{}", seen.finding) }
}

#[derive(Serialize)]
struct Document<'a> {
    verdict: &'static str,
    seed: u64,
    /// The signal that ended the selftest before all was examined, if one did.
    ended_by: Option<&'static str>,
    results: Vec<ResultJson<'a>>,
}

#[derive(Serialize)]
struct ResultJson<'a> {
    kind: &'static str,
    name: &'static str,
    kernel: &'static str,
    operation: &'static str,
    class: &'static str,
    /// The bugs of public history that the kernel has.
    sources: Vec<&'static str>,
    as_it_must_be: bool,
    #[serde(flatten)]
    seen: &'a Verdict,
}

/// The results as machines read them.
pub(super) fn json(results: &[Row], seed: u64, ended_by: Option<&'static str>) -> Result<String> {
    let result = |(subject, seen): &'_ Row| -> bool { subject.is_as_it_must_be(seen) };
    let document = Document {
        verdict: match ended_by {
            _ if !results.iter().all(result) => "finding",
            Some(_) => "invalid",
            None => "pass",
        },
        seed,
        ended_by,
        results: results
            .iter()
            .map(|(subject, seen)| ResultJson {
                kind: subject.kind.name(),
                name: subject.name(),
                kernel: subject.mutant.name,
                operation: subject.mutant.kernel.domain.operation.name(),
                class: subject.mutant.class.name(),
                sources: museum::of(subject.mutant.name).map(|bug| bug.source).collect(),
                as_it_must_be: subject.is_as_it_must_be(seen),
                seen,
            })
            .collect(),
    };
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}
