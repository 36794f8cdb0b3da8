//! `qk256 replay`: one case, or files of cases, once more.

use std::io::{Write, stderr};

use anyhow::{Context, Result};
use qk256_verify::kernel::missing_features;
use qk256_verify::plugin::Plugins;
use qk256_verify::words::folded;
use qk256_verify::{Case, Finding, Harness, Property, Weights, interrupt};

use crate::Verdict;
use crate::cases::CaseArgs;
use crate::output::stdout;
use crate::plugins::chosen;
use crate::select::CaseKernels;
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
    #[arg(long, value_name = "CASE", requires = "libraries", value_parser = earlier, help_heading = RUN)]
    after: Vec<(u64, Case)>,
}

/// A case with how often it is called.
fn earlier(text: &str) -> Result<(u64, Case)> {
    let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
    match first.strip_suffix('x').map(str::parse) {
        Some(times) => {
            Ok((times.context("give the number of calls as in `100x gemv rows=1 cols=3`")?, rest.parse()?))
        }
        None => Ok((1, text.parse()?)),
    }
}

pub(crate) fn run(args: &Args) -> Result<Verdict> {
    signals::watch();
    let plugins = args.case.plugins()?;
    let mut harness = args.case.harness()?;
    let mut verdict = Verdict::Pass;
    for (file, case) in args.case.cases()? {
        if let Some(file) = file {
            writeln!(stdout(), "{}:", file.display())?;
        }
        let name = args.case.kernel.as_deref();
        let seen = match &plugins {
            Some(plugins) => match replay_plugins(plugins, name, (&args.after, &case), harness.weights()) {
                Err(_) if interrupt::is_requested() => Verdict::Interrupted,
                seen => seen?,
            },
            None => replay(&mut harness, name, &case)?,
        };
        if seen == Verdict::Finding {
            verdict = Verdict::Finding;
        }
        if interrupt::is_requested() {
            return Ok(if verdict == Verdict::Finding { verdict } else { Verdict::Interrupted });
        }
    }
    Ok(verdict)
}

/// The same for the kernels of libraries.
fn replay_plugins(
    plugins: &Plugins,
    name: Option<&str>,
    (earlier, case): (&[(u64, Case)], &Case),
    weights: Option<&Weights>,
) -> Result<Verdict> {
    let mut verdict = Verdict::Pass;
    for kernel in chosen(plugins, case.operation, name)? {
        let seen = plugins.examine(kernel, earlier, case)?;
        let properties = seen.properties.iter().copied();
        show(&format!("{kernel:?}"), seen.skipped.as_deref(), seen.failures.is_empty(), properties)?;
        for failure in seen.failures {
            verdict = Verdict::Finding;
            writeln!(stderr(), "{}\n", Finding::new(kernel, case, weights, failure))?;
        }
    }
    Ok(verdict)
}

/// Prints what became of a kernel: skipped for a reason, right as far as these properties go, or wrong.
fn show(
    kernel: &str,
    skipped: Option<&str>,
    passed: bool,
    properties: impl Iterator<Item = Property>,
) -> Result<()> {
    let (label, words) = match (skipped, passed) {
        (Some(why), _) => ("skip     ", format!("{kernel}: {why}")),
        (None, true) => (
            "pass     ",
            format!("{kernel}: {}", properties.map(Property::name).collect::<Vec<_>>().join(", ")),
        ),
        (None, false) => ("finding  ", kernel.to_owned()),
    };
    let mut text = String::new();
    folded(&mut text, label, &words).expect("a string takes all");
    Ok(write!(stdout(), "{text}")?)
}

fn replay(harness: &mut Harness, name: Option<&str>, case: &Case) -> Result<Verdict> {
    let kernels = CaseKernels::of(case.operation, name)?;
    for kernel in &kernels.skipped {
        let missing = missing_features(kernel.required_features()).join(", ");
        let label = format!("{} {}", kernel.name(), case.operation);
        show(&label, Some(&format!("this CPU lacks {missing}")), true, [].into_iter())?;
    }
    let prepared = harness.prepare(case)?;
    let mut verdict = Verdict::Pass;
    for kernel in &kernels.runnable {
        let first = harness.examine_first_calls(kernel.as_ref(), &prepared);
        let mut trial = harness.examine(kernel.as_ref(), &prepared);
        trial.properties.merge(&first.properties);
        trial.failures.extend(first.failures);
        let label = format!("{} {}", kernel.name(), case.operation);
        show(&label, trial.skipped, trial.passed(), trial.properties.applied())?;
        for failure in trial.failures {
            verdict = Verdict::Finding;
            writeln!(stderr(), "{}\n", Finding::new(kernel.as_ref(), case, harness.weights(), failure))?;
        }
    }
    Ok(verdict)
}
