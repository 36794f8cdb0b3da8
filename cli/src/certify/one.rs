//! One shape, in this process: what `certify` starts for each.

use std::io::Write;

use anyhow::{Result, bail};
use qk256_verify::certificate::{certify, memcheck};
use qk256_verify::library::Library;
use qk256_verify::plugin::load_here;
use qk256_verify::{Case, Kernel, Operation, registry};

use super::{Known, Memcheck, Shape};
use crate::Verdict;
use crate::output::stdout;
use crate::plugins::Libraries;

/// Follow one call, or make it on undefined data.
#[derive(clap::Args)]
pub(crate) struct Args {
    kernel: String,

    #[arg(long)]
    op: Operation,

    #[command(flatten)]
    libraries: Libraries,

    #[arg(long)]
    rows: usize,

    #[arg(long)]
    cols: usize,

    #[arg(long)]
    batch: usize,

    #[arg(long)]
    scaled: bool,

    /// Under valgrind
    #[arg(long)]
    watched: bool,
}

/// The words that start this for a kernel and a shape.
pub(super) fn words(kernel: &dyn Kernel, args: &super::Args, shape: Shape, is_watched: bool) -> Vec<String> {
    let Shape { rows, cols, batch, scaled } = shape;
    let mut words = vec!["certify-one".to_owned(), kernel.name().to_owned()];
    let mut option = |name: &str, value: String| words.extend([format!("--{name}"), value]);
    option("op", kernel.operation().name().to_owned());
    for format in args.libraries.formats.words() {
        option("format", format);
    }
    if args.libraries.formats.words().is_empty() {
        option("format", kernel.domain().format.name.to_owned());
    }
    option("rows", rows.to_string());
    option("cols", cols.to_string());
    option("batch", batch.to_string());
    words.extend(kernel.library().map(Library::options).unwrap_or_default());
    words.extend(scaled.then(|| "--scaled".to_owned()));
    words.extend(is_watched.then(|| "--watched".to_owned()));
    words
}

pub(crate) fn run(args: &Args) -> Result<Verdict> {
    let kernels = match args.libraries.all().first() {
        // SAFETY: the process was started for this library alone.
        Some(library) => unsafe { load_here(library) }?,
        None => registry::kernels(),
    };
    let is_it = |kernel: &&dyn Kernel| {
        kernel.name() == args.kernel && kernel.operation() == args.op && args.libraries.formats.have(*kernel)
    };
    let Some(kernel) = kernels.iter().map(AsRef::as_ref).find(is_it) else {
        bail!("there is no kernel `{}` of {}", args.kernel, args.op);
    };
    let case = case(args, kernel)?;
    let answer = match args.watched {
        true => serde_json::to_string(&watched(kernel, &case))?,
        false => serde_json::to_string(&Known { verdict: certify(kernel, &case), memcheck: None })?,
    };
    writeln!(stdout(), "{answer}")?;
    Ok(Verdict::Pass)
}

fn case(args: &Args, kernel: &dyn Kernel) -> Result<Case> {
    let domain = kernel.domain();
    let plain = Case::new(domain, args.rows, args.cols);
    let scaled = plain.scaled || (args.scaled && domain.may_be_scaled());
    if args.scaled && !scaled {
        bail!("{kernel:?} takes no block scales: leave out --scaled");
    }
    let requirements = domain.requirements;
    if requirements.rows(args.rows) != args.rows || domain.cols(args.cols) != args.cols {
        bail!(
            "{kernel:?} does not take {} rows and {} columns: it requires {requirements}",
            args.rows,
            args.cols
        );
    }
    Ok(Case { scaled, batch: if args.op.is_batched() { args.batch } else { 1 }, ..plain })
}

fn watched(kernel: &dyn Kernel, case: &Case) -> Memcheck {
    if !memcheck::is_watching() {
        return Memcheck::Complaint("nothing is seen: valgrind does not run the program".to_owned());
    }
    match memcheck::watch(kernel, case) {
        Ok(()) => Memcheck::Clean,
        Err(complaint) => Memcheck::Complaint(complaint.to_string()),
    }
}
