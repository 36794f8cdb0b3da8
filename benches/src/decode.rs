//! Decoding: how many tokens a second the matrices of a whole model allow, beside the rate at which memory can be read at all.
//!
//! A token multiplies every matrix of the model once. Their codes are distinct in each layer, so that they come from DRAM each
//! time, as they do in inference. Attention, norms and the rest of a model are not here: the products are what this project
//! is about, and nearly all of the time.

mod contender;
mod model;
mod report;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use qk256_verify::timing::Workload;
use qk256_verify::{Case, Harness, Operation};

use crate::{Verified, kernels_here};
use contender::{Contender, contenders};
use model::{Decoder, Model};

/// Rounds of which each has a token of every contender.
const ROUNDS: usize = 9;

/// Checks the kernels on the shapes of the model, decodes, and prints the table. Exits with 1 if a kernel is wrong, two ways
/// to the same product differ in a bit, or a bar is missed.
pub fn run() -> ExitCode {
    match decode() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("{problem}\n\ndecode: failed");
            ExitCode::FAILURE
        }
    }
}

fn decode() -> Result<bool, String> {
    let contenders = contenders();
    if contenders.iter().all(|contender| contender.is_limit()) {
        println!("decode: skipped: this CPU lacks AVX2 or FMA");
        return Ok(true);
    }
    check_shapes()?;
    let mut decoder = Decoder::new(Model::random()?);
    for contender in &contenders {
        decoder.token(contender);
    }
    let mut times = vec![Vec::new(); contenders.len()];
    for round in 0..ROUNDS {
        for at in 0..contenders.len() {
            // The first changes from round to round, so that none has the same predecessor always.
            let at = (at + round) % contenders.len();
            times[at].push(time_token(&mut decoder, &contenders[at])?);
        }
    }
    Ok(report::print(&contenders, &times, decoder.model().bytes()))
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
            // A few rows of each: the harness checks them with an exact sum, which takes its time.
            let case = Case { digits: 1, ..Case::new(operation, rows.min(67), cols) };
            let case = if operation.has_digits() { case } else { Case::new(operation, rows.min(67), cols) };
            Verified::new(&mut harness, kernels.iter().map(AsRef::as_ref), Workload::of(case)).map_err(
                |findings| findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"),
            )?;
        }
    }
    Ok(())
}
