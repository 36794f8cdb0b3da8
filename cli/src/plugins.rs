//! Shared libraries on a command line, and the process that they are loaded in.

use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use qk256_verify::plugin::{Host, Plugins, serve};
use qk256_verify::{Operation, Weights};

use crate::Verdict;
use crate::select::Selection;
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

    /// The kernels of the libraries; `None` if none is named. `weights` is the file that their workers open.
    ///
    /// # Errors
    /// If one cannot be loaded, or is no plugin.
    pub(crate) fn open(&self, weights: Option<&PathBuf>) -> Result<Option<Plugins>> {
        if self.libraries.is_empty() {
            return Ok(None);
        }
        let itself = std::env::current_exe().context("cannot find this program")?;
        let program = vec![itself.to_string_lossy().into_owned(), "worker".to_owned()];
        let host = |library: &PathBuf| Host {
            program: program.clone(),
            library: library.clone(),
            weights: weights.cloned(),
            timeout: self.timeout.unwrap_or(crate::HANG),
        };
        let opened = weights.map(|path| Weights::open(path)).transpose()?;
        Ok(Some(Plugins::open(self.libraries.iter().map(host).collect(), opened)?))
    }
}

/// What precedes the reason why no kernel of a library is chosen.
pub(crate) const OF_LIBRARIES: &str = "no kernel of --lib is chosen";

/// The kernels of `plugins` of this operation, by this name if there is one.
///
/// # Errors
/// If there is none.
pub(crate) fn chosen<'g>(
    plugins: &'g Plugins,
    operation: Operation,
    name: Option<&str>,
) -> Result<Vec<&'g dyn qk256_verify::Kernel>> {
    let all: Vec<_> = plugins.kernels().collect();
    Selection::new(operation, name).among(&all).context(OF_LIBRARIES)
}

/// The kernel of this operation: the one of this name, or the only one that the libraries export.
///
/// # Errors
/// If there is none, or no name is given and there are several.
pub(crate) fn only<'g>(
    plugins: &'g Plugins,
    operation: Operation,
    name: Option<&str>,
) -> Result<&'g dyn qk256_verify::Kernel> {
    let kernels = chosen(plugins, operation, name)?;
    let exported: Vec<_> = kernels.into_iter().filter(|kernel| plugins.has(*kernel)).collect();
    match exported[..] {
        [] => anyhow::bail!("no library exports qk256_{operation}"),
        [kernel] => Ok(kernel),
        _ if name.is_some() => Ok(exported[0]),
        _ => {
            let names: Vec<&str> = exported.iter().map(|kernel| kernel.name()).collect();
            anyhow::bail!(
                "the libraries have several kernels of {operation}: give the name of one: {}",
                names.join(", ")
            )
        }
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
