//! Shared libraries on a command line, and the process that they are loaded in.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use qk256_verify::examiner::{ExamineError, InProcess};
use qk256_verify::memory::fault::exit_after_crash;
use qk256_verify::plugin::{Host, Plugins, serve};
use qk256_verify::{Examiner, Weights};

use crate::format_option::Formats;
use crate::usage::{self, KERNELS};
use crate::{FINDING, HANG, Verdict, signals};

/// Options that name shared libraries.
#[derive(Args, Debug, Default)]
pub(crate) struct Libraries {
    /// Use the kernels of this shared library, not those of this project. Can be repeated
    ///
    /// The library exports the table of verify/include/qk256_kernel.h. `qk256 new-plugin` writes one to start from.
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

    #[command(flatten)]
    pub(crate) formats: Formats,
}

impl Libraries {
    /// These libraries, with the default time limit.
    pub(crate) fn of(libraries: &[PathBuf], formats: &Formats) -> Self {
        Self { libraries: libraries.to_vec(), timeout: None, formats: formats.clone() }
    }

    /// The kernels of the libraries; those of this project if none is named. `weights` is the file that tensors of cases come from.
    ///
    /// # Errors
    /// If a library cannot be loaded, or is no plugin; or if the weights cannot be opened.
    pub(crate) fn open(&self, weights: Option<&PathBuf>) -> Result<Box<dyn Examiner>> {
        let opened = weights.map(|path| Weights::open(path)).transpose()?;
        if self.libraries.is_empty() {
            let files =
                [("--weights", weights)].into_iter().filter_map(|(option, file)| Some((option, file?)));
            let formats = self.formats.files();
            let files = files.chain(formats.iter().map(|file| ("--format", file)));
            let mut program = worker_program()?;
            program.extend(
                files.flat_map(|(option, file)| [option.to_owned(), file.to_string_lossy().into_owned()]),
            );
            return Ok(Box::new(InProcess::new(opened, &self.formats.of_files()).in_processes_of(program)));
        }
        let program = worker_program()?;
        let host = |library: &PathBuf| Host {
            program: program.clone(),
            library: library.clone(),
            weights: weights.cloned(),
            formats: self.formats.files(),
            timeout: self.timeout.unwrap_or(crate::HANG),
        };
        let plugins = Plugins::open(self.libraries.iter().map(host).collect(), opened);
        Ok(Box::new(plugins.map_err(ExamineError::from)?))
    }

    /// The libraries, by paths that name the same files from every folder.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.libraries.iter().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone())).collect()
    }

    /// These options for another process of this program, which may work in another folder.
    pub(crate) fn options(&self) -> Vec<OsString> {
        let libraries = self.paths().into_iter().map(|path| ("--lib", path.into_os_string()));
        let formats = self.formats.words().into_iter().map(|word| ("--format", word.into()));
        let timeout = self.timeout.filter(|&time| time != crate::HANG);
        let timeout = timeout.map(|time| ("--timeout", humantime::format_duration(time).to_string().into()));
        let options = libraries.chain(formats).chain(timeout);
        options.flat_map(|(option, value)| [option.into(), value]).collect()
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

/// This program as a worker.
fn worker_program() -> Result<Vec<String>> {
    let itself = std::env::current_exe().context("cannot find this program")?;
    Ok(vec![itself.to_string_lossy().into_owned(), "worker".to_owned()])
}

/// Do what a host asks for: the process that a library is loaded in, or that examines some kernels of this project.
#[derive(Args)]
pub(crate) struct Worker {
    #[arg(long, value_name = "FILE", requires = "record")]
    lib: Option<PathBuf>,

    /// The descriptor of the file in which host and worker share memory
    #[arg(long, value_name = "DESCRIPTOR", requires = "lib")]
    record: Option<RawFd>,

    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,

    #[command(flatten)]
    formats: Formats,
}

pub(crate) fn work(args: &Worker) -> Result<Verdict> {
    let weights = args.weights.as_deref().map(Weights::open).transpose()?;
    let served = match (&args.lib, args.record) {
        // SAFETY: `qk256 worker` is a process that does this and nothing else.
        (Some(library), Some(record)) => unsafe { serve(library, record, weights) },
        _ => {
            signals::watch();
            exit_after_crash(FINDING.into(), HANG);
            InProcess::new(weights, &args.formats.of_files()).serve()
        }
    };
    served.context("the worker lost its host")?;
    Ok(Verdict::Pass)
}
