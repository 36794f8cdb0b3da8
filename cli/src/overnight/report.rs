//! What there is to read in the morning.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use qk256_verify::words::count;
use serde::{Deserialize, Serialize};

use super::directory::Directory;
use super::slow::Slow;
use super::state::{Counts, State, named};

/// The report as machines read it.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    verdict: String,
    state: State,
    findings: Vec<String>,
}

/// Writes `report.json` and `report.md`; the earlier ones say what has changed.
pub(super) fn write(directory: &Directory, state: &State, findings: &[PathBuf]) -> Result<()> {
    // One that cannot be read is replaced.
    let before: Option<Document> = directory.read("report.json").unwrap_or_default();
    let names: Vec<String> = findings.iter().map(|path| name(path)).collect();
    let verdict = if names.is_empty() { "pass" } else { "finding" }.to_owned();
    directory.write("report.md", words(state, &names, before.as_ref()).as_bytes())?;
    let document = Document { verdict, state: state.clone(), findings: names };
    directory.write("report.json", &serde_json::to_vec_pretty(&document)?)
}

fn name(path: &Path) -> String {
    path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

fn words(state: &State, findings: &[String], before: Option<&Document>) -> String {
    let State { engine, runs, libraries, .. } = state;
    let mut text = format!("# Fuzzing with {engine}, run {runs}\n\nThese are {}.\n\n", named(libraries));
    let _ = writeln!(
        text,
        "| target | executions | a second | coverage at first | now | since the last report | corpus | merged |"
    );
    let _ = writeln!(text, "| --- | --- | --- | --- | --- | --- | --- | --- |");
    for (target, counts) in &state.targets {
        let known = before.and_then(|before| before.state.targets.get(target));
        let grown = counts.coverage.saturating_sub(known.map_or(0, |known| known.coverage));
        let rate = counts.executions as f64 / counts.seconds.max(1e-9);
        let _ = writeln!(
            text,
            "| {target} | {} | {rate:.0} | {} | {} | +{grown} | {} | {} |",
            counts.executions, counts.coverage_at_first, counts.coverage, counts.corpus, counts.merged
        );
    }
    slowest(&mut text, state);
    let known = |name: &&String| before.is_some_and(|before| before.findings.contains(name));
    let fresh = findings.iter().filter(|name| !known(name)).count();
    let _ = writeln!(
        text,
        "\n{}, {fresh} of them since the last report.\n",
        count(findings.len() as u64, "finding")
    );
    for name in findings {
        let mark = if known(&name) { "" } else { ", new" };
        let _ = writeln!(text, "- [{name}](findings/{name}.md){mark}");
    }
    text
}

/// The inputs that take longest, with their times.
fn slowest(text: &mut String, state: &State) {
    let slow = |(target, counts): (&String, &Counts)| -> Vec<String> {
        // In a table these two would end a cell and its code.
        let plain = |case: &str| case.replace('|', "\\x7c").replace('`', "\\x60");
        let row = |slow: &Slow| format!("| {target} | {:.1} | `{}` |", slow.milliseconds, plain(&slow.case));
        counts.slowest.iter().map(row).collect()
    };
    let rows: Vec<String> = state.targets.iter().flat_map(slow).collect();
    if !rows.is_empty() {
        let head = "| target | ms of CPU | slowest inputs |\n| --- | --- | --- |";
        let _ = writeln!(text, "\n{head}\n{}", rows.join("\n"));
    }
}
