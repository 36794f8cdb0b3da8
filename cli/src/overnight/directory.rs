//! The working directory of a night: what is in it is whole at any moment, whoever is killed.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use qk256_verify::fuzz::Target;
use serde::{Deserialize, Serialize};

use super::engine::Seen;
use crate::output::OutputFile;

/// What the files of findings end in: a case, or an input that is none.
pub(super) const CASE: &str = "case";
pub(super) const INPUT: &str = "input";

/// A directory that this process alone works in.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
    /// Held for as long as the process lives, whatever ends it.
    _lock: File,
}

/// An input that an engine says is bad.
#[derive(Debug)]
pub(super) struct Artifact {
    pub(super) target: Target,
    pub(super) path: PathBuf,
}

impl Directory {
    /// Makes the directory if there is none, and takes it.
    pub(super) fn open(root: &Path) -> Result<Self> {
        let cannot = || format!("cannot use the directory {}", root.display());
        fs::create_dir_all(root).with_context(cannot)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(root.join("lock"));
        let lock = lock.with_context(cannot)?;
        if lock.try_lock().is_err() {
            bail!("another run works in {}: wait for it, or give another --dir", root.display());
        }
        let directory = Self { root: root.to_owned(), _lock: lock };
        for target in Target::ALL {
            for place in [directory.corpus(target), directory.of_artifacts(target), directory.done(target)] {
                fs::create_dir_all(place).with_context(cannot)?;
            }
        }
        fs::create_dir_all(directory.root.join("findings")).with_context(cannot)?;
        Ok(directory)
    }

    /// Where an engine keeps inputs of a target.
    pub(super) fn corpus(&self, target: Target) -> PathBuf {
        self.root.join("corpus").join(target.name())
    }

    /// Where an engine puts bad inputs of a target.
    pub(super) fn of_artifacts(&self, target: Target) -> PathBuf {
        self.root.join("artifacts").join(target.name())
    }

    /// Where bad inputs are kept that have been looked at.
    fn done(&self, target: Target) -> PathBuf {
        self.root.join("artifacts.done").join(target.name())
    }

    /// A file of a finding.
    pub(super) fn finding(&self, name: &str) -> PathBuf {
        self.root.join("findings").join(name)
    }

    /// The report that people read.
    pub(super) fn report(&self) -> PathBuf {
        self.root.join("report.md")
    }

    /// The cases of all findings, or their inputs where these are none, sorted.
    pub(super) fn findings(&self) -> Result<Vec<PathBuf>> {
        let mut cases = files(&self.root.join("findings"))?;
        cases
            .retain(|path| path.extension().is_some_and(|extension| extension == CASE || extension == INPUT));
        Ok(cases)
    }

    /// Bad inputs that nobody has looked at.
    pub(super) fn artifacts(&self) -> Result<Vec<Artifact>> {
        let mut artifacts = Vec::new();
        for target in Target::ALL {
            let inputs = files(&self.of_artifacts(target))?;
            artifacts.extend(inputs.into_iter().map(|path| Artifact { target, path }));
        }
        Ok(artifacts)
    }

    /// Puts an input aside that has been looked at: it stays for good.
    pub(super) fn put_aside(&self, artifact: &Artifact) -> Result<()> {
        let name = artifact.path.file_name().expect("a file has a name");
        let aside = self.done(artifact.target).join(name);
        fs::rename(&artifact.path, &aside).with_context(|| format!("cannot move {}", artifact.path.display()))
    }

    /// What earlier runs have counted; nothing in a new directory.
    pub(super) fn state(&self) -> Result<State> {
        let path = self.root.join("state.json");
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is not what this program writes: move it away", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(State::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Keeps what has been counted, whole or not at all.
    pub(super) fn keep(&self, state: &State) -> Result<()> {
        self.write("state.json", &serde_json::to_vec_pretty(state)?)
    }

    /// Writes a file of the directory, whole or not at all.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        OutputFile::create(&self.root.join(name))?.write(bytes)
    }

    /// The bytes of a file of the directory, if it is there.
    pub(super) fn read(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.root.join(name)).ok()
    }

    /// Adds a line to the log, with the time.
    pub(super) fn log(&self, line: &str) -> Result<()> {
        let path = self.root.join("log");
        let mut log = OpenOptions::new().create(true).append(true).open(&path);
        let now = humantime::format_rfc3339_seconds(SystemTime::now());
        let written = log.as_mut().map(|log| writeln!(log, "{now} {line}"));
        written
            .map_err(|error| std::io::Error::from(error.kind()))?
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The files of a directory, sorted, without those that are being written.
pub(super) fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let cannot = || format!("cannot read {}", directory.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_file() && !hidden {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

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
        let counts = self.targets.entry(target.name().to_owned()).or_default();
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

    pub(super) fn merged(&mut self, target: Target, inputs: u64) {
        self.targets.entry(target.name().to_owned()).or_default().merged += inputs;
    }

    /// A target in a line.
    pub(super) fn line(&self, target: Target, left: Duration) -> String {
        let Counts { seconds, executions, coverage, corpus, .. } =
            self.targets.get(target.name()).cloned().unwrap_or_default();
        let rate = executions as f64 / seconds.max(1e-9);
        let left = humantime::format_duration(Duration::from_secs(left.as_secs()));
        format!(
            "{:12} {executions} executions, {rate:.0}/s, coverage {coverage}, corpus {corpus}, {} finding(s), {left} left",
            target.name(),
            self.findings
        )
    }
}
