//! `qk256 minimize`: the smallest case that still shows a finding.

use std::io::{Write, stderr};
use std::path::PathBuf;

use anyhow::{Result, bail};
use qk256_verify::{Case, Finding, interrupt};

use crate::Verdict;
use crate::cases::CaseArgs;
use crate::output::{self, OutputFile, stdout};
use crate::signals;
use crate::usage::{REPORTS, help_end};

/// Find the smallest case on which a kernel fails in the same way.
///
/// The smallest case goes to standard output, its finding to standard error. Ctrl-C ends the search with the smallest case so far.
#[derive(clap::Args)]
#[command(after_help = help_end!(
    "qk256 minimize --lib ./libkernel.so gemv rows=9 cols=300 seed=1",
    "qk256 minimize --kernel avx2 big.case --output small.case";
    "0" => "no kernel fails on the case, so there is nothing to shrink",
    "1" => "the case fails; the smallest one is printed"
))]
pub(crate) struct Args {
    #[command(flatten)]
    case: CaseArgs,

    /// Also write the smallest case to this .case file. `-` is standard output, which then gets nothing else
    #[arg(long, value_name = "FILE", help_heading = REPORTS)]
    output: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<Verdict> {
    let cases = args.case.cases()?;
    let [(_, case)] = &cases[..] else {
        bail!("minimize takes one case, but {} files are given: run it once for each", cases.len())
    };
    signals::watch();
    let output = args.output.as_deref().map(OutputFile::create).transpose()?;
    let Some(smallest) = smallest(args, case)? else {
        if interrupt::is_requested() {
            return Ok(Verdict::Interrupted);
        }
        writeln!(stderr(), "no kernel fails on this case: there is nothing to minimise")?;
        return Ok(Verdict::Pass);
    };
    let written = output.map(|output| output.write(file_text(&smallest).as_bytes()));
    let shown = [
        writeln!(stdout(), "{}", smallest.case).map_err(Into::into),
        writeln!(stderr(), "{smallest}").map_err(Into::into),
    ];
    output::all_written(written.into_iter().chain(shown), Verdict::Finding)
}

/// The smallest case of the first kernel that fails on this one, with its finding.
fn smallest(args: &Args, case: &Case) -> Result<Option<Finding>> {
    let examiner = args.case.examiner()?;
    for kernel in args.case.kernels(examiner.as_ref(), case)? {
        if let Some(failure) = examiner.examine(kernel, &[], case)?.failures.into_iter().next() {
            let finding = Finding::new(kernel, case, examiner.weights(), failure);
            return Ok(Some(examiner.minimize(kernel, &finding)?));
        }
    }
    Ok(None)
}

fn file_text(finding: &Finding) -> String {
    format!(
        "# {} {} violates `{}`\n# {}\n{}\n",
        finding.kernel,
        finding.operation(),
        finding.failure.property,
        finding.detail(),
        finding.case
    )
}
