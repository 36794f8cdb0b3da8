//! Metamorphic relations: inputs changed in a way whose effect on the output is known exactly.

mod blocks;
mod padding;
mod vectors;

use crate::buffer::Buffer;
use crate::evidence::{Call, Evidence, Miss, Place};
use crate::format::Scale;
use crate::inputs::{Inputs, PackedBytes};
use crate::judge::{same_bits, same_sum};
use crate::operation::{Change, Effect};
use crate::oracle::{self, RowTruth};
use crate::property::{Cause, Failure, Property};
use crate::shape::Shape;

/// Numbers of rows for which kernels have paths of their own: one row, and what does not fill a tile of four.
const FEW_ROWS: [usize; 4] = [1, 2, 3, 5];

/// Changed inputs, and what the output must then be.
pub(super) struct Relation {
    change: Change,
    pub(super) inputs: Inputs,
    effect: Effect,
    parameter: Parameter,
}

/// What an effect goes by.
enum Parameter {
    None,
    Factor(f32),
    /// Output `i` of the changed call, mostly a row, is output `0[i]` of the first.
    Places(Vec<usize>),
}

impl Relation {
    /// The relations that apply to these inputs, but for [`few_rows`](Self::few_rows). All are called in the buffers of the first call, so
    /// that what a kernel has kept from it by address is of no use.
    pub(super) fn of(inputs: &Inputs) -> Vec<Self> {
        let relations = inputs.operation.spec().relations.iter();
        relations.filter_map(|&(change, effect)| Self::made(inputs, change, effect)).collect()
    }

    /// `None` where the change does not apply to these inputs.
    fn made(inputs: &Inputs, change: Change, effect: Effect) -> Option<Self> {
        // What becomes of codes and scales is known where they lie apart.
        let is_apart = matches!(effect, Effect::Mirrored | Effect::Rescaled);
        if is_apart && inputs.shape.format.has_inner_scales() {
            return None;
        }
        let (inputs, parameter) = match change {
            Change::Padding => (padding::changed(inputs)?, Parameter::None),
            Change::Complement => (complement(inputs)?, Parameter::None),
            Change::NegatedX => (negated(inputs, Buffer::X)?, Parameter::None),
            Change::NegatedScales => (negated(inputs, Buffer::Scales)?, Parameter::None),
            Change::PowerOfTwo => power_of_two(inputs)?,
            Change::RowOrder => row_order(inputs)?,
            Change::BlockOrder => blocks::rotated(inputs)?,
            Change::OneBlock => blocks::alone(inputs)?,
            Change::VectorOrder => vectors::rotated(inputs)?,
            Change::FewRows | Change::OneVector => return None,
        };
        Some(Self { change, inputs, effect, parameter })
    }

    /// Some rows as a matrix of their own, in buffers without slack: a row's bits must not depend on how many rows there are. `draw`
    /// chooses the rows and one of the numbers of [`FEW_ROWS`]; where that is as many as there are, the next. `None` where there are no
    /// rows to take, and in fixed point, whose oracle holds every call to its bits.
    pub(super) fn few_rows(inputs: &Inputs, draw: u64) -> Option<Self> {
        let (shape, blocks) = (inputs.shape, inputs.shape.blocks());
        let effect =
            inputs.operation.spec().relations.iter().find(|(change, _)| *change == Change::FewRows)?.1;
        let multiple = inputs.requirements.rows_multiple as usize;
        if shape.rows == 0 {
            return None;
        }
        let at = draw as usize % FEW_ROWS.len();
        let others = FEW_ROWS.into_iter().cycle().skip(at).map(|count| count * multiple);
        let count = others.take(FEW_ROWS.len()).find(|&count| count != shape.rows)?;
        let start = (draw / FEW_ROWS.len() as u64) as usize % shape.rows;
        let rows: Vec<usize> = (start..start + count).map(|row| row % shape.rows).collect();
        let own = |&row: &usize| match shape.row_bytes() {
            0 => Vec::new(),
            bytes => inputs.packed.from_row(shape, row)[..bytes].to_vec(),
        };
        let scales = |all: &Vec<f32>| match shape.format.scale() {
            Scale::Tensor => all[..1].to_vec(),
            _ => rows.iter().flat_map(|row| all[row * blocks..][..blocks].to_vec()).collect(),
        };
        let needed = |buffer| inputs.operation.needed(shape, buffer) as usize;
        let few = Inputs {
            shape: Shape { rows: count, row_stride: shape.row_bytes(), out_stride: count, ..shape },
            packed: PackedBytes::whole(rows.iter().flat_map(own).collect()),
            scales: inputs.scales.as_ref().map(scales),
            x: inputs.x[..needed(Buffer::X).min(inputs.x.len())].to_vec(),
            quantized: inputs.quantized[..needed(Buffer::Activations).min(inputs.quantized.len())].to_vec(),
            out_len: count * shape.batch,
            ..inputs.clone()
        };
        let places =
            (0..shape.batch).flat_map(|vector| rows.iter().map(move |row| vector * shape.rows + row));
        let parameter = Parameter::Places(places.collect());
        Some(Self { change: Change::FewRows, inputs: few, effect, parameter })
    }

    /// One vector of a batch alone, in buffers without slack: its bits must not depend on the others. `None` where there is but one.
    pub(super) fn one_vector(inputs: &Inputs, draw: u64) -> Option<Self> {
        let effect =
            inputs.operation.spec().relations.iter().find(|(change, _)| *change == Change::OneVector)?.1;
        let (inputs, parameter) = vectors::alone(inputs, draw)?;
        Some(Self { change: Change::OneVector, inputs, effect, parameter })
    }

    /// Data for calls at one time: these inputs, and others whose results and whose partial sums are never the same.
    pub(super) fn at_one_time(inputs: &Inputs) -> Vec<Inputs> {
        if !inputs.operation.reads_codes() {
            return vec![inputs.clone(), reversed(inputs)];
        }
        let others = [complement(inputs), negated(inputs, Buffer::X), negated(inputs, Buffer::Scales)];
        [inputs.clone()].into_iter().chain(others.into_iter().flatten()).collect()
    }

    /// The property that is violated where the output is another.
    pub(super) fn property(&self) -> Property {
        match self.change {
            Change::Padding => Property::Padding,
            Change::Complement => Property::Complement,
            Change::NegatedX | Change::NegatedScales => Property::Negation,
            Change::PowerOfTwo => Property::PowerOfTwo,
            Change::RowOrder | Change::BlockOrder | Change::OneBlock => Property::RowOrder,
            Change::VectorOrder => Property::RowOrder,
            Change::FewRows | Change::OneVector => Property::Invariance,
        }
    }

    /// The bits that output `at` must have.
    fn expected(&self, first: &[u32], at: usize) -> u32 {
        match (self.effect, &self.parameter) {
            (Effect::Moved, Parameter::Places(places)) => first[places[at]],
            (Effect::Scaled, Parameter::Factor(factor)) => times(first[at], *factor),
            (Effect::Rescaled, Parameter::Factor(factor)) => match self.inputs.output_place(at) {
                (Buffer::OutScales, _) => times(first[at], *factor),
                _ => first[at],
            },
            (Effect::Negated, _) => first[at] ^ 1 << 31,
            // Of a wrong kernel, what is there may be no code.
            (Effect::Complement, _) => {
                u32::from(self.inputs.shape.format.code_count() - 1).wrapping_sub(first[at])
            }
            (Effect::Mirrored, _) => self.mirrored(first, at),
            _ => first[at],
        }
    }

    /// The bits that output `at` must have where the signs of the values were changed: of packed bytes the codes of values that are not
    /// zero are complemented, padding is not.
    fn mirrored(&self, first: &[u32], at: usize) -> u32 {
        let (Buffer::Out, byte) = self.inputs.output_place(at) else { return first[at] };
        let (format, x) = (self.inputs.shape.format, &self.inputs.x);
        let (block, byte) = (byte / format.block_bytes, byte % format.block_bytes);
        let is_mirrored = |element| x.get(block * format.block_len + element).is_some_and(|&x| x != 0.0);
        let mirrored = format.elements_of_byte(byte).filter(|&(element, _)| is_mirrored(element));
        mirrored.fold(first[at], |bits, (_, mask)| bits ^ u32::from(mask))
    }

    /// The first changed output that is not what it must be.
    pub(super) fn first_wrong(&self, first: &[u32], changed: &[u32]) -> Option<usize> {
        let is_sum = (self.inputs.operation.is_matrix() || !self.inputs.shape.format.has_signed_zeros())
            && self.effect != Effect::Moved;
        let same = |a, b| if is_sum { same_sum(a, b) } else { same_bits(a, b) };
        let outputs = self.inputs.outputs();
        // Comparing slices first is what makes this cheap.
        if self.effect == Effect::Same && first[..outputs] == changed[..outputs] {
            return None;
        }
        (0..outputs).find(|&at| !same(self.expected(first, at), changed[at]))
    }

    /// Holds the changed output against the first one, of the call with these inputs.
    pub(super) fn check(&self, whole: &Inputs, first: &[u32], changed: &[u32]) -> Option<Failure> {
        let at = self.first_wrong(first, changed)?;
        let expected = self.expected(first, at);
        let mut miss = Miss::new(&self.inputs, at, changed[at], expected);
        let call = match &self.parameter {
            Parameter::Places(rows) if self.change == Change::FewRows => {
                miss.place = Place::of_result(whole, rows[at]);
                Call::FewRows(self.inputs.shape.rows)
            }
            Parameter::Places(results) if self.change == Change::OneVector => {
                miss.place = Place::of_result(whole, results[at]);
                Call::OneVector
            }
            _ => Call::Changed(self.change),
        };
        let width = self.inputs.operation.width(self.inputs.output_place(at).0);
        let cause = Cause::of_bits(width, expected, changed[at]);
        Some(Failure::new(self.property(), cause, Evidence::Further(call, miss)))
    }
}

/// The bits of a number times a factor.
fn times(bits: u32, factor: f32) -> u32 {
    (f32::from_bits(bits) * factor).to_bits()
}

/// Code c becomes the largest code less c, so weight w becomes -w where the format is symmetric. `None` where it is not, and where the
/// complement of a code may be one that never comes.
fn complement(inputs: &Inputs) -> Option<Inputs> {
    let format = inputs.shape.format;
    let every_code = inputs.requirements.max_code.is_none_or(|most| most + 1 >= format.code_count());
    if !format.is_symmetric() || !every_code {
        return None;
    }
    let mut changed = inputs.clone();
    if format.has_inner_scales() {
        let codes = format.pack(&vec![u8::MAX; inputs.shape.blocks() * format.block_len]);
        for row in 0..inputs.shape.rows {
            let own = changed.packed.row_mut(inputs.shape, row).iter_mut();
            own.zip(&codes).for_each(|(byte, codes)| *byte ^= codes);
        }
    } else {
        changed.packed.kept_mut().iter_mut().for_each(|byte| *byte = !*byte);
    }
    changed.codes.iter_mut().for_each(|code| *code ^= format.code_count() - 1);
    Some(changed)
}

/// Values whose magnitudes, order and signs are never the same.
fn reversed(inputs: &Inputs) -> Inputs {
    let mut other = inputs.clone();
    other.x.reverse();
    let factor = if inputs.x.iter().any(|x| x.abs() > 1.0) { -0.125 } else { -8.0 };
    other.x.iter_mut().for_each(|value| *value *= factor);
    other
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
fn negated(inputs: &Inputs, buffer: Buffer) -> Option<Inputs> {
    let mut changed = inputs.clone();
    match buffer {
        Buffer::Scales if inputs.shape.format.has_inner_scales() => negate_inner_scales(&mut changed)?,
        Buffer::Scales => changed.scales.as_mut()?.iter_mut().for_each(|scale| *scale = -*scale),
        _ if inputs.buffers().contains(&Buffer::Activations) => negate_activations(&mut changed)?,
        _ if inputs.buffers().contains(&Buffer::X) => changed.x.iter_mut().for_each(|x| *x = -*x),
        _ => return None,
    }
    Some(changed)
}

/// Changes the sign of all scales that are among the packed bytes; `None` where these have no sign.
fn negate_inner_scales(inputs: &mut Inputs) -> Option<()> {
    let shape = inputs.shape;
    let places = shape.format.scale_places(shape.cols);
    if places.iter().any(|(_, number)| number.sign() == 0) {
        return None;
    }
    for row in 0..if shape.cols == 0 { 0 } else { shape.rows } {
        let own = inputs.packed.row_mut(shape, row);
        places.iter().for_each(|&(at, number)| own[at + number.width() - 1] ^= number.sign());
    }
    Some(())
}

/// Changes the sign of quantised activations: of their scales, or of the integers themselves; `None` where one of these has no opposite.
fn negate_activations(inputs: &mut Inputs) -> Option<()> {
    let kind = inputs.shape.activations;
    match kind.scale {
        Some((at, number)) => {
            let blocks = inputs.quantized.chunks_exact_mut(kind.block_bytes);
            for block in blocks {
                block[at + number.width() - 1] ^= number.sign();
                // Those that the scale is part of change with it.
                kind.write_sums(block);
            }
        }
        None if inputs.quantized.contains(&(i8::MIN as u8)) => return None,
        None => inputs.quantized.iter_mut().for_each(|byte| *byte = byte.wrapping_neg()),
    }
    Some(())
}

/// x times 2^k. Exact in every order of operations as long as nothing leaves the range of normal numbers. In fixed point the
/// exponent then moves by k, since numbers whose last bit is normal are far above those of its smallest exponent.
fn power_of_two(inputs: &Inputs) -> Option<(Inputs, Parameter)> {
    if !inputs.buffers().contains(&Buffer::X) {
        return None;
    }
    let factor = if inputs.x.iter().any(|x| x.abs() > 1e6) { 0.125 } else { 16.0 };
    let vectors = (0..inputs.shape.batch).flat_map(|vector| inputs.vector(vector));
    let x: Vec<f32> = vectors.copied().collect();
    let scales = oracle::all_scales(inputs);
    let magnitudes = |values: &[f32]| {
        let nonzero = values.iter().map(|value| value.abs()).filter(|&value| value != 0.0);
        nonzero.fold((f32::INFINITY, 0.0_f32), |(low, high), value| (low.min(value), high.max(value)))
    };
    let finite = x.iter().chain(&scales).all(|value| value.is_finite());
    let ((x_low, x_high), (scale_low, scale_high)) = (magnitudes(&x), magnitudes(&scales));
    // The last bit of the smallest x, scaled down: it must stay a normal number. The largest sum must not overflow.
    let lowest = f64::from(x_low) * 2_f64.powi(-23) * f64::from(scale_low.min(1.0)) * 0.125;
    let values = inputs.shape.format.values().unwrap_or(&[i8::MAX]).iter();
    let weight = f64::from(values.map(|value| value.unsigned_abs()).max().unwrap_or(1));
    let highest = weight * f64::from(x_high) * x.len() as f64 * f64::from(scale_high.max(1.0)) * 16.0;
    let in_range = lowest >= f64::from(f32::MIN_POSITIVE) && highest <= f64::from(f32::MAX);
    (finite && in_range).then(|| {
        let mut changed = inputs.clone();
        changed.x.iter_mut().for_each(|value| *value *= factor);
        (changed, Parameter::Factor(factor))
    })
}

/// Rows rotated by one, with their scales.
fn row_order(inputs: &Inputs) -> Option<(Inputs, Parameter)> {
    let (shape, blocks) = (inputs.shape, inputs.shape.blocks());
    if shape.rows < 2 {
        return None;
    }
    let order: Vec<usize> = (0..shape.rows).map(|row| (row + 1) % shape.rows).collect();
    let results = (0..shape.batch).flat_map(|vector| order.iter().map(move |row| vector * shape.rows + row));
    let results = results.collect();
    let mut changed = inputs.clone();
    for (row, &from) in order.iter().enumerate() {
        let source = &inputs.packed.from_row(shape, from)[..shape.row_bytes()];
        changed.packed.row_mut(shape, row).copy_from_slice(source);
        if let (Some(to), Some(all)) = (&mut changed.scales, &inputs.scales) {
            let [to_place, from_place] = [row, from].map(|row| shape.format.separate_scales(row, blocks));
            to[to_place].copy_from_slice(&all[from_place]);
        }
    }
    Some((changed, Parameter::Places(results)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Case;
    use crate::operation::Operation;
    use crate::requirements::Requirements;

    #[test]
    fn codes_are_not_complemented_where_some_never_come() {
        let is_complemented = |max_code| {
            let requirements = Requirements { max_code, ..Requirements::NONE };
            let case = Case { requirements, ..Case::new(Operation::Gemv, 2, 300) };
            let inputs = case.materialize(None).expect("the case has data");
            let relations = Relation::of(&inputs);
            relations.iter().any(|relation| relation.property() == Property::Complement)
        };
        assert!(is_complemented(None) && is_complemented(Some(3)));
        assert!(!is_complemented(Some(2)));
    }
}
