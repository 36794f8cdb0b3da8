//! How fast kernels are beside each other: the one place that times them.
//!
//! Kernels run in turn on the same data, a slice of about 60 microseconds each, forth and back within a round, so that a
//! machine that slows down steadily favours none. What counts is the time that the thread had the CPU, and a
//! speed-up is the median of the ratios within the rounds: whatever holds for a whole round (clock frequency, a neighbour
//! on the same memory) cancels. docs/benchmarking.md says what this withstands.

mod clock;
mod workload;

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::kernel::Kernel;
use crate::registry;
pub use clock::cpu_time;
pub use workload::{USUAL_BATCH, Workload};

/// What a slice should last: long beside the clock's own cost, short beside the noise of a machine.
const SLICE: Duration = Duration::from_micros(60);

/// Rounds that are run however long they take: the fewest of which a median withstands two that went wrong.
const MIN_ROUNDS: usize = 5;

/// Times `kernels` in turn for about `budget` of wall time, and for five rounds at least.
///
/// # Panics
/// If a kernel does not do the workload, as [`Workload::time`] does.
pub fn race(kernels: &[&dyn Kernel], workload: &mut Workload, budget: Duration) -> Race {
    race_by(kernels, budget, |kernel, calls| workload.time(kernel, calls))
}

/// As [`race`], with the stopwatch of the caller's choice: `time` is the time of that many calls.
fn race_by(
    kernels: &[&dyn Kernel],
    budget: Duration,
    mut time: impl FnMut(&dyn Kernel, u64) -> Duration,
) -> Race {
    let start = Instant::now();
    let calls: Vec<u64> =
        kernels.iter().map(|&kernel| calls_per_slice(SLICE, |calls| time(kernel, calls))).collect();
    let mut race = Race { nanoseconds: vec![Vec::new(); kernels.len()] };
    for round in 0.. {
        if round >= MIN_ROUNDS && start.elapsed() >= budget {
            break;
        }
        let mut spent = vec![Duration::ZERO; kernels.len()];
        for at in order(round, kernels.len()) {
            spent[at] += time(kernels[at], calls[at]);
        }
        for (at, spent) in spent.into_iter().enumerate() {
            race.nanoseconds[at].push(spent.as_nanos() as f64 / (2 * calls[at]) as f64);
        }
    }
    race
}

/// The kernels of a round, each twice: forth and back, so that all of them run at the same time on average. The first
/// changes from round to round, so that none has the same predecessor always.
fn order(round: usize, kernels: usize) -> impl Iterator<Item = usize> {
    let forth = move |at| (at + round) % kernels;
    (0..kernels).map(forth).chain((0..kernels).rev().map(forth))
}

/// Calls that fill a slice of this length, one at least, by `time`, the time of that many calls. Doubles them until their time can be
/// distinguished from the clock's own.
pub fn calls_per_slice(slice: Duration, mut time: impl FnMut(u64) -> Duration) -> u64 {
    let mut calls = 1;
    loop {
        let spent = time(calls);
        if spent >= slice / 4 {
            return ((calls as f64 * slice.as_secs_f64() / spent.as_secs_f64()).round() as u64).max(1);
        }
        calls *= 2;
    }
}

/// What a race has shown. Kernels are named by their place in the list that was raced.
#[derive(Clone, Debug)]
pub struct Race {
    /// Time of one call, for each kernel in each round.
    nanoseconds: Vec<Vec<f64>>,
}

impl Race {
    /// Median over the rounds of the time of one call.
    pub fn nanoseconds(&self, kernel: usize) -> f64 {
        quantile(&self.nanoseconds[kernel], 0.5)
    }

    /// How many times as fast as `over` the kernel `of` is: the ratio of their times, taken within each round.
    pub fn speedup(&self, of: usize, over: usize) -> Ratio {
        let (of, over) = (&self.nanoseconds[of], &self.nanoseconds[over]);
        Ratio::of(of.iter().zip(over).map(|(of, over)| over / of))
    }

    /// Time of one call in each round, in nanoseconds.
    pub fn rounds(&self, kernel: usize) -> &[f64] {
        &self.nanoseconds[kernel]
    }
}

/// A speed-up and its spread within one race.
///
/// `low` and `high` are the first and the last decile of the rounds' ratios: four rounds of five lie between them. They
/// show how quiet the machine was, not how far another run may be off.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// Median of the rounds' ratios.
    #[serde(with = "crate::number")]
    pub median: f64,
    /// Quantile 0.1 of the rounds' ratios.
    #[serde(with = "crate::number")]
    pub low: f64,
    /// Quantile 0.9 of the rounds' ratios.
    #[serde(with = "crate::number")]
    pub high: f64,
}

impl Ratio {
    /// The ratio that these values of single rounds come to.
    pub fn of(rounds: impl IntoIterator<Item = f64>) -> Self {
        let rounds: Vec<f64> = rounds.into_iter().collect();
        Self { median: quantile(&rounds, 0.5), low: quantile(&rounds, 0.1), high: quantile(&rounds, 0.9) }
    }
}

/// How fast a kernel is beside the scalar ones of its operation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Rows of the workload.
    pub rows: usize,
    /// Its columns.
    pub cols: usize,
    /// Median time of a call, in nanoseconds.
    #[serde(with = "crate::number")]
    pub nanoseconds: f64,
    /// Median time of preparing the weights, in nanoseconds, which is no part of a call; `None` without that step.
    pub prepare_nanoseconds: Option<u64>,
    /// Over the in-order scalar kernel, if it was timed beside.
    #[serde(rename = "speedup_over_scalar")]
    pub over_scalar: Option<Ratio>,
    /// Over the fastest of the honest scalar kernels, if one was timed beside.
    #[serde(rename = "speedup_over_fast_scalar")]
    pub over_fast_scalar: Option<Ratio>,
    /// Over the portable twin that a ggml library has of it, if that was timed beside.
    #[serde(rename = "speedup_over_twin")]
    pub over_twin: Option<Ratio>,
}

/// Times kernels of one operation in turn, as [`race`] does: the speed of each beside the scalar ones of this project that are among them.
///
/// # Panics
/// As [`race`].
pub fn speeds(kernels: &[&dyn Kernel], workload: &mut Workload, budget: Duration) -> Vec<Speed> {
    let race = race(kernels, workload, budget);
    let scalars = (0..kernels.len()).filter(|&at| registry::is_scalar(kernels[at]));
    let (scalar, fast): (Vec<_>, Vec<_>) = scalars.partition(|&at| kernels[at].name() == registry::SCALAR);
    let fast = fast.into_iter().min_by(|&a, &b| race.nanoseconds(a).total_cmp(&race.nanoseconds(b)));
    let twin = kernels.iter().position(|kernel| kernel.name() == registry::TWIN);
    let (rows, cols) = (workload.case().rows, workload.case().cols);
    let mut speed = |at: usize| Speed {
        rows,
        cols,
        nanoseconds: race.nanoseconds(at),
        prepare_nanoseconds: prepare_nanoseconds(kernels[at], workload),
        over_scalar: scalar.first().map(|&base| race.speedup(at, base)),
        over_fast_scalar: fast.map(|base| race.speedup(at, base)),
        over_twin: twin.map(|base| race.speedup(at, base)),
    };
    (0..kernels.len()).map(&mut speed).collect()
}

/// Median time of preparing the weights, if the kernel does that.
fn prepare_nanoseconds(kernel: &dyn Kernel, workload: &mut Workload) -> Option<u64> {
    let mut times: Vec<_> = (0..MIN_ROUNDS).map(|_| workload.prepare(kernel)).collect::<Option<_>>()?;
    times.sort_unstable();
    u64::try_from(times[MIN_ROUNDS / 2].as_nanos()).ok()
}

/// The quantile of values in any order, interpolated between the two nearest ranks. NaN if there are none.
pub fn quantile(values: &[f64], fraction: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let rank = fraction * last as f64;
    let (below, above) = (sorted[rank as usize], sorted[last.min(rank as usize + 1)]);
    below + (above - below) * rank.fract()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::domain::Domain;
    use crate::kernel::{Arguments, Outcome};
    use crate::operation::Operation;

    /// Does the work of a call N times over.
    struct Repeat(u32);

    impl Kernel for Repeat {
        fn name(&self) -> &str {
            if self.0 == 1 { "once" } else { "more" }
        }

        fn domain(&self) -> Domain {
            Domain::new(Operation::Unpack)
        }

        fn call(&self, arguments: Arguments<'_>) -> Outcome {
            let Arguments { packed, out_bytes: codes, .. } = arguments;
            for _ in 0..self.0 {
                let packed = std::hint::black_box(packed);
                for (at, code) in codes.iter_mut().enumerate() {
                    *code = packed[at / 4] >> (at % 4 * 2) & 3;
                }
                std::hint::black_box(&mut *codes);
            }
            Outcome::Done
        }
    }

    /// Copies the packed bytes once, 200 times over, and then only reads them.
    struct Copies;

    impl Kernel for Copies {
        fn name(&self) -> &str {
            "copies"
        }

        fn domain(&self) -> Domain {
            Domain::new(Operation::Unpack)
        }

        fn prepared_bytes(&self, arguments: &Arguments<'_>) -> Option<usize> {
            Some(arguments.packed.len())
        }

        fn prepare(&self, arguments: &Arguments<'_>, prepared: &mut [u8]) -> Outcome {
            (0..200).for_each(|_| std::hint::black_box(&mut *prepared).copy_from_slice(arguments.packed));
            Outcome::Done
        }

        fn call(&self, arguments: Arguments<'_>) -> Outcome {
            std::hint::black_box(arguments.prepared);
            Outcome::Done
        }
    }

    #[test]
    fn preparing_weights_is_timed_apart_from_calls() {
        let mut workload = Workload::new(Operation::Unpack, 1, 1 << 16, false);
        let [copies, plain] = speeds(&[&Copies, &Repeat(1)], &mut workload, Duration::from_millis(50))[..]
        else {
            panic!("two kernels were timed")
        };
        let prepare = copies.prepare_nanoseconds.expect("it prepares") as f64;
        assert!(prepare > 10.0 * copies.nanoseconds, "{copies:?}");
        assert_eq!(plain.prepare_nanoseconds, None);
    }

    fn near(ratio: Ratio, expected: f64, tolerance: f64) -> bool {
        (ratio.median / expected - 1.0).abs() <= tolerance
    }

    #[test]
    fn a_kernel_that_does_the_work_twice_is_half_as_fast() {
        let mut workload = Workload::new(Operation::Unpack, 1, 1024, false);
        let (once, twice) = (Repeat(1), Repeat(2));
        // Hundreds of rounds on a quiet machine. On a busy one they are few, and the medians still hold.
        let race = race(&[&once, &twice, &once], &mut workload, Duration::from_millis(500));
        let ratios = [race.speedup(0, 1), race.speedup(1, 0), race.speedup(0, 2)];
        assert!(near(ratios[0], 2.0, 0.2), "once over twice: {:?}", ratios[0]);
        assert!(near(ratios[1], 0.5, 0.2), "twice over once: {:?}", ratios[1]);
        assert!(near(ratios[2], 1.0, 0.1), "a kernel over itself: {:?}", ratios[2]);
        assert!(race.nanoseconds(1) > race.nanoseconds(0));
        assert!(race.rounds(0).len() >= MIN_ROUNDS, "{} rounds", race.rounds(0).len());
    }

    #[test]
    fn a_machine_that_slows_down_steadily_favours_no_kernel() {
        let mut nanoseconds = 100_000.0;
        let slower_every_time = |_: &dyn Kernel, calls| {
            nanoseconds *= 1.01;
            Duration::from_nanos(nanoseconds as u64) * calls as u32
        };
        let race = race_by(&[&Repeat(1), &Repeat(1), &Repeat(1)], Duration::ZERO, slower_every_time);
        for (of, over) in [(0, 1), (1, 2), (2, 0)] {
            let ratio = race.speedup(of, over);
            assert!(ratio.low > 0.999 && ratio.high < 1.001, "{of} over {over}: {ratio:?}");
        }
    }

    #[test]
    fn one_disturbed_round_does_not_move_the_median() {
        let mut slices = 0;
        let race = race_by(&[&Repeat(1), &Repeat(2)], Duration::ZERO, |kernel, calls| {
            slices += 1;
            let hiccup = if slices == 9 { 50 } else { 1 };
            let time = if kernel.name() == "once" { 100 } else { 300 };
            Duration::from_micros(time * hiccup) * calls as u32
        });
        assert!(near(race.speedup(0, 1), 3.0, 1e-9), "{:?}", race.speedup(0, 1));
        assert_eq!(race.nanoseconds(0), 100_000.0);
    }

    #[test]
    fn slices_last_about_as_long_for_fast_kernels_and_are_one_call_for_slow_ones() {
        for (nanoseconds, calls) in [(20, 3000), (5_900, 10), (40_000, 2), (3_000_000, 1)] {
            let found = calls_per_slice(SLICE, |calls| Duration::from_nanos(nanoseconds * calls));
            assert_eq!(found, calls, "a call of {nanoseconds} ns");
        }
    }

    #[test]
    fn slow_kernels_still_run_five_rounds_forth_and_back() {
        let slices = RefCell::new(Vec::new());
        let race = race_by(&[&Repeat(1), &Repeat(2)], Duration::ZERO, |kernel, _| {
            slices.borrow_mut().push(kernel.name() == "once");
            Duration::from_secs(1)
        });
        assert_eq!(race.rounds(0).len(), MIN_ROUNDS);
        let round = |round: usize| slices.borrow()[2 + 4 * round..][..4].to_vec();
        assert_eq!(round(0), [true, false, false, true]);
        assert_eq!(round(1), [false, true, true, false]);
    }

    #[test]
    fn quantiles_interpolate_between_ranks() {
        let values = [4.0, 1.0, 3.0, 2.0];
        for (fraction, expected) in [(0.0, 1.0), (0.5, 2.5), (0.1, 1.3), (1.0, 4.0)] {
            assert!((quantile(&values, fraction) - expected).abs() < 1e-12, "quantile {fraction}");
        }
        assert!(quantile(&[], 0.5).is_nan());
    }
}
