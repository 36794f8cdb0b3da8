//! `qk256 list`: the kernels that there are.

use std::io::Write;

use anyhow::Result;
use qk256_verify::kernel::{Kernel, missing_features};
use qk256_verify::registry;
use serde::Serialize;

use crate::output::stdout;
use crate::select::Selection;
use crate::usage::{REPORTS, help_end};
use crate::{Verdict, output};

/// List the kernels, the CPU features that they need, and which of them this CPU can run.
///
/// The last line names the kernels that the library chooses on this CPU.
#[derive(clap::Args)]
#[command(after_help = help_end!(
    "qk256 list",
    "qk256 list --op gemv --json";
    "0" => "the list is printed"
))]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,

    /// Print the list as JSON, not as a table
    #[arg(long, help_heading = REPORTS)]
    json: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    operation: &'static str,
    kernel: &'a str,
    required_features: &'a [&'a str],
    missing_features: Vec<&'a str>,
    /// Whether a program that leaves the choice to the library gets it here.
    chosen: bool,
}

pub(crate) fn run(args: &Args) -> Result<Verdict> {
    let all = registry::kernels();
    let all: Vec<&dyn Kernel> = all.iter().map(Box::as_ref).collect();
    let rows: Vec<Row<'_>> = args.selection.among(&all)?.into_iter().map(row).collect();
    if args.json {
        writeln!(stdout(), "{}", serde_json::to_string_pretty(&rows)?)?;
        return Ok(Verdict::Pass);
    }
    let mut table = output::table(["operation", "kernel", "needs", "this CPU"]);
    for row in rows {
        let state = match &row.missing_features[..] {
            [] => "can run it".to_owned(),
            missing => format!("lacks {}", missing.join(", ")),
        };
        let needs = needs(row.required_features);
        table.add_row([row.operation, row.kernel, &needs, &state]);
    }
    writeln!(stdout(), "{table}")?;
    writeln!(stdout(), "chosen on this CPU: {}", registry::chosen())?;
    Ok(Verdict::Pass)
}

/// Required features as tables show them.
pub(crate) fn needs(features: &[&str]) -> String {
    if features.is_empty() { "-".to_owned() } else { features.join(" ") }
}

fn row(kernel: &dyn Kernel) -> Row<'_> {
    let required_features = kernel.required_features();
    Row {
        operation: kernel.operation().name(),
        kernel: kernel.name(),
        required_features,
        missing_features: missing_features(required_features),
        chosen: registry::is_chosen(kernel),
    }
}
