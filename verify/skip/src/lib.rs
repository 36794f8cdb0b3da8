//! What a test does where a tool or a CPU feature is missing: it reports a skip, or fails where skips are forbidden.
//!
//! Rust's test harness has no skip. A test that returns early counts as passed, and what it prints is thrown away. These
//! functions write a line to standard error itself, past the capture of the harness:
//!
//! ```text
//! skipped: the_header_is_c11_and_cpp17 needs cc
//! ```
//!
//! The variable [`FORBID_SKIPS`] turns skips into failures: docs/verification.md.

use std::io::Write;
use std::panic::Location;
use std::process::{Command, Stdio};

/// The variable that forbids skips. `1` forbids all. A list, such as `avx2,fma,cc`, forbids those for which one of its items
/// is missing. Skips are allowed where it is not set, empty or `0`.
pub const FORBID_SKIPS: &str = "QK256_FORBID_SKIPS";

/// Reports that the test that calls this is skipped. `missing` are the tools and the CPU features that it needs and that are
/// not here.
///
/// # Panics
/// If [`FORBID_SKIPS`] forbids the skip.
#[track_caller]
pub fn skip<S: AsRef<str>>(missing: &[S]) {
    report(&test_name(), missing);
}

/// Reports that a part of the test that calls this is skipped, such as one kernel of many.
///
/// # Panics
/// If [`FORBID_SKIPS`] forbids the skip.
#[track_caller]
pub fn skip_part<S: AsRef<str>>(part: &str, missing: &[S]) {
    report(&format!("{} ({part})", test_name()), missing);
}

/// Whether all of `programs` can be started. If not, reports the skip, as [`skip`] does.
///
/// # Panics
/// If one is missing, and [`FORBID_SKIPS`] forbids the skip.
#[track_caller]
pub fn has_programs(programs: &[&str]) -> bool {
    let missing: Vec<&str> = programs.iter().copied().filter(|program| !starts(program)).collect();
    if !missing.is_empty() {
        skip(&missing);
    }
    missing.is_empty()
}

fn starts(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn report<S: AsRef<str>>(what: &str, missing: &[S]) {
    let missing: Vec<&str> = missing.iter().map(AsRef::as_ref).collect();
    let value = std::env::var(FORBID_SKIPS).unwrap_or_default();
    let needs = missing.join(", ");
    if let Some(forbidden) = missing.iter().find(|need| is_forbidden(&value, need)) {
        panic!("{what} needs {needs}, and {FORBID_SKIPS}={value} forbids skips for {forbidden}");
    }
    // To the stream itself: the harness captures only what the macros print. If it is closed, nobody reads it.
    let _ = writeln!(std::io::stderr(), "skipped: {what} needs {needs}");
}

fn is_forbidden(value: &str, need: &str) -> bool {
    match value.trim() {
        "" | "0" => false,
        "1" => true,
        list => list.split(',').any(|item| item.trim() == need),
    }
}

/// The name of the thread, which is that of the test; where tests run on the main thread, the place of the call.
#[track_caller]
fn test_name() -> String {
    let place = Location::caller();
    match std::thread::current().name() {
        None | Some("main") => format!("{}:{}", place.file(), place.line()),
        Some(name) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_forbids_its_items_one_forbids_all_and_nothing_forbids_nothing() {
        for (value, forbidden) in [
            ("", [false; 3]),
            ("0", [false; 3]),
            ("1", [true; 3]),
            ("avx2,fma", [true, false, false]),
            (" cc , avx2", [true, false, true]),
            ("avx", [false; 3]),
        ] {
            let found = ["avx2", "avxvnni", "cc"].map(|need| is_forbidden(value, need));
            assert_eq!(found, forbidden, "{value:?}");
        }
    }

    #[test]
    fn a_program_that_is_not_there_cannot_be_started() {
        assert!(starts("rustc"));
        assert!(!starts("qk256-no-such-program"));
    }
}
