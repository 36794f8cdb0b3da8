//! What `selftest --museum` ends in: a row for each bug of public history.

use std::time::Duration;

use comfy_table::CellAlignment;
use qk256_mutants::museum::BUGS;

use super::subject::{Subject, Verdict};
use crate::output;

/// The table of the bugs whose kernels were examined, and the summary.
pub(super) fn render(results: &[(Subject, Verdict)], seed: u64, time: Duration) -> String {
    let mut table =
        output::fitted_table(["source", "what was wrong", "wrong kernel", "caught by", "cases", "ms"]);
    for column in [4, 5] {
        table
            .column_mut(column)
            .expect("the header has six columns")
            .set_cell_alignment(CellAlignment::Right);
    }
    let seen =
        |mutant: &str| results.iter().find(|(subject, _)| subject.name() == mutant).map(|(_, seen)| seen);
    let rows: Vec<_> = BUGS.iter().filter_map(|bug| Some((bug, seen(bug.mutant)?))).collect();
    for (bug, seen) in &rows {
        table.add_row([
            bug.source.to_owned(),
            bug.what.to_owned(),
            bug.mutant.to_owned(),
            seen.caught_by.clone().unwrap_or_else(|| "NOT CAUGHT".to_owned()),
            seen.cases.to_string(),
            format!("{:.1}", seen.milliseconds),
        ]);
    }
    let caught = rows.iter().filter(|(_, seen)| seen.caught_by.is_some()).count();
    let of = rows.len();
    format!("{table}\n\nbugs caught: {caught} of {of}\nseed {seed}, {:.0} s\n", time.as_secs_f64())
}
