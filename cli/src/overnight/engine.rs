//! What chooses the inputs: libFuzzer, or a generator of our own.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use qk256_verify::fuzz::Target;

use super::directory::{Directory, files};
use super::one::Stats;
use crate::check::fresh_seed;
use crate::output::OutputFile;

/// The engines that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Engines {
    /// cargo-fuzz: guided by coverage, with AddressSanitizer where there is a nightly toolchain
    Libfuzzer,
    /// The generator of `check` and the mutator of the fuzz targets, on any toolchain
    Builtin,
}

/// What was seen in a slice.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) executions: u64,
    /// In units of the engine: edges of the program, or kinds of cases.
    pub(super) coverage: u64,
    /// Inputs in the working corpus.
    pub(super) corpus: u64,
}

/// A source of inputs. Bad ones go to the directory's artifacts.
pub(super) trait Engine {
    /// In reports.
    fn name(&self) -> &'static str;

    /// Fuzzes a target for so long, or until Ctrl-C.
    fn slice(&mut self, target: Target, time: Duration) -> Result<Seen>;

    /// Puts inputs that are new, and the smallest of their kind, into the corpus of the repository: how many.
    fn merge(&mut self, target: Target) -> Result<u64>;
}

/// Starts an engine, building what it needs.
pub(super) fn start<'a>(
    engine: Option<Engines>,
    jobs: usize,
    plant: Option<&'a str>,
    directory: &'a Directory,
    stop: &'a AtomicBool,
    quiet: bool,
) -> Result<Box<dyn Engine + 'a>> {
    let builtin = || Box::new(Builtin { jobs, plant, directory, stop });
    let has_cargo_fuzz = || succeeds(Command::new("cargo").args(["fuzz", "--version"]));
    match engine {
        Some(Engines::Builtin) => Ok(builtin()),
        None if repository().is_none() || !has_cargo_fuzz() => Ok(builtin()),
        Some(Engines::Libfuzzer) | None => {
            let Some(repository) = repository() else {
                bail!(
                    "--engine libfuzzer needs the repository: start this in its folder, or take --engine builtin"
                )
            };
            if !has_cargo_fuzz() {
                bail!(
                    "--engine libfuzzer needs `cargo install cargo-fuzz --locked`, or take --engine builtin"
                );
            }
            Ok(Box::new(Libfuzzer::build(repository, jobs, directory, stop, quiet)?))
        }
    }
}

/// The folder above this one that has the fuzz targets.
fn repository() -> Option<PathBuf> {
    let here = std::env::current_dir().ok()?;
    here.ancestors().find(|folder| folder.join("fuzz/fuzz_targets").is_dir()).map(Path::to_owned)
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// A command whose process does not outlive this one, whatever ends it.
fn leashed(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    let die_with_the_parent = || {
        // SAFETY: prctl with these arguments only says which signal follows the death of the parent.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes one system call, and nothing else.
    unsafe { command.pre_exec(die_with_the_parent) };
    command
}

/// Waits for a process; on Ctrl-C it is interrupted, and killed if that does not help.
fn wait(child: &mut Child, limit: Duration, stop: &AtomicBool) -> Result<()> {
    let start = Instant::now();
    let mut interrupted: Option<Instant> = None;
    while child.try_wait()?.is_none() {
        let late = start.elapsed() > limit;
        match interrupted {
            None if late || stop.load(Ordering::SeqCst) => {
                // SAFETY: kill has no preconditions; the process is ours and has not been waited for.
                unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
                interrupted = Some(Instant::now());
            }
            Some(since) if since.elapsed() > Duration::from_secs(10) => child.kill()?,
            _ => {}
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Time beyond a slice after which a process of an engine is ended.
const GRACE: Duration = Duration::from_secs(60);

/// cargo-fuzz's programs, in libFuzzer's own multi-process mode.
struct Libfuzzer<'a> {
    repository: PathBuf,
    programs: PathBuf,
    name: &'static str,
    jobs: usize,
    directory: &'a Directory,
    stop: &'a AtomicBool,
}

impl<'a> Libfuzzer<'a> {
    /// Builds the programs, with AddressSanitizer where there is a nightly toolchain.
    fn build(
        repository: PathBuf,
        jobs: usize,
        directory: &'a Directory,
        stop: &'a AtomicBool,
        quiet: bool,
    ) -> Result<Self> {
        let nightly = succeeds(Command::new("cargo").args(["+nightly", "--version"]));
        let (toolchain, sanitizer, name) = match nightly {
            true => ("+nightly", "address", "libfuzzer, AddressSanitizer"),
            false => ("+stable", "none", "libfuzzer, no sanitizer"),
        };
        // A folder of its own: `cargo build` and other sanitizers do not throw away what is built here.
        let target = repository.join("target").join(format!("overnight-{sanitizer}"));
        let mut build = Command::new("cargo");
        build.args([toolchain, "fuzz", "build", "--sanitizer", sanitizer, "--target-dir"]).arg(&target);
        build.current_dir(&repository);
        if quiet {
            build.stderr(Stdio::null());
        }
        if !build.status().context("cannot start cargo")?.success() {
            bail!(
                "the fuzz targets cannot be built: `cargo {toolchain} fuzz build --sanitizer {sanitizer}` says why"
            );
        }
        let host = target_triple()?;
        let programs = target.join(host).join("release");
        Ok(Self { repository, programs, name, jobs, directory, stop })
    }

    fn program(&self, target: Target) -> Command {
        let mut command = leashed(self.programs.join(target.name()));
        command.current_dir(&self.repository).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// The committed inputs of a target.
    fn seeds(&self, target: Target) -> PathBuf {
        self.repository.join("corpus").join(target.name())
    }
}

/// What the compiler calls this machine.
fn target_triple() -> Result<String> {
    let said = Command::new("rustc").arg("-vV").output().context("cannot start rustc")?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not say what machine this is")
}

impl Engine for Libfuzzer<'_> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn slice(&mut self, target: Target, time: Duration) -> Result<Seen> {
        let corpus = absolute(&self.directory.corpus(target))?;
        let artifacts = absolute(&self.directory.of_artifacts(target))?;
        let mut child = self
            .program(target)
            .arg(format!("-fork={}", self.jobs))
            .arg(format!("-max_total_time={}", time.as_secs().max(1)))
            .args(["-ignore_crashes=1", "-ignore_timeouts=1", "-ignore_ooms=1", "-timeout=25"])
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .arg(&corpus)
            .arg(self.seeds(target))
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start the fuzz target {}", target.name()))?;
        let lines = BufReader::new(child.stderr.take().expect("it is piped"));
        let reader = std::thread::spawn(move || {
            let mut seen = Seen::default();
            lines.lines().map_while(Result::ok).for_each(|line| seen.read(&line));
            seen
        });
        wait(&mut child, time + GRACE, self.stop)?;
        let mut seen = reader.join().expect("reading lines does not panic");
        seen.corpus = files(&corpus)?.len() as u64;
        Ok(seen)
    }

    fn merge(&mut self, target: Target) -> Result<u64> {
        let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
        let (corpus, seeds) = (absolute(&self.directory.corpus(target))?, self.seeds(target));
        let merge = self
            .program(target)
            .arg("-merge=1")
            .arg(scratch.path())
            .arg(&seeds)
            .arg(corpus)
            .stderr(Stdio::null())
            .status();
        if !merge.context("cannot start the merge")?.success() {
            // An input that crashes ends a merge; it is among the artifacts.
            return Ok(0);
        }
        let known: Vec<Vec<u8>> = files(&seeds)?.iter().map(fs::read).collect::<Result<_, _>>()?;
        let mut fresh = 0;
        for input in files(scratch.path())? {
            let bytes = fs::read(&input)?;
            if !known.contains(&bytes) {
                let name = input.file_name().expect("a file has a name");
                OutputFile::create(&seeds.join(name))?.write(&bytes)?;
                fresh += 1;
            }
        }
        Ok(fresh)
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

fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| format!("cannot find {}", path.display()))
}

/// Processes of this program, each with a seed of its own.
struct Builtin<'a> {
    jobs: usize,
    plant: Option<&'a str>,
    directory: &'a Directory,
    stop: &'a AtomicBool,
}

impl Engine for Builtin<'_> {
    fn name(&self) -> &'static str {
        "builtin"
    }

    fn slice(&mut self, target: Target, time: Duration) -> Result<Seen> {
        let itself = std::env::current_exe().context("cannot find this program")?;
        let start = |job: usize| -> Result<(Child, PathBuf)> {
            let stats = self.directory.corpus(target).join(format!(".stats-{job}"));
            let mut command = leashed(&itself);
            command.args(["fuzz-one", "--target", target.name()]);
            command.args(["--seed", &fresh_seed().wrapping_add(job as u64).to_string()]);
            command.args(["--milliseconds", &time.as_millis().to_string()]);
            command.arg("--artifacts").arg(self.directory.of_artifacts(target));
            command.arg("--seen").arg(self.directory.corpus(target).join(format!("seen-{job}")));
            command.args(self.plant.into_iter().flat_map(|name| ["--plant", name]));
            let output = File::create(&stats).with_context(|| format!("cannot write {}", stats.display()))?;
            let child = command.stdin(Stdio::null()).stdout(output).stderr(Stdio::null()).spawn();
            Ok((child.context("cannot start this program again")?, stats))
        };
        let mut children = (0..self.jobs).map(start).collect::<Result<Vec<_>>>()?;
        let mut seen = Seen::default();
        for (child, stats) in &mut children {
            wait(child, time + GRACE, self.stop)?;
            let said: Stats = fs::read(&*stats)
                .ok()
                .and_then(|bytes| serde_json::from_slice(&bytes).ok())
                .unwrap_or_default();
            seen.executions += said.executions;
            seen.coverage = seen.coverage.max(said.kinds);
            seen.corpus += said.kinds;
            // It is no input.
            let _ = fs::remove_file(stats);
        }
        Ok(seen)
    }

    fn merge(&mut self, _: Target) -> Result<u64> {
        // Without coverage of the program there is nothing to say which inputs are worth keeping.
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
