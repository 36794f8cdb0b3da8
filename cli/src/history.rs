//! `qk256 history`: how the figures of recorded runs of the gate moved.

use std::io::{Write, stderr};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use qk256_gate::history;

use crate::Verdict;
use crate::gate::ROWS;
use crate::output::stdout;
use crate::usage::{self, help_end};

/// Show how the speed-ups changed over recorded runs of the gate.
#[derive(clap::Args)]
#[command(after_help = help_end!(
    "qk256 gate --record runs.jsonl",
    "qk256 history runs.jsonl --only 'avx2 gemv' --last 10";
    "0" => "the figures are printed"
))]
pub(crate) struct Args {
    /// A file that `qk256 gate --record FILE` has written
    file: PathBuf,

    /// Only rows with this text in `KERNEL OPERATION SIZE over BASE`, such as `avx2 gemv`
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, help_heading = ROWS)]
    only: String,

    /// Only this many of the last runs [default: all]
    #[arg(
        long,
        value_name = "NUMBER",
        value_parser = usage::at_least_one::<u64>,
        allow_negative_numbers = true,
        help_heading = ROWS
    )]
    last: Option<u64>,
}

pub(crate) fn run(args: &Args) -> Result<Verdict> {
    let shown = args.file.display();
    let text = std::fs::read_to_string(&args.file).with_context(|| format!("cannot read {shown}"))?;
    let (mut entries, broken) = history::read(&text);
    for line in broken {
        writeln!(stderr(), "{shown}: line {line} is not a run of the gate, and is left out")?;
    }
    if let Some(last) = args.last {
        entries.drain(..entries.len().saturating_sub(last as usize));
    }
    if entries.is_empty() {
        bail!("{shown} has no run of the gate: `qk256 gate --record {shown}` adds one");
    }
    write!(stdout(), "{}", history::trends(&entries, &args.only))?;
    Ok(Verdict::Pass)
}
