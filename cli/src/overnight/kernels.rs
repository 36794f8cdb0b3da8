//! The kernels that a night examines: those of this project, or those of libraries. Every process of a night is given them by the same
//! options.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use qk256_mutants::Mutant;
use qk256_verify::examiner::InProcess;
use qk256_verify::finding::{program, shell_word};
use qk256_verify::fuzz::{Bench, Domains, Target};
use qk256_verify::kernel::missing_features;
use qk256_verify::library::Source;
use qk256_verify::{Examiner, Harness, Kernel, registry};

use crate::plugins::Libraries;
use crate::select::Selection;

/// Options that name the kernels of a night.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct Kernels {
    #[command(flatten)]
    libraries: Libraries,

    /// A wrong kernel of the selftest, to see that it is found
    #[arg(long, hide = true, value_name = "NAME", conflicts_with = "libraries")]
    plant: Option<String>,
}

impl Kernels {
    /// Whether they are those of libraries.
    pub(super) fn are_of_libraries(&self) -> bool {
        !self.libraries.all().is_empty()
    }

    /// The files of the libraries.
    pub(super) fn libraries(&self) -> Vec<PathBuf> {
        self.libraries.paths()
    }

    /// The wrong kernel among the right ones.
    pub(super) fn plant(&self) -> Option<&str> {
        self.plant.as_deref()
    }

    /// Whether what is found and learned is about the kernels of this project as they are, and so may go to its corpus.
    pub(super) fn are_own(&self) -> bool {
        self.plant.is_none() && !self.are_of_libraries()
    }

    /// The options for another process of this program.
    pub(super) fn options(&self) -> Vec<OsString> {
        let plant = self.plant.iter().flat_map(|name| ["--plant".into(), name.into()]);
        self.libraries.options().into_iter().chain(plant).collect()
    }

    /// The variables for a program of a fuzz target.
    ///
    /// # Errors
    /// If a path cannot be part of a list.
    pub(super) fn variables(&self) -> Result<[(&'static str, Option<OsString>); 3]> {
        let list = |words: Vec<OsString>| {
            let joined = std::env::join_paths(&words);
            let joined =
                joined.context("the fuzz targets take --lib and --format without `:` in their paths");
            Ok::<_, anyhow::Error>(Some(joined?).filter(|words| !words.is_empty()))
        };
        if self.libraries.all().iter().any(|library| library.source != Source::Table) {
            bail!(
                "the programs of fuzz targets take --lib only: add `--engine builtin`, or leave out --ggml"
            );
        }
        let libraries = self.libraries().into_iter().map(Into::into).collect();
        let formats = self.libraries.formats.words().into_iter().map(Into::into).collect();
        let plant = self.plant.as_ref().map(Into::into);
        Ok([("QK256_LIB", list(libraries)?), ("QK256_FORMAT", list(formats)?), ("QK256_PLANT", plant)])
    }

    /// What targets draw from for these kernels. Libraries are loaded anew, in processes of their own.
    ///
    /// # Errors
    /// If a library is no plugin or has no kernel for any target, or there is no wrong kernel of that name.
    pub(super) fn domains(&self) -> Result<Domains> {
        if !self.are_of_libraries() {
            if !self.libraries.formats.all().is_empty() {
                bail!("--format chooses among the kernels of --lib: give a library, or leave it out");
            }
            self.planted()?;
            return Ok(Domains::own());
        }
        let examiner = self.libraries.open(None)?;
        let can_run = |kernel: &&dyn Kernel| missing_features(kernel.required_features()).is_empty();
        let kernels = Selection::default().among(&examiner.kernels(), &self.libraries.formats)?;
        Ok(Domains::of(kernels.into_iter().filter(can_run)))
    }

    /// Looks at libraries once more: one that is replaced in the middle of a night may have become something else.
    ///
    /// # Errors
    /// As [`domains`](Self::domains), or if a target calls none of the kernels any more.
    pub(super) fn are_still(&self, targets: &[Target]) -> Result<()> {
        if self.are_of_libraries() {
            self.domains()?.require(targets)?;
        }
        Ok(())
    }

    /// The command that shows the case of a file again.
    pub(super) fn replay(&self, file: &Path) -> String {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let words = self.libraries.options().into_iter().chain([file.into_os_string()]);
        let words: Vec<String> = words.map(|word| shell_word(&word.to_string_lossy())).collect();
        format!("{} replay {}", program(), words.join(" "))
    }

    /// The kernels, examined one case at a time: those of libraries in processes of their own.
    ///
    /// # Errors
    /// As [`domains`](Self::domains).
    pub(super) fn examiner(&self) -> Result<Box<dyn Examiner>> {
        if self.are_of_libraries() {
            return self.libraries.open(None);
        }
        let mut kernels = registry::kernels();
        kernels.extend(self.planted()?.map(|mutant| Box::new(mutant.kernel) as Box<dyn Kernel>));
        Ok(Box::new(InProcess::of(kernels, Harness::new(None))))
    }

    /// The kernels in this process, for inputs of targets.
    ///
    /// # Safety
    /// The process is there for nothing else: a library does to it what it likes ([`Bench::of_libraries`]).
    ///
    /// # Errors
    /// As [`domains`](Self::domains).
    pub(super) unsafe fn bench(&self) -> Result<Bench> {
        if self.are_of_libraries() {
            // SAFETY: as the caller says.
            return Ok(unsafe { Bench::of_libraries(&self.libraries.all(), &self.libraries.formats.all()) }?);
        }
        let planted = self.planted()?.into_iter();
        Ok(planted.fold(Bench::own(), |bench, mutant| bench.with(Box::new(mutant.kernel))))
    }

    /// The wrong kernel, if one is named.
    fn planted(&self) -> Result<Option<Mutant>> {
        let Some(name) = &self.plant else { return Ok(None) };
        let found = qk256_mutants::wrong().into_iter().find(|mutant| mutant.name == name.as_str());
        found.with_context(|| format!("there is no wrong kernel `{name}` in the selftest")).map(Some)
    }
}
