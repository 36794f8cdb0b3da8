//! cargo-fuzz's programs, in libFuzzer's own multi-process mode.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use qk256_verify::child::{Child, Errors, Patience};
use qk256_verify::fuzz::Target;
use serde::de::IgnoredAny;

use super::{Engine, GRACE, Setting, itself, succeeds};
use crate::output::OutputFile;
use crate::overnight::directory::{entries, files};
use crate::overnight::slow::{self, Slow};
use crate::overnight::state::Seen;

/// The programs of the targets, built in one way or in two.
pub(super) struct Libfuzzer<'a> {
    repository: PathBuf,
    builds: Vec<Build>,
    name: &'static str,
    /// Environment variables that name the kernels for the programs.
    variables: [(&'static str, Option<OsString>); 3],
    setting: Setting<'a>,
}

/// Programs that were built in one way.
struct Build {
    programs: PathBuf,
    /// Processes that it has at a time.
    jobs: usize,
}

/// A toolchain and a sanitizer for it.
type Way = (&'static str, &'static str);

const SANITIZED: Way = ("+nightly", "address");
/// Where there is no such toolchain, the default one does.
const PLAIN: Way = ("+stable", "none");

/// How the programs are built, and how many processes each build has: with AddressSanitizer where there is a nightly toolchain; where
/// there are cores for more than one process also without it, which is several times as fast.
fn shares(nightly: bool, jobs: usize) -> Vec<(Way, usize)> {
    match (nightly, jobs) {
        (false, jobs) => vec![(PLAIN, jobs)],
        (true, 1) => vec![(SANITIZED, 1)],
        (true, jobs) => vec![(SANITIZED, jobs / 2), (PLAIN, jobs - jobs / 2)],
    }
}

impl<'a> Libfuzzer<'a> {
    /// Builds the programs.
    pub(super) fn build(repository: PathBuf, setting: Setting<'a>) -> Result<Self> {
        let variables = setting.kernels.variables()?;
        let nightly = has(SANITIZED.0);
        let mut builds = Vec::new();
        for (way, jobs) in shares(nightly, setting.jobs) {
            builds.push(Build { programs: build(&repository, way, setting)?, jobs });
        }
        let name = match (nightly, builds.len()) {
            (false, _) => "libfuzzer, no sanitizer",
            (true, 1) => "libfuzzer, AddressSanitizer",
            (true, _) => "libfuzzer, with AddressSanitizer and without",
        };
        let engine = Self { repository, builds, name, variables, setting };
        // Those of a run that was killed.
        Target::ALL.into_iter().for_each(|target| engine.ask_to_end(target));
        Ok(engine)
    }

    /// The program of a target. What it puts into temporary files stays in the directory, whatever happens to it.
    fn program(&self, build: &Build, target: Target) -> Command {
        let mut command = Command::new(build.programs.join(target.name()));
        command.current_dir(&self.repository);
        command.env("TMPDIR", self.scratch(target));
        for (variable, value) in &self.variables {
            match value {
                Some(value) => command.env(variable, value),
                None => command.env_remove(variable),
            };
        }
        command
    }

    fn scratch(&self, target: Target) -> PathBuf {
        absolute(&self.setting.directory.scratch(target))
    }

    /// The committed inputs of a target.
    fn seeds(&self, target: Target) -> PathBuf {
        self.repository.join("corpus").join(target.name())
    }

    fn start(&self, build: &Build, target: Target, time: Duration) -> Result<Child> {
        let directory = self.setting.directory;
        let mut command = self.program(build, target);
        command
            .arg(format!("-fork={}", build.jobs))
            .arg(format!("-max_total_time={}", time.as_secs().max(1)))
            .args(["-ignore_crashes=1", "-ignore_timeouts=1", "-ignore_ooms=1", "-timeout=25"])
            .arg(format!("-artifact_prefix={}/", absolute(&directory.of_artifacts(target)).display()))
            .arg(absolute(&directory.corpus(target)))
            .arg(self.seeds(target));
        Child::start(&mut command, Errors::Lines)
            .with_context(|| format!("cannot start the fuzz target {}", target.name()))
    }

    /// Asks the jobs of a target to end, also those whose parent was killed.
    fn ask_to_end(&self, target: Target) {
        for run in entries(&self.scratch(target)) {
            // libFuzzer looks for this file after each input. If it is not there in time, the job is killed.
            let _ = fs::write(run.join("STOP"), "1");
        }
    }

    /// Takes into the corpus what jobs that were killed have learned, and empties their folders.
    fn rescue(&self, target: Target) -> Result<()> {
        let (scratch, corpus) = (self.scratch(target), self.setting.directory.corpus(target));
        self.ask_to_end(target);
        let learned = |folder: &PathBuf| {
            folder.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with('C'))
        };
        for folder in entries(&scratch).iter().flat_map(|run| entries(run)).filter(learned) {
            for input in entries(&folder) {
                let place = corpus.join(input.file_name().expect("a file has a name"));
                if !place.exists() {
                    // What cannot be moved is learned again.
                    let _ = fs::rename(&input, place);
                }
            }
        }
        let _ = fs::remove_dir_all(&scratch);
        fs::create_dir_all(&scratch).with_context(|| format!("cannot make {}", scratch.display()))
    }
}

/// Whether there is a toolchain.
fn has(toolchain: &str) -> bool {
    succeeds(Command::new("cargo").args([toolchain, "--version"]))
}

/// Builds the programs in one way: the folder that they are in.
fn build(repository: &Path, (toolchain, sanitizer): Way, setting: Setting<'_>) -> Result<PathBuf> {
    // Folders of their own: `cargo build` and other sanitizers do not throw away what is built here, and nothing that is planted
    // gets to where it is not meant to be.
    let folder = if setting.kernels.plant().is_some() { "overnight-plant" } else { "overnight" };
    let target = repository.join("target").join(format!("{folder}-{sanitizer}"));
    let mut build = Command::new("cargo");
    build.args([toolchain].into_iter().filter(|toolchain| has(toolchain)));
    build.args(["fuzz", "build", "--sanitizer", sanitizer, "--target-dir"]).arg(&target);
    build.args(setting.kernels.plant().into_iter().flat_map(|_| ["--features", "plant"]));
    build.current_dir(repository);
    if setting.quiet {
        build.stderr(Stdio::null());
    }
    if !build.status().context("cannot start cargo")?.success() {
        bail!(
            "the fuzz targets cannot be built: `cargo {toolchain} fuzz build --sanitizer {sanitizer}` says why"
        );
    }
    Ok(target.join(target_triple()?).join("release"))
}

/// What the compiler calls this machine.
fn target_triple() -> Result<String> {
    let printed = Command::new("rustc").arg("-vV").output().context("cannot start rustc")?;
    let text = String::from_utf8_lossy(&printed.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not say what machine this is")
}

impl Engine for Libfuzzer<'_> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn slice(&mut self, target: Target, time: Duration, report: &mut dyn FnMut(&Seen)) -> Result<Seen> {
        self.rescue(target)?;
        let start = |build: &Build| self.start(build, target, time);
        let mut children = self.builds.iter().map(start).collect::<Result<Vec<_>>>()?;
        let mut reported = vec![Seen::default(); children.len()];
        let corpus = self.setting.directory.corpus(target);
        let mut together = |children: &mut [Child]| {
            for (seen, child) in reported.iter_mut().zip(children) {
                child.lines().iter().for_each(|line| seen.read(line));
            }
            let both = reported.iter().copied().reduce(|a, b| Seen {
                executions: a.executions + b.executions,
                // The same edges, in two builds.
                coverage: a.coverage.max(b.coverage),
                corpus: 0,
            });
            Seen { corpus: entries(&corpus).len() as u64, ..both.unwrap_or_default() }
        };
        let ask = || self.ask_to_end(target);
        self.setting.wait(&mut children, time + GRACE, &ask, &mut |children| report(&together(children)));
        self.rescue(target)?;
        Ok(together(&mut children))
    }

    fn merge(&mut self, target: Target) -> Result<u64> {
        if !self.setting.kernels.are_own() {
            return Ok(0);
        }
        self.rescue(target)?;
        let chosen = self.scratch(target).join("chosen");
        fs::create_dir_all(&chosen).with_context(|| format!("cannot make {}", chosen.display()))?;
        let seeds = self.seeds(target);
        // Beside copies of the seeds, so that only what they do not reach is added, and nothing the second time.
        for seed in files(&seeds)? {
            let copy = chosen.join(seed.file_name().expect("a file has a name"));
            fs::copy(&seed, &copy).with_context(|| format!("cannot copy {}", seed.display()))?;
        }
        // The last is the fastest, and what only the other sees is an artifact, not a seed.
        let build = self.builds.last().expect("there is a build");
        let mut merge = self.program(build, target);
        merge.arg("-merge=1").arg(&chosen).arg(absolute(&self.setting.directory.corpus(target)));
        let mut merge = Child::start(&mut merge, Errors::Dropped).context("cannot start the merge")?;
        match merge.finish::<IgnoredAny>(&Patience::ENDLESS).1.status() {
            Some(status) if !status.success() => {
                let target = target.name();
                self.setting
                    .directory
                    .log(&format!("the merge of {target} ended with {status}: next time"))?;
                Ok(0)
            }
            _ => add(&chosen, &seeds),
        }
    }

    fn slowest(&mut self, target: Target) -> Result<Vec<Slow>> {
        let mut command = itself();
        command.args(["time-inputs", "--target", target.name()]).args(self.setting.kernels.options());
        command.args([self.setting.directory.corpus(target), self.seeds(target)]);
        let child = Child::start(&mut command, Errors::Dropped);
        let mut child = child.context("cannot start this program again")?;
        self.setting.wait(std::slice::from_mut(&mut child), slow::LIMIT + GRACE, &|| {}, &mut |_| {});
        Ok(child.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default())
    }
}

impl Seen {
    /// Reads a line of libFuzzer's multi-process mode: `#1234: cov: 56 ft: 78 corp: 9 exec/s: 10 ...`.
    fn read(&mut self, line: &str) {
        let Some((count, rest)) = line.strip_prefix('#').and_then(|line| line.split_once(": ")) else {
            return;
        };
        let Ok(executions) = count.parse() else { return };
        let mut words = rest.split_whitespace();
        if let (Some("cov:"), Some(Ok(coverage))) = (words.next(), words.next().map(str::parse)) {
            (self.executions, self.coverage) = (executions, coverage);
        }
    }
}

/// Adds inputs, which are named by what they hold, to a corpus that others may add to and read at the same time: how many were new.
fn add(inputs: &Path, corpus: &Path) -> Result<u64> {
    let known: Vec<Vec<u8>> = files(corpus)?.iter().map(fs::read).collect::<Result<_, _>>()?;
    let mut fresh = 0;
    for input in files(inputs)? {
        let bytes = fs::read(&input)?;
        if !known.contains(&bytes) {
            let name = input.file_name().expect("a file has a name");
            // What is being written lies in the folder above: libFuzzer reads all files of this one.
            OutputFile::create_by_way_of(corpus.parent(), &corpus.join(name))?.write(&bytes)?;
            fresh += 1;
        }
    }
    Ok(fresh)
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use qk256_verify::Operation;

    use super::*;
    use crate::overnight::directory::Directory;
    use crate::overnight::kernels::Kernels;

    #[test]
    fn the_lines_of_libfuzzer_are_read() {
        let mut seen = Seen::default();
        for line in [
            "INFO: Loaded 1 modules",
            "#1834: cov: 1211 ft: 4056 corp: 88 exec/s: 305 oom/timeout/crash: 0/0/0 time: 6s job: 1 dft_time: 0",
            "==1234== ERROR: libFuzzer: deadly signal",
            "#x: cov: 1",
        ] {
            seen.read(line);
        }
        assert_eq!((seen.executions, seen.coverage), (1834, 1211));
    }

    #[test]
    fn cores_are_shared_between_the_builds() {
        assert_eq!(shares(false, 4), [(PLAIN, 4)]);
        assert_eq!(shares(true, 1), [(SANITIZED, 1)]);
        assert_eq!(shares(true, 2), [(SANITIZED, 1), (PLAIN, 1)]);
        assert_eq!(shares(true, 5), [(SANITIZED, 2), (PLAIN, 3)]);
    }

    #[test]
    fn what_a_killed_job_has_learned_goes_to_the_corpus() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let directory = Directory::open(folder.path()).expect("it is empty");
        let stop = AtomicBool::new(false);
        let kernels = Kernels::default();
        let setting = Setting { jobs: 1, kernels: &kernels, directory: &directory, stop: &stop, quiet: true };
        let repository = folder.path().to_owned();
        let variables = kernels.variables().expect("there are none");
        let engine = Libfuzzer { repository, builds: Vec::new(), name: "none", variables, setting };
        let target = Target::of(Operation::Gemv, false);
        let left = directory.scratch(target).join("libFuzzerTemp.FuzzWithFork7.dir");
        for (job, input) in [("C1", "learned"), ("C2", "known"), ("F1", "features")] {
            fs::create_dir_all(left.join(job)).expect("a folder can be made");
            fs::write(left.join(job).join(input), "new").expect("it can be written");
        }
        let corpus = directory.corpus(target);
        fs::write(corpus.join("known"), "old").expect("it can be written");
        engine.rescue(target).expect("there is room");
        assert_eq!(
            files(&corpus).expect("it can be read"),
            ["known", "learned"].map(|name| corpus.join(name))
        );
        assert_eq!(fs::read_to_string(corpus.join("known")).expect("it is there"), "old");
        assert!(entries(&directory.scratch(target)).is_empty());
    }

    #[test]
    fn what_is_learned_of_libraries_does_not_go_to_the_corpus_of_the_repository() {
        use clap::Parser;

        #[derive(Parser)]
        struct Options {
            #[command(flatten)]
            kernels: Kernels,
        }

        let folder = tempfile::tempdir().expect("a folder can be made");
        let directory = Directory::open(folder.path()).expect("it is empty");
        let stop = AtomicBool::new(false);
        let Options { kernels } = Options::parse_from(["qk256", "--lib", "a.so", "--lib", "/b.so"]);
        let setting = Setting { jobs: 1, kernels: &kernels, directory: &directory, stop: &stop, quiet: true };
        let variables = kernels.variables().expect("there is no colon");
        let here = std::env::current_dir().expect("there is one").join("a.so:/b.so").into_os_string();
        assert_eq!(variables, [("QK256_LIB", Some(here)), ("QK256_FORMAT", None), ("QK256_PLANT", None)]);
        let repository = folder.path().join("repository");
        let mut engine = Libfuzzer { repository, builds: Vec::new(), name: "none", variables, setting };
        let target = Target::of(Operation::Gemv, false);
        fs::write(directory.corpus(target).join("learned"), "new").expect("it can be written");
        assert_eq!(engine.merge(target).expect("there is nothing to do"), 0);
        assert!(directory.corpus(target).join("learned").exists() && !engine.repository.exists());
    }

    /// Inputs named by what they hold; each is a page and more, so that writing takes a moment.
    fn inputs(folder: &Path, numbers: std::ops::Range<u32>) {
        for number in numbers {
            let name = format!("{number:040x}");
            fs::write(folder.join(&name), name.repeat(200)).expect("a scratch folder can be written");
        }
    }

    #[test]
    fn machines_that_merge_into_one_corpus_at_once_disturb_nobody() {
        let folders: [_; 3] = std::array::from_fn(|_| tempfile::tempdir().expect("a folder can be made"));
        let [one, other, shared] = folders.each_ref().map(tempfile::TempDir::path);
        let corpus = shared.join("gemv");
        fs::create_dir(&corpus).expect("a folder can be made");
        inputs(one, 0..150);
        inputs(other, 50..200);
        let both_add = || {
            std::thread::scope(|scope| {
                let machines = [one, other].map(|inputs| scope.spawn(|| add(inputs, &corpus)));
                // What a fuzzer sees that reads the folder meanwhile: every file, hidden or not.
                while !machines.iter().all(|machine| machine.is_finished()) {
                    for path in entries(&corpus) {
                        let name = path.file_name().expect("it has a name").to_string_lossy().into_owned();
                        let held = fs::read_to_string(&path).expect("no file goes away");
                        assert_eq!(held, name.repeat(200), "half of {name} is seen");
                    }
                }
                machines.map(|machine| machine.join().expect("no panic").expect("it can be written"))
            })
        };
        let fresh = both_add();
        assert!(fresh.iter().sum::<u64>() >= 200, "{fresh:?}");
        assert_eq!((entries(&corpus).len(), entries(shared).len()), (200, 1), "each once, and nothing else");
        assert_eq!(both_add(), [0, 0], "once more changes nothing");
    }
}
