//! A call of a kernel in plain memory, and what a test of its results is.

use qk256_verify::format::Scale;
use qk256_verify::{Arguments, Domain, KernelFn, Operation, Outcome};

use super::quantised::{self, Row};

/// Digits of a product in fixed point: the most.
const DIGITS: usize = 4;

/// The operands of one call.
#[derive(Clone, Debug)]
pub(super) struct Operands {
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) batch: usize,
    row_stride: usize,
    packed: Vec<u8>,
    scales: Option<Vec<f32>>,
    x: Vec<f32>,
    activations: Vec<u8>,
    /// The sum of products of each vector and row, in f32 from left to right.
    sums: Vec<f32>,
}

impl Operands {
    /// Those of rows and vectors of values, quantised as the domain has them.
    pub(super) fn of(domain: Domain, rows: &[Vec<f32>], vectors: &[Vec<f32>]) -> Self {
        let row = |values: &Vec<f32>| match quantised::weights(domain.format, values) {
            row if domain.format.scale() == Scale::Separate && !domain.operation.may_be_scaled() => {
                row.without_scales(domain.format)
            }
            row => row,
        };
        Self::of_rows(domain, rows.iter().map(row).collect(), vectors)
    }

    /// Those of rows that are there, with scales of their own only where the domain has them apart.
    pub(super) fn of_rows(domain: Domain, rows: Vec<Row>, vectors: &[Vec<f32>]) -> Self {
        let has_scales = rows.iter().all(|row| !row.scales.is_empty());
        let x: Vec<(Vec<u8>, Vec<f64>)> =
            vectors.iter().map(|values| quantised::activations(domain.activations, values)).collect();
        let sum = |x: &[f64], weights: &[f64]| {
            x.iter().zip(weights).fold(0.0_f32, |sum, (x, weight)| sum + *x as f32 * *weight as f32)
        };
        let sums = x.iter().flat_map(|(_, x)| rows.iter().map(|row| sum(x, &row.weights))).collect();
        Self {
            rows: rows.len(),
            cols: rows[0].weights.len(),
            batch: vectors.len(),
            row_stride: rows[0].packed.len(),
            scales: has_scales.then(|| rows.iter().flat_map(|row| row.scales.clone()).collect()),
            packed: rows.into_iter().flat_map(|row| row.packed).collect(),
            x: if domain.activations.is_quantized() { Vec::new() } else { vectors.concat() },
            activations: x.into_iter().flat_map(|(bytes, _)| bytes).collect(),
            sums,
        }
    }

    /// What the kernel says of a call with a y of this value, and what it writes.
    fn results(&self, kernel: &KernelFn, y: f32) -> (Outcome, Vec<f32>) {
        let mut out = vec![y; self.rows * self.batch];
        let arguments = Arguments {
            packed: &self.packed,
            scales: self.scales.as_deref(),
            x: &self.x,
            activations: &self.activations,
            out: &mut out,
            rows: self.rows,
            cols: self.cols,
            row_stride: self.row_stride,
            batch: self.batch,
            x_stride: self.cols,
            out_stride: self.rows,
            digits: if kernel.domain.operation == Operation::GemvFixed { DIGITS } else { 0 },
            ..Arguments::default()
        };
        ((kernel.call)(arguments), out)
    }
}

/// One comparison of results.
pub(super) struct Test {
    pub(super) operands: Operands,
    /// What y holds before the call.
    pub(super) y: f32,
    /// What is compared with; the sums of the operands where this is `None`.
    pub(super) expected: Option<Vec<f32>>,
    /// Whether results are near enough to what is expected.
    pub(super) accepts: fn(results: &[f32], expected: &[f32]) -> bool,
}

impl Test {
    /// A comparison with the sums of the operands, of a call with a y of zeros.
    pub(super) fn new(operands: Operands, accepts: fn(&[f32], &[f32]) -> bool) -> Self {
        Self { operands, y: 0.0, expected: None, accepts }
    }

    /// What is found.
    pub(super) fn finding(&self, kernel: &KernelFn) -> Option<String> {
        let Operands { rows, cols, batch, sums, .. } = &self.operands;
        let shape = format!("rows={rows} cols={cols} batch={batch}");
        let results = match self.operands.results(kernel, self.y) {
            (Outcome::Done, results) => results,
            // A kernel may leave scales to another.
            (Outcome::Unsupported, _) if self.operands.scales.is_some() => return None,
            (outcome, _) => return Some(format!("{outcome:?}: {shape}")),
        };
        let expected = self.expected.as_ref().unwrap_or(sums);
        (!(self.accepts)(&results, expected)).then(|| {
            format!(
                "beyond the limit: {shape}; the first result is {}, and {} is expected",
                results[0], expected[0]
            )
        })
    }
}
