//! Cases as they come on a command line: words, files, or standard input.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use qk256_verify::case::{Case, parse_file};
use qk256_verify::{Examiner, Kernel, Operation};

use crate::plugins::Libraries;
use crate::select::for_case;
use crate::usage::{KERNELS, RUN};

/// A case, or files of cases, and the weights that it may need.
#[derive(Args, Debug)]
pub(crate) struct CaseArgs {
    /// Only the kernel with this name, such as avx2 [default: every kernel of the case's operation]
    #[arg(long, value_name = "NAME", help_heading = KERNELS)]
    kernel: Option<String>,

    #[command(flatten)]
    libraries: Libraries,

    /// Safetensors file with the tensor that the case names (`tensor=...`)
    #[arg(long, value_name = "FILE", help_heading = RUN)]
    weights: Option<PathBuf>,

    /// The words of one case (docs/cases.md), or .case files, or `-` for a case on standard input
    #[arg(required = true, value_name = "CASE")]
    words: Vec<String>,
}

impl CaseArgs {
    /// Every case given, with the file that it comes from.
    ///
    /// # Errors
    /// If a file cannot be read or a text is not a case.
    pub(crate) fn cases(&self) -> Result<Vec<(Option<PathBuf>, Case)>> {
        let first = self.words[0].split_whitespace().next().unwrap_or("");
        let is_file = first.contains(['/', '.']) || Path::new(&self.words[0]).exists();
        if self.words == ["-"] {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("cannot read a case from standard input")?;
            return Ok(vec![(None, parse_file(&text).context("standard input")?)]);
        }
        let has_values = self.words.iter().any(|word| word.contains('='));
        if first.parse::<Operation>().is_ok() || !is_file && has_values {
            return Ok(vec![(None, self.words.join(" ").parse().context("bad case")?)]);
        }
        if !is_file {
            bail!(
                "`{first}` is neither a case nor a file: give a case, such as `gemv rows=3 cols=300 seed=1` (docs/cases.md), or a .case file"
            );
        }
        self.words.iter().map(|path| Ok((Some(path.into()), read(Path::new(path))?))).collect()
    }

    /// The kernels that take a case.
    ///
    /// # Errors
    /// As [`for_case`].
    pub(crate) fn kernels<'a>(&self, examiner: &'a dyn Examiner, case: &Case) -> Result<Vec<&'a dyn Kernel>> {
        for_case(examiner, &self.libraries.formats, case, self.kernel.as_deref())
    }

    /// What the case is for: the kernels of the libraries that are named, or those of this project.
    ///
    /// # Errors
    /// If a library cannot be loaded, or is no plugin; or if the weights cannot be opened.
    pub(crate) fn examiner(&self) -> Result<Box<dyn Examiner>> {
        self.libraries.open(self.weights.as_ref())
    }
}

fn read(path: &Path) -> Result<Case> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse_file(&text).with_context(|| path.display().to_string())
}
