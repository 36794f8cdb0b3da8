//! What has been counted, and which target is next.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use qk256_verify::fuzz::Target;
use qk256_verify::words::count;
use serde::{Deserialize, Serialize};

use super::directory::Directory;
use super::slow::Slow;

/// What was seen in a slice.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) executions: u64,
    /// In units of the engine: edges of the program, or kinds of cases.
    pub(super) coverage: u64,
    /// Inputs in the working corpus.
    pub(super) corpus: u64,
}

/// The file of a directory that has what was counted in it.
const FILE: &str = "state.json";

/// What has been counted in a directory.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    /// How often a run was started here.
    pub(super) runs: u64,
    /// Slices that there have been.
    pub(super) slices: u64,
    pub(super) engine: String,
    /// The libraries whose kernels are examined; none for those of this project.
    pub(super) libraries: Vec<PathBuf>,
    pub(super) findings: u64,
    pub(super) targets: BTreeMap<String, Counts>,
}

/// What has been counted of a target.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
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
    pub(super) findings: u64,
    pub(super) slowest: Vec<Slow>,
}

impl State {
    /// What earlier runs have counted in a directory; nothing in a new one.
    pub(super) fn read(directory: &Directory) -> Result<Self> {
        Ok(directory.read(FILE)?.unwrap_or_default())
    }

    /// Keeps what has been counted, whole or not at all.
    pub(super) fn keep(&self, directory: &Directory) -> Result<()> {
        directory.write(FILE, &serde_json::to_vec_pretty(self)?)
    }

    /// Takes the directory for the kernels of these libraries, or, if there are none, for those of this project.
    ///
    /// # Errors
    /// If it was used for others: what they do wrong would be taken for the same.
    pub(super) fn claim(&mut self, directory: &Directory, libraries: Vec<PathBuf>) -> Result<()> {
        if self.runs > 0 && self.libraries != libraries {
            let path = directory.path().display();
            bail!("{path} is about {}: give another --dir, or remove it", named(&self.libraries));
        }
        self.libraries = libraries;
        Ok(())
    }

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

    /// The target that is fuzzed next: by turns the one that has had least time, and the one that has brought the most of late.
    pub(super) fn next(&self, targets: &[Target]) -> Target {
        let unknown = Counts::default();
        let counts = |target: &Target| self.targets.get(target.name()).unwrap_or(&unknown);
        let best = targets.iter().min_by(|a, b| {
            let (a, b) = (counts(a), counts(b));
            let by_time = a.seconds.total_cmp(&b.seconds);
            let by_gain = b.gain.total_cmp(&a.gain).then(by_time);
            if self.slices.is_multiple_of(2) { by_time } else { by_gain }
        });
        *best.expect("there is a target")
    }

    /// Counts a slice.
    pub(super) fn take(&mut self, target: Target, slice: Duration, seen: &Seen) {
        self.slices += 1;
        let counts = self.of(target);
        let gained = seen.coverage.saturating_sub(counts.coverage) as f64 / slice.as_secs_f64().max(1e-9);
        counts.gain = (counts.gain + gained) / 2.0;
        if counts.coverage_at_first == 0 {
            // What the seeds bring is no gain.
            (counts.coverage_at_first, counts.gain) = (seen.coverage, 0.0);
        }
        counts.seconds += slice.as_secs_f64();
        counts.executions += seen.executions;
        counts.coverage = counts.coverage.max(seen.coverage);
        counts.corpus = seen.corpus;
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
        let found = count(findings, "finding");
        let left = humantime::format_duration(Duration::from_secs(left.as_secs()));
        format!(
            "{:12} {executions} executions, {rate:.0}/s, coverage {coverage}, corpus {corpus}, {found}, {left} left",
            target.name(),
        )
    }
}

/// Libraries in words.
pub(super) fn named(libraries: &[PathBuf]) -> String {
    let names: Vec<String> = libraries.iter().map(|library| library.display().to_string()).collect();
    match &names[..] {
        [] => "the kernels of this project".to_owned(),
        names => format!("the kernels of {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use qk256_verify::Operation;

    use super::*;

    #[test]
    fn what_brings_most_has_most_time_and_nothing_waits_for_long() {
        let scaled = Target::of(Operation::Gemv, true);
        let (mut state, mut growing) = (State::default(), 100);
        for _ in 0..48 {
            let target = state.next(&Target::ALL);
            growing += 10;
            let coverage = if target == scaled { growing } else { 100 };
            state.take(target, Duration::from_secs(60), &Seen { executions: 1, coverage, corpus: 1 });
        }
        let seconds = |target: Target| state.targets[target.name()].seconds;
        assert!(seconds(scaled) >= 60.0 * 18.0, "{state:?}");
        assert!(Target::ALL.into_iter().all(|target| seconds(target) >= 60.0 * 3.0), "{state:?}");
    }
}
