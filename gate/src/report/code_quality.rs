//! The report as GitLab's code-quality report: each row that is not met stands beside the line that demands it.

use serde::Serialize;

use super::{Line, Report};
use crate::judge::Verdict;

#[derive(Serialize)]
struct Entry {
    description: String,
    check_name: &'static str,
    fingerprint: String,
    severity: &'static str,
    location: Location,
}

#[derive(Serialize)]
struct Location {
    path: String,
    lines: Lines,
}

#[derive(Serialize)]
struct Lines {
    begin: usize,
}

pub(super) fn render(report: &Report, demands: &str) -> String {
    let entries: Vec<Entry> = report.rows.iter().filter_map(|line| entry(line, demands)).collect();
    serde_json::to_string_pretty(&entries).expect("entries are JSON") + "\n"
}

fn entry(line: &Line, demands: &str) -> Option<Entry> {
    let severity = match line.verdict {
        Verdict::Met | Verdict::NotJudged | Verdict::Skipped => return None,
        Verdict::Missed => "critical",
        Verdict::Inconclusive | Verdict::Invalid => "info",
    };
    // The same in every run, so that GitLab tells what is new from what was there before.
    let fingerprint = format!("{} at least {}", line.name(), line.at_least?);
    Some(Entry {
        description: line.complaint()?,
        check_name: "qk256-gate",
        fingerprint: fnv(&fingerprint),
        severity,
        location: Location {
            path: demands.to_owned(),
            lines: Lines { begin: line.source_line.unwrap_or(1) },
        },
    })
}

/// FNV-1a, 64 bits, in hexadecimal digits.
fn fnv(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::super::tests::of_every_kind;

    #[test]
    fn rows_that_are_not_met_are_entries_at_the_lines_that_demand_them() {
        let json = of_every_kind().code_quality("gate/gates.toml");
        let entries: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
        assert_eq!(entries.as_array().map(Vec::len), Some(3));
        let first = &entries[0];
        assert_eq!(
            (&first["severity"], &first["location"]["lines"]["begin"]),
            (&"critical".into(), &7.into())
        );
        assert_eq!(first["location"]["path"], "gate/gates.toml");
        assert_ne!(first["fingerprint"], entries[1]["fingerprint"]);
        assert_eq!(json, of_every_kind().code_quality("gate/gates.toml"), "fingerprints repeat");
    }
}
