//! `qk256 adopt`: a finding becomes a regression test.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use qk256_verify::case::parse_file;

use crate::Verdict;
use crate::output::{OutputFile, stdout};
use crate::usage::{REPORTS, help_end};

/// Keep the case of a finding as a regression test.
///
/// The .case file moves to the folder of regressions, and the report beside it is removed. From then on `cargo test` runs the case on every
/// kernel.
#[derive(clap::Args)]
#[command(after_help = help_end!(
    "qk256 adopt overnight/findings/avx2-gemv-bound-1x7.case 'dropped the last column'";
    "0" => "the case is in the folder; its new path is printed"
))]
pub(crate) struct Args {
    /// A .case file, such as those in the folder findings of `overnight`
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// What the bug was, in one line
    #[arg(value_name = "WHY")]
    why: String,

    /// Folder of regressions
    #[arg(long, value_name = "DIR", default_value = "corpus/regressions", help_heading = REPORTS)]
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
