//! The measurement: tokens of all contenders in turn.

use std::time::{Duration, Instant};

use qk256_verify::timing::Workload;
use qk256_verify::{Case, Harness, Operation};

use super::contender::{Contender, contenders};
use super::model::{self, Decoder, Model};
use super::{Scope, report};
use crate::{Verified, kernels_here};

/// Rounds of which each has a token of every contender.
const ROUNDS: usize = 9;

/// How often it is measured before a missed bar counts: a bad moment passes meanwhile.
const ATTEMPTS: usize = 3;

/// [`decode::run`](super::run).
pub(super) fn run(scope: Scope) -> Result<bool, String> {
    let contenders = contenders(scope);
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
