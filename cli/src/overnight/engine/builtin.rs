//! The engine that needs nothing but this program: processes of it, each with a seed of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use qk256_verify::child::{Child, Errors};
use qk256_verify::fuzz::Target;

use super::{Engine, GRACE, Setting, itself};
use crate::overnight::one::Stats;
use crate::overnight::slow::Slow;
use crate::overnight::state::Seen;
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

    /// Starts a process.
    fn start(&self, target: Target, time: Duration, job: usize) -> Result<Child> {
        let directory = self.setting.directory;
        let mut command = itself();
        command.args(["fuzz-one", "--target", target.name()]);
        command.args(["--seed", &fresh_seed().wrapping_add(job as u64).to_string()]);
        command.args(["--milliseconds", &time.as_millis().to_string()]);
        command.arg("--artifacts").arg(directory.of_artifacts(target));
        command.arg("--seen").arg(directory.corpus(target).join(format!("seen-{job}")));
        command.args(self.setting.kernels.options());
        Child::start(&mut command, Errors::Dropped).context("cannot start this program again")
    }
}

impl Engine for Builtin<'_> {
    fn name(&self) -> &'static str {
        "builtin"
    }

    fn slice(&mut self, target: Target, time: Duration, report: &mut dyn FnMut(&Seen)) -> Result<Seen> {
        let start = |job| self.start(target, time, job);
        let mut children = (0..self.setting.jobs).map(start).collect::<Result<Vec<_>>>()?;
        let mut printed = vec![Stats::default(); children.len()];
        let mut hear = |children: &mut [Child]| {
            children.iter_mut().zip(&mut printed).for_each(|(child, stats)| hear(child, stats));
            seen(&printed)
        };
        // Each input is on disk before it is tried: there is nothing to ask for.
        self.setting.wait(&mut children, time + GRACE, &|| {}, &mut |children| report(&hear(children)));
        let all = hear(&mut children);
        let slowest = self.slowest.entry(target.name()).or_default();
        slowest.extend(printed.iter().flat_map(|stats| stats.slowest.clone()));
        Slow::keep_the_slowest(slowest);
        Ok(all)
    }

    fn merge(&mut self, _: Target) -> Result<u64> {
        // Without coverage of the program there is nothing to say which inputs are worth keeping.
        Ok(0)
    }

    fn slowest(&mut self, target: Target) -> Result<Vec<Slow>> {
        Ok(self.slowest.remove(target.name()).unwrap_or_default())
    }
}

/// Takes the last line that a process has written since.
fn hear(child: &mut Child, stats: &mut Stats) {
    if let Some(newest) = child.lines().iter().rev().find_map(|line| serde_json::from_str(line).ok()) {
        *stats = newest;
    }
}

fn seen(printed: &[Stats]) -> Seen {
    printed.iter().fold(Seen::default(), |seen, stats| Seen {
        executions: seen.executions + stats.executions,
        coverage: seen.coverage.max(stats.kinds),
        corpus: seen.corpus + stats.kinds,
    })
}
