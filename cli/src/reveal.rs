//! `qk256 reveal`: the order in which a gemv adds.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use qk256_verify::Operation;
use qk256_verify::order::Subject;
use qk256_verify::words::{count, folded};

use crate::Verdict;
use crate::output::{OutputFile, stdout};
use crate::plugins::Libraries;
use crate::select::only;
use crate::usage::{self, REPORTS, RUN, help_end};

/// Find the order in which a gemv kernel adds up a row, and show it as a tree.
///
/// The tree is found from the results of calls alone, without looking at the code. It must then predict every bit of 200 random rows.
#[derive(clap::Args)]
#[command(after_help = help_end!(
    "qk256 reveal avx2 --cols 256",
    "qk256 reveal avx2 --cols 64 --svg tree.svg",
    "qk256 reveal --lib ./libkernel.so --rows 4 --row 3";
    "0" => "the order is known and the same everywhere, or no tree of additions explains the kernel",
    "1" => "the order differs between tiles of rows, addresses or threads"
))]
pub(crate) struct Args {
    /// Name of a gemv kernel, such as avx2 (`qk256 list` shows the names). Not needed for a library with one gemv
    #[arg(required_unless_present = "libraries")]
    kernel: Option<String>,

    #[command(flatten)]
    libraries: Libraries,

    /// Number of columns of the matrix
    #[arg(
        long,
        value_name = "NUMBER",
        value_parser = usage::whole::<usize>,
        default_value_t = 1024,
        allow_negative_numbers = true,
        help_heading = RUN
    )]
    cols: usize,

    /// Number of rows of the matrix
    #[arg(
        long,
        value_name = "NUMBER",
        value_parser = usage::at_least_one::<usize>,
        default_value_t = 1,
        allow_negative_numbers = true,
        help_heading = RUN
    )]
    rows: usize,

    /// The row to look at, counted from 0
    #[arg(
        long,
        value_name = "NUMBER",
        value_parser = usage::whole::<usize>,
        default_value_t = 0,
        allow_negative_numbers = true,
        help_heading = RUN
    )]
    row: usize,

    /// Use block scales, and show where the kernel multiplies by them. Some kernels then add in another order
    #[arg(long, help_heading = RUN)]
    scaled: bool,

    /// Write the tree to this file in the DOT language of Graphviz
    #[arg(long, value_name = "FILE", help_heading = REPORTS)]
    dot: Option<PathBuf>,

    /// Write the tree to this file as an SVG picture
    #[arg(long, value_name = "FILE", help_heading = REPORTS)]
    svg: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<Verdict> {
    let [dot, svg] = OutputFile::create_each([("--dot", &args.dot), ("--svg", &args.svg)])?;
    let subject = Subject { rows: args.rows, row: args.row, ..Subject::one_row(args.cols, args.scaled) };
    let examiner = args.libraries.open(None)?;
    let kernel = only(examiner.as_ref(), &args.libraries.formats, Operation::Gemv, args.kernel.as_deref())?;
    let revealed = examiner.reveal(kernel, subject)?;
    let revealed = match revealed {
        Ok(revealed) => revealed,
        Err(why) => {
            let mut text = String::new();
            let columns = count(args.cols as u64, "column");
            folded(&mut text, "", &format!("{kernel:?}, {columns}: {why}")).expect("a string takes all");
            write!(stdout(), "{text}")?;
            return Ok(Verdict::Pass);
        }
    };
    let mut text = String::new();
    for line in revealed.words.lines() {
        folded(&mut text, "", line).expect("a string takes all");
    }
    write!(stdout(), "{text}")?;
    for (file, picture) in [(dot, &revealed.dot), (svg, &revealed.svg)] {
        if let Some(file) = file {
            file.write(picture.as_bytes())?;
        }
    }
    Ok(if revealed.differing.is_empty() { Verdict::Pass } else { Verdict::Finding })
}
