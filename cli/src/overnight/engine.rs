//! What chooses the inputs: libFuzzer, or a generator of our own.

mod builtin;
mod libfuzzer;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use qk256_verify::child::Child;
use qk256_verify::fuzz::Target;

use super::directory::Directory;
use super::kernels::Kernels;
use super::slow::Slow;
use super::state::Seen;
use builtin::Builtin;
use libfuzzer::Libfuzzer;

/// The engines that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Engines {
    /// cargo-fuzz: guided by coverage; with AddressSanitizer if a nightly toolchain is installed
    Libfuzzer,
    /// The random cases of `check`, with mutations; needs no further tools
    Builtin,
}

/// A source of inputs. Bad ones go to the directory's artifacts.
pub(super) trait Engine {
    /// In reports.
    fn name(&self) -> &'static str;

    /// Fuzzes a target for so long, or until Ctrl-C or a full disk, and reports every second what was seen so far.
    fn slice(&mut self, target: Target, time: Duration, report: &mut dyn FnMut(&Seen)) -> Result<Seen>;

    /// Puts the smallest inputs that reach what the corpus of the repository does not into that, if they are about the kernels of this
    /// project: how many.
    fn merge(&mut self, target: Target) -> Result<u64>;

    /// The inputs of a target that take longest.
    fn slowest(&mut self, target: Target) -> Result<Vec<Slow>>;
}

/// What every engine is given.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    /// Processes at a time.
    pub(super) jobs: usize,
    pub(super) kernels: &'a Kernels,
    pub(super) directory: &'a Directory,
    pub(super) stop: &'a AtomicBool,
    pub(super) quiet: bool,
}

/// Starts an engine, building what it needs.
pub(super) fn start<'a>(engine: Option<Engines>, setting: Setting<'a>) -> Result<Box<dyn Engine + 'a>> {
    let has_cargo_fuzz = || succeeds(Command::new("cargo").args(["fuzz", "--version"]));
    match engine {
        Some(Engines::Builtin) => Ok(Box::new(Builtin::new(setting))),
        None if repository().is_none() || !has_cargo_fuzz() => Ok(Box::new(Builtin::new(setting))),
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
            Ok(Box::new(Libfuzzer::build(repository, setting)?))
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

/// This program, once more; also where its file was replaced by a newer one since the night began.
pub(super) fn itself() -> Command {
    Command::new("/proc/self/exe")
}

/// Time beyond a slice after which a process of an engine is ended.
const GRACE: Duration = Duration::from_secs(60);

/// Time that the processes of an engine have to end in order.
const LAST_WORDS: Duration = Duration::from_secs(2);

impl Setting<'_> {
    /// Waits for processes; on Ctrl-C, on a full disk and after `limit` they are asked to end by `ask`, and are then killed, with all
    /// that they have started. `tick` is called every second.
    fn wait(
        &self,
        children: &mut [Child],
        limit: Duration,
        ask: &dyn Fn(),
        tick: &mut dyn FnMut(&mut [Child]),
    ) {
        let (start, mut asked, mut ticks) = (Instant::now(), None, 0);
        // Each is looked at: one that has ended is waited for.
        while children.iter_mut().map(Child::is_running).filter(|&runs| runs).count() > 0 {
            match asked {
                None if start.elapsed() > limit || self.is_over() => {
                    ask();
                    asked = Some(Instant::now());
                }
                Some(since) if since.elapsed() > LAST_WORDS => children.iter_mut().for_each(Child::kill),
                _ => {}
            }
            if start.elapsed().as_secs() > ticks {
                ticks = start.elapsed().as_secs();
                tick(children);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst) || self.directory.room().is_err()
    }
}
