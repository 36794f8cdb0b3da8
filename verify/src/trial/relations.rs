//! Metamorphic relations of matrix-vector products: inputs changed in a way whose effect on y is known exactly.

use crate::inputs::Inputs;
use crate::judge::{same_bits, same_sum, show};
use crate::operation::BLOCK_ELEMENTS;
use crate::rung::{Failure, Rung};

/// Changed inputs, and what the output must then be.
pub(super) struct Relation {
    pub(super) rung: Rung,
    pub(super) inputs: Inputs,
    expect: Expect,
}

enum Expect {
    Same,
    Negated,
    Scaled(f32),
    /// Row `r` of the changed output is row `0[r]` of the first.
    Permuted(Vec<usize>),
}

impl Relation {
    /// The relations that apply to these inputs.
    pub(super) fn of(inputs: &Inputs) -> Vec<Self> {
        let padding = padding(inputs);
        if !inputs.operation.is_matrix() {
            return padding.into_iter().collect();
        }
        [padding, Some(complement(inputs)), power_of_two(inputs), row_order(inputs)]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Holds the changed output against the first one.
    pub(super) fn check(&self, first: &[u32], changed: &[u32]) -> Option<Failure> {
        let expected = |at: usize| match &self.expect {
            Expect::Same => first[at],
            Expect::Negated => first[at] ^ 1 << 31,
            Expect::Scaled(factor) => (f32::from_bits(first[at]) * factor).to_bits(),
            Expect::Permuted(order) => first[order[at]],
        };
        let same = match &self.expect {
            Expect::Permuted(_) => same_bits,
            _ => same_sum,
        };
        let at = (0..self.inputs.outputs()).find(|&at| !same(expected(at), changed[at]))?;
        let show = |bits| show(self.inputs.operation, bits);
        let detail =
            format!("{}: out[{at}] must be {}, got {}", self.deed(), show(expected(at)), show(changed[at]));
        Some(Failure { rung: self.rung, detail })
    }

    fn deed(&self) -> &'static str {
        match self.rung {
            Rung::Padding => "with padding codes, gaps and spare elements changed",
            Rung::Complement => "with every code complemented",
            Rung::PowerOfTwo => "with x times a power of two",
            _ => "with the rows in another order",
        }
    }
}

/// Everything that is in the buffers and not of the operands, changed.
fn padding(inputs: &Inputs) -> Option<Relation> {
    let mut changed = inputs.clone();
    let (shape, cols) = (inputs.shape, inputs.shape.cols);
    let mut own = vec![0_u8; inputs.packed.len()];
    if !inputs.packed.is_empty() {
        for row in 0..shape.rows {
            let start = row * shape.row_stride;
            own[start..start + cols / 4].fill(0xff);
            if !cols.is_multiple_of(4) {
                own[start + cols / 4] = (1 << (2 * (cols % 4))) - 1;
            }
        }
    }
    changed.packed.iter_mut().zip(&own).for_each(|(byte, own)| *byte ^= !own);
    changed.codes.iter_mut().skip(cols).for_each(|code| *code ^= 3);
    let scales = shape.rows * cols.div_ceil(BLOCK_ELEMENTS);
    let spare_scales = changed.scales.iter_mut().flat_map(|all| all.iter_mut().skip(scales));
    spare_scales.chain(changed.x.iter_mut().skip(cols)).for_each(|spare| *spare = 1e38);
    let spare = |buffer| inputs.len(buffer) as u128 > shape.needed(inputs.operation, buffer);
    let differs = changed.packed != inputs.packed || inputs.buffers().iter().copied().any(spare);
    differs.then_some(Relation { rung: Rung::Padding, inputs: changed, expect: Expect::Same })
}

/// Code c becomes 3 - c, so weight w becomes -w.
fn complement(inputs: &Inputs) -> Relation {
    let mut changed = inputs.clone();
    changed.packed.iter_mut().for_each(|byte| *byte = !*byte);
    Relation { rung: Rung::Complement, inputs: changed, expect: Expect::Negated }
}

/// x times 2^k. Exact in every order of operations as long as nothing leaves the range of normal numbers. In fixed point the
/// exponent then moves by k, since numbers whose last bit is normal are far above those of its smallest exponent.
fn power_of_two(inputs: &Inputs) -> Option<Relation> {
    let factor = if inputs.x.iter().any(|x| x.abs() > 1e6) { 0.125 } else { 16.0 };
    let x = &inputs.x[..inputs.shape.cols];
    let scales = inputs.scales.as_deref().unwrap_or(&[1.0]);
    let magnitudes = |values: &[f32]| {
        let nonzero = values.iter().map(|value| value.abs()).filter(|&value| value != 0.0);
        nonzero.fold((f32::INFINITY, 0.0_f32), |(low, high), value| (low.min(value), high.max(value)))
    };
    let finite = x.iter().chain(scales).all(|value| value.is_finite());
    let ((x_low, x_high), (scale_low, scale_high)) = (magnitudes(x), magnitudes(scales));
    // The last bit of the smallest x, scaled down: it must stay a normal number. The largest sum must not overflow.
    let lowest = f64::from(x_low) * 2_f64.powi(-23) * f64::from(scale_low.min(1.0)) * 0.125;
    let highest = 2.0 * f64::from(x_high) * x.len() as f64 * f64::from(scale_high.max(1.0)) * 16.0;
    let in_range = lowest >= f64::from(f32::MIN_POSITIVE) && highest <= f64::from(f32::MAX);
    (finite && in_range).then(|| {
        let mut changed = inputs.clone();
        changed.x.iter_mut().for_each(|value| *value *= factor);
        Relation { rung: Rung::PowerOfTwo, inputs: changed, expect: Expect::Scaled(factor) }
    })
}

/// Rows rotated by one, with their scales.
fn row_order(inputs: &Inputs) -> Option<Relation> {
    let (shape, blocks) = (inputs.shape, inputs.shape.blocks());
    if shape.rows < 2 {
        return None;
    }
    let order: Vec<usize> = (0..shape.rows).map(|row| (row + 1) % shape.rows).collect();
    let mut changed = inputs.clone();
    for (row, &from) in order.iter().enumerate() {
        let source = &inputs.packed[from * shape.row_stride..][..shape.row_bytes()];
        changed.packed[row * shape.row_stride..][..shape.row_bytes()].copy_from_slice(source);
        if let (Some(to), Some(all)) = (&mut changed.scales, &inputs.scales) {
            to[row * blocks..][..blocks].copy_from_slice(&all[from * blocks..][..blocks]);
        }
    }
    Some(Relation { rung: Rung::RowOrder, inputs: changed, expect: Expect::Permuted(order) })
}
