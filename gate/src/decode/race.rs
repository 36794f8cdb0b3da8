//! The measurement: tokens of all contenders in turn.

use std::time::{Duration, Instant};

use qk256_verify::kernel::missing_features;
use qk256_verify::timing::Workload;
use qk256_verify::{Case, Harness, Operation, registry};

use super::contender::{Contender, contenders};
use super::decoder::Decoder;
use super::model::{self, Model};
use super::{DecodeError, Decoded, Scope, Way};
use crate::verified::Verified;

/// Rounds of [`run`], of which each has a token of every contender.
const ROUNDS: usize = 9;

/// [`decode::run`](super::run).
pub(super) fn run(scope: Scope) -> Result<Option<Decoded>, DecodeError> {
    let contenders = contenders(scope);
    let is_without = contenders.iter().all(Contender::is_limit);
    if is_without { Ok(None) } else { decode(&contenders, ROUNDS).map(Some) }
}

/// [`decode::parts_of_reading`](super::parts_of_reading).
pub(super) fn parts_of_reading(
    ways: &[(String, usize)],
    rounds: usize,
) -> Result<Vec<Vec<f64>>, DecodeError> {
    let mut contenders = contenders(Scope::AsCalled);
    let is_way = |contender: &Contender, (name, threads): &(String, usize)| {
        *threads == contender.threads && contender.to_string() == *name
    };
    contenders.retain(|own| own.is_limit() || ways.iter().any(|way| is_way(own, way)));
    let places = ways.iter().map(|way| {
        let place = contenders.iter().position(|own| is_way(own, way));
        place.ok_or_else(|| {
            let (name, threads) = way;
            DecodeError::Impossible(format!("there is no way to decode called `{name}`, threads: {threads}"))
        })
    });
    let places = places.collect::<Result<Vec<_>, _>>()?;
    let decoded = decode(&contenders, rounds)?;
    Ok(places.into_iter().map(|place| decoded.ways[place].parts.clone()).collect())
}

/// Checks the kernels and decodes by every contender.
fn decode(contenders: &[Contender], rounds: usize) -> Result<Decoded, DecodeError> {
    check_shapes()?;
    let mut decoder = Decoder::new(Model::random()?);
    let times = race(&mut decoder, contenders, rounds)?;
    let way = |(own, spent): (&Contender, &Vec<Duration>)| {
        let limit = contenders.iter().position(|other| other.is_limit() && other.threads == own.threads);
        let limit = &times[limit.expect("the limit is run with every number of threads")];
        let parts = limit.iter().zip(spent).map(|(limit, spent)| limit.as_secs_f64() / spent.as_secs_f64());
        Way {
            name: own.to_string(),
            threads: own.threads,
            ahead: own.ahead,
            parts: parts.collect(),
            times: spent.clone(),
        }
    };
    Ok(Decoded { ways: contenders.iter().zip(&times).map(way).collect(), bytes: decoder.model().bytes() })
}

/// The times of a token, by contender and round, after one that is not timed.
fn race(
    decoder: &mut Decoder,
    contenders: &[Contender],
    rounds: usize,
) -> Result<Vec<Vec<Duration>>, DecodeError> {
    contenders.iter().for_each(|contender| decoder.token(contender));
    let mut times = vec![Vec::new(); contenders.len()];
    for round in 0..rounds {
        for at in 0..contenders.len() {
            // The first changes from round to round, so that none has the same predecessor always.
            let at = (at + round) % contenders.len();
            times[at].push(time_token(decoder, &contenders[at])?);
        }
    }
    Ok(times)
}

/// Wall time of a token: several threads may work on it.
fn time_token(decoder: &mut Decoder, contender: &Contender) -> Result<Duration, DecodeError> {
    let start = Instant::now();
    decoder.token(contender);
    let time = start.elapsed();
    decoder.check(contender)?;
    Ok(time)
}

/// Examines every kernel that is timed on every shape of the model.
fn check_shapes() -> Result<(), DecodeError> {
    let mut harness = Harness::new(None);
    for operation in [Operation::Gemv, Operation::GemvFixed] {
        let mut kernels = registry::kernels();
        kernels.retain(|kernel| {
            let is_here = missing_features(kernel.required_features()).is_empty();
            kernel.operation() == operation
                && is_here
                && kernel.name().starts_with("avx")
                && !kernel.shares_work()
        });
        for (rows, cols) in model::shapes() {
            // A few rows of each: the exact sums of all would take longer than everything else.
            let mut case = Case::new(operation, rows.min(67), cols);
            if operation.has_digits() {
                case.digits = 1;
            }
            Verified::new(&mut harness, kernels.iter().map(AsRef::as_ref), Workload::of(case)).map_err(
                |findings| {
                    let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
                    DecodeError::Wrong(findings.join("\n\n"))
                },
            )?;
        }
    }
    Ok(())
}
