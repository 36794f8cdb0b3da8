//! `qk256 replay`: one case, or files of cases, once more.

use std::io::{Write, stderr};

use anyhow::{Context, Result};
use qk256_verify::examiner::Examined;
use qk256_verify::words::folded;
use qk256_verify::{Case, Examiner, Finding, Kernel, interrupt};

use crate::Verdict;
use crate::cases::CaseArgs;
use crate::output::stdout;
use crate::signals;
use crate::usage::{RUN, help_end};

/// Run one case again, or the cases of .case files.
///
/// The `again:` line of a finding is such a command. A case gives the same result each time, on every machine with the same CPU
/// features.
#[derive(clap::Args)]
#[command(after_help = help_end!(
    "qk256 replay gemv rows=3 cols=300 seed=1                       every gemv kernel of this project",
    "qk256 replay --kernel avx2 gemv rows=3 cols=300 seed=1         one of them",
    "qk256 replay --lib ./libkernel.so gemv rows=3 cols=300 seed=1  the kernels of a library",
    "qk256 replay corpus/regressions/*.case                         files";
    "0" => "the kernels are right on every case",
    "1" => "a finding"
))]
pub(crate) struct Args {
    #[command(flatten)]
    case: CaseArgs,

    /// Call the library with this case first, in the same process. Can be repeated
    ///
    /// `--after '100x gemv rows=1 cols=3'` makes 100 such calls. A kernel with a state may fail only after other calls.
    #[arg(long, value_name = "CASE", requires = "libraries", help_heading = RUN)]
    after: Vec<String>,
}

/// A case of `--after`, with how often it is called.
fn earlier(text: &str) -> Result<(u64, Case)> {
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    let parse = |case: &str| case.parse().with_context(|| format!("bad case of --after `{text}`"));
    match first.strip_suffix('x').map(str::parse) {
        Some(times) => {
            Ok((times.context("give the number of calls as in `100x gemv rows=1 cols=3`")?, parse(rest)?))
        }
        None => Ok((1, parse(text)?)),
    }
}

pub(crate) fn run(args: &Args) -> Result<Verdict> {
    signals::watch();
    let examiner = args.case.examiner()?;
    // Not before all options are read: a format may be that of a file.
    let after: Vec<(u64, Case)> = args.after.iter().map(|text| earlier(text)).collect::<Result<_>>()?;
    let mut verdict = Verdict::Pass;
    for (file, case) in args.case.cases()? {
        if let Some(file) = file {
            writeln!(stdout(), "{}:", file.display())?;
        }
        match replay(args, examiner.as_ref(), &after, &case) {
            Err(_) if interrupt::is_requested() => {}
            Ok(Verdict::Finding) => verdict = Verdict::Finding,
            seen => drop(seen?),
        }
        if interrupt::is_requested() {
            return Ok(if verdict == Verdict::Finding { verdict } else { Verdict::Interrupted });
        }
    }
    Ok(verdict)
}

fn replay(args: &Args, examiner: &dyn Examiner, after: &[(u64, Case)], case: &Case) -> Result<Verdict> {
    let mut verdict = Verdict::Pass;
    for kernel in args.case.kernels(examiner, case)? {
        let seen = examiner.examine(kernel, after, case)?;
        show(kernel, &seen)?;
        for failure in seen.failures {
            verdict = Verdict::Finding;
            writeln!(stderr(), "{}\n", Finding::new(kernel, case, examiner.weights(), failure))?;
        }
    }
    Ok(verdict)
}

/// Prints what became of a kernel: skipped for a reason, right as far as its properties go, or wrong.
fn show(kernel: &dyn Kernel, seen: &Examined) -> Result<()> {
    let properties = || seen.properties.iter().map(|property| property.name()).collect::<Vec<_>>().join(", ");
    let (label, words) = match &seen.skipped {
        Some(why) => ("skip     ", format!("{kernel:?}: {why}")),
        None if seen.failures.is_empty() => ("pass     ", format!("{kernel:?}: {}", properties())),
        None => ("finding  ", format!("{kernel:?}")),
    };
    let mut text = String::new();
    folded(&mut text, label, &words).expect("a string takes all");
    Ok(write!(stdout(), "{text}")?)
}
