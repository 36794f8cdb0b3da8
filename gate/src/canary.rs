//! What the machine is known to do in a cycle: a canary for moments in which no figure can be trusted.

use std::hint::black_box;
use std::time::Duration;

use qk256_verify::Operation;
use qk256_verify::timing::{Workload, cpu_time, quantile};

use crate::limit::{STORE_FILL, limits};

/// Elements of f32 that a machine at work fills in a cycle. Below, something else has most of the CPU's units, or the clock of the CPU
/// is not what it seems; above, the stopwatch is wrong: no CPU with AVX2 stores more than two registers of eight in a cycle.
pub(super) const SANE: std::ops::RangeInclusive<f64> = 3.0..=17.6;

/// Steps of the chain that is the clock.
const STEPS: u64 = 20_000;

/// Cycles of a step: a multiplication takes three and an exclusive or one, on every x86-64 of AVX2's age, and on most others.
const CYCLES: f64 = 4.0;

/// Rounds, of which the median counts.
const ROUNDS: usize = 21;

/// Elements of f32 in the first-level cache that [`STORE_FILL`] fills in a cycle.
pub(super) fn elements_per_cycle() -> f64 {
    let limits = limits();
    let is_fill = |operation, name: &str| operation == Operation::Dequantize && name == STORE_FILL;
    let fill = limits.iter().find(|limit| is_fill(limit.operation(), limit.name())).expect("it is a limit");
    let mut workload = Workload::new(Operation::Dequantize, 1, 1024, false);
    let calls = 1000;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let (before, filling, after) = (chain(), workload.time(fill.as_ref(), calls), chain());
        let cycles = filling.as_secs_f64() / ((before + after).as_secs_f64() / 2.0) * STEPS as f64 * CYCLES;
        rounds.push(calls as f64 * workload.elements() as f64 / cycles);
    }
    quantile(&rounds, 0.5)
}

/// Time of steps each of which needs the one before: cycles, whatever else the CPU could do meanwhile.
fn chain() -> Duration {
    cpu_time(|| {
        let mut x = black_box(1_u64);
        for _ in 0..STEPS {
            x = x.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
        }
        black_box(x);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_takes_cycles_that_a_loop_without_a_chain_does_not() {
        let free = cpu_time(|| {
            for at in 0..STEPS {
                black_box(at);
            }
        });
        assert!(chain() > free, "{:?} and {free:?}", chain());
    }
}
