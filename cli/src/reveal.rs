//! `qk256 reveal`: the order in which a gemv adds.

use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::{Result, bail};
use qk256_verify::kernel::Kernel;
use qk256_verify::order::{RevealError, Subject, reveal};
use qk256_verify::{Operation, Order};

use crate::Verdict;
use crate::output::OutputFile;
use crate::select::CaseKernels;

/// Show the order in which a gemv kernel adds up a row, as a tree that predicts every bit of its results.
///
/// The tree is revealed by calls alone: nothing is known of the kernel but what it gives. Exit code 0 also if no tree of
/// additions of two f32 numbers explains the kernel, which is no fault.
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
    let subject = Subject { rows: args.rows, cols: args.cols, row: args.row };
    let order = match reveal(kernel.as_ref(), subject) {
        Ok(order) => order,
        Err(error @ RevealError::NoTree(_)) => {
            writeln!(stdout(), "{} gemv, {} columns: {error}", args.kernel, args.cols)?;
            return Ok(Verdict::Pass);
        }
        Err(error) => return Err(error.into()),
    };
    writeln!(stdout(), "{}", describe(kernel.as_ref(), &order))?;
    if let Some(file) = dot {
        file.write(order.to_dot().as_bytes())?;
    }
    if let Some(file) = svg {
        file.write(order.to_svg().as_bytes())?;
    }
    Ok(Verdict::Pass)
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
    text + &format!(
        "; depth {depth} (from left to right it is {})\nthe tree predicts the bits of every row that was tried",
        cols.saturating_sub(1)
    )
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
