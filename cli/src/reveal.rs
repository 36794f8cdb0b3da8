//! `qk256 reveal`: the order in which a gemv adds.

use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::{Result, bail};
use qk256_verify::kernel::Kernel;
use qk256_verify::order::{Model, Precision, RevealError, Scaling, Subject, differing_places, reveal};
use qk256_verify::{Operation, Order};

use crate::Verdict;
use crate::output::OutputFile;
use crate::select::CaseKernels;

/// Show the order in which a gemv kernel adds up a row, as a tree that predicts every bit of its results.
///
/// The tree is revealed by calls alone: nothing is known of the kernel but what it gives. Exit code 0 also if no tree of
/// additions of two numbers explains the kernel, which is no fault. Exit code 1 if it adds in another order elsewhere: in a tile of
/// rows, at other addresses, on another thread.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A kernel of gemv, as `qk256 list` shows it
    kernel: String,

    /// Columns of the matrix
    #[arg(long, default_value_t = 1024)]
    cols: usize,

    /// Rows of the matrix
    #[arg(long, default_value_t = 1)]
    rows: usize,

    /// The row whose order is revealed
    #[arg(long, default_value_t = 0)]
    row: usize,

    /// With block scales, which some kernels add in another order, and where they are multiplied
    #[arg(long)]
    scaled: bool,

    /// Write the tree in the DOT language of Graphviz to this file
    #[arg(long, value_name = "FILE")]
    dot: Option<PathBuf>,

    /// Draw the tree to this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<Verdict> {
    let kernels = CaseKernels::of(Operation::Gemv, Some(&args.kernel))?;
    let [kernel] = &kernels.runnable[..] else {
        bail!("there are several kernels `{}` of gemv", args.kernel)
    };
    let files = [&args.dot, &args.svg].map(|path| path.as_deref().map(OutputFile::create).transpose());
    let [dot, svg] = files;
    let (dot, svg) = (dot?, svg?);
    let subject = Subject { rows: args.rows, cols: args.cols, row: args.row, scaled: args.scaled };
    let model = match reveal(kernel.as_ref(), subject) {
        Ok(model) => model,
        Err(error @ RevealError::NoTree(_)) => {
            writeln!(stdout(), "{} gemv, {} columns: {error}", args.kernel, args.cols)?;
            return Ok(Verdict::Pass);
        }
        Err(error) => return Err(error.into()),
    };
    let order = model.order();
    writeln!(stdout(), "{}", describe(kernel.as_ref(), order))?;
    writeln!(stdout(), "{}", arithmetic(&model))?;
    let differing = differing_places(kernel.as_ref(), &model, args.scaled)?;
    match &differing[..] {
        [] => writeln!(
            stdout(),
            "the same in every tile of rows, at every address and on every thread that was tried"
        )?,
        places => writeln!(stdout(), "another order at: {}", places.join(", "))?,
    }
    if let Some(file) = dot {
        file.write(order.to_dot().as_bytes())?;
    }
    if let Some(file) = svg {
        file.write(order.to_svg().as_bytes())?;
    }
    Ok(if differing.is_empty() { Verdict::Pass } else { Verdict::Finding })
}

/// The arithmetic in words.
fn arithmetic(model: &Model) -> String {
    let precision = match model.precision() {
        Precision::F32 => "f32 additions",
        Precision::F64 => "f64 additions, rounded to f32 at the end",
        Precision::F32InBlocks => "f32 additions within blocks, f64 between them",
    };
    let (fused, scaled) = model.fused();
    let scaling = match model.scaling() {
        Scaling::Absent => String::new(),
        Scaling::Term => "; scales multiplied into each term".to_owned(),
        Scaling::RoundedTerm => "; scales multiplied into each term, in f32".to_owned(),
        Scaling::Block => "; scales multiplied into the sums of blocks".to_owned(),
    };
    let fusing = match fused {
        0 => String::new(),
        _ => format!(", unrounded (fused) in {fused} of {scaled} additions"),
    };
    format!("{precision}{scaling}{fusing}; this predicts the bits of every row that was tried")
}

/// The order in words.
fn describe(kernel: &dyn Kernel, order: &Order) -> String {
    let (parts, depth, cols) = (order.partial_sums(), order.depth(), order.cols());
    let shortest = parts.iter().map(Vec::len).min().unwrap_or(0);
    let longest = parts.iter().map(Vec::len).max().unwrap_or(0);
    let lengths = if shortest == longest { format!("{longest}") } else { format!("{shortest} to {longest}") };
    let mut text = format!("{} gemv, {cols} columns: ", kernel.name());
    text += &match &parts[..] {
        [] => return text + "nothing to add",
        [only] => format!("one sum, of columns {}", some(only)),
        [first, .., last] => {
            let of_last = parts.iter().position(|part| part.contains(&(cols - 1)));
            format!(
                "{} partial sums of {lengths} columns; the first of {}; the last of {}; column {} in number {}",
                parts.len(),
                some(first),
                some(last),
                cols - 1,
                of_last.map_or(0, |at| at + 1)
            )
        }
    };
    text + &format!("; depth {depth} (from left to right it is {})", cols.saturating_sub(1))
}

/// The first few columns, and the last.
fn some(columns: &[usize]) -> String {
    const SHOWN: usize = 6;
    let list = |columns: &[usize]| columns.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    match columns {
        [front @ .., last] if columns.len() > SHOWN => format!("{} .. {last}", list(&front[..SHOWN - 1])),
        _ => list(columns),
    }
}
