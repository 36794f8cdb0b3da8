//! `qk256 list`: the kernels that there are.

use std::io::Write;

use anyhow::Result;
use qk256_verify::kernel::{Kernel, missing_features};
use qk256_verify::{Domain, registry};
use serde::Serialize;

use crate::output::stdout;
use crate::plugins::Libraries;
use crate::select::Selection;
use crate::usage::{REPORTS, help_end};
use crate::{Verdict, output};

/// List the kernels, the CPU features that they need, and which of them this CPU can run.
///
/// The last line names the kernels that this project's library chooses on this CPU.
#[derive(clap::Args)]
#[command(after_help = help_end!(
    "qk256 list",
    "qk256 list --op gemv --json",
    "qk256 list --lib ./libkernel.so",
    "qk256 list --format q4_0";
    "0" => "the list is printed"
))]
pub(crate) struct Args {
    #[command(flatten)]
    selection: Selection,

    #[command(flatten)]
    libraries: Libraries,

    /// Print the list as JSON, not as a table
    #[arg(long, help_heading = REPORTS)]
    json: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    operation: &'static str,
    /// The format of the weights.
    format: &'static str,
    /// The kind of activations.
    activations: &'static str,
    kernel: &'a str,
    /// What callers keep to, in the words of a case; empty if nothing is required.
    requirements: String,
    required_features: &'a [&'a str],
    missing_features: Vec<&'a str>,
    /// Whether a program that leaves the choice to the library gets it here.
    chosen: bool,
    /// The operation and the formats that are not plain.
    #[serde(skip)]
    domain: String,
}

pub(crate) fn run(args: &Args) -> Result<Verdict> {
    let examiner = args.libraries.open(None)?;
    let kernels = args.selection.among(&examiner.kernels(), &args.libraries.formats)?;
    let rows: Vec<Row<'_>> = kernels.iter().map(|&kernel| row(kernel)).collect();
    if args.json {
        writeln!(stdout(), "{}", serde_json::to_string_pretty(&rows)?)?;
        return Ok(Verdict::Pass);
    }
    writeln!(stdout(), "{}", table(&rows))?;
    if kernels.iter().any(|kernel| kernel.library().is_none()) {
        writeln!(stdout(), "chosen on this CPU: {}", registry::chosen())?;
    }
    Ok(Verdict::Pass)
}

fn table(rows: &[Row<'_>]) -> comfy_table::Table {
    let requires = rows.iter().any(|row| !row.requirements.is_empty());
    let header = ["operation", "kernel", "needs", "this CPU", "requires"];
    let columns = header.len() - usize::from(!requires);
    let mut table = output::table(header.into_iter().take(columns));
    for row in rows {
        let state = match &row.missing_features[..] {
            [] => "can run it".to_owned(),
            missing => format!("lacks {}", missing.join(", ")),
        };
        let needs = needs(row.required_features);
        let cells = [&row.domain, row.kernel, &needs, &state, &row.requirements];
        table.add_row(cells.into_iter().take(columns));
    }
    table
}

/// Required features as tables show them.
pub(crate) fn needs(features: &[&str]) -> String {
    if features.is_empty() { "-".to_owned() } else { features.join(" ") }
}

fn row(kernel: &dyn Kernel) -> Row<'_> {
    let (domain, required_features) = (kernel.domain(), kernel.required_features());
    let is_own = kernel.library().is_none() && domain == Domain::new(domain.operation);
    Row {
        operation: domain.operation.name(),
        format: domain.format.name,
        activations: domain.activations.name,
        kernel: kernel.name(),
        requirements: domain.requirements.to_string(),
        required_features,
        missing_features: missing_features(required_features),
        chosen: is_own && registry::is_chosen(kernel),
        domain: domain.to_string(),
    }
}
