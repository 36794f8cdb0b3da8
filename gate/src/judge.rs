//! From the ratios of several processes to a verdict.

use qk256_verify::timing::quantile;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// Resamples of the bootstrap.
const RESAMPLES: usize = 2000;

/// The part of the resamples that lie outside of the interval, on each side.
const OUTSIDE: f64 = 0.025;

/// A ratio and how far it can be trusted.
///
/// Within one process a ratio repeats to a thousandth; from process to process, where memory and code lie elsewhere, it moves by a
/// hundredth. So the unit of the statistics is the process: `low` and `high` hold 95 % of the medians of resampled processes
/// (percentile bootstrap: Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13). Of five processes that is
/// the smallest and the largest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Median over the processes.
    pub median: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Processes.
    pub processes: usize,
}

impl Estimate {
    /// What these values, one of each process, come to. NaN if there are none.
    pub fn of(processes: &[f64]) -> Self {
        let median = quantile(processes, 0.5);
        // A fixed seed: the same values give the same interval.
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut resample = || {
            let draw = |_| processes[rng.next_u32() as usize % processes.len()];
            let drawn: Vec<f64> = (0..processes.len()).map(draw).collect();
            quantile(&drawn, 0.5)
        };
        let medians: Vec<f64> = match processes {
            [] => Vec::new(),
            _ => (0..RESAMPLES).map(|_| resample()).collect(),
        };
        let (low, high) = (quantile(&medians, OUTSIDE), quantile(&medians, 1.0 - OUTSIDE));
        Self { median, low, high, processes: processes.len() }
    }

    /// A value without any doubt.
    pub fn exact(value: f64) -> Self {
        Self { median: value, low: value, high: value, processes: 1 }
    }

    /// The verdict on a ratio that must be `at_least`.
    pub fn judge(&self, at_least: f64) -> Verdict {
        if self.low >= at_least {
            Verdict::Met
        } else if self.high < at_least {
            Verdict::Missed
        } else {
            // A NaN ends here: what could not be measured is neither met nor missed.
            Verdict::Inconclusive
        }
    }
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The whole interval is as high as demanded.
    Met,
    /// The whole interval is below it.
    Missed,
    /// Neither, after all processes that there was time for.
    Inconclusive,
    /// What was measured beside it shows that the machine was too noisy.
    Invalid,
    /// Measured, but nobody knows what this CPU should reach.
    NotJudged,
    /// This CPU cannot run the candidate.
    Skipped,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Met, Self::Missed, Self::Inconclusive, Self::Invalid, Self::NotJudged, Self::Skipped];

    /// Whether the row was held to a bar.
    pub(super) const fn is_judged(self) -> bool {
        !matches!(self, Self::NotJudged | Self::Skipped)
    }

    /// Whether more processes might give another.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Inconclusive | Self::Invalid)
    }

    /// The word in tables: that of what is not well stands out.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::Inconclusive => "INCONCLUSIVE",
            Self::Invalid => "INVALID",
            Self::NotJudged => "not judged",
            Self::Skipped => "skipped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_processes_give_their_extremes_and_more_of_them_forgive_one() {
        let five = Estimate::of(&[3.0, 1.0, 2.0, 5.0, 4.0]);
        assert_eq!((five.median, five.low, five.high, five.processes), (3.0, 1.0, 5.0, 5));
        let mut many = vec![2.0; 14];
        many.push(0.1);
        let forgiven = Estimate::of(&many);
        assert_eq!((forgiven.median, forgiven.low, forgiven.high), (2.0, 2.0, 2.0));
    }

    #[test]
    fn a_verdict_needs_the_whole_interval() {
        let between = |low, high| Estimate { median: (low + high) / 2.0, low, high, processes: 5 };
        for (estimate, expected) in [
            (between(3.0, 4.0), Verdict::Met),
            (between(2.999, 4.0), Verdict::Inconclusive),
            (between(2.0, 3.0), Verdict::Inconclusive),
            (between(2.0, 2.999), Verdict::Missed),
            (Estimate::of(&[]), Verdict::Inconclusive),
            (Estimate::of(&[f64::NAN; 5]), Verdict::Inconclusive),
        ] {
            assert_eq!(estimate.judge(3.0), expected, "{estimate:?}");
        }
    }
}
