//! Decoding: how many tokens a second the matrices of a whole model allow, beside the rate at which memory can be read at all.
//!
//! A token multiplies every matrix of the model once. Their codes are distinct in each layer, so that they come from DRAM each
//! time, as they do in inference. Attention, norms and the rest of a model are not here: the products are what this project
//! is about, and nearly all of the time.

mod contender;
mod model;
mod report;

use std::time::{Duration, Instant};

use qk256_verify::timing::Workload;
use qk256_verify::{Case, Harness, Operation};

use crate::{Verified, kernels_here};
use contender::{Contender, contenders};
use model::{Decoder, Model};

/// Rounds of which each has a token of every contender.
const ROUNDS: usize = 9;

/// How often it is measured before a missed bar counts: a bad moment passes meanwhile.
const ATTEMPTS: usize = 3;

/// Which contenders decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All.
    All,
    /// Those that have a bar to meet, and the limit.
    Barred,
}

/// Checks the kernels on the shapes of the model, decodes, and prints the table. `false` if a bar is missed; it says which on
/// standard error.
///
/// # Errors
/// If a kernel is wrong, two ways to the same product differ in a bit, or there is no memory for the codes.
pub fn run(scope: Scope) -> Result<bool, String> {
    let mut contenders = contenders();
    contenders.retain(|contender| scope == Scope::All || contender.bar.is_some() || contender.is_limit());
    if contenders.iter().all(Contender::is_limit) {
        println!("decode: skipped: this CPU lacks AVX2 or FMA");
        return Ok(true);
    }
    check_shapes()?;
    let mut decoder = Decoder::new(Model::random()?);
    for contender in &contenders {
        decoder.token(contender);
    }
    for attempt in 1.. {
        let times = race(&mut decoder, &contenders)?;
        let missed = report::missed(&contenders, &times);
        if missed.is_empty() || attempt == ATTEMPTS {
            report::print(&contenders, &times, decoder.model().bytes());
            missed.iter().for_each(|missed| eprintln!("{missed}"));
            return Ok(missed.is_empty());
        }
    }
    unreachable!("the last attempt returns")
}

/// The times of a token, by contender and round.
fn race(decoder: &mut Decoder, contenders: &[Contender]) -> Result<Vec<Vec<Duration>>, String> {
    let mut times = vec![Vec::new(); contenders.len()];
    for round in 0..ROUNDS {
        for at in 0..contenders.len() {
            // The first changes from round to round, so that none has the same predecessor always.
            let at = (at + round) % contenders.len();
            times[at].push(time_token(decoder, &contenders[at])?);
        }
    }
    Ok(times)
}

/// Wall time of a token: several threads may work on it.
fn time_token(decoder: &mut Decoder, contender: &Contender) -> Result<Duration, String> {
    let start = Instant::now();
    decoder.token(contender);
    let time = start.elapsed();
    decoder.check(contender)?;
    Ok(time)
}

/// Examines every kernel that is timed on every shape of the model.
fn check_shapes() -> Result<(), String> {
    let mut harness = Harness::new(None);
    for operation in [Operation::Gemv, Operation::GemvFixed] {
        let mut kernels = kernels_here(operation);
        kernels.retain(|kernel| kernel.name().starts_with("avx"));
        for (rows, cols) in model::shapes() {
            // A few rows of each: the exact sums of all would take longer than everything else.
            let mut case = Case::new(operation, rows.min(67), cols);
            if operation.has_digits() {
                case.digits = 1;
            }
            Verified::new(&mut harness, kernels.iter().map(AsRef::as_ref), Workload::of(case)).map_err(
                |findings| findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"),
            )?;
        }
    }
    Ok(())
}
