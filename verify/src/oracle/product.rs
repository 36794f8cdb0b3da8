//! One row of a product of integers and scales: quantised activations, or weights that more than one scale makes.
//!
//! Kernels multiply codes and 8-bit activations in integers, which is exact, and add the scaled sums of blocks in f32, in up to 16 lanes.
//! Some multiply the codes as they are, and take an offset times the sum of the activations off afterwards.

use super::exact::{self, ExactSum, power_of_two};
use super::{OVERFLOW_GUARD, RowTruth, Spread, block_scales};
use crate::format::{Element, Format};
use crate::inputs::Inputs;
use crate::requirements::Rounding;

/// Additions in f32 beside those of blocks: of lanes.
const LANES: usize = 16;

/// What rounding x to 8 bits is raised by: a kernel computes the scale in f32.
const ROUNDING_SLACK: f64 = 1.0 + 1.0 / (1 << 20) as f64;

/// The largest 8-bit integer that a symmetric rounding makes.
const LARGEST_STEP: f64 = 127.0;

/// No integer that a weight is made of is larger in magnitude, before scales: 15 times a code of 3.
const MOST_WEIGHT: f64 = 45.0;

/// The activations of a row, exact.
pub(super) struct Operand {
    values: Vec<f64>,
    /// What they are multiplied by in f32, of each.
    scales: Vec<f64>,
    /// What all are multiples of, if that is a power of two.
    unit: Option<f64>,
    /// Numbers that are added in f32, of a format with one term a block: the columns where activations are f32, otherwise their blocks.
    terms: usize,
    /// Half of the step that each was rounded to inside of the kernel; nothing where it was not.
    half_steps: Vec<f64>,
}

impl Operand {
    /// The quantised activations of a call.
    pub(super) fn quantized(inputs: &Inputs) -> Self {
        let (kind, cols) = (inputs.shape.activations, inputs.shape.cols);
        let (integers, of_blocks) =
            (kind.values(&inputs.quantized, cols), kind.scales(&inputs.quantized, cols));
        let scales: Vec<f64> = (0..cols).map(|column| of_blocks[column / kind.block_len]).collect();
        let values =
            integers.iter().zip(&scales).map(|(&integer, scale)| f64::from(integer) * scale).collect();
        let terms = of_blocks.len() * usize::from(kind.scale.is_some());
        Self { values, unit: least_power_of_two(&scales), scales, terms, half_steps: Vec::new() }
    }

    /// Numbers that are added in f32 where weights have so many blocks.
    fn terms(&self, blocks: usize) -> usize {
        self.terms.max(blocks)
    }

    /// f32 activations, which the kernel may round.
    pub(super) fn floats(x: &[f32], rounding: Rounding) -> Self {
        let values: Vec<f64> = x.iter().copied().map(f64::from).collect();
        let group = match rounding {
            Rounding::None => {
                let unit = least_power_of_two(&values.iter().copied().map(lowest_bit).collect::<Vec<_>>());
                let terms = x.len();
                return Self { scales: vec![1.0; x.len()], unit, values, terms, half_steps: Vec::new() };
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
        let terms = x.len().div_ceil(group);
        Self { values, unit: least_power_of_two(&steps), scales: steps, terms, half_steps }
    }
}

/// What the product of row `row` and an operand must be.
pub(super) fn truth(inputs: &Inputs, row: usize, operand: &Operand) -> RowTruth {
    let (format, cols) = (inputs.shape.format, inputs.shape.cols);
    let bytes = inputs.packed.from_row(inputs.shape, row);
    let mut elements = if cols == 0 { Vec::new() } else { format.elements(bytes, cols) };
    let separate = inputs.scales.as_ref().and_then(|_| block_scales(inputs, row));
    if let Some(separate) = &separate {
        for (column, element) in elements.iter_mut().enumerate() {
            let scale = f64::from(separate[column / format.block_len]);
            (element.weight, element.magnitude) = (element.weight * scale, element.magnitude * scale.abs());
        }
    }
    if let Some(special) = special(&elements, operand) {
        return special;
    }
    let sum = summed(&elements, operand);
    let extra = operand
        .half_steps
        .iter()
        .zip(&elements)
        .map(|(half, element)| element.weight.abs() * half)
        .sum::<f64>();
    let absolute: f64 = magnitudes(&elements, operand).sum::<f64>() + extra;
    if absolute > OVERFLOW_GUARD || elements.iter().any(|element| element.magnitude > OVERFLOW_GUARD) {
        return RowTruth::MayOverflow;
    }
    let mut scales = if cols == 0 { Vec::new() } else { scales(format, bytes, cols) };
    scales.extend(separate.iter().flat_map(|all| all.iter().copied().map(f64::from)));
    if extra == 0.0 && is_exact(absolute, &scales, operand.unit) {
        return RowTruth::Exact(sum.value().to_f32());
    }
    let roundings = format.terms_per_block() * operand.terms(format.blocks(cols)) + LANES;
    // What each product of scales, and each scaled sum, may lose among subnormal numbers.
    let largest = format.values().map_or(MOST_WEIGHT, |_| f64::from(format.largest_weight()));
    let lost = elements.len() as f64 * LARGEST_STEP * largest;
    let spread = Spread {
        absolute,
        columns: cols,
        scaled: true,
        rounds_products: true,
        roundings: Some(roundings),
        extra: extra + (lost + roundings as f64) * power_of_two(-149),
    };
    RowTruth::Near { exact: sum.value(), spread, flat: false }
}

/// The demand of oracle 6, if any operand is not finite. An infinite scale may meet a sum of zero, of either sign, or a term.
fn special(elements: &[Element], operand: &Operand) -> Option<RowTruth> {
    let weights = elements.iter().map(|element| element.weight);
    let all = || {
        weights
            .clone()
            .chain(elements.iter().map(|element| element.magnitude))
            .chain(operand.scales.iter().copied())
    };
    let all = || all().chain(operand.values.iter().copied());
    if all().all(f64::is_finite) {
        return None;
    }
    let infinite = elements.iter().any(|element| element.magnitude.is_infinite())
        || operand.scales.iter().chain(&operand.values).any(|value| value.is_infinite());
    Some(if infinite { RowTruth::NotFinite } else { RowTruth::Nan })
}

fn summed(elements: &[Element], operand: &Operand) -> ExactSum {
    let mut sum = ExactSum::default();
    elements.iter().zip(&operand.values).for_each(|(element, &value)| sum.add_product(element.weight, value));
    sum
}

/// What each term may come to, in any of the ways in which kernels compute it.
fn magnitudes<'a>(elements: &'a [Element], operand: &'a Operand) -> impl Iterator<Item = f64> {
    elements.iter().zip(&operand.values).map(|(element, value)| element.magnitude * value.abs())
}

/// The scales of the weights of a row.
fn scales(format: &Format, row: &[u8], cols: usize) -> Vec<f64> {
    format.scale_places(cols).into_iter().map(|(at, number)| number.read(&row[at..])).collect()
}

/// Whether all sums, in any order, are multiples of a power of two that f32 holds.
fn is_exact(absolute: f64, weights: &[f64], activations: Option<f64>) -> bool {
    let (Some(weights), Some(activations)) = (least_power_of_two(weights), activations) else { return false };
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
