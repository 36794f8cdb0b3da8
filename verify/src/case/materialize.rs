//! From a case to the bytes of its call.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::Case;
use super::values::{
    SUBNORMAL, absorbing, extreme, full, levels, one_hot, outliers, quantized, sparse, sprinkle, steps,
};
use crate::buffer::{Buffer, PerBuffer};
use crate::data::{Codes, Distribution, Scales};
use crate::format::{Coding, Number};
use crate::inputs::{Inputs, PackedBytes};
use crate::memory;
use crate::operation::Operation;
use crate::weights::{TensorRows, Weights, WeightsError};

/// The largest buffer that a case may ask for.
pub const MAX_BUFFER_BYTES: usize = 1 << 30;

/// Packed bytes from which a matrix that is mostly gaps is laid out in sparse memory.
const SPARSE_BYTES: usize = 1 << 24;

/// The largest buffer of packed bytes of which only the rows take memory.
pub const MAX_SPARSE_BYTES: usize = 1 << 34;

/// Elements of vectors whose data repeat.
const LONG: Range<usize> = 1 << 28..1 << 34;

/// The number of elements after which data begin anew. Of every buffer that is whole pages, of 4 KiB, and no power of two is a multiple of it: an offset that wraps leads
/// to other data.
const PERIOD: usize = 3 << 18;

/// Bytes given to a buffer whose needed size cannot exist, when the wrapped size is unusable too.
const STUB_BYTES: usize = 64;

/// Why a case has no data.
#[derive(Debug, thiserror::Error)]
pub enum MaterializeError {
    /// A legal case, but too large for this harness.
    #[error(
        "buffer `{buffer}` of this case needs {bytes} bytes; the most is {MAX_BUFFER_BYTES}: make the sizes smaller"
    )]
    TooLarge {
        /// The buffer's name.
        buffer: &'static str,
        /// Bytes needed.
        bytes: u128,
    },
    /// A matrix whose rows lie so far apart that its memory must be sparse, which this system does not give.
    #[error(
        "this case needs {bytes} bytes of sparse memory, which the system refuses: raise the limit of address space (ulimit -v)"
    )]
    NoSparseMemory {
        /// Bytes from the first row to the last.
        bytes: usize,
    },
    /// A patch outside of its buffer, or in a gap of sparse memory.
    #[error("patch.{buffer}.{index} is in a gap or past the end of `{buffer}`, which has {len} elements")]
    PatchOutside {
        /// The buffer's name.
        buffer: &'static str,
        /// First index that is outside.
        index: usize,
        /// Elements of the buffer.
        len: usize,
    },
    /// The case names a tensor and there is no weights file.
    #[error("the case takes its weights from tensor `{0}`: give the file with --weights")]
    NoWeights(String),
    /// The weights file does not give the tensor.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

impl Case {
    /// Makes the data of the call. The same case gives the same bits on every machine.
    ///
    /// `weights` is needed by cases with a `tensor` only.
    ///
    /// # Errors
    /// If a buffer would be larger than [`MAX_BUFFER_BYTES`], or than [`MAX_SPARSE_BYTES`] where its rows lie far apart; if
    /// there is no sparse memory for those; if a patch lies outside of its buffer; or if the tensor cannot be had.
    pub fn materialize(&self, weights: Option<&Weights>) -> Result<Inputs, MaterializeError> {
        let period = if self.is_long() { PERIOD } else { 0 };
        let len = |buffer| match (self.is_long(), buffer) {
            (false, _) => self.buffer_len(buffer),
            (true, Buffer::Out) => Ok(self.cols),
            (true, _) => {
                Ok(self.operation.needed(Case::new(self.domain(), 1, PERIOD).shape(), buffer) as usize)
            }
        };
        let mut inputs = Inputs {
            operation: self.operation,
            shape: self.shape(),
            packed: PackedBytes::default(),
            codes: Vec::new(),
            scales: None,
            x: Vec::new(),
            quantized: Vec::new(),
            out_len: len(Buffer::Out)?,
            out_scales_len: 0,
            offset: self.offset,
            requirements: self.requirements,
            threads: self.threads,
            stack: usize::from(self.stack) << 10,
            period,
            digits: self.digits,
            flat: self.is_flat(),
        };
        for &buffer in self.operation.inputs(self.scaled) {
            let len = len(buffer)?;
            match buffer {
                Buffer::Packed => inputs.packed = self.packed(len)?,
                Buffer::Codes => inputs.codes = self.codes(len),
                Buffer::Scales => inputs.scales = Some(self.scales(len)),
                Buffer::X => inputs.x = self.x(len),
                Buffer::Activations => inputs.quantized = self.quantized(len),
                Buffer::Out | Buffer::OutScales | Buffer::Prepared => {}
            }
        }
        if self.operation.outputs().contains(&Buffer::OutScales) {
            inputs.out_scales_len = len(Buffer::OutScales)?;
        }
        if let Some(tensor) = &self.tensor {
            let weights = weights.ok_or_else(|| MaterializeError::NoWeights(tensor.name.clone()))?;
            self.lay_tensor(&mut inputs, weights, tensor)?;
        }
        self.lay_fills(&mut inputs);
        self.lay_patches(&mut inputs)?;
        self.keep_data_to_requirements(&mut inputs);
        Ok(inputs)
    }

    /// Elements of `buffer`: what is needed and the slack. A size that memory cannot hold is wrapped, as the
    /// arithmetic of a careless caller would.
    fn buffer_len(&self, buffer: Buffer) -> Result<usize, MaterializeError> {
        let needed = self.operation.needed(self.shape(), buffer);
        let wanted = needed.saturating_add_signed(i128::from(self.slack[buffer]));
        let bytes = wanted.saturating_mul(self.operation.width(buffer) as u128);
        let most = if buffer == Buffer::Packed && self.may_be_sparse() {
            MAX_SPARSE_BYTES
        } else {
            MAX_BUFFER_BYTES
        };
        if bytes <= most as u128 {
            return Ok(wanted as usize);
        }
        if bytes <= 1 << 40 {
            return Err(MaterializeError::TooLarge { buffer: buffer.name(), bytes });
        }
        let wrapped = wanted as u64 as usize;
        Ok(if wrapped <= MAX_BUFFER_BYTES >> 8 { wrapped } else { STUB_BYTES })
    }

    /// Whether the data are what oracle 4 asks for.
    fn is_flat(&self) -> bool {
        self.distribution == Distribution::Unit
            && self.codes == Codes::Random
            && self.fill == PerBuffer::default()
            && self.patches.is_empty()
            && self.tensor.is_none()
    }

    fn stream(&self, buffer: Buffer) -> ChaCha8Rng {
        let mut key = [0_u8; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..14].copy_from_slice(b"qk256.");
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(buffer as u64);
        rng
    }

    /// Whether this is a vector so long that its data repeat. Of such a vector no buffer is longer or shorter than needed.
    pub(crate) fn is_long(&self) -> bool {
        let (blocks, rest) = (PERIOD / self.format.block_len, PERIOD % self.format.block_len);
        let repeats = self.format.header_bytes() == 0
            && rest == 0
            && (blocks * self.format.block_bytes).is_multiple_of(4096);
        repeats
            && !self.operation.is_matrix()
            && LONG.contains(&self.cols)
            && self.slack == PerBuffer::default()
    }

    /// Whether the rows themselves fit into memory, so that gaps between them may be larger than that.
    fn may_be_sparse(&self) -> bool {
        let shape = self.shape();
        let rows = shape.rows as u128 * shape.row_bytes() as u128;
        shape.stride_is_legal() && rows <= MAX_BUFFER_BYTES as u128
    }

    fn packed(&self, len: usize) -> Result<PackedBytes, MaterializeError> {
        let shape = self.shape();
        let own = shape.rows.saturating_mul(shape.row_bytes());
        let is_sparse =
            len > MAX_BUFFER_BYTES || (len > SPARSE_BYTES && own <= len / 4 && self.may_be_sparse());
        if is_sparse && !memory::sparse_is_possible() {
            return Err(MaterializeError::NoSparseMemory { bytes: len });
        }
        let is_short = (len as u128) < self.operation.needed(shape, Buffer::Packed);
        let kept = match is_sparse {
            false => len,
            true if is_short => 0,
            true => shape.rows * shape.row_bytes(),
        };
        let mut bytes = vec![0; kept];
        self.stream(Buffer::Packed).fill_bytes(&mut bytes);
        let mut packed = match is_sparse {
            false => PackedBytes::whole(bytes),
            true => PackedBytes::sparse(bytes, shape, len),
        };
        let longest = shape.row_bytes().min(packed.kept().len());
        if let Some(row) = self.codes.row(shape.format, longest) {
            self.own_bytes(&mut packed, |own| own.copy_from_slice(&row[..own.len()]));
        }
        self.lay_inner_scales(&mut packed);
        Ok(packed)
    }

    /// Draws the scales that are among the packed bytes. Of a row that is cut short those that are whole.
    fn lay_inner_scales(&self, packed: &mut PackedBytes) {
        if !self.format.has_inner_scales() {
            return;
        }
        let places = self.scale_places(packed);
        let mut rng = self.stream(Buffer::Scales);
        let mut drawn = Vec::new();
        self.own_bytes(packed, |own| {
            for &(at, number) in &places {
                let Some(bytes) = own.get_mut(at..at + number.width()) else { return };
                let scale = match (self.scales, drawn.len()) {
                    (Scales::Equal, 1..) => drawn[0],
                    (Scales::Alternating, 2..) => drawn[drawn.len() - 2],
                    _ => self.distribution.stored_scale(number, rng.next_u64()),
                };
                if self.scales != Scales::Independent {
                    drawn.push(scale);
                }
                number.write(scale, bytes);
            }
        });
    }

    /// The scales that are among the bytes of a row, as far as the buffer goes: a size that no memory holds has rows of any length.
    fn scale_places(&self, packed: &PackedBytes) -> Vec<(usize, Number)> {
        let held = packed.kept().len().div_ceil(self.format.block_bytes) * self.format.block_len;
        match self.cols.min(held) {
            0 => Vec::new(),
            cols => self.format.scale_places(cols),
        }
    }

    /// Quantised activations: scales and values by the distribution, sums those of the values.
    fn quantized(&self, len: usize) -> Vec<u8> {
        let mut rng = self.stream(Buffer::Activations);
        // Behind the last block what is neither small nor a number.
        let mut bytes = vec![0x7f; len];
        let (kind, cols) = (self.activations, self.cols.min(len));
        let Some(at) = kind.values_at else { return bytes };
        // Beside a block whose scale is normal, one whose scale is subnormal does not show.
        let is_small = self.distribution == Distribution::Subnormal && self.seed.is_multiple_of(2);
        let mut values =
            quantized(self.distribution, cols, self.requirements.activation_min, &mut rng).into_iter();
        for block in bytes.chunks_exact_mut(kind.block_bytes).take(cols.div_ceil(kind.block_len)) {
            if let Some((scale, number)) = kind.scale {
                let draw = if is_small { rng.next_u64() & !3 | SUBNORMAL } else { rng.next_u64() };
                number.write(self.distribution.stored_scale(number, draw), &mut block[scale..]);
            }
            block[at..at + kind.block_len]
                .iter_mut()
                .zip(&mut values)
                .for_each(|(byte, value)| *byte = value as u8);
        }
        bytes
    }

    /// Leaves out what never comes: codes above the largest, values below the least, numbers that are not finite. Sums of activations
    /// become those of their values.
    fn keep_data_to_requirements(&self, inputs: &mut Inputs) {
        let required = &self.requirements;
        if !inputs.quantized.is_empty() {
            self.keep_activations(&mut inputs.quantized);
        }
        if let Some(most) = required.max_code.filter(|&most| most + 1 < self.format.code_count()) {
            self.own_bytes(&mut inputs.packed, |own| {
                let whole = own.len().saturating_sub(self.format.header_bytes()) / self.format.block_bytes;
                for at in 0..whole * self.format.block_len {
                    let code = self.format.code(own, at);
                    // Not the remainder: where all codes are the largest of the format, all become the largest that may come.
                    if code > most {
                        self.format.set_code(own, at, most);
                    }
                }
            });
        }
        if let Coding::Custom(coding) = &self.format.coding
            && required.weight_min > i8::MIN
        {
            self.own_bytes(&mut inputs.packed, |own| {
                own.chunks_exact_mut(self.format.block_bytes)
                    .for_each(|block| coding.raise_weights(block, required.weight_min));
            });
        }
        if required.finite_only && self.format.has_inner_scales() {
            let places = self.scale_places(&inputs.packed);
            self.own_bytes(&mut inputs.packed, |own| {
                for &(at, number) in &places {
                    let Some(bytes) = own.get_mut(at..at + number.width()) else { return };
                    if !number.read(bytes).is_finite() {
                        number.write(1.0, bytes);
                    }
                }
            });
        }
    }

    fn keep_activations(&self, bytes: &mut [u8]) {
        let (kind, required) = (self.activations, &self.requirements);
        for block in bytes.chunks_exact_mut(kind.block_bytes) {
            if let Some(at) = kind.values_at {
                let values = block[at..at + kind.block_len].iter_mut();
                values.for_each(|byte| *byte = (*byte as i8).max(required.activation_min) as u8);
            }
            if let Some((at, number)) = kind.scale.filter(|_| required.finite_only)
                && !number.read(&block[at..]).is_finite()
            {
                number.write(1.0, &mut block[at..]);
            }
            kind.write_sums(block);
        }
    }

    /// Calls `each` with the blocks of every row that lies within `packed`, the padding of the last block included.
    fn own_bytes(&self, packed: &mut PackedBytes, mut each: impl FnMut(&mut [u8])) {
        let shape = self.shape();
        let row_bytes = shape.row_bytes();
        for row in 0..shape.rows {
            let start = row.checked_mul(shape.row_stride).and_then(|start| packed.place(start));
            let Some(start) = start else { break };
            let kept = packed.kept_mut();
            let end = kept.len().min(start + row_bytes);
            each(&mut kept[start..end]);
            if row_bytes == 0 || shape.row_stride == 0 {
                break;
            }
        }
    }

    fn codes(&self, len: usize) -> Vec<u8> {
        let mut codes = vec![0; len];
        self.stream(Buffer::Codes).fill_bytes(&mut codes);
        for (at, code) in codes.iter_mut().enumerate() {
            *code = self.codes.code(self.format, at).unwrap_or(*code & (self.format.code_count() - 1));
        }
        codes
    }

    fn scales(&self, len: usize) -> Vec<f32> {
        let mut rng = self.stream(Buffer::Scales);
        let needed = self.operation.needed(self.shape(), Buffer::Scales).min(len as u128) as usize;
        let mut scales: Vec<f32> = (0..needed).map(|_| self.distribution.scale(rng.next_u64())).collect();
        let period = match self.scales {
            Scales::Independent => usize::MAX,
            Scales::Equal => 1,
            Scales::Alternating => 2,
        };
        (period..scales.len()).for_each(|at| scales[at] = scales[at - period]);
        if self.distribution == Distribution::Special {
            sprinkle(&mut scales, &mut rng);
        }
        scales.resize(len, f32::NAN);
        scales
    }

    fn x(&self, len: usize) -> Vec<f32> {
        let mut rng = self.stream(Buffer::X);
        // What lies between vectors and behind the last is no number.
        let mut x = vec![f32::NAN; len];
        let stride = self.shape().x_stride;
        for vector in 0..self.batch.min(len.max(1)) {
            let Some(start) = vector.checked_mul(stride).filter(|&start| start < len || vector == 0) else {
                break;
            };
            let values = self.vector(self.cols.min(len - start), &mut rng);
            x[start..][..values.len()].copy_from_slice(&values);
        }
        x
    }

    /// The f32 activations of one vector.
    fn vector(&self, len: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
        let mut x: Vec<f32> = match self.distribution {
            Distribution::OneHot => one_hot(len, rng),
            Distribution::Extreme => extreme(len, self.digits, rng),
            Distribution::Sparse => sparse(len, self.format.block_len, rng),
            Distribution::Absorbing => absorbing(len, rng),
            Distribution::Full(bits) => full(len, bits, rng),
            Distribution::Levels => levels(len, self.format.block_len, rng),
            Distribution::Outliers => outliers(len, self.format.block_len, rng),
            Distribution::Steps => steps(len, self.requirements.rounds_x, rng),
            distribution => (0..len).map(|_| distribution.activation(self.cols, rng.next_u64())).collect(),
        };
        if self.distribution == Distribution::Special {
            sprinkle(&mut x, rng);
        }
        x
    }

    /// Quantises `rows` by `cols` weights of the tensor, or `len` as one vector, and lays codes and scales over the seeded
    /// ones; the values of a `quantize` are those of the tensor.
    fn lay_tensor(
        &self,
        inputs: &mut Inputs,
        weights: &Weights,
        tensor: &TensorRows,
    ) -> Result<(), MaterializeError> {
        if self.operation == Operation::Quantize {
            inputs.x = weights.vector(tensor, self.cols)?;
            return Ok(());
        }
        let quantized = match self.operation.is_matrix() {
            true => weights.quantized_matrix(tensor, self.rows, self.cols)?,
            false => weights.quantized_vector(tensor, self.cols)?,
        };
        let row_bytes = self.shape().row_bytes();
        if self.operation == Operation::Lut {
            let wanted = inputs.codes.iter_mut().zip(quantized.codes());
            wanted.for_each(|(code, real)| *code = real);
        }
        let mut rows = quantized.packed.chunks(row_bytes.max(self.format.block_bytes));
        self.own_bytes(&mut inputs.packed, |own| {
            if let Some(row) = rows.next() {
                own.copy_from_slice(&row[..own.len()]);
            }
        });
        if let Some(scales) = &mut inputs.scales {
            scales.iter_mut().zip(&quantized.scales).for_each(|(scale, &real)| *scale = real);
        }
        Ok(())
    }

    /// Gives every element that an input needs the bits of its fill. Of packed bytes that are the blocks of the rows, padding
    /// included, as with a pattern.
    fn lay_fills(&self, inputs: &mut Inputs) {
        let fill = |buffer: Buffer| self.fill[buffer].map(|bits| (bits as u8, f32::from_bits(bits)));
        if let Some((byte, _)) = fill(Buffer::Packed) {
            self.own_bytes(&mut inputs.packed, |own| own.fill(byte));
            self.lay_inner_scales(&mut inputs.packed);
        }
        if let (Some((byte, _)), Some(at)) = (fill(Buffer::Activations), self.activations.values_at) {
            let kind = self.activations;
            inputs
                .quantized
                .chunks_exact_mut(kind.block_bytes)
                .for_each(|block| block[at..at + kind.block_len].fill(byte));
        }
        let needed =
            |buffer, len: usize| self.operation.needed(self.shape(), buffer).min(len as u128) as usize;
        if let Some((byte, _)) = fill(Buffer::Codes) {
            let len = needed(Buffer::Codes, inputs.codes.len());
            inputs.codes[..len].fill(byte);
        }
        if let (Some((_, value)), Some(scales)) = (fill(Buffer::Scales), &mut inputs.scales) {
            let len = needed(Buffer::Scales, scales.len());
            scales[..len].fill(value);
        }
        if let Some((_, value)) = fill(Buffer::X) {
            let len = needed(Buffer::X, inputs.x.len());
            inputs.x[..len].fill(value);
        }
    }

    fn lay_patches(&self, inputs: &mut Inputs) -> Result<(), MaterializeError> {
        for patch in &self.patches {
            let (buffer, len) = (patch.buffer, inputs.len(patch.buffer));
            let range = patch.index..patch.index.saturating_add(patch.bits.len());
            let outside =
                || MaterializeError::PatchOutside { buffer: buffer.name(), index: range.end - 1, len };
            let bits = patch.bits.iter();
            match buffer {
                Buffer::Packed => {
                    for (index, &bits) in range.clone().zip(bits) {
                        let place = inputs.packed.place(index).ok_or_else(outside)?;
                        inputs.packed.kept_mut()[place] = bits as u8;
                    }
                }
                Buffer::Codes => {
                    let slots = inputs.codes.get_mut(range.clone()).ok_or_else(outside)?;
                    slots.iter_mut().zip(bits).for_each(|(slot, &bits)| *slot = bits as u8);
                }
                Buffer::Activations => {
                    let slots = inputs.quantized.get_mut(range.clone()).ok_or_else(outside)?;
                    slots.iter_mut().zip(bits).for_each(|(slot, &bits)| *slot = bits as u8);
                }
                Buffer::Scales | Buffer::X | Buffer::Out | Buffer::OutScales | Buffer::Prepared => {
                    let none = &mut Vec::new();
                    let scales = inputs.scales.as_mut().unwrap_or(none);
                    let values = if buffer == Buffer::X { &mut inputs.x } else { scales };
                    let slots = values.get_mut(range.clone()).ok_or_else(outside)?;
                    slots.iter_mut().zip(bits).for_each(|(slot, &bits)| *slot = f32::from_bits(bits));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requirements::Requirements;

    /// How many of 400 seeds make data of `distribution` for which `holds`.
    fn share(distribution: Distribution, holds: impl Fn(&Inputs) -> bool) -> usize {
        let case = |seed| Case { seed, distribution, scaled: true, ..Case::new(Operation::Gemv, 1, 300) };
        (0..400).filter(|&seed| holds(&case(seed).materialize(None).expect("the case has data"))).count()
    }

    #[test]
    fn each_distribution_makes_the_values_that_it_is_there_for() {
        let scales = |inputs: &Inputs| inputs.scales.clone().expect("the case is scaled");
        assert_eq!(share(Distribution::Unit, |i| i.flat && i.x.iter().all(|x| x.abs() <= 0.5)), 400);
        assert_eq!(
            share(Distribution::Integer, |i| i.x.iter().chain(&scales(i)).all(|v| v.fract() == 0.0)),
            400
        );
        assert_eq!(
            share(Distribution::OneHot, |i| i.x.iter().filter(|x| x.to_bits() != 0).count() <= 1),
            400
        );
        let extremes = |i: &Inputs| i.x.iter().all(|x| x.is_finite() && *x != 0.0);
        assert_eq!(share(Distribution::Extreme, extremes), 400);
        // 2 * 300 * 27962 is above 2^24, 2 * 300 * 16383 below: of 15 bits the lowest is zero.
        let all = |value: f32| move |i: &Inputs| i.x.iter().all(|&x| x == value);
        for (bits, value) in [(7, 127.0), (8, 255.0), (15, 32766.0), (16, 65532.0), (23, 8_388_096.0)] {
            let distribution = Distribution::Full(bits);
            let (positive, negative) = (share(distribution, all(value)), share(distribution, all(-value)));
            assert!(positive + negative == 400 && positive.min(negative) > 100, "{positive} of {bits} bits");
        }
        let huge = |i: &Inputs| i.x.iter().map(|x| 2.0 * f64::from(x.abs())).sum::<f64>();
        let near_the_largest = f64::from(f32::MAX) / 256.0..f64::from(f32::MAX) / 4.0;
        assert_eq!(share(Distribution::Huge, |i| near_the_largest.contains(&huge(i))), 400);
        let zeros = |i: &Inputs| i.x.iter().filter(|&&x| x == 0.0).count();
        assert!(share(Distribution::Sparse, |i| (32..300).contains(&zeros(i))) > 200);
        assert_eq!(share(Distribution::Subnormal, |i| i.x.iter().all(|x| x.abs() < f32::MIN_POSITIVE)), 400);
        for (distribution, least) in [(Distribution::Special, 100), (Distribution::OneHot, 20)] {
            let odd = share(distribution, |i| i.x.iter().any(|x| !x.is_finite()));
            assert!(
                (least..400).contains(&odd),
                "{odd} of 400 cases of `{}` hold NaN or an infinity",
                distribution.name()
            );
        }
    }

    #[test]
    fn a_product_that_wraps_gets_the_wrapped_buffer() {
        // Two steps of 2^63 bytes: 64 bytes after wrapping, of 2^64 + 64 needed.
        let case = Case { stride: i64::MAX - 63, ..Case::new(Operation::Gemv, 3, 10) };
        assert_eq!(case.shape().row_stride, 1 << 63);
        let inputs = case.materialize(None).expect("the case has data");
        assert_eq!((inputs.packed.len(), inputs.is_legal()), (64, false));
    }

    #[test]
    fn codes_that_are_the_largest_of_the_format_become_the_largest_that_may_come() {
        let requirements = Requirements { max_code: Some(2), ..Requirements::NONE };
        let codes = |codes| {
            let case = Case { codes, requirements, ..Case::new(Operation::Gemv, 1, 256) };
            let inputs = case.materialize(None).expect("the case has data");
            let row = inputs.packed.from_row(inputs.shape, 0);
            (0..256).map(|at| inputs.shape.format.code(row, at)).collect::<Vec<_>>()
        };
        assert_eq!(codes(Codes::Uniform(3)), [2; 256]);
        assert_eq!(codes(Codes::Stripes)[..4], [0, 2, 0, 2]);
        let random = codes(Codes::Random);
        assert!((0..3).all(|code| random.contains(&code)) && !random.contains(&3), "{random:?}");
    }
}
