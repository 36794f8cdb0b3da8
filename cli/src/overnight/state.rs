//! What has been counted, and which target is next.

use std::collections::BTreeMap;
use std::time::Duration;

use qk256_verify::fuzz::Target;
use serde::{Deserialize, Serialize};

use super::engine::Seen;
use super::slow::Slow;

/// What has been counted in a directory.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    /// How often a run was started here.
    pub(super) runs: u64,
    pub(super) engine: String,
    pub(super) findings: u64,
    pub(super) targets: BTreeMap<String, Counts>,
}

/// What has been counted of a target.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) seconds: f64,
    pub(super) executions: u64,
    /// As the engine measures it, at first and now.
    pub(super) coverage_at_first: u64,
    pub(super) coverage: u64,
    pub(super) corpus: u64,
    /// Coverage gained in a second, of late.
    pub(super) gain: f64,
    /// Inputs that went to the corpus of the repository.
    pub(super) merged: u64,
    /// Slices since the target was last fuzzed.
    pub(super) waiting: u64,
    #[serde(default)]
    pub(super) findings: u64,
    #[serde(default)]
    pub(super) slowest: Vec<Slow>,
}

impl State {
    pub(super) fn begin(&mut self, engine: &str) {
        self.runs += 1;
        if self.engine != engine {
            // Coverage of another engine is counted in other units.
            self.engine = engine.to_owned();
            for counts in self.targets.values_mut() {
                (counts.coverage_at_first, counts.coverage, counts.gain) = (0, 0, 0.0);
            }
        }
    }

    /// The target that is fuzzed next: one that never was, or else the one that has brought the most of late; who waits gains.
    pub(super) fn next(&self, targets: &[Target]) -> Target {
        let worth = |target: &Target| match self.targets.get(target.name()) {
            Some(counts) if counts.seconds > 0.0 => counts.gain + 0.01 * (1 + counts.waiting) as f64,
            _ => f64::INFINITY,
        };
        let best = targets.iter().max_by(|a, b| worth(a).total_cmp(&worth(b)));
        *best.expect("there is a target")
    }

    /// Counts a slice.
    pub(super) fn take(&mut self, target: Target, slice: Duration, seen: &Seen) {
        self.targets.values_mut().for_each(|counts| counts.waiting += 1);
        let counts = self.of(target);
        if counts.coverage_at_first == 0 {
            counts.coverage_at_first = seen.coverage;
        }
        let gained = seen.coverage.saturating_sub(counts.coverage) as f64 / slice.as_secs_f64().max(1e-9);
        counts.gain = if counts.seconds == 0.0 { 0.0 } else { (counts.gain + gained) / 2.0 };
        counts.seconds += slice.as_secs_f64();
        counts.executions += seen.executions;
        counts.coverage = counts.coverage.max(seen.coverage);
        counts.corpus = seen.corpus;
        counts.waiting = 0;
    }

    /// What has been counted of a target.
    pub(super) fn of(&mut self, target: Target) -> &mut Counts {
        self.targets.entry(target.name().to_owned()).or_default()
    }

    /// Counts findings that are new.
    pub(super) fn found(&mut self, target: Target, findings: u64) {
        self.findings += findings;
        self.of(target).findings += findings;
    }

    /// A target in a line.
    pub(super) fn line(&self, target: Target, left: Duration) -> String {
        let Counts { seconds, executions, coverage, corpus, findings, .. } =
            self.targets.get(target.name()).cloned().unwrap_or_default();
        let rate = executions as f64 / seconds.max(1e-9);
        let left = humantime::format_duration(Duration::from_secs(left.as_secs()));
        format!(
            "{:12} {executions} executions, {rate:.0}/s, coverage {coverage}, corpus {corpus}, {findings} finding(s), {left} left",
            target.name(),
        )
    }
}
