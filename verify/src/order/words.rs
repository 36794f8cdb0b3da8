//! Orders and arithmetic as people read them.

use serde::{Deserialize, Serialize};

use super::model::TRIALS;
use super::{Model, Order, Precision, RevealError, Scaling, Subject, differing_places, reveal};
use crate::kernel::Kernel;
use crate::words::count;

/// How a gemv adds, in words and pictures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revealed {
    /// Lines without an end of line: the order, the arithmetic, and where else it is the same.
    pub words: String,
    /// The tree in the DOT language of Graphviz.
    pub dot: String,
    /// The tree as a picture.
    pub svg: String,
    /// Places where the kernel adds in another order, which none may.
    pub differing: Vec<String>,
}

impl Revealed {
    /// Asks `kernel` how it adds up the row of `subject`, and whether it does so elsewhere; in words why no tree explains it.
    ///
    /// # Errors
    /// As [`reveal()`], but for [`RevealError::NoTree`].
    ///
    /// # Panics
    /// If the kernel does.
    pub fn of(kernel: &dyn Kernel, subject: Subject) -> Result<Result<Self, String>, RevealError> {
        let model = match reveal(kernel, subject) {
            Err(error @ RevealError::NoTree(_)) => return Ok(Err(error.to_string())),
            revealed => revealed?,
        };
        let differing = differing_places(kernel, &model, subject.scaled)?;
        let elsewhere = match &differing[..] {
            [] => "the same in every tile of rows, at every address and on every thread that was tried"
                .to_owned(),
            places => format!("another order at: {}", places.join(", ")),
        };
        let words = [order(kernel.name(), model.order()), arithmetic(&model), elsewhere].join("\n");
        Ok(Ok(Self { words, dot: model.order().to_dot(), svg: model.order().to_svg(), differing }))
    }
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
    format!(
        "{precision}{scaling}{fusing}; this predicts every bit of {} random rows: {TRIALS} with all codes 2, {TRIALS} with random codes",
        2 * TRIALS
    )
}

/// The order in words.
fn order(name: &str, order: &Order) -> String {
    let (parts, depth, cols) = (order.partial_sums(), order.depth(), order.cols());
    let shortest = parts.iter().map(Vec::len).min().unwrap_or(0);
    let longest = parts.iter().map(Vec::len).max().unwrap_or(0);
    let lengths = if shortest == longest { format!("{longest}") } else { format!("{shortest} to {longest}") };
    let mut text = format!("{name} gemv, {}: ", count(cols as u64, "column"));
    text += &match &parts[..] {
        [] => return text + "nothing to add",
        [only] => {
            format!("one sum, of {} {}", if only.len() == 1 { "column" } else { "columns" }, some(only))
        }
        [first, .., last] => {
            let of_last = parts.iter().position(|part| part.contains(&(cols - 1)));
            format!(
                "{} partial sums of {lengths} columns; the first: {}; the last: {}; column {} is in number {}",
                parts.len(),
                some(first),
                some(last),
                cols - 1,
                of_last.map_or(0, |at| at + 1)
            )
        }
    };
    text + &format!("; depth {depth} (a sum from left to right has {})", cols.saturating_sub(1))
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
