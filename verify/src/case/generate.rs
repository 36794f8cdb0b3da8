//! One generator of cases, biased to edges, for fuzzer bytes and for seeds alike.

use arbitrary::{Result, Unstructured};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::{Case, Patch, Sweep, models};
use crate::buffer::{Buffer, OFFSET_BYTES};
use crate::data::{Codes, Distribution, Scales};
use crate::domain::Domain;
use crate::format::{Format, QK256};
use crate::operation::{DIGITS, Operation};
use crate::shape::Threads;

/// Rows times columns of a drawn case stay below this, so that a case takes well under a millisecond.
const MAX_ELEMENTS: usize = 1 << 17;

/// Bytes that a seed is stretched to: enough for every choice of a case.
const SEED_BYTES: usize = 512;

/// The case number `index` of a domain in the run that `seed` names: those of the sweep come first, then drawn ones.
pub fn nth(domain: impl Into<Domain>, seed: u64, index: u64) -> Case {
    let domain = domain.into();
    let sweep = Sweep::of(domain);
    sweep.case(index, seed).unwrap_or_else(|| match index - sweep.len() {
        drawn if drawn % SHAPE_EVERY == SHAPE_EVERY - 1 => shape_from_seed(domain, seed, drawn),
        drawn => from_seed(domain, seed, drawn),
    })
}

/// One drawn case in this many is a shape by itself.
const SHAPE_EVERY: u64 = 32;

/// Elements that such a case stays below.
const SHAPE_BITS: usize = 22;

/// Packed bytes that it stays below, but for a single row: short rows are mostly padding.
const SHAPE_BYTES: usize = 1 << 24;

/// Drawn case number `index` where that is a shape by itself, called once: rows and columns log-uniform with a product below 2^22, or a
/// matrix of a published model, without the rows that would be too many.
fn shape_from_seed(domain: Domain, seed: u64, index: u64) -> Case {
    let operation = domain.operation;
    let mut rng = ChaCha8Rng::from_seed(key(domain, seed, index));
    let mut below = |count: usize| (rng.next_u64() % count as u64) as usize;
    // A length of `bits` bits, beside the leading one.
    let length = |bits: usize, below: &mut dyn FnMut(usize) -> usize| (1 << bits) + below(1 << bits);
    let (rows, cols) = if below(4) == 0 {
        let shapes = models::shapes();
        shapes[below(shapes.len())]
    } else {
        let (a, b) = (below(SHAPE_BITS - 1), below(SHAPE_BITS - 1));
        // Of two numbers whose sum is too large the reflections are not: all pairs that are not are equally likely.
        let (a, b) = if a + b > SHAPE_BITS - 2 { (SHAPE_BITS - 2 - a, SHAPE_BITS - 2 - b) } else { (a, b) };
        (length(a, &mut below), length(b, &mut below))
    };
    let cols = domain.cols(cols).max(1);
    let rows = rows
        .min((1 << SHAPE_BITS) / cols)
        .min(SHAPE_BYTES / Case::new(domain, 1, cols).shape().row_bytes())
        .max(1);
    let mut case = match operation.is_matrix() {
        true => Case::new(domain, rows, cols),
        false => Case::new(domain, 1, rows * cols),
    };
    (case.once, case.seed) = (true, below(1 << 32) as u64);
    case.scaled |= domain.may_be_scaled() && below(2) == 0;
    if operation.has_digits() {
        case.digits -= below(DIGITS.count()) as u8;
    }
    case.distribution = if operation.is_matrix() { Distribution::Integer } else { Distribution::Ten };
    if operation.is_matrix() && below(4) == 0 {
        let extremes = domain.format.extreme_codes();
        case.distribution = one_sign(operation)[below(one_sign(operation).len())];
        case.codes = Codes::Uniform(extremes[below(extremes.len())]);
    }
    case.fit();
    case
}

/// Distributions of activations that are as large as can be, and of one sign.
pub(super) fn one_sign(operation: Operation) -> &'static [Distribution] {
    match operation.inputs(false).contains(&Buffer::Activations) {
        true => &[Distribution::Extreme],
        false => Distribution::full(),
    }
}

/// What the choices of drawn case number `index` come from.
fn key(domain: Domain, seed: u64, index: u64) -> [u8; 32] {
    let mut key = [0_u8; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&index.to_le_bytes());
    key[16] = domain.operation as u8;
    // Nothing of a plain domain.
    if !domain.is_plain() {
        let Domain { format, activations, requirements, .. } = domain;
        let names = format!("{} {} {requirements}", format.name, activations.name);
        names
            .bytes()
            .enumerate()
            .for_each(|(at, byte)| key[17 + at % 15] = key[17 + at % 15].rotate_left(3) ^ byte);
    }
    key
}

/// The drawn case number `index` of a domain in the run that `seed` names. One case in eight has wrong sizes.
pub fn from_seed(domain: impl Into<Domain>, seed: u64, index: u64) -> Case {
    let domain = domain.into();
    let mut bytes = [0_u8; SEED_BYTES];
    ChaCha8Rng::from_seed(key(domain, seed, index)).fill_bytes(&mut bytes);
    let mut u = Unstructured::new(&bytes);
    let drawn = (|| {
        let scaled = u.ratio(1, 2)?;
        if u.ratio(1, 8)? {
            Case::draw_wrong_sizes(domain, scaled, &mut u)
        } else {
            Case::draw(domain, scaled, &mut u)
        }
    })();
    drawn.expect("every choice of the generator has a default for when its bytes run out")
}

impl Case {
    /// A case with legal sizes. `scaled` matters to gemv only. The x of a few cases of `gemv_fixed` and `quantize` is not finite,
    /// which makes them cases that must be refused.
    ///
    /// # Errors
    /// None in practice: bytes that have run out read as zero.
    pub fn draw(domain: impl Into<Domain>, scaled: bool, u: &mut Unstructured<'_>) -> Result<Self> {
        let domain = domain.into();
        let operation = domain.operation;
        let mut case = Self::shaped(domain, scaled, u)?;
        if operation.reads_codes() && once_in(4, u)? {
            case.codes = *u.choose(&Codes::of(domain.format))?;
        }
        case.distribution = *u.choose(domain.distributions())?;
        if case.scaled && once_in(4, u)? {
            case.scales = *u.choose(&[Scales::Equal, Scales::Alternating])?;
        }
        if case.distribution == Distribution::Extreme && once_in(2, u)? {
            // The code that kernels raise the most: with it narrow sums overflow soonest.
            case.codes = Codes::Uniform(*u.choose(&largest_codes(domain.format))?);
        }
        case.seed = u64::from(u.arbitrary::<u32>()?);
        if once_in(32, u)? {
            case.threads = Threads::new(2).expect("two threads are not too many");
        }
        for buffer in case.buffers() {
            if once_in(2, u)? {
                case.offset[buffer] =
                    u.int_in_range(0..=(OFFSET_BYTES / operation.width(buffer) - 1) as u8)?;
            }
        }
        for buffer in case.resizable_buffers() {
            if once_in(4, u)? {
                case.slack[buffer] = u.int_in_range(1..=40)?;
            }
        }
        if operation.is_batched() {
            case.draw_gaps(u)?;
        }
        case.fit();
        if case.distribution == Distribution::Raw {
            case.fill_raw(u)?;
        } else {
            case.draw_patches(u)?;
        }
        case.fit();
        Ok(case)
    }

    /// Vectors that are further apart than they must be.
    fn draw_gaps(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if self.batch <= 1 && once_in(4, u)? {
            // Nobody looks at the strides.
            (self.x_gap, self.out_gap) = (-(self.cols as i64), -(self.rows as i64));
            return Ok(());
        }
        if once_in(3, u)? {
            self.x_gap = u.int_in_range(1..=40)?;
        }
        if once_in(3, u)? {
            self.out_gap = u.int_in_range(1..=40)?;
        }
        Ok(())
    }

    /// Adds up to three patches to one case in four.
    ///
    /// # Errors
    /// As [`draw`](Self::draw).
    pub fn draw_patches(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        if once_in(4, u)? {
            for _ in 0..u.int_in_range(1..=3)? {
                self.patch_one(u)?;
            }
        }
        Ok(())
    }

    /// A case with at least one wrong size: a short buffer, a small stride or a product that wraps; or, of `gemv_fixed` and
    /// `quantize`, an x that is not finite.
    ///
    /// # Errors
    /// As [`draw`](Self::draw).
    pub fn draw_wrong_sizes(
        domain: impl Into<Domain>,
        scaled: bool,
        u: &mut Unstructured<'_>,
    ) -> Result<Self> {
        let domain = domain.into();
        let operation = domain.operation;
        let mut case = Self::shaped(domain, scaled, u)?;
        case.cols = case.cols.max(1);
        case.rows = case.rows.max(1);
        case.batch = case.batch.max(1);
        case.fit();
        let faults = match (operation.is_matrix(), operation.needs_finite_x()) {
            _ if operation.is_batched() => 6,
            (true, true) => 5,
            (true, false) => 4,
            _ => 0,
        };
        if faults == 0 && operation.needs_finite_x() && u.ratio(1, 2)? {
            case.put_not_finite(u)?;
            return Ok(case);
        }
        match u.int_in_range(0..=faults)? {
            0 | 1 => case.shorten_one(u)?,
            2 => {
                case.rows = case.rows.max(2);
                case.stride = -u.int_in_range(1..=case.shape().row_bytes() as i64)?;
            }
            3 => {
                // (rows - 1) * row_stride wraps around to a small number of bytes.
                case.rows = 1 + (1 << u.int_in_range(0..=3)?);
                let wrapping = (usize::MAX / (case.rows - 1)).wrapping_add(1);
                let row_bytes = case.shape().row_bytes();
                case.stride = wrapping.wrapping_add(u.int_in_range(0..=64)?).wrapping_sub(row_bytes) as i64;
                if case.rows == 2 {
                    case.stride = -(1 + u.int_in_range(row_bytes as i64..=2 * row_bytes as i64)?);
                }
            }
            4 => {
                let huge = *u.choose(&HUGE)?;
                if u.ratio(1, 2)? { case.rows = huge } else { case.cols = huge }
            }
            5 | 6 if operation.is_batched() => case.narrow_gap(u)?,
            _ => case.put_not_finite(u)?,
        }
        Ok(case)
    }

    /// Vectors, or their results, that overlap.
    fn narrow_gap(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        self.batch = self.batch.max(2);
        match u.ratio(1, 2)? {
            true => self.x_gap = -u.int_in_range(1..=self.cols as i64)?,
            false => self.out_gap = -u.int_in_range(1..=self.rows as i64)?,
        }
        Ok(())
    }

    fn put_not_finite(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let index = u.int_in_range(0..=self.cols - 1)?;
        self.patches.push(Patch { buffer: Buffer::X, index, bits: vec![*u.choose(&NOT_FINITE)?] });
        Ok(())
    }

    fn shaped(domain: Domain, scaled: bool, u: &mut Unstructured<'_>) -> Result<Self> {
        let operation = domain.operation;
        let cols = domain.cols(edge_length(domain.format.block_len, u)?);
        let mut case = Self::new(domain, 1, cols);
        if operation.is_matrix() {
            case.scaled |= scaled && domain.may_be_scaled();
            let rows = edge_rows(u)?;
            case.rows = domain.requirements.rows(rows.min((MAX_ELEMENTS / cols.max(1)).max(1)));
            case.stride = edge_stride(case.rows, case.shape().row_bytes(), u)?;
        }
        if operation.is_batched() {
            let batch: usize = *u.choose(&[1, 2, 3, 4, 5, 0, 1, 7, 8, 9, 2, 4])?;
            let most = MAX_ELEMENTS / (case.rows * cols).max(1);
            case.batch = domain.requirements.batch(batch.min(most.max(1)));
        }
        if operation.has_digits() {
            case.digits -= u.int_in_range(0..=DIGITS.end() - DIGITS.start())?;
        }
        Ok(case)
    }

    fn shorten_one(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let buffers: Vec<Buffer> = self.resizable_buffers().collect();
        let buffer = *u.choose(&buffers)?;
        let needed = self.operation.needed(self.shape(), buffer) as i64;
        let all = u.ratio(1, 4)?;
        self.slack[buffer] = if all { -needed } else { -u.int_in_range(1..=needed.clamp(1, 300))? };
        Ok(())
    }

    /// Overwrites one element that matters with edge or arbitrary bits.
    fn patch_one(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let buffer = *u.choose(self.operation.inputs(self.scaled))?;
        let needed = self.operation.needed(self.shape(), buffer) as usize;
        if needed == 0 {
            return Ok(());
        }
        // Of packed bytes those of a row: what lies between rows does not matter, and is not there in sparse memory.
        let (row_bytes, in_rows) =
            (self.shape().row_bytes(), buffer == Buffer::Packed && self.operation.is_matrix());
        let count = if in_rows { self.rows * row_bytes } else { needed };
        if count == 0 {
            return Ok(());
        }
        let at = match u.int_in_range(0..=2)? {
            0 => 0,
            1 => count - 1,
            _ => u.int_in_range(0..=count - 1)?,
        };
        let index = if in_rows { at / row_bytes * self.shape().row_stride + at % row_bytes } else { at };
        let bits = match self.operation.width(buffer) {
            1 if buffer == Buffer::Codes => u.int_in_range(0..=255)?,
            1 => u32::from(u.arbitrary::<u8>()?),
            _ if u.ratio(1, 2)? => *u.choose(&EDGE_BITS)?,
            _ => u.arbitrary()?,
        };
        self.patches.push(Patch { buffer, index, bits: vec![bits] });
        Ok(())
    }

    /// Fills every input, as far as the bytes go.
    fn fill_raw(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let inputs = self.operation.inputs(self.scaled);
        for (at, &buffer) in inputs.iter().enumerate() {
            let width = self.operation.width(buffer);
            let share = u.len() / (inputs.len() - at) / width;
            let elements = share.min(self.operation.needed(self.shape(), buffer) as usize);
            let bytes = u.bytes(elements * width)?;
            let bits = |chunk: &[u8]| chunk.iter().rev().fold(0, |bits, &byte| bits << 8 | u32::from(byte));
            if elements > 0 {
                self.patches.push(Patch { buffer, index: 0, bits: bytes.chunks(width).map(bits).collect() });
            }
        }
        Ok(())
    }
}

/// Rows or columns of which no buffer has room: their products wrap, or are beyond any memory.
pub(super) const HUGE: [usize; 6] = [usize::MAX, usize::MAX - 255, 1 << 63, 1 << 62, (1 << 62) + 1, 1 << 58];

/// f32 patterns at which kernels go wrong: zeros, ones, subnormals, largest, infinities, NaNs.
pub(super) const EDGE_BITS: [u32; 14] = [
    0,
    0x8000_0000,
    1,
    0x8000_0001,
    0x007f_ffff,
    0x0080_0000,
    0x3f80_0000,
    0xbf80_0001,
    0x4b80_0000,
    0x7f7f_ffff,
    0x7f80_0000,
    0xff80_0000,
    0x7fc0_0000,
    0x7f80_0001,
];

/// Infinities and NaN, quiet and signalling, of either sign.
pub(super) const NOT_FINITE: [u32; 6] =
    [0x7f80_0000, 0xff80_0000, 0x7fc0_0000, 0xffc0_0000, 0x7f80_0001, 0xffff_ffff];

/// The codes of the largest magnitude; of qk256 that which kernels raise the most.
fn largest_codes(format: &Format) -> Vec<u8> {
    if format == &QK256 { vec![3] } else { format.extreme_codes() }
}

/// Whether an event that comes about once in `n` draws does. Never where the bytes have run out, so that few bytes make a
/// plain case.
fn once_in(n: u8, u: &mut Unstructured<'_>) -> Result<bool> {
    Ok(u.int_in_range(1..=n)? == n)
}

/// Lengths around vector widths, blocks and powers of two, and everything up to about four blocks.
fn edge_length(block_len: usize, u: &mut Unstructured<'_>) -> Result<usize> {
    let near =
        |centre: usize, u: &mut Unstructured<'_>| Ok((centre + u.int_in_range(0..=2)?).saturating_sub(1));
    match u.int_in_range(0..=9)? {
        0 => u.int_in_range(0..=8),
        1..=3 => {
            let unit = *u.choose(&[8, 16, 32, 64, 128, block_len])?;
            near(unit * u.int_in_range(1..=8)?, u)
        }
        4..=6 => u.int_in_range(0..=1100),
        7 => Ok(block_len * u.int_in_range(0..=8)? + u.int_in_range(1..=15)?),
        8 => Ok(block_len * u.int_in_range(1..=16)?),
        _ => near(1 << u.int_in_range(3..=17)?, u),
    }
}

/// Row counts around tile heights.
fn edge_rows(u: &mut Unstructured<'_>) -> Result<usize> {
    if u.ratio(1, 16)? {
        return u.int_in_range(0..=70);
    }
    u.choose(&[1, 2, 3, 4, 5, 0, 1, 6, 7, 8, 9, 1, 2, 15, 16, 17, 31, 33]).copied()
}

/// Strides: mostly dense, else a gap of any alignment; anything at all where the stride is not looked at.
fn edge_stride(rows: usize, row_bytes: usize, u: &mut Unstructured<'_>) -> Result<i64> {
    if rows <= 1 && u.ratio(1, 4)? {
        return u.choose(&[-(row_bytes as i64), -1, i64::MAX, i64::MIN]).copied();
    }
    match u.int_in_range(0..=5)? {
        0 => u.int_in_range(1..=65),
        1 => Ok(64 * u.int_in_range(1..=4)?),
        2 => Ok((4096 - row_bytes as i64).max(0)),
        _ => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_drawn_by_themselves_are_spread_over_all_sizes_and_fit() {
        for domain in Operation::ALL.into_iter().flat_map(Domain::drawn) {
            let cases: Vec<Case> = (0..2000).map(|index| shape_from_seed(domain, 7, index)).collect();
            let elements = |case: &Case| case.rows * case.cols;
            let fits = |case: &Case| case.once && (1..=1 << SHAPE_BITS).contains(&elements(case));
            assert!(cases.iter().all(fits), "{domain}");
            let large = cases.iter().filter(|case| elements(case) > 1 << 20).count();
            let small = cases.iter().filter(|case| elements(case) < 1 << 10).count();
            assert!(large > 100 && small > 100, "{domain}: {large} large ones, {small} small ones");
        }
    }
}
