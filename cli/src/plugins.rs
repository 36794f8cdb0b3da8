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
use qk256_verify::{Examiner, Library, Weights};

use crate::format_option::Formats;
use crate::ggml_option::{self, GgmlChoice};
use crate::usage::{self, KERNELS};
use crate::{FINDING, HANG, Verdict, signals};

/// Options that name shared libraries.
#[derive(Args, Debug, Default)]
pub(crate) struct Libraries {
    /// Use the kernels of this shared library, not those of this project. Can be repeated
    ///
    /// The library exports the table of verify/include/qk256_kernel.h. `qk256 new-plugin` writes one to start from.
    #[arg(long = "lib", value_name = "FILE", group = "libraries", help_heading = KERNELS)]
    plugins: Vec<PathBuf>,

    /// Use the kernels of this build of ggml, such as libggml-cpu.so, not those of this project (docs/ggml.md). Can be repeated
    #[arg(
        long,
        value_name = "LIBRARY",
        group = "libraries",
        value_parser = ggml_option::file,
        help_heading = KERNELS
    )]
    ggml: Vec<PathBuf>,

    #[command(flatten)]
    of_ggml: GgmlChoice,

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

    /// Libraries of other options.
    #[arg(skip)]
    given: Vec<Library>,
}

impl Libraries {
    /// These libraries, with the default time limit.
    pub(crate) fn of(libraries: &[Library], formats: &Formats) -> Self {
        Self { given: libraries.to_vec(), formats: formats.clone(), ..Self::default() }
    }

    /// The kernels of the libraries; those of this project if none is named. `weights` is the file that tensors of cases come from.
    ///
    /// # Errors
    /// If a library cannot be loaded, or is no plugin; or if the weights cannot be opened.
    pub(crate) fn open(&self, weights: Option<&PathBuf>) -> Result<Box<dyn Examiner>> {
        let opened = weights.map(|path| Weights::open(path)).transpose()?;
        let libraries = self.all();
        if libraries.is_empty() {
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
        let host = |library: Library| Host {
            program: program.clone(),
            library,
            weights: weights.cloned(),
            formats: self.formats.files(),
            timeout: self.timeout.unwrap_or(crate::HANG),
        };
        let plugins = Plugins::open(libraries.into_iter().map(host).collect(), opened);
        Ok(Box::new(plugins.map_err(ExamineError::from)?))
    }

    /// The libraries.
    pub(crate) fn all(&self) -> Vec<Library> {
        let plugins = self.plugins.iter().map(Library::plugin);
        let ggml = self.ggml.iter().map(|path| self.of_ggml.library(path));
        self.given.iter().cloned().chain(plugins).chain(ggml).collect()
    }

    /// Their paths, which name the same files from every folder.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        let absolute = |library: Library| std::path::absolute(&library.path).unwrap_or(library.path);
        self.all().into_iter().map(absolute).collect()
    }

    /// These options for another process of this program, which may work in another folder.
    pub(crate) fn options(&self) -> Vec<OsString> {
        let libraries = self.all().into_iter().flat_map(|library| library.options()).map(OsString::from);
        let formats = self.formats.words().into_iter().map(|word| ("--format", word.into()));
        let timeout = self.timeout.filter(|&time| time != crate::HANG);
        let timeout = timeout.map(|time| ("--timeout", humantime::format_duration(time).to_string().into()));
        let options = formats.chain(timeout).flat_map(|(option, value)| [option.into(), value]);
        libraries.chain(options).collect()
    }

    /// Refuses an option that works with the kernels of this project only.
    ///
    /// # Errors
    /// If a library is named as well.
    pub(crate) fn forbid(&self, option: &str) -> Result<()> {
        if self.all().is_empty() {
            return Ok(());
        }
        bail!(
            "{option} works with the kernels of this project only: leave it out, or leave out --lib and --ggml"
        )
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
    #[arg(long, value_name = "FILE", group = "library", requires = "record")]
    lib: Option<PathBuf>,

    #[arg(long, value_name = "FILE", group = "library", requires = "record", value_parser = ggml_option::file)]
    ggml: Option<PathBuf>,

    #[command(flatten)]
    of_ggml: GgmlChoice,

    /// The descriptor of the file in which host and worker share memory
    #[arg(long, value_name = "DESCRIPTOR", requires = "library")]
    record: Option<RawFd>,

    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,

    #[command(flatten)]
    formats: Formats,
}

pub(crate) fn work(args: &Worker) -> Result<Verdict> {
    let weights = args.weights.as_deref().map(Weights::open).transpose()?;
    let ggml = args.ggml.as_ref().map(|path| args.of_ggml.library(path));
    let served = match (args.lib.as_ref().map(Library::plugin).or(ggml), args.record) {
        // SAFETY: `qk256 worker` is a process that does this and nothing else.
        (Some(library), Some(record)) => unsafe { serve(&library, record, weights) },
        _ => {
            signals::watch();
            exit_after_crash(FINDING.into(), HANG);
            InProcess::new(weights, &args.formats.of_files()).serve()
        }
    };
    served.context("the worker lost its host")?;
    Ok(Verdict::Pass)
}
