//! From measured ratios to verdicts: which rows are met, and when to measure again.

use std::time::Duration;

use qk256_verify::timing::Ratio;

use super::demands::Row;

/// Time of a contest's first race, and of each further one: a contest that fails is raced again, longer, when all others
/// have been run, so that a bad moment passes meanwhile.
pub(super) const BUDGETS: [Duration; 3] =
    [Duration::from_millis(400), Duration::from_millis(1000), Duration::from_millis(2500)];

/// How far from 1 a kernel may race against itself.
pub(super) const CONTROL_TOLERANCE: f64 = 0.03;

/// What one race says of the rows of a contest.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Heat {
    /// The scalar kernel over itself.
    pub(super) control: Ratio,
    /// For each row, the base that was the fastest, and the speed-up over it.
    pub(super) speedups: Vec<(String, Ratio)>,
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As fast as demanded.
    Met,
    /// Too slow.
    Missed,
    /// The control was off: nothing measured beside it counts.
    Invalid,
}

impl Verdict {
    /// The word in the table.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::Invalid => "INVALID",
        }
    }
}

impl Heat {
    /// The verdict on the row at place `at`, which is `row`. Only the median counts.
    pub(super) fn verdict(&self, at: usize, row: &Row) -> Verdict {
        // Both comparisons fail on a NaN: what could not be measured is never met.
        if !(1.0 - CONTROL_TOLERANCE..=1.0 + CONTROL_TOLERANCE).contains(&self.control.median) {
            Verdict::Invalid
        } else if self.speedups[at].1.median >= row.at_least {
            Verdict::Met
        } else {
            Verdict::Missed
        }
    }

    /// Whether every row is met.
    pub(super) fn all_met(&self, rows: &[Row]) -> bool {
        rows.iter().enumerate().all(|(at, row)| self.verdict(at, row) == Verdict::Met)
    }
}

/// What a contest came to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settled {
    /// The last race: it decides all rows.
    pub(super) heat: Heat,
    /// How many there were.
    pub(super) races: usize,
}

/// Races every contest, and those whose rows are not all met again, until none is left or the budgets are used up.
pub(super) fn settle(contests: &[&[Row]], mut race: impl FnMut(usize, Duration) -> Heat) -> Vec<Settled> {
    let first = |contest| Settled { heat: race(contest, BUDGETS[0]), races: 1 };
    let mut settled: Vec<Settled> = (0..contests.len()).map(first).collect();
    for &budget in &BUDGETS[1..] {
        for (contest, settled) in settled.iter_mut().enumerate() {
            if !settled.heat.all_met(contests[contest]) {
                *settled = Settled { heat: race(contest, budget), races: settled.races + 1 };
            }
        }
    }
    settled
}

/// Whether a run of `ran` rows, of which `failed` were not met, passes. One that judged nothing and skipped nothing does not.
pub(super) fn passes(ran: usize, failed: usize, skipped: usize, skips_fail: bool) -> bool {
    failed == 0 && ran + skipped > 0 && !(skips_fail && skipped > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: [Row; 2] = [
        Row { candidate: "avx2", base: "scalar", at_least: 3.0, why: "" },
        Row { candidate: "avx2", base: "fast_scalar", at_least: 3.0, why: "" },
    ];

    fn ratio(median: f64) -> Ratio {
        Ratio { median, low: median * 0.5, high: median * 2.0 }
    }

    fn heat(control: f64, over_scalar: f64, over_fast_scalar: f64) -> Heat {
        let speedups = vec![
            ("scalar".to_owned(), ratio(over_scalar)),
            ("fast_scalar_avx2".to_owned(), ratio(over_fast_scalar)),
        ];
        Heat { control: ratio(control), speedups }
    }

    #[test]
    fn a_row_is_met_at_its_bar_and_missed_just_below_it() {
        use Verdict::{Invalid, Met, Missed};
        for (heat, expected) in [
            (heat(1.0, 8.0, 3.0), [Met, Met]),
            (heat(1.0, 8.0, 2.999), [Met, Missed]),
            (heat(1.0, 2.9, 8.0), [Missed, Met]),
            (heat(1.0, f64::NAN, 0.0), [Missed, Missed]),
            (heat(1.029, 8.0, 8.0), [Met, Met]),
            (heat(1.031, 8.0, 8.0), [Invalid, Invalid]),
            (heat(0.969, 8.0, 1.0), [Invalid, Invalid]),
            (heat(f64::NAN, 8.0, 8.0), [Invalid, Invalid]),
        ] {
            let verdicts = [heat.verdict(0, &ROWS[0]), heat.verdict(1, &ROWS[1])];
            assert_eq!(verdicts, expected, "{heat:?}");
        }
    }

    /// Settles two contests, the second of which gives these heats in turn.
    fn settle_second(heats: &[Heat]) -> (Vec<Settled>, Vec<(usize, Duration)>) {
        let (mut races, mut later) = (Vec::new(), heats.iter().cloned());
        let settled = settle(&[&ROWS, &ROWS], |contest, budget| {
            races.push((contest, budget));
            if contest == 0 { heat(1.0, 8.0, 4.0) } else { later.next().expect("no more races than budgets") }
        });
        (settled, races)
    }

    #[test]
    fn what_fails_is_raced_again_after_the_others_and_longer() {
        let (slow, good) = (heat(1.0, 8.0, 2.0), heat(1.0, 8.0, 4.0));
        let (settled, races) = settle_second(&[slow, heat(1.2, 8.0, 4.0), good.clone()]);
        assert_eq!(settled, [Settled { heat: good.clone(), races: 1 }, Settled { heat: good, races: 3 }]);
        assert_eq!(races, [(0, BUDGETS[0]), (1, BUDGETS[0]), (1, BUDGETS[1]), (1, BUDGETS[2])]);
        assert!(BUDGETS.is_sorted_by(|earlier, later| earlier < later));
    }

    #[test]
    fn what_fails_every_time_fails_with_its_last_race() {
        let heats: Vec<Heat> = (0..BUDGETS.len()).map(|at| heat(1.0, 8.0, 2.0 + at as f64 * 0.1)).collect();
        let (settled, races) = settle_second(&heats);
        assert_eq!(settled[1], Settled { heat: heats[BUDGETS.len() - 1].clone(), races: BUDGETS.len() });
        assert_eq!(settled[1].heat.verdict(1, &ROWS[1]), Verdict::Missed);
        assert_eq!(races.len(), 1 + BUDGETS.len());
    }

    #[test]
    fn a_row_that_was_met_once_must_be_met_in_the_race_that_decides() {
        let heats = [heat(1.0, 3.5, 2.5), heat(1.0, 2.5, 2.5), heat(1.0, 2.5, 3.5)];
        let (settled, _) = settle_second(&heats);
        let verdicts: Vec<_> = (0..2).map(|at| settled[1].heat.verdict(at, &ROWS[at])).collect();
        assert_eq!(verdicts, [Verdict::Missed, Verdict::Met]);
    }

    #[test]
    fn only_a_run_without_failures_that_judged_something_or_said_why_not_passes() {
        for (ran, failed, skipped, skips_fail, expected) in [
            (54, 0, 0, false, true),
            (54, 0, 0, true, true),
            (54, 1, 0, false, false),
            (0, 0, 54, false, true),
            (0, 0, 54, true, false),
            (0, 0, 0, false, false),
        ] {
            let run = (ran, failed, skipped, skips_fail);
            assert_eq!(passes(ran, failed, skipped, skips_fail), expected, "{run:?}");
        }
    }
}
