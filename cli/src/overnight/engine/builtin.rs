//! The engine that needs nothing but this program: processes of it, each with a seed of its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use qk256_verify::fuzz::Target;

use super::{Engine, GRACE, Seen, Setting, itself};
use crate::overnight::one::Stats;
use crate::overnight::slow::Slow;
use crate::usage::fresh_seed;

pub(super) struct Builtin<'a> {
    setting: Setting<'a>,
    /// Of each target, since this run began.
    slowest: BTreeMap<&'static str, Vec<Slow>>,
}

impl<'a> Builtin<'a> {
    pub(super) fn new(setting: Setting<'a>) -> Self {
        Self { setting, slowest: BTreeMap::new() }
    }

    /// Starts a process; what it says goes to the file.
    fn start(&self, target: Target, time: Duration, job: usize, stats: &Path) -> Result<Child> {
        let directory = self.setting.directory;
        let mut command = itself();
        command.args(["fuzz-one", "--target", target.name()]);
        command.args(["--seed", &fresh_seed().wrapping_add(job as u64).to_string()]);
        command.args(["--milliseconds", &time.as_millis().to_string()]);
        command.arg("--artifacts").arg(directory.of_artifacts(target));
        command.arg("--seen").arg(directory.corpus(target).join(format!("seen-{job}")));
        command.args(self.setting.plant.into_iter().flat_map(|name| ["--plant", name]));
        let output = File::create(stats).with_context(|| format!("cannot write {}", stats.display()))?;
        command.stdout(output).stderr(Stdio::null()).spawn().context("cannot start this program again")
    }
}

impl Engine for Builtin<'_> {
    fn name(&self) -> &'static str {
        "builtin"
    }

    fn slice(&mut self, target: Target, time: Duration, report: &mut dyn FnMut(&Seen)) -> Result<Seen> {
        let corpus = self.setting.directory.corpus(target);
        let stats: Vec<PathBuf> =
            (0..self.setting.jobs).map(|job| corpus.join(format!(".stats-{job}"))).collect();
        let start = |(job, stats): (usize, &PathBuf)| self.start(target, time, job, stats);
        let mut children = stats.iter().enumerate().map(start).collect::<Result<Vec<_>>>()?;
        // Each input is on disk before it is tried: there is nothing to ask for.
        self.setting.wait(&mut children, time + GRACE, &|| {}, &mut || report(&seen(&last_words(&stats))))?;
        let printed = last_words(&stats);
        // They are no inputs.
        stats.iter().for_each(|stats| drop(fs::remove_file(stats)));
        let slowest = self.slowest.entry(target.name()).or_default();
        slowest.extend(printed.iter().flat_map(|stats| stats.slowest.clone()));
        Slow::keep_the_slowest(slowest);
        Ok(seen(&printed))
    }

    fn merge(&mut self, _: Target) -> Result<u64> {
        // Without coverage of the program there is nothing to say which inputs are worth keeping.
        Ok(0)
    }

    fn slowest(&mut self, target: Target) -> Result<Vec<Slow>> {
        Ok(self.slowest.remove(target.name()).unwrap_or_default())
    }
}

/// The last line of each process; the line that it is writing does not count.
fn last_words(stats: &[PathBuf]) -> Vec<Stats> {
    let last = |path: &PathBuf| -> Option<Stats> {
        let text = fs::read_to_string(path).ok()?;
        text.lines().rev().find_map(|line| serde_json::from_str(line).ok())
    };
    stats.iter().filter_map(last).collect()
}

fn seen(printed: &[Stats]) -> Seen {
    printed.iter().fold(Seen::default(), |seen, stats| Seen {
        executions: seen.executions + stats.executions,
        coverage: seen.coverage.max(stats.kinds),
        corpus: seen.corpus + stats.kinds,
    })
}
