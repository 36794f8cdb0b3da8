//! The rows as a table.

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle, presets};
use qk256_verify::words::MAX_WIDTH;

use super::{Line, Outcome, Report};
use crate::judge::{Estimate, Verdict};

/// A table for a terminal, and what was measured beside.
pub(super) fn plain(report: &Report) -> String {
    let canary = report.canary.map_or(String::new(), |canary| {
        format!("canary: {:.1} elements of f32 filled in a cycle\n", canary.median)
    });
    let mut table = table(&report.rows, &["control", "processes"]);
    let line = LineStyle::none().fill('─').junction('─');
    table.load_style(TableStyle::new().header_separator(line));
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(MAX_WIDTH as u16);
    format!("{table}\n{canary}")
}

/// The table with a headline and what is wrong, in Markdown.
pub(super) fn markdown(report: &Report) -> String {
    let sign = if report.verdict == Outcome::Pass { "" } else { "**" };
    let complaints: String =
        report.complaints().into_iter().chain(report.notes()).map(|line| format!("- {line}\n")).collect();
    let machine = &report.machine;
    let commit = machine.commit.as_deref().map_or(String::new(), |commit| format!(", commit {commit}"));
    format!(
        "### qk256 speed gate\n\n{sign}{}{sign}\n\n{complaints}\n<details><summary>{} rows</summary>\n\n{}\n\n</details>\n\n{}, \
         {} CPUs, {}{commit}\n",
        report.summary(),
        report.rows.len(),
        table(&report.rows, &[]),
        machine.cpu,
        machine.cpus,
        machine.rustc,
    )
}

/// The rows, without the columns `left_out`.
fn table(rows: &[Line], left_out: &[&str]) -> Table {
    let columns: Vec<&Column> = COLUMNS.iter().filter(|(name, ..)| !left_out.contains(name)).collect();
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(columns.iter().map(|(name, ..)| *name));
    for line in rows {
        table.add_row(columns.iter().map(|(_, _, cell)| cell(line)));
    }
    for (at, (_, is_number, _)) in columns.iter().enumerate() {
        if *is_number {
            table.column_mut(at).expect("it is in the header").set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A column: its name, whether it is of numbers, and what it shows of a row.
type Column = (&'static str, bool, fn(&Line) -> String);

const COLUMNS: [Column; 9] = [
    ("kernel", false, |line| line.kernel.clone()),
    ("on", false, |line| line.on.clone()),
    ("over", false, |line| line.base.as_ref().unwrap_or(&line.over).clone()),
    ("ratio", true, |line| of(line, |estimate| format!("{:.2}", estimate.median))),
    ("95 %", true, |line| of(line, |estimate| format!("{:.2}-{:.2}", estimate.low, estimate.high))),
    ("limit", true, |line| line.at_least.map_or(String::new(), |at_least| format!("{at_least:.2}"))),
    ("control", true, |line| line.control.map_or(String::new(), |control| format!("{:.3}", control.median))),
    ("processes", true, |line| of(line, |estimate| estimate.processes.to_string())),
    ("verdict", false, |line| match line.verdict {
        Verdict::Skipped => format!("{}: no {}", line.verdict.word(), line.missing.join(", ")),
        verdict => verdict.word().to_owned(),
    }),
];

fn of(line: &Line, text: fn(Estimate) -> String) -> String {
    line.estimate.map_or(String::new(), text)
}

#[cfg(test)]
mod tests {
    use super::super::tests::of_every_kind;
    use super::*;

    #[test]
    fn a_row_shows_ratio_interval_limit_and_verdict_and_in_markdown_control_and_processes() {
        let row = |text: &str| {
            let row = text.lines().find(|line| line.contains("dequantize 4096")).expect("it has a row");
            row.split(['|', ' ']).filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join(" ")
        };
        let (table, markdown) = (of_every_kind().table(), of_every_kind().markdown());
        assert_eq!(row(&table), "avx2 dequantize 4096 scalar 2.00 1.96-2.04 3.00 MISSED");
        let rows = markdown.split_once("<details>").expect("the rows are folded").1;
        assert_eq!(row(rows), "avx2 dequantize 4096 scalar 2.00 1.96-2.04 3.00 1.000 5 MISSED");
        assert!(table.contains("skipped: no") && table.contains("canary: 14.8"), "{table}");
        assert!(table.lines().all(|line| line.chars().count() <= MAX_WIDTH), "{table}");
    }

    #[test]
    fn markdown_begins_with_what_is_wrong() {
        let markdown = of_every_kind().markdown();
        let (head, rows) = markdown.split_once("<details>").expect("the rows are folded");
        assert!(head.contains("FAILED") && head.contains("- missed: avx2 dequantize 4096"), "{head}");
        assert!(rows.contains("| avx2"), "{rows}");
    }
}
