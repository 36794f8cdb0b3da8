//! Shared libraries on a command line, and the process that they are loaded in.

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use qk256_verify::examiner::{ExamineError, InProcess};
use qk256_verify::plugin::{Host, Plugins, serve};
use qk256_verify::{Examiner, Weights};

use crate::Verdict;
use crate::usage::{self, KERNELS};

/// Options that name shared libraries.
#[derive(Args, Debug, Default)]
pub(crate) struct Libraries {
    /// Use the kernels of this shared library, not those of this project. Can be repeated
    ///
    /// The library exports the functions of verify/include/qk256_kernel.h. `qk256 new-plugin` writes one to start from.
    #[arg(long = "lib", value_name = "FILE", help_heading = KERNELS)]
    libraries: Vec<PathBuf>,

    /// Longest time for one call of a library's kernel, such as 500ms or 1m. A longer call is a finding (`hang`)
    #[arg(
        long,
        value_name = "TIME",
        value_parser = usage::time,
        default_value = "10s",
        requires = "libraries",
        help_heading = KERNELS
    )]
    timeout: Option<Duration>,
}

impl Libraries {
    /// These libraries, with the default time limit.
    pub(crate) fn of(libraries: &[PathBuf]) -> Self {
        Self { libraries: libraries.to_vec(), timeout: None }
    }

    /// The kernels of the libraries; those of this project if none is named. `weights` is the file that tensors of cases come from.
    ///
    /// # Errors
    /// If a library cannot be loaded, or is no plugin; or if the weights cannot be opened.
    pub(crate) fn open(&self, weights: Option<&PathBuf>) -> Result<Box<dyn Examiner>> {
        let opened = weights.map(|path| Weights::open(path)).transpose()?;
        if self.libraries.is_empty() {
            return Ok(Box::new(InProcess::new(opened)));
        }
        let itself = std::env::current_exe().context("cannot find this program")?;
        let program = vec![itself.to_string_lossy().into_owned(), "worker".to_owned()];
        let host = |library: &PathBuf| Host {
            program: program.clone(),
            library: library.clone(),
            weights: weights.cloned(),
            timeout: self.timeout.unwrap_or(crate::HANG),
        };
        let plugins = Plugins::open(self.libraries.iter().map(host).collect(), opened);
        Ok(Box::new(plugins.map_err(ExamineError::from)?))
    }

    /// Refuses an option that works with the kernels of this project only.
    ///
    /// # Errors
    /// If a library is named as well.
    pub(crate) fn forbid(&self, option: &str) -> Result<()> {
        if self.libraries.is_empty() {
            return Ok(());
        }
        bail!("{option} works with the kernels of this project only: leave it out, or leave out --lib")
    }
}

/// Do what a host asks for: the process that a library is loaded in.
#[derive(Args)]
pub(crate) struct Worker {
    #[arg(long, value_name = "FILE")]
    lib: PathBuf,

    /// The descriptor of the file in which host and worker share memory
    #[arg(long, value_name = "DESCRIPTOR")]
    record: RawFd,

    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
}

pub(crate) fn work(args: &Worker) -> Result<Verdict> {
    let weights = args.weights.as_deref().map(Weights::open).transpose()?;
    // SAFETY: `qk256 worker` is a process that does this and nothing else.
    unsafe { serve(&args.lib, args.record, weights) }.context("the worker lost its host")?;
    Ok(Verdict::Pass)
}
