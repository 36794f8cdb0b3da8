//! The rows as a table.

use comfy_table::{CellAlignment, Table, presets};

use super::{Line, Outcome, Report};
use crate::gate::judge::{Estimate, Verdict};

/// A table for a terminal, and what was measured beside.
pub(super) fn plain(report: &Report) -> String {
    let canary = report.canary.map_or(String::new(), |canary| {
        format!("canary: {:.1} elements of f32 filled in a cycle\n", canary.median)
    });
    format!("{}\n{canary}", table(&report.rows))
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
        table(&report.rows),
        machine.cpu,
        machine.cpus,
        machine.rustc,
    )
}

fn table(rows: &[Line]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["kernel", "on", "over", "ratio", "95 %", "bar", "control", "processes", "verdict"]);
    for line in rows {
        let of = |text: &dyn Fn(Estimate) -> String| line.estimate.map_or(String::new(), text);
        let verdict = match line.verdict {
            Verdict::Skipped => format!("{}: no {}", line.verdict.word(), line.missing.join(", ")),
            verdict => verdict.word().to_owned(),
        };
        table.add_row([
            line.kernel.clone(),
            line.on.clone(),
            line.base.as_ref().unwrap_or(&line.over).clone(),
            of(&|estimate| format!("{:.2}", estimate.median)),
            of(&|estimate| format!("{:.2}-{:.2}", estimate.low, estimate.high)),
            line.at_least.map_or(String::new(), |at_least| format!("{at_least:.2}")),
            line.control.map_or(String::new(), |control| format!("{:.3}", control.median)),
            of(&|estimate| estimate.processes.to_string()),
            verdict,
        ]);
    }
    for column in 3..=7 {
        table.column_mut(column).expect("nine columns").set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::tests::of_every_kind;

    #[test]
    fn a_row_shows_ratio_interval_bar_and_verdict() {
        let table = of_every_kind().table();
        let row = table.lines().find(|line| line.contains("dequantize 4096")).expect("it has a row");
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(
            cells[1..10],
            ["avx2", "dequantize 4096", "scalar", "2.00", "1.96-2.04", "3.00", "1.000", "5", "MISSED"]
        );
        assert!(table.contains("skipped: no avxvnni") && table.contains("canary: 14.8"), "{table}");
    }

    #[test]
    fn markdown_begins_with_what_is_wrong() {
        let markdown = of_every_kind().markdown();
        let (head, rows) = markdown.split_once("<details>").expect("the rows are folded");
        assert!(head.contains("FAILED") && head.contains("- missed: avx2 dequantize 4096"), "{head}");
        assert!(rows.contains("| avx2"), "{rows}");
    }
}
