//! One row of a product of integers and scales: quantised activations, or weights that more than one scale makes.
//!
//! Kernels multiply codes and 8-bit activations in integers, which is exact, and add the scaled sums of blocks in f32, in up to 16 lanes.
//! Some multiply the codes as they are, and take an offset times the sum of the activations off afterwards.

use super::exact::{self, ExactSum, Factors, power_of_two};
use super::{OVERFLOW_GUARD, RowTruth, Spread, block_scales};
use crate::format::{Coding, Format, Number};
use crate::inputs::Inputs;
use crate::requirements::Rounding;

/// Additions in f32 beside those of blocks: of lanes.
const LANES: usize = 16;

/// What rounding x to 8 bits is raised by: a kernel computes the scale in f32.
const ROUNDING_SLACK: f64 = 1.0 + 1.0 / (1 << 20) as f64;

/// The largest 8-bit integer that a symmetric rounding makes.
const LARGEST_STEP: f64 = 127.0;

/// The activations of a row, exact.
pub(super) struct Operand {
    values: Factors,
    /// The largest value or scale in magnitude.
    largest: f64,
    /// Whether all values and scales are finite, and whether any is infinite.
    is_finite: bool,
    is_infinite: bool,
    /// What all are multiples of, if that is a power of two.
    unit: Option<f64>,
    /// Numbers that are added in f32, of a format with one term a block: the columns where activations are f32, otherwise their blocks.
    terms: usize,
    /// Half of the step that each was rounded to inside of the kernel; nothing where it was not.
    half_steps: Vec<f64>,
    /// The share of each in the rounding of the sum of its block; nothing where there are no such sums.
    sum_errors: Vec<f64>,
}

impl Operand {
    /// Values, what each is multiplied by in f32, and what all are multiples of.
    fn new(values: Vec<f64>, scales: &[f64], unit: Option<f64>, terms: usize) -> Self {
        let all = || values.iter().chain(scales);
        let is_finite = all().all(|value| value.is_finite());
        let is_infinite = all().any(|value| value.is_infinite());
        let largest = largest(values.iter().chain(scales));
        let (values, half_steps, sum_errors) = (Factors::of(values), Vec::new(), Vec::new());
        Self { values, largest, is_finite, is_infinite, unit, terms, half_steps, sum_errors }
    }

    /// The quantised activations of a call.
    pub(super) fn quantized(inputs: &Inputs) -> Self {
        let (kind, cols) = (inputs.shape.activations, inputs.shape.cols);
        let integers = kind.values(&inputs.quantized, cols);
        let scales = kind.scales(&inputs.quantized, cols);
        let mut values: Vec<f64> = integers.into_iter().map(f64::from).collect();
        if kind.scale.is_some() {
            for (block, scale) in values.chunks_mut(kind.block_len).zip(&scales) {
                block.iter_mut().for_each(|value| *value *= scale);
            }
        }
        let terms = scales.len() * usize::from(kind.scale.is_some());
        let errors = kind.sum_errors(&inputs.quantized, cols);
        let share = |error: f64| std::iter::repeat_n(error / kind.block_len as f64, kind.block_len);
        let mut operand = Self::new(values, &scales, least_power_of_two(&scales), terms);
        // A scaled sum overflows before its scale does.
        operand.is_infinite |= errors.iter().any(|error| error.is_infinite());
        operand.is_finite &= errors.iter().all(|error| error.is_finite());
        if errors.iter().any(|&error| error != 0.0) {
            operand.sum_errors = errors.into_iter().flat_map(share).collect();
        }
        operand
    }

    /// Numbers that are added in f32 where weights have `blocks` blocks.
    fn terms(&self, blocks: usize) -> usize {
        self.terms.max(blocks)
    }

    /// f32 activations, which the kernel may round.
    pub(super) fn floats(x: &[f32], rounding: Rounding) -> Self {
        let values: Vec<f64> = x.iter().copied().map(f64::from).collect();
        let group = match rounding {
            Rounding::None => {
                let unit = least_power_of_two(&values.iter().copied().map(lowest_bit).collect::<Vec<_>>());
                return Self::new(values, &[], unit, x.len());
            }
            Rounding::Group(len) => len as usize,
            Rounding::Row => x.len().max(1),
        };
        let step = |group: &[f64]| group.iter().fold(0.0, |most: f64, x| most.max(x.abs())) / LARGEST_STEP;
        let steps: Vec<f64> = values.chunks(group).flat_map(|group| vec![step(group); group.len()]).collect();
        let is_multiple = |(x, step): (&f64, &f64)| *step == 0.0 || (x / step).fract() == 0.0;
        let half_steps = match values.iter().zip(&steps).all(is_multiple) {
            true => Vec::new(),
            false => steps.iter().map(|step| step / 2.0 * ROUNDING_SLACK).collect(),
        };
        let unit = least_power_of_two(&steps);
        Self { half_steps, ..Self::new(values, &steps, unit, x.len().div_ceil(group)) }
    }
}

/// The weights of a row, exact.
pub(super) struct Weights {
    format: &'static Format,
    cols: usize,
    weights: Factors,
    /// What the bound sums: [`Element::magnitude`](crate::format::Element::magnitude).
    magnitudes: Vec<f64>,
    /// The largest of these, and the largest that a weight with one of the scales can have.
    largest_magnitude: f64,
    is_finite: bool,
    /// Whether weights overflow when they are rounded to f32. What a kernel makes of their numbers may not.
    overflows: bool,
    /// The least scale, if all are powers of two.
    unit: Option<f64>,
}

impl Weights {
    pub(super) fn of(inputs: &Inputs, row: usize) -> Self {
        let (format, cols) = (inputs.shape.format, inputs.shape.cols);
        let ((mut weights, mut magnitudes), mut scales) = ((Vec::new(), Vec::new()), Vec::new());
        if cols > 0 {
            let bytes = inputs.packed.from_row(inputs.shape, row);
            (weights, magnitudes) = format.weights_and_magnitudes(bytes, cols);
            let read = |(at, number): (usize, Number)| number.read(&bytes[at..]);
            scales.extend(format.scale_places(cols).into_iter().map(read));
        }
        if let Some(separate) = inputs.scales.as_ref().and_then(|_| block_scales(inputs, row)) {
            let separate: Vec<f64> = separate.iter().copied().map(f64::from).collect();
            let blocks = weights.chunks_mut(format.block_len).zip(magnitudes.chunks_mut(format.block_len));
            for ((weights, magnitudes), scale) in blocks.zip(&separate) {
                weights.iter_mut().for_each(|weight| *weight *= scale);
                magnitudes.iter_mut().for_each(|magnitude| *magnitude *= scale.abs());
            }
            scales.extend(separate);
        }
        let is_finite = weights.iter().chain(&magnitudes).all(|number| number.is_finite());
        // Also where all codes stand for zero: a kernel multiplies scales before it knows the sum.
        let of_scales = largest_weight(format) * largest(&scales);
        Self {
            format,
            cols,
            is_finite,
            overflows: !is_finite && format.rounds_weights() && scales.iter().all(|scale| scale.is_finite()),
            largest_magnitude: largest(&magnitudes).max(of_scales),
            magnitudes,
            weights: Factors::of(weights),
            unit: least_power_of_two(&scales).map(|unit| unit * format.unit()),
        }
    }

    /// What the product with an operand must be.
    pub(super) fn times(&self, operand: &Operand) -> RowTruth {
        if let Some(special) = self.special(operand) {
            return special;
        }
        let extra = operand.half_steps.iter().zip(&self.weights.numbers);
        let extra: f64 = extra.map(|(half, weight)| weight.abs() * half).sum();
        // Kernels multiply these sums by the minimum of the block, which is at most the magnitude of each weight.
        let of_sums = operand.sum_errors.iter().zip(&self.magnitudes).map(|(error, most)| error * most);
        let extra = extra + of_sums.sum::<f64>();
        // What each term may come to, in any of the ways in which kernels compute it.
        let terms = self.magnitudes.iter().zip(&operand.values.numbers);
        let absolute = terms.map(|(magnitude, value)| magnitude * value.abs()).sum::<f64>() + extra;
        if absolute > OVERFLOW_GUARD || self.largest_magnitude * operand.largest.max(1.0) > OVERFLOW_GUARD {
            return RowTruth::MayOverflow;
        }
        let exact = ExactSum::of_products(&self.weights, &operand.values).value();
        if extra == 0.0 && is_exact(absolute, self.unit, operand.unit) {
            return RowTruth::Exact(exact.to_f32());
        }
        let format = self.format;
        let terms = format.terms_per_block() * operand.terms(format.blocks(self.cols));
        let roundings = terms + LANES + usize::from(format.rounds_weights());
        // What each product of scales, and each scaled sum, may lose among subnormal numbers.
        let lost = self.cols as f64 * LARGEST_STEP * largest_weight(format);
        let spread = Spread {
            absolute,
            columns: self.cols,
            scaled: true,
            rounds_products: true,
            roundings: Some(roundings),
            extra: extra + (lost + roundings as f64) * power_of_two(-149),
        };
        RowTruth::Near { exact, spread, flat: false }
    }

    /// The demand of oracle 6, if any operand is not finite. An infinite scale may meet a sum of zero, of either sign, or a term.
    fn special(&self, operand: &Operand) -> Option<RowTruth> {
        if self.is_finite && operand.is_finite {
            return None;
        }
        if self.overflows {
            return Some(RowTruth::MayOverflow);
        }
        let is_infinite =
            operand.is_infinite || self.magnitudes.iter().any(|magnitude| magnitude.is_infinite());
        Some(if is_infinite { RowTruth::NotFinite } else { RowTruth::Nan })
    }
}

/// The largest weight of a format in magnitude, before scales.
fn largest_weight(format: &Format) -> f64 {
    match &format.coding {
        Coding::Plain(_) => f64::from(format.largest_weight()),
        Coding::Custom(coding) => coding.largest_weight(),
    }
}

/// The largest of some numbers in magnitude; 0 of none.
fn largest<'a>(numbers: impl IntoIterator<Item = &'a f64>) -> f64 {
    numbers.into_iter().fold(0.0, |most, number| most.max(number.abs()))
}

/// Whether all sums, in any order, are multiples of a power of two that f32 holds.
fn is_exact(absolute: f64, weights: Option<f64>, activations: Option<f64>) -> bool {
    let (Some(weights), Some(activations)) = (weights, activations) else { return false };
    let unit = weights * activations;
    unit >= f64::from(f32::MIN_POSITIVE) && absolute <= f64::from(1 << f32::MANTISSA_DIGITS) * unit
}

/// The least of some numbers that are powers of two, zeros left out; 1 where there is none. `None` if one is not.
fn least_power_of_two(values: &[f64]) -> Option<f64> {
    let all = || values.iter().map(|value| value.abs()).filter(|&value| value != 0.0);
    // Subnormal f32 are normal here.
    let is_power_of_two = |value: f64| value.to_bits() << 12 == 0;
    all().all(is_power_of_two).then(|| all().reduce(f64::min).unwrap_or(1.0))
}

/// The lowest bit of a finite f32, as a power of two; 0 of zero.
fn lowest_bit(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() { 0.0 } else { power_of_two(exact::lowest_bit(value as f32)) }
}

#[cfg(test)]
mod tests {
    use super::super::{Expected, expected};
    use super::*;
    use crate::case::Case;

    #[test]
    fn where_the_product_of_scales_overflows_nothing_is_demanded_of_a_sum_of_zeros() {
        let text =
            "dot format=q2_k activations=q8_k rows=6 cols=1024 codes=all0 dist=special seed=3332338491";
        let case: Case = text.parse().expect(text);
        let inputs = case.materialize(None).expect("the case has data");
        let Expected::Rows(rows) = expected(&inputs) else { panic!("a product has rows") };
        assert_eq!(rows[5], RowTruth::MayOverflow);
        assert!(rows.iter().any(|row| *row != RowTruth::MayOverflow), "other rows are judged");
    }

    #[test]
    fn the_rounding_of_sums_is_allowed_for_and_a_lost_minimum_is_not() {
        let format = crate::format::ggml::q4_1_by_hand();
        crate::format::know_ggml().expect("no file has taken a name");
        for seed in 0..20 {
            let text = format!("dot format=q4_1 activations=q8_1 rows=1 cols=256 dist=ten seed={seed}");
            let inputs = text.parse::<Case>().expect("it is a case").materialize(None).expect("it has data");
            let Expected::Rows(rows) = expected(&inputs) else { panic!("a product has rows") };
            let RowTruth::Near { exact, spread, .. } = rows[0] else { panic!("{text}: {:?}", rows[0]) };
            let (mut codes, mut minima) = (0.0, 0.0);
            for (block, x) in inputs.packed.kept().chunks(20).zip(inputs.quantized.chunks(36)) {
                let number = |bytes: &[u8], at: usize| Number::F16.read(&bytes[at..]);
                let code = |at: usize| f64::from(block[4 + at % 16] >> (at / 16 * 4) & 15);
                let sum: f64 = (0..32).map(|at| code(at) * f64::from(x[4 + at] as i8)).sum();
                codes += number(block, 0) * number(x, 0) * sum;
                minima += number(block, 2) * number(x, 2);
            }
            let bound = spread.bound(None);
            assert!(exact.distance((codes + minima) as f32) <= bound, "{text}");
            assert!(exact.distance(codes as f32) > bound, "{text}");
        }
        assert_eq!(format.terms_per_block(), 2);
    }
}
