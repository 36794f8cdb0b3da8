//! docs/bugs.md against the museum: each bug is on the page as it is in the table, and nothing else is.

use std::collections::HashSet;

use qk256_mutants::museum::{BUGS, Bug};
use qk256_mutants::peers::PEERS;
use qk256_mutants::wrong;

const PAGE: &str = include_str!("../../../docs/bugs.md");

/// The cells of the rows of the first table under a heading, without the header and the line below it.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, section) =
        PAGE.split_once(heading).unwrap_or_else(|| panic!("{heading} is a heading of the page"));
    let is_row = |line: &&str| line.starts_with("| ");
    let lines = section.lines().skip_while(|line| !is_row(line)).take_while(is_row);
    lines.skip(2).map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

fn cells(bug: &Bug) -> [String; 5] {
    let Bug { source, what, mutant, lived, missed } = bug;
    [(*source).to_owned(), (*what).to_owned(), format!("`{mutant}`"), lived.to_string(), missed.to_string()]
}

#[test]
fn the_page_has_the_bugs_of_the_museum_and_no_others() {
    let shown = rows("## Bugs of public history\n");
    let told: Vec<[String; 5]> = BUGS.iter().map(cells).collect();
    for (shown, told) in shown.iter().zip(&told) {
        assert_eq!(shown[..5], told[..], "the row of {} in docs/bugs.md", told[0]);
    }
    assert_eq!(shown.len(), told.len(), "rows of docs/bugs.md and bugs");
}

#[test]
fn each_bug_has_a_source_of_its_own_and_a_wrong_kernel_that_there_is() {
    let kernels: HashSet<&str> = wrong().iter().map(|mutant| mutant.name).collect();
    let mut sources = HashSet::new();
    for Bug { source, mutant, .. } in BUGS {
        assert!(sources.insert(source), "{source} is there twice");
        assert!(source.split_once('#').is_some_and(|(_, number)| number.parse::<u32>().is_ok()), "{source}");
        assert!(kernels.contains(mutant), "{source}: `{mutant}` is no wrong kernel");
    }
    let distinct: HashSet<&str> = BUGS.iter().map(|bug| bug.mutant).collect();
    assert!(distinct.len() >= 25, "{} kernels of the museum", distinct.len());
}

#[test]
fn the_page_counts_the_tests_of_each_other_project() {
    let shown = rows("## How much the tests of other projects see\n");
    let shown: Vec<&str> = shown.iter().map(|cells| cells[0]).collect();
    assert_eq!(shown, PEERS.iter().map(|peer| peer.name).collect::<Vec<_>>());
}
