//! `qk256 reveal`: the order in which a gemv adds.

use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::Result;
use qk256_verify::Operation;
use qk256_verify::order::{RevealError, Revealed, Subject};

use crate::Verdict;
use crate::guests::{Libraries, chosen};
use crate::output::OutputFile;
use crate::select::CaseKernels;

/// Show the order in which a gemv kernel adds up a row, as a tree that predicted every bit of 200 random rows.
///
/// The tree is revealed by calls alone: nothing is known of the kernel but what it gives. Exit code 0 also if no tree of
/// additions of two numbers explains the kernel, or if its order depends on the codes, which is no fault. Exit code 1 if it adds in another order elsewhere: in a tile of
/// rows, at other addresses, on another thread.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A kernel of gemv, as `qk256 list` shows it, or one of a library
    kernel: String,

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
    let files = [&args.dot, &args.svg].map(|path| path.as_deref().map(OutputFile::create).transpose());
    let [dot, svg] = files;
    let (dot, svg) = (dot?, svg?);
    let subject = Subject { rows: args.rows, cols: args.cols, row: args.row, scaled: args.scaled };
    let revealed = match args.libraries.open(None)? {
        Some(guests) => {
            let kernels = chosen(&guests, Operation::Gemv, Some(&args.kernel))?;
            guests.reveal(kernels[0], subject)?
        }
        None => {
            let kernels = CaseKernels::of(Operation::Gemv, Some(&args.kernel))?;
            match Revealed::of(kernels.runnable[0].as_ref(), subject) {
                Ok(revealed) => Ok(revealed),
                Err(error @ RevealError::NoTree(_)) => Err(error.to_string()),
                Err(error) => return Err(error.into()),
            }
        }
    };
    let revealed = match revealed {
        Ok(revealed) => revealed,
        Err(why) => {
            writeln!(stdout(), "{} gemv, {} columns: {why}", args.kernel, args.cols)?;
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
