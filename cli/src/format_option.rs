//! Formats on a command line: by name, or by the TOML file that describes one.

use std::path::PathBuf;

use clap::Args;
use qk256_verify::Kernel;
use qk256_verify::finding::shell_word;
use qk256_verify::format::{self, Format};

use crate::usage::KERNELS;

/// A format that was named.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    /// The format, which [`format::find`] finds from now on.
    pub(crate) format: &'static Format,
    /// The file that describes it, from the root on, unless it is one of ours.
    file: Option<PathBuf>,
}

impl Chosen {
    /// The format of this name, or of this file.
    ///
    /// # Errors
    /// If there is none, or what is wrong with the file.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let format = format::named_or_loaded(text).map_err(|error| error.to_string())?;
        let file = || std::path::absolute(text).unwrap_or_else(|_| text.into());
        Ok(Self { format, file: (!format::ALL.contains(&format)).then(file) })
    }
}

impl Chosen {
    /// The option that another command needs to know the format: none for one of ours.
    pub(crate) fn option(&self) -> String {
        let file = self.file.as_ref();
        file.map_or(String::new(), |file| format!(" --format {}", shell_word(&file.to_string_lossy())))
    }
}

/// Options that name formats.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Formats {
    /// Only kernels of this format, such as q4_0 (`qk256 formats` lists them). Can be repeated
    ///
    /// A TOML file describes a format that is not among them (docs/formats.md). Kernels of libraries name it by its `name`; without --lib
    /// its reference kernels are used.
    #[arg(
        long = "format",
        value_name = "NAME|FILE.toml",
        value_parser = Chosen::parse,
        help_heading = KERNELS
    )]
    chosen: Vec<Chosen>,
}

impl Formats {
    /// Files that describe formats.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.chosen.iter().filter_map(|chosen| chosen.file.clone()).collect()
    }

    /// The formats of these files.
    pub(crate) fn of_files(&self) -> Vec<&'static Format> {
        self.chosen.iter().filter(|chosen| chosen.file.is_some()).map(|chosen| chosen.format).collect()
    }

    /// Whether kernels of that kind are meant: all if no format is named.
    pub(crate) fn have(&self, kernel: &dyn Kernel) -> bool {
        let is_its = |chosen: &Chosen| chosen.format == kernel.domain().format;
        self.chosen.is_empty() || self.chosen.iter().any(is_its)
    }

    /// What the options of these formats are given for another process.
    pub(crate) fn words(&self) -> Vec<String> {
        let word = |chosen: &Chosen| match &chosen.file {
            Some(file) => file.to_string_lossy().into_owned(),
            None => chosen.format.name.to_owned(),
        };
        self.chosen.iter().map(word).collect()
    }

    /// The formats.
    pub(crate) fn all(&self) -> Vec<&'static Format> {
        self.chosen.iter().map(|chosen| chosen.format).collect()
    }

    /// The names.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.chosen.iter().map(|chosen| chosen.format.name).collect()
    }
}
