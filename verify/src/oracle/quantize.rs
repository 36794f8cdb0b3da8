//! What a quantiser must give: for each block codes and a scale of the least squared error, from the definition in docs/format.md.
//!
//! Everything is computed in f64, whose rounding is bounded: a choice is right if its error is the least within what f64 can resolve, so
//! that every order of summation in f64 is right. Where f64 rounds nothing, ties go to the fewest twos, as docs/format.md says.

use std::ops::RangeInclusive;

use crate::format::QK256;

/// By how much the squared error may exceed the least one, as a part of the sum of squared values. A quantiser that works in f64 adds
/// at most 512 magnitudes, each addition within 2^-53, so that it knows a sum within 2^-44 and the error, which takes that sum twice,
/// within 2^-42 of the squares; so two errors compare rightly where they differ by 2^-41.
const ERROR_SLACK: f64 = 1.0 / (1_u64 << 40) as f64;

/// By how much the best scale before it is rounded to f32 may be off: of the same sum, and one division.
const SCALE_SLACK: f64 = 1.0 / (1_u64 << 42) as f64;

/// The sum up to which integers of f64 are exact, with a bit to slack.
const EXACT: f64 = (1_u64 << 52) as f64;

/// What is demanded of one block of a `quantize`.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockTruth {
    values: Vec<f32>,
    /// The sum of squared values.
    squares: f64,
    /// The least squared error.
    least: f64,
    /// Every right choice; more than one where errors are the same as far as f64 can resolve.
    right: Vec<Choice>,
}

/// The codes of a block, and the scales that are right with them: one, or two with the same error.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The packed codes, padding included.
    pub codes: [u8; QK256.block_bytes],
    /// The scales, which are not negative.
    pub scales: RangeInclusive<f32>,
}

/// One number of twos, and what it comes to.
#[derive(Clone, Copy, Debug)]
struct Fit {
    twos: usize,
    /// The scale before it is rounded.
    scale: f64,
    /// The squared error with the nearest f32.
    error: f64,
}

impl BlockTruth {
    /// What these values must become, at most a block of them, all finite.
    pub(super) fn of(values: &[f32]) -> Self {
        let mut magnitudes: Vec<f64> = values.iter().map(|value| f64::from(value.abs())).collect();
        magnitudes.sort_by(|a, b| b.total_cmp(a));
        let squares: f64 = magnitudes.iter().map(|a| a * a).sum();
        let fits = fits(&magnitudes);
        let least = fits.iter().fold(f64::INFINITY, |least, fit| fit.error.min(least));
        let right = right_fits(&magnitudes, fits, least + ERROR_SLACK * squares);
        let right = right.iter().map(|fit| Choice::of(values, &magnitudes, fit)).collect();
        Self { values: values.to_vec(), squares, least, right }
    }

    /// The values that are quantised.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The right choices, at least one.
    pub fn right(&self) -> &[Choice] {
        &self.right
    }

    /// Whether packed codes and a scale are one of the right choices, to the bit.
    pub fn is_right(&self, codes: &[u8], scale: f32) -> bool {
        let is_right = |choice: &Choice| {
            choice.codes == codes && !scale.is_sign_negative() && choice.scales.contains(&scale)
        };
        self.right.iter().any(is_right)
    }

    /// The least squared error.
    pub fn least(&self) -> f64 {
        self.least
    }

    /// The squared error of packed codes and a scale; infinite where a weight times the scale is.
    pub fn error(&self, codes: &[u8], scale: f32) -> f64 {
        // Exact, unless it overflows.
        let decoded = |at: usize| f64::from(f32::from(QK256.weight(QK256.code(codes, at))) * scale);
        self.values.iter().enumerate().map(|(at, &value)| (f64::from(value) - decoded(at)).powi(2)).sum()
    }

    /// By how much the squared error of a right choice may exceed the least one.
    pub fn slack(&self) -> f64 {
        ERROR_SLACK * self.squares
    }
}

impl Choice {
    fn of(values: &[f32], magnitudes: &[f64], fit: &Fit) -> Self {
        let least_two = fit.twos.checked_sub(1).map_or(f64::INFINITY, |last| magnitudes[last]);
        let mut codes = [0; QK256.block_bytes];
        for at in 0..QK256.block_len {
            let value = values.get(at).copied().unwrap_or(0.0);
            let is_two = f64::from(value.abs()) >= least_two;
            let code = match (value < 0.0, is_two) {
                (true, true) => 0,
                (true, false) => 1,
                (false, false) => 2,
                (false, true) => 3,
            };
            QK256.set_code(&mut codes, at, code);
        }
        let rounded = |scale: f64| (scale as f32).min(largest_scale(fit.twos));
        let (low, high) = (fit.scale * (1.0 - SCALE_SLACK), fit.scale * (1.0 + SCALE_SLACK));
        Self { codes, scales: rounded(low)..=rounded(high) }
    }
}

/// The largest scale at which no weight overflows.
fn largest_scale(twos: usize) -> f32 {
    if twos == 0 { f32::MAX } else { f32::MAX / 2.0 }
}

/// Every number of twos that may have the least error: the twos are the largest magnitudes, and for a given number of them the best
/// scale is the projection, the sum of weight times magnitude over that of squared weights.
fn fits(magnitudes: &[f64]) -> Vec<Fit> {
    let scale_of = |twos: usize, product: f64| product / (magnitudes.len() + 3 * twos) as f64;
    let mut product: f64 = magnitudes.iter().sum();
    let mut fits = Vec::with_capacity(magnitudes.len() + 1);
    for twos in 0..=magnitudes.len() {
        product += twos.checked_sub(1).map_or(0.0, |last| magnitudes[last]);
        let scale = scale_of(twos, product);
        let nearest = f64::from((scale as f32).min(largest_scale(twos)));
        let parts = magnitudes.split_at(twos);
        let error = squared_distance(parts.0, 2.0 * nearest) + squared_distance(parts.1, nearest);
        fits.push(Fit { twos, scale, error });
    }
    fits
}

/// The sum of squared distances from `centre`, in lanes: it is computed for every number of twos.
fn squared_distance(magnitudes: &[f64], centre: f64) -> f64 {
    let mut lanes = [0.0; 8];
    for part in magnitudes.chunks(lanes.len()) {
        lanes.iter_mut().zip(part).for_each(|(lane, a)| *lane += (a - centre) * (a - centre));
    }
    lanes.iter().sum()
}

/// The fits whose error is at most `limit`, without those that lose a tie.
fn right_fits(magnitudes: &[f64], mut fits: Vec<Fit>, limit: f64) -> Vec<Fit> {
    fits.retain(|fit| fit.error <= limit);
    // Twos alone, at half the scale, are what ones alone are. Both are best only where all magnitudes are within a factor of two, so that
    // f64 adds them without rounding.
    if fits[0].twos == 0 {
        fits.retain(|fit| fit.twos == 0 || fit.twos < magnitudes.len());
    }
    if is_exact(magnitudes, &fits) {
        let least = fits.iter().fold(f64::INFINITY, |least, fit| fit.error.min(least));
        fits.retain(|fit| fit.error == least);
        fits.truncate(1);
    }
    fits
}

/// Whether f64 computes the errors of all these fits without rounding, whatever the order: everything is an integer times one power of
/// two, and the sum of squares has few enough bits.
fn is_exact(magnitudes: &[f64], fits: &[Fit]) -> bool {
    let scales = fits.iter().map(|fit| f64::from((fit.scale as f32).min(largest_scale(fit.twos))));
    let all = || magnitudes.iter().copied().chain(scales.clone()).filter(|&value| value != 0.0);
    let unit = all().map(lowest_bit).fold(f64::INFINITY, f64::min);
    let largest = all().fold(0.0, f64::max);
    let integer = 2.0 * largest / unit;
    largest == 0.0 || integer * integer * magnitudes.len() as f64 <= EXACT
}

/// The lowest bit of a positive f32, as a number.
fn lowest_bit(value: f64) -> f64 {
    let bits = value.to_bits();
    let below = f64::MANTISSA_DIGITS - 1 - bits.trailing_zeros().min(f64::MANTISSA_DIGITS - 1);
    f64::from_bits(bits >> 52 << 52) / (1_u64 << below) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Case;
    use crate::data::Distribution;
    use crate::operation::Operation;

    /// The least squared error of all codes of a few values, each with the scale that is best for it, its neighbours and the extremes.
    fn least_by_trying(values: &[f32]) -> f64 {
        let mut least = f64::INFINITY;
        for choice in 0..4_usize.pow(values.len() as u32) {
            let weights: Vec<f64> =
                (0..values.len()).map(|at| f64::from(QK256.weight((choice >> (2 * at)) as u8))).collect();
            let product: f64 = values.iter().zip(&weights).map(|(&v, w)| f64::from(v) * w).sum();
            let squared: f64 = weights.iter().map(|w| w * w).sum();
            let nearest = (product / squared) as f32;
            for scale in [nearest, nearest.next_up(), nearest.next_down(), 0.0, f32::MAX / 2.0] {
                let overflows = weights.iter().any(|w| !(*w as f32 * scale).is_finite());
                if scale >= 0.0 && !overflows {
                    let scale = f64::from(scale);
                    let error = values.iter().zip(&weights).map(|(&v, w)| (f64::from(v) - w * scale).powi(2));
                    least = least.min(error.sum());
                }
            }
        }
        least
    }

    #[test]
    fn no_codes_and_no_scale_are_better_than_the_truth() {
        for distribution in [
            Distribution::Unit,
            Distribution::Integer,
            Distribution::Wide,
            Distribution::Levels,
            Distribution::Outliers,
        ] {
            for seed in 0..60 {
                let case =
                    Case { seed, distribution, ..Case::new(Operation::Quantize, 1, seed as usize % 6 + 1) };
                let values = case.materialize(None).expect("the case has data").x;
                let (truth, least) = (BlockTruth::of(&values), least_by_trying(&values));
                let Choice { codes, scales } = &truth.right()[0];
                let error = truth.error(codes, *scales.start());
                assert!(error <= least + truth.slack(), "{values:?}: {error}, by trying {least}");
                assert!(truth.least() >= least - truth.slack(), "{values:?}: {truth:?}, by trying {least}");
            }
        }
    }

    /// The number of twos and the scale of each right choice.
    fn right(values: &[f32]) -> Vec<(usize, f32)> {
        let is_two = |code: u8| matches!(code, 0 | 3);
        let twos =
            |choice: &Choice| (0..values.len()).filter(|&at| is_two(QK256.code(&choice.codes, at))).count();
        let truth = BlockTruth::of(values);
        truth.right().iter().map(|choice| (twos(choice), *choice.scales.start())).collect()
    }

    #[test]
    fn ties_go_to_the_fewest_twos() {
        assert_eq!(right(&[3.0]), [(0, 3.0)]);
        assert_eq!(right(&[-0.1; 256]), [(0, 0.1)]);
        assert_eq!(right(&[0.0; 4]), [(0, 0.0)]);
        // 3 twos at 28 are as good as 11 at 20.
        let tied = [&[50.0; 3][..], &[35.0; 8], &[24.0; 5]].concat();
        assert_eq!(right(&tied), [(3, 28.0)]);
        // Where f64 rounds, either is right.
        let rounded: Vec<f32> = tied.iter().map(|value| value * 0.1).collect();
        assert!(right(&rounded).iter().all(|(twos, _)| [3, 11].contains(twos)), "{:?}", right(&rounded));
    }

    #[test]
    fn a_scale_halfway_between_two_is_either_and_any_other_is_the_nearest() {
        let halfway = BlockTruth::of(&[1.0, 1.0 + f32::EPSILON]);
        assert_eq!(halfway.right()[0].scales, 1.0..=1.0 + f32::EPSILON);
        let plain = BlockTruth::of(&[1.0, 1.25, 1.0, 0.75]);
        // Three twos: 7.25 over 13.
        let nearest = (7.25_f64 / 13.0) as f32;
        assert_eq!(plain.right()[0].scales, nearest..=nearest);
        assert!(!plain.is_right(&plain.right()[0].codes, nearest.next_up()));
    }

    #[test]
    fn no_weight_overflows_and_no_scale_is_negative() {
        let truth = BlockTruth::of(&[f32::MAX, -f32::MAX, 0.4 * f32::MAX]);
        assert!(truth.right().iter().all(|choice| *choice.scales.end() <= f32::MAX / 2.0), "{truth:?}");
        let zeros = BlockTruth::of(&[0.0, -0.0]);
        let codes = zeros.right()[0].codes;
        assert!(zeros.is_right(&codes, 0.0) && !zeros.is_right(&codes, -0.0));
        assert_eq!(codes, [0b10_10_10_10; QK256.block_bytes]);
    }
}
