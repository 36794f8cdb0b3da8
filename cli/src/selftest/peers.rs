//! What `selftest --peers` ends in: a row for each test of another project.

use std::time::Duration;

use comfy_table::CellAlignment;
use qk256_mutants::peers::PEERS;
use qk256_mutants::right;

use super::subject::{Kind, Subject, Verdict};
use crate::output;

/// How many kernels each test was called with and how many it saw.
pub(super) fn render(results: &[(Subject, Verdict)], seed: u64, time: Duration) -> String {
    let header = [
        "test of",
        "what it compares, and its limit",
        "wrong kernels",
        "seen",
        "seen here",
        "right kernels",
        "flagged",
    ];
    let mut table = output::fitted_table(header);
    for column in 2..header.len() {
        table
            .column_mut(column)
            .expect("the header has these columns")
            .set_cell_alignment(CellAlignment::Right);
    }
    let right: Vec<&str> = right().iter().map(|mutant| mutant.name).collect();
    let caught_here = |name: &str| {
        let is_it = |(subject, _): &&(Subject, Verdict)| {
            matches!(subject.kind, Kind::Wrong) && subject.name() == name
        };
        results.iter().find(is_it).is_some_and(|(_, seen)| seen.caught_by.is_some())
    };
    for peer in PEERS {
        let of_peer = results.iter().filter(|(subject, _)| subject.kind.name() == peer.name);
        let (right, wrong): (Vec<_>, Vec<_>) =
            of_peer.partition(|(subject, _)| right.contains(&subject.name()));
        let seen = |rows: &[&(Subject, Verdict)]| rows.iter().filter(|row| row.1.caught_by.is_some()).count();
        let here = wrong.iter().filter(|row| caught_here(row.0.name())).count();
        let counts = [wrong.len(), seen(&wrong), here, right.len(), seen(&right)];
        let counts = counts.map(|count| count.to_string());
        table.add_row([peer.name.to_owned(), peer.rule.to_owned()].into_iter().chain(counts));
    }
    format!("{table}\n\nseed {seed}, {:.0} s\n", time.as_secs_f64())
}
