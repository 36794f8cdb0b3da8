//! `qk256 adopt`: a finding becomes a regression test.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use qk256_verify::case::parse_file;

use crate::Verdict;
use crate::output::{OutputFile, stdout};

/// Move the case of a finding into the corpus of regressions, where `cargo test` runs it on every kernel from then on.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A .case file, such as those in findings/ of `overnight`
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// What the bug was, in a line
    #[arg(value_name = "WHY")]
    why: String,

    /// The folder of regressions
    #[arg(long, value_name = "DIR", default_value = "corpus/regressions")]
    to: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<Verdict> {
    let shown = args.file.display();
    let text = fs::read_to_string(&args.file).with_context(|| format!("cannot read {shown}"))?;
    let case = parse_file(&text).with_context(|| shown.to_string())?;
    let why = args.why.trim();
    if why.is_empty() || why.contains('\n') {
        bail!("say in one line what the bug was");
    }
    if !args.to.is_dir() {
        bail!("there is no folder {}: start this in the repository, or give --to", args.to.display());
    }
    let name = args.file.file_name().context("the file has no name")?;
    let target = args.to.join(name).with_extension("case");
    if target.exists() {
        bail!("{} is there already: rename {shown}", target.display());
    }
    OutputFile::create(&target)?.write(format!("# {why}\n{case}\n").as_bytes())?;
    // The copy is whole on disk: now the original may go, with the report beside it.
    fs::remove_file(&args.file).with_context(|| format!("cannot remove {shown}"))?;
    let _ = fs::remove_file(args.file.with_extension("md"));
    writeln!(stdout(), "{}", target.display())?;
    Ok(Verdict::Pass)
}
