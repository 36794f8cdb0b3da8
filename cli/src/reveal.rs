//! `qk256 reveal`: the order in which a gemv adds.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use qk256_verify::Operation;
use qk256_verify::order::{RevealError, Revealed, Subject};

use crate::Verdict;
use crate::guests::{Libraries, only};
use crate::output::{OutputFile, stdout};
use crate::select::CaseKernels;

/// Show the order in which a gemv kernel adds up a row, as a tree that predicted every bit of 200 random rows.
///
/// The tree is revealed by calls alone: nothing is known of the kernel but what it gives. Exit code 0 also if no tree of
/// additions of two numbers explains the kernel, or if its order depends on the codes, which is no fault. Exit code 1 if it adds in another order elsewhere: in a tile of
/// rows, at other addresses, on another thread.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A kernel of gemv, as `qk256 list` shows it, or one of a library, which needs no name if it is the only one
    #[arg(required_unless_present = "libraries")]
    kernel: Option<String>,

    #[command(flatten)]
    libraries: Libraries,

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
    let [dot, svg] = OutputFile::create_each([("--dot", &args.dot), ("--svg", &args.svg)])?;
    let subject = Subject { rows: args.rows, cols: args.cols, row: args.row, scaled: args.scaled };
    let named = args.kernel.as_deref();
    let (name, revealed) = match args.libraries.open(None)? {
        Some(guests) => {
            let kernel = only(&guests, Operation::Gemv, named)?;
            (kernel.name().to_owned(), guests.reveal(kernel, subject)?)
        }
        None => {
            let name = named.context("name a kernel: `qk256 list` shows them")?;
            let kernels = CaseKernels::of(Operation::Gemv, named)?;
            match Revealed::of(kernels.runnable[0].as_ref(), subject) {
                Ok(revealed) => (name.to_owned(), Ok(revealed)),
                Err(error @ RevealError::NoTree(_)) => (name.to_owned(), Err(error.to_string())),
                Err(error) => return Err(error.into()),
            }
        }
    };
    let revealed = match revealed {
        Ok(revealed) => revealed,
        Err(why) => {
            writeln!(stdout(), "{name} gemv, {} columns: {why}", args.cols)?;
            return Ok(Verdict::Pass);
        }
    };
    writeln!(stdout(), "{}", revealed.words)?;
    for (file, picture) in [(dot, &revealed.dot), (svg, &revealed.svg)] {
        if let Some(file) = file {
            file.write(picture.as_bytes())?;
        }
    }
    Ok(if revealed.differing.is_empty() { Verdict::Pass } else { Verdict::Finding })
}
