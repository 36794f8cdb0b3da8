//! Metamorphic relations: inputs changed in a way whose effect on the output is known exactly.

mod quantize;

use crate::inputs::{Inputs, PackedBytes};
use crate::judge::{same_bits, same_sum, show};
use crate::operation::{Buffer, CODES_PER_BYTE, Operation, Shape};
use crate::oracle::RowTruth;
use crate::property::{Cause, Failure, Property};

/// Numbers of rows for which kernels have paths of their own: one row, and what does not fill a tile of four.
const FEW_ROWS: [usize; 4] = [1, 2, 3, 5];

/// Changed inputs, and what the output must then be.
pub(super) struct Relation {
    pub(super) property: Property,
    pub(super) inputs: Inputs,
    expect: Expect,
}

enum Expect {
    Same,
    /// Three less the code.
    Complement,
    Negated,
    Scaled(f32),
    /// What a quantiser makes of negated values: every code complemented but those of zeros and of padding.
    Mirrored,
    /// What it makes of values times a factor: the codes stay, the scales are multiplied.
    Rescaled(f32),
    /// Output `i` of the changed call, mostly a row, is output `0[i]` of the first.
    Permuted(Vec<usize>),
}

impl Relation {
    /// The relations that apply to these inputs. All are called in the buffers of the first call, so that what a kernel has kept
    /// from it by address is of no use.
    pub(super) fn of(inputs: &Inputs) -> Vec<Self> {
        if inputs.operation == Operation::Quantize {
            return quantize::relations(inputs);
        }
        let padding = padding(inputs);
        let negated = [negated(inputs, Buffer::X), negated(inputs, Buffer::Scales)];
        let of_matrices = match inputs.operation.is_matrix() {
            true => [power_of_two(inputs), row_order(inputs)],
            false => [None, None],
        };
        [padding, Some(complement(inputs))].into_iter().chain(negated).chain(of_matrices).flatten().collect()
    }

    /// Some rows as a matrix of their own, in buffers without slack: a row's bits must not depend on how many rows there are. `draw`
    /// chooses the rows and one of the numbers of [`FEW_ROWS`]; where that is as many as there are, the next. `None` where there are no
    /// rows to take, and in fixed point, whose oracle holds every call to its bits.
    pub(super) fn few_rows(inputs: &Inputs, draw: u64) -> Option<Self> {
        let (shape, blocks) = (inputs.shape, inputs.shape.blocks());
        if inputs.operation != Operation::Gemv || shape.rows == 0 {
            return None;
        }
        let at = draw as usize % FEW_ROWS.len();
        let others = FEW_ROWS.into_iter().cycle().skip(at);
        let count = others.into_iter().find(|&count| count != shape.rows)?;
        let start = (draw / FEW_ROWS.len() as u64) as usize % shape.rows;
        let rows: Vec<usize> = (start..start + count).map(|row| row % shape.rows).collect();
        let own = |&row: &usize| match shape.row_bytes() {
            0 => Vec::new(),
            bytes => inputs.packed.from_row(shape, row)[..bytes].to_vec(),
        };
        let scales =
            |all: &Vec<f32>| rows.iter().flat_map(|row| all[row * blocks..][..blocks].to_vec()).collect();
        let few = Inputs {
            shape: Shape { rows: count, row_stride: shape.row_bytes(), ..shape },
            packed: PackedBytes::whole(rows.iter().flat_map(own).collect()),
            scales: inputs.scales.as_ref().map(scales),
            x: inputs.x[..shape.cols].to_vec(),
            out_len: count,
            ..inputs.clone()
        };
        Some(Self { property: Property::Invariance, inputs: few, expect: Expect::Permuted(rows) })
    }

    /// Data for calls at one time: these inputs, and others whose results and whose partial sums are never the same.
    pub(super) fn at_one_time(inputs: &Inputs) -> Vec<Inputs> {
        if inputs.operation == Operation::Quantize {
            return quantize::at_one_time(inputs);
        }
        let others = [Some(complement(inputs)), negated(inputs, Buffer::X), negated(inputs, Buffer::Scales)];
        let others = others.into_iter().flatten().map(|other| other.inputs);
        [inputs.clone()].into_iter().chain(others).collect()
    }

    /// The bits that output `at` must have.
    fn expected(&self, first: &[u32], at: usize) -> u32 {
        match &self.expect {
            Expect::Same => first[at],
            // Of a wrong kernel, what is there may be no code.
            Expect::Complement => 3_u32.wrapping_sub(first[at]),
            Expect::Negated => first[at] ^ 1 << 31,
            Expect::Scaled(factor) => times(first[at], *factor),
            Expect::Mirrored => quantize::mirrored(&self.inputs, first, at),
            Expect::Rescaled(factor) => match self.inputs.output_place(at) {
                (Buffer::OutScales, _) => times(first[at], *factor),
                _ => first[at],
            },
            Expect::Permuted(order) => first[order[at]],
        }
    }

    /// The first changed output that is not what it must be.
    pub(super) fn first_wrong(&self, first: &[u32], changed: &[u32]) -> Option<usize> {
        let same = match &self.expect {
            Expect::Permuted(_) => same_bits,
            _ if self.inputs.operation.is_matrix() => same_sum,
            _ => same_bits,
        };
        (0..self.inputs.outputs()).find(|&at| !same(self.expected(first, at), changed[at]))
    }

    /// Holds the changed output against the first one.
    pub(super) fn check(&self, first: &[u32], changed: &[u32]) -> Option<Failure> {
        let at = self.first_wrong(first, changed)?;
        let expected = self.expected(first, at);
        let (buffer, index) = self.inputs.output_place(at);
        let (name, width) = (buffer.name(), self.inputs.operation.width(buffer));
        let (must, got) = (show(width, expected), show(width, changed[at]));
        let detail = match &self.expect {
            Expect::Permuted(rows) if self.property == Property::Invariance => {
                let (row, count) = (rows[at], rows.len());
                let noun = if count == 1 { "row" } else { "rows" };
                format!("row {row} is {must} in this matrix and {got} in one of {count} {noun}")
            }
            _ => format!("{}: {name}[{index}] must be {must}, got {got}", self.deed()),
        };
        let cause = Cause::of_bits(width, expected, changed[at]);
        Some(Failure::new(self.property, cause, detail))
    }

    fn deed(&self) -> &'static str {
        match self.property {
            Property::Padding => "with padding codes, gaps and slack changed",
            Property::Complement => "with every code complemented",
            Property::Negation => "with x, or the scales, negated in the same buffers",
            Property::PowerOfTwo => "with x times a power of two",
            _ if self.inputs.operation == Operation::Quantize && self.inputs.shape.blocks() == 1 => {
                "called with one block alone, in buffers without slack"
            }
            _ if self.inputs.operation == Operation::Quantize => "with the blocks in another order",
            _ => "with the rows in another order",
        }
    }
}

/// The bits of a number times a factor.
fn times(bits: u32, factor: f32) -> u32 {
    (f32::from_bits(bits) * factor).to_bits()
}

/// Everything that is in the buffers and not of the operands, changed.
fn padding(inputs: &Inputs) -> Option<Relation> {
    let mut changed = inputs.clone();
    let (shape, cols) = (inputs.shape, inputs.shape.cols);
    let mut own = inputs.packed.clone();
    own.kept_mut().fill(0);
    if !inputs.packed.kept().is_empty() {
        for row in 0..shape.rows {
            let own = own.row_mut(shape, row);
            let whole = cols / CODES_PER_BYTE;
            own[..whole].fill(0xff);
            if !cols.is_multiple_of(CODES_PER_BYTE) {
                own[whole] = (1 << (2 * (cols % CODES_PER_BYTE))) - 1;
            }
        }
    }
    changed.packed.kept_mut().iter_mut().zip(own.kept()).for_each(|(byte, own)| *byte ^= !own);
    changed.codes.iter_mut().skip(cols).for_each(|code| *code ^= 3);
    let scales = shape.rows * shape.blocks();
    let slack_scales = changed.scales.iter_mut().flat_map(|all| all.iter_mut().skip(scales));
    slack_scales.chain(changed.x.iter_mut().skip(cols)).for_each(|slack| *slack = 1e38);
    let slack = |buffer| inputs.len(buffer) as u128 > shape.needed(inputs.operation, buffer);
    let differs = changed.packed != inputs.packed || inputs.buffers().iter().copied().any(slack);
    differs.then_some(Relation { property: Property::Padding, inputs: changed, expect: Expect::Same })
}

/// Code c becomes 3 - c, so weight w becomes -w.
fn complement(inputs: &Inputs) -> Relation {
    let mut changed = inputs.clone();
    changed.packed.kept_mut().iter_mut().for_each(|byte| *byte = !*byte);
    changed.codes.iter_mut().for_each(|code| *code ^= 3);
    let expect = if inputs.operation == Operation::Unpack { Expect::Complement } else { Expect::Negated };
    Relation { property: Property::Complement, inputs: changed, expect }
}

/// Makes the outputs for complemented codes what they must be where they are within the bound for any order. A kernel whose order
/// depends on the codes may add complemented ones in another order; both sums then keep the bound.
pub(super) fn allow_another_order(rows: &[RowTruth], first: &[u32], changed: &mut [u32]) {
    for ((truth, &first), changed) in rows.iter().zip(first).zip(changed) {
        let far = (f64::from(f32::from_bits(first)) + f64::from(f32::from_bits(*changed))).abs();
        let is_allowed = match truth {
            RowTruth::Near { spread, .. } => far <= 2.0 * spread.bound(None),
            RowTruth::MayOverflow | RowTruth::NotFinite => true,
            _ => false,
        };
        if is_allowed {
            *changed = first ^ 1 << 31;
        }
    }
}

/// x or the scales with the other sign, where the operation has them: every product, and so every sum, has the other sign.
fn negated(inputs: &Inputs, buffer: Buffer) -> Option<Relation> {
    if !inputs.buffers().contains(&buffer) {
        return None;
    }
    let mut changed = inputs.clone();
    let scales = changed.scales.iter_mut().flatten();
    let values: Vec<&mut f32> = match buffer {
        Buffer::Scales => scales.collect(),
        _ => changed.x.iter_mut().collect(),
    };
    values.into_iter().for_each(|value| *value = -*value);
    Some(Relation { property: Property::Negation, inputs: changed, expect: Expect::Negated })
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
        Relation { property: Property::PowerOfTwo, inputs: changed, expect: Expect::Scaled(factor) }
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
        let source = &inputs.packed.from_row(shape, from)[..shape.row_bytes()];
        changed.packed.row_mut(shape, row).copy_from_slice(source);
        if let (Some(to), Some(all)) = (&mut changed.scales, &inputs.scales) {
            to[row * blocks..][..blocks].copy_from_slice(&all[from * blocks..][..blocks]);
        }
    }
    Some(Relation { property: Property::RowOrder, inputs: changed, expect: Expect::Permuted(order) })
}
