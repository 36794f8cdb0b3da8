//! `selftest --peers`: the wrong kernels by the tests of other projects.

use std::time::Duration;

use comfy_table::CellAlignment;
use qk256_mutants::peers::{PEERS, Peer};
use qk256_mutants::{Mutant, right, wrong};

use super::subject::{Kind, Subject, Verdict};
use crate::output;

/// Each kernel by each test that there is for it.
pub(super) fn all() -> impl Iterator<Item = Subject> {
    let kernels: Vec<Mutant> = wrong().into_iter().chain(right()).collect();
    PEERS.iter().flat_map(move |peer| {
        let subject = |mutant: &Mutant| Subject { kind: Kind::Peer(peer), mutant: *mutant };
        kernels.iter().filter(|mutant| is_for(peer, mutant)).map(subject).collect::<Vec<_>>()
    })
}

/// The same, and the wrong kernels that there is a test for by this harness.
pub(super) fn subjects() -> Vec<Subject> {
    let has_test = |mutant: &Mutant| PEERS.iter().any(|peer| is_for(peer, mutant));
    let here = wrong().into_iter().filter(has_test).map(|mutant| Subject { kind: Kind::Wrong, mutant });
    here.chain(all()).collect()
}

fn is_for(peer: &Peer, mutant: &Mutant) -> bool {
    !mutant.huge && peer.applies(mutant.kernel.domain)
}

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
