//! Runs of the gate, a line of JSON each, and how figures move from one to the next.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::SystemTime;

use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

use super::judge::Estimate;
use super::report::{Machine, Outcome, Report};

/// A run on record.
#[derive(Debug, Serialize, Deserialize)]
pub struct Entry {
    /// When it ended, by RFC 3339.
    pub when: String,
    /// What it was about.
    pub about: String,
    /// What it came to.
    pub verdict: Outcome,
    /// Where and of what it was measured.
    pub machine: Machine,
    /// The rows that were measured.
    pub figures: Vec<Figure>,
}

/// A row on record.
#[derive(Debug, Serialize, Deserialize)]
pub struct Figure {
    /// What identifies it.
    pub name: String,
    /// The ratio.
    pub estimate: Estimate,
}

/// Appends a run to a file, in one piece: what a process that was killed left of a line stays a line of its own.
///
/// # Errors
/// If the system refuses, as when the disk is full.
pub fn record(report: &Report, path: &Path) -> std::io::Result<()> {
    let mut figures: Vec<Figure> = Vec::new();
    for line in &report.rows {
        // A row that is demanded twice, with two bars, has one figure.
        if let Some(estimate) = line.estimate
            && figures.iter().all(|known| known.name != line.name())
        {
            figures.push(Figure { name: line.name(), estimate });
        }
    }
    let entry = Entry {
        when: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        about: report.about.clone(),
        verdict: report.verdict,
        machine: report.machine.clone(),
        figures,
    };
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let mut line = Vec::new();
    if file.seek(SeekFrom::End(-1)).is_ok() {
        let mut last = [0];
        file.read_exact(&mut last)?;
        line.extend((last != *b"\n").then_some(b'\n'));
    }
    line.extend(serde_json::to_vec(&entry)?);
    line.push(b'\n');
    file.write_all(&line)?;
    file.sync_all()
}

/// The runs of a file's text, and the numbers of lines that are none.
pub fn read(text: &str) -> (Vec<Entry>, Vec<usize>) {
    let (mut entries, mut broken) = (Vec::new(), Vec::new());
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match serde_json::from_str(line) {
            Ok(entry) => entries.push(entry),
            Err(_) => broken.push(at + 1),
        }
    }
    (entries, broken)
}

/// A table of trends: for each row in whose name `wanted` occurs, its figures from the first run to the last. Only runs on
/// one model of CPU and by one compiler can be compared: each such has a table of its own.
pub fn trends(entries: &[Entry], wanted: &str) -> String {
    let mut places: Vec<(&str, &str)> = Vec::new();
    for Entry { machine, .. } in entries {
        let place = (machine.cpu.as_str(), machine.rustc.as_str());
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let of = |(cpu, rustc): (&str, &str)| {
        let own: Vec<&Entry> =
            entries.iter().filter(|entry| entry.machine.cpu == cpu && entry.machine.rustc == rustc).collect();
        let (first, last) = (&own[0].when, &own[own.len() - 1].when);
        format!("{cpu}, {rustc}: {} runs, {first} to {last}\n{}\n", own.len(), table(&own, wanted))
    };
    places.into_iter().map(of).collect::<Vec<_>>().join("\n")
}

fn table(entries: &[&Entry], wanted: &str) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["row", "runs", "first", "lowest", "highest", "before", "last", "change", "trend"]);
    let mut names: Vec<&str> = Vec::new();
    for figure in entries.iter().flat_map(|entry| &entry.figures) {
        if figure.name.contains(wanted) && !names.contains(&figure.name.as_str()) {
            names.push(&figure.name);
        }
    }
    for name in names {
        let figures = entries.iter().flat_map(|entry| &entry.figures);
        let medians: Vec<f64> =
            figures.filter(|figure| figure.name == name).map(|figure| figure.estimate.median).collect();
        let (first, last) = (medians[0], medians[medians.len() - 1]);
        let before = medians.len().checked_sub(2).map(|at| medians[at]);
        let extreme = |fold: fn(f64, f64) -> f64| medians.iter().copied().fold(first, fold);
        let shown = |ratio: f64| format!("{ratio:.2}");
        table.add_row([
            name.to_owned(),
            medians.len().to_string(),
            shown(first),
            shown(extreme(f64::min)),
            shown(extreme(f64::max)),
            before.map_or(String::new(), shown),
            shown(last),
            before.map_or(String::new(), |before| format!("{:+.1} %", (last / before - 1.0) * 100.0)),
            sparkline(&medians),
        ]);
    }
    for column in 1..=7 {
        table.column_mut(column).expect("nine columns").set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// The last figures as bars between the lowest and the highest of them. Those within 2 % of each other are all of one height:
/// a machine moves that much.
fn sparkline(values: &[f64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    const SHOWN: usize = 20;
    let values = &values[values.len().saturating_sub(SHOWN)..];
    let fold = |fold: fn(f64, f64) -> f64| values.iter().copied().fold(values[0], fold);
    let (low, high) = (fold(f64::min), fold(f64::max));
    let bar = |value: &f64| {
        let part = if high <= low * 1.02 { 0.5 } else { (value - low) / (high - low) };
        BARS[((part * 7.0).round() as usize).min(7)]
    };
    values.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::super::judge::Verdict;
    use super::super::report::tests::{line, of_every_kind};
    use super::*;

    #[test]
    fn runs_are_appended_and_a_torn_line_costs_only_itself() {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let path = folder.path().join("history.jsonl");
        let mut report = of_every_kind();
        record(&report, &path).expect("there is room for a line");
        let whole = std::fs::read(&path).expect("it was written");
        std::fs::write(&path, [&whole[..], &whole[..whole.len() / 2]].concat()).expect("it can be torn");
        report.rows = vec![line("avx2", "dequantize 1024", 9.0, Verdict::Met)];
        record(&report, &path).expect("there is room for a line");
        let (entries, broken) = read(&std::fs::read_to_string(&path).expect("it was written"));
        assert_eq!((entries.len(), broken), (2, vec![2]));
        let trends = trends(&entries, "dequantize 1024");
        assert!(trends.contains("2 runs"), "{trends}");
        let row = trends.lines().find(|line| line.contains("avx2 dequantize 1024")).expect("it has a row");
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(cells[2..10], ["2", "8.00", "8.00", "9.00", "8.00", "9.00", "+12.5 %", "▁█"]);
    }

    #[test]
    fn figures_of_different_machines_do_not_meet() {
        let [one, mut other] = [of_every_kind(), of_every_kind()];
        other.machine.cpu = "another".to_owned();
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let path = folder.path().join("history.jsonl");
        record(&one, &path).and_then(|()| record(&other, &path)).expect("there is room for two lines");
        let (entries, _) = read(&std::fs::read_to_string(&path).expect("it was written"));
        assert_eq!(trends(&entries, "").matches("1 runs").count(), 2);
    }

    #[test]
    fn what_moves_less_than_the_machine_is_a_flat_line() {
        assert_eq!(sparkline(&[10.0, 10.1, 10.0]), "▅▅▅");
        assert_eq!(sparkline(&[1.0, 4.5, 8.0]), "▁▅█");
    }
}
