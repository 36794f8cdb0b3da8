//! Arithmetic on a tree: what a kernel gives, bit for bit, when the order of its additions is known.
//!
//! The tree says what is added to what. A model adds how: in which precision, where a block's scale is multiplied, and which of
//! these products go into an addition without being rounded before. All of it is found by calls, as the tree was.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::Order;
use super::probe::{Operands, Probe, RevealError, Subject};
use crate::format::Format;
use crate::judge::same_sum;
use crate::kernel::Kernel;
use crate::memory::Placement;

/// Random rows of the weight 1 that a model must predict, bit for bit, and as many of random codes.
pub(super) const TRIALS: usize = 100;

/// Random rows of given codes that a model must predict before a row with these codes that it does not predict is a finding.
const TRIALS_OF_CODES: usize = 300;

/// Pairs of numbers after which an addition that could be fused or not is taken for not fused. A pair separates them about
/// once in three times; two thirds to this power, for each of thousands of additions, is no chance at all.
const JOIN_TRIALS: usize = 80;

/// How sums are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Each addition rounds to f32.
    F32,
    /// Each addition rounds to f64, and the result once more to f32.
    F64,
    /// The additions within a block round to f32, those of blocks to f64.
    F32InBlocks,
}

/// Where the scale of a block is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scaling {
    /// There are no scales.
    Absent,
    /// Into each product of weight and activation. Into which factor matters only where the product is subnormal.
    Term,
    /// The same, where the product is rounded to f32 although sums are f64.
    RoundedTerm,
    /// Into the sums of a block, wherever they leave it.
    Block,
}

/// How an addition takes a scaled number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Join {
    /// Rounded before.
    Rounded,
    /// The first of the two unrounded, by a fused multiply-add.
    FirstFused,
    /// The second unrounded.
    SecondFused,
}

/// A scalar model of a kernel for one number of columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    format: &'static Format,
    order: Order,
    precision: Precision,
    scaling: Scaling,
    /// One for each addition.
    joins: Vec<Join>,
    /// For each column and addition: the block whose sum leaves it here and is scaled.
    scaled_here: Vec<Option<usize>>,
    /// For each column: whether the scaled activation is rounded before it is multiplied by the weight.
    rounds_before_weight: Vec<bool>,
}

/// The precisions and scalings that are tried, the likeliest first.
const UNSCALED: [(Precision, Scaling); 3] = [
    (Precision::F32, Scaling::Absent),
    (Precision::F64, Scaling::Absent),
    (Precision::F32InBlocks, Scaling::Absent),
];

const SCALED: [(Precision, Scaling); 6] = [
    (Precision::F32, Scaling::Term),
    (Precision::F32, Scaling::Block),
    (Precision::F64, Scaling::Term),
    (Precision::F64, Scaling::RoundedTerm),
    (Precision::F64, Scaling::Block),
    (Precision::F32InBlocks, Scaling::Block),
];

impl Model {
    /// The first model on this tree that predicts [`TRIALS`] rows of the weight 1 and as many of random codes, bit for bit.
    pub(super) fn fit(probe: &mut Probe<'_>, order: &Order) -> Result<Self, RevealError> {
        let (one, count) = (probe.code_of_one(), probe.code_count());
        let candidates: &[_] = if probe.is_scaled() { &SCALED } else { &UNSCALED };
        let mut what = "the counts are those of a tree, but no precision and no way to apply scales on it predicts the results";
        for &(precision, scaling) in candidates {
            let Some(mut model) = Self::on(probe.format(), order, precision, scaling).joined(probe)? else {
                continue;
            };
            if !model.predicts(probe, TRIALS, |_| vec![one; order.cols])? {
                continue;
            }
            if model.predicts(probe, TRIALS, |rng| random_codes(rng, order.cols, count))? {
                model.find_roundings(probe)?;
                return Ok(model);
            }
            what = "a tree predicts the results where all codes are 2, but not where codes are random, so that the order depends on \
                    the codes";
        }
        Err(RevealError::NoTree(what.to_owned()))
    }

    /// Whether the model predicts random rows of these codes.
    pub(super) fn predicts_codes(&self, probe: &mut Probe<'_>, codes: &[u8]) -> Result<bool, RevealError> {
        self.predicts(probe, TRIALS_OF_CODES, |_| codes.to_vec())
    }

    fn on(format: &'static Format, order: &Order, precision: Precision, scaling: Scaling) -> Self {
        let scaled_here = match scaling {
            Scaling::Absent => vec![None; order.cols + order.sums.len()],
            Scaling::Block => leaving_blocks(format, order),
            // Each term leaves by itself.
            Scaling::Term | Scaling::RoundedTerm => {
                let columns = (0..order.cols).map(|column| Some(format.scale_of(column)));
                columns.chain(std::iter::repeat_n(None, order.sums.len())).collect()
            }
        };
        let joins = vec![Join::Rounded; order.sums.len()];
        let rounds_before_weight = vec![false; order.cols];
        Self { format, order: order.clone(), precision, scaling, joins, scaled_here, rounds_before_weight }
    }

    /// The order of additions.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// How sums are kept.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Where scales are multiplied.
    pub fn scaling(&self) -> Scaling {
        self.scaling
    }

    /// Additions that take a scaled number unrounded, of all that take one.
    pub fn fused(&self) -> (usize, usize) {
        let takes_one = |sum: &&[usize; 2]| sum.iter().any(|&node| self.scaled_here[node].is_some());
        let fused = self.joins.iter().filter(|&&join| join != Join::Rounded).count();
        (fused, self.order.sums.iter().filter(takes_one).count())
    }

    /// What the kernel gives for these operands. `+0.0` for no columns.
    ///
    /// # Panics
    /// If there are not as many codes and activations as columns, or fewer scales than blocks where there are scales.
    pub fn predict(&self, operands: &Operands) -> f32 {
        assert_eq!(operands.x.len(), self.order.cols, "an activation for each column");
        assert_eq!(operands.codes.len(), self.order.cols, "a code for each column");
        match self.precision {
            Precision::F32 if self.scaling == Scaling::Absent => self.predict_unscaled(operands),
            Precision::F32 => self.predict_f32(operands),
            Precision::F64 | Precision::F32InBlocks => self.predict_f64(operands),
        }
    }

    /// The term of each column, and the scale that it is still to be multiplied by.
    fn terms(&self, operands: &Operands) -> Vec<Scaled> {
        let term = |(column, (&code, &x)): (usize, (&u8, &f32))| {
            let weight = f32::from(self.format.weight(code));
            match self.scaled_here[column].map(|block| operands.scales[block]) {
                Some(scale) if self.rounds_before_weight[column] => {
                    Scaled { value: weight * (x * scale), by: None }
                }
                by => Scaled { value: weight * x, by },
            }
        };
        operands.codes.iter().zip(&operands.x).enumerate().map(term).collect()
    }

    fn predict_unscaled(&self, operands: &Operands) -> f32 {
        let term = |(&code, &x): (&u8, &f32)| f32::from(self.format.weight(code)) * x;
        let mut values = Vec::with_capacity(self.order.cols + self.order.sums.len());
        values.extend(operands.codes.iter().zip(&operands.x).map(term));
        for &[a, b] in &self.order.sums {
            values.push(values[a] + values[b]);
        }
        values.last().copied().unwrap_or(0.0)
    }

    fn predict_f32(&self, operands: &Operands) -> f32 {
        let scaled = |node: usize, value| Scaled {
            value,
            by: self.scaled_here[node].map(|block| operands.scales[block]),
        };
        let mut values = self.terms(operands);
        for (&[a, b], join) in self.order.sums.iter().zip(&self.joins) {
            let sum = values[a].plus(values[b], *join);
            values.push(scaled(values.len(), sum));
        }
        values.last().map_or(0.0, |value| value.rounded())
    }

    fn predict_f64(&self, operands: &Operands) -> f32 {
        let scaled = |node: usize, value: f64| {
            self.scaled_here[node].map_or(value, |block| value * f64::from(operands.scales[block]))
        };
        let narrow = self.precision == Precision::F32InBlocks;
        let rounded =
            |value: f64| if self.scaling == Scaling::RoundedTerm { f64::from(value as f32) } else { value };
        // Products of two f32 are exact in f64.
        let product = |term: Scaled| rounded(f64::from(term.value) * f64::from(term.by.unwrap_or(1.0)));
        let mut values: Vec<f64> = self.terms(operands).into_iter().map(product).collect();
        let mut blocks: Vec<Option<usize>> =
            (0..self.order.cols).map(|column| Some(self.format.scale_of(column))).collect();
        for &[a, b] in &self.order.sums {
            let block = blocks[a].filter(|_| blocks[a] == blocks[b]);
            let sum = values[a] + values[b];
            // Of two f32 the sum in f64, rounded to f32, is that in f32 (Figueroa, When is Double Rounding Innocuous?, 1995).
            let sum = if narrow && block.is_some() { f64::from(sum as f32) } else { sum };
            values.push(scaled(values.len(), sum));
            blocks.push(block);
        }
        values.last().map_or(0.0, |&value| value as f32)
    }

    /// The model with the joins that the kernel shows; `None` if it shows what no join explains.
    fn joined(mut self, probe: &mut Probe<'_>) -> Result<Option<Self>, RevealError> {
        if self.precision != Precision::F32 || self.scaling == Scaling::Absent {
            return Ok(Some(self));
        }
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let mut first_column: Vec<usize> = (0..self.order.cols).collect();
        for (at, [a, b]) in self.order.sums.clone().into_iter().enumerate() {
            first_column.push(first_column[a]);
            let mut open = vec![Join::Rounded];
            open.extend(self.scaled_here[a].map(|_| Join::FirstFused));
            open.extend(self.scaled_here[b].map(|_| Join::SecondFused));
            self.keep_shown(probe, (at, [first_column[a], first_column[b]]), &mut open, &mut rng)?;
            let Some(&join) = open.first() else { return Ok(None) };
            self.joins[at] = join;
        }
        Ok(Some(self))
    }

    /// Of the joins that addition number `at` may be, keeps those that predict the sum of these two columns, by pairs of numbers until one
    /// is left or enough were tried.
    fn keep_shown(
        &mut self,
        probe: &mut Probe<'_>,
        (at, columns): (usize, [usize; 2]),
        open: &mut Vec<Join>,
        rng: &mut ChaCha8Rng,
    ) -> Result<(), RevealError> {
        let (one, mut trials) = (probe.code_of_one(), 0);
        while open.len() > 1 && trials < JOIN_TRIALS {
            let pair = self.pair(one, columns, rng, probe);
            let got = probe.product_of(&pair)?;
            open.retain(|&join| {
                self.joins[at] = join;
                same_sum(self.predict(&pair).to_bits(), got.to_bits())
            });
            trials += 1;
        }
        Ok(())
    }

    /// Finds the columns whose scaled activation is rounded before it meets its weight, which shows where it is subnormal: 1.5
    /// times the smallest f32 rounds to 2 of it, and twice that is 4; rounded after the weight, it is 3.
    fn find_roundings(&mut self, probe: &mut Probe<'_>) -> Result<(), RevealError> {
        if !matches!(self.scaling, Scaling::Term | Scaling::RoundedTerm) {
            return Ok(());
        }
        let Some(two) = self.format.code_of(2) else { return Ok(()) };
        let (mut x, mut scale) = (3.0 / (1_u128 << 75) as f32, 1.0 / (1_u128 << 75) as f32);
        if probe.stored(scale) != scale {
            // 16 bits hold no scale that is as small: 3 times 2^-140, and 2^-10.
            (x, scale) = (f32::from_bits(3 << 9), 1.0 / 1024.0);
        }
        let (cols, scales) = (self.order.cols, vec![scale; probe.scales()]);
        let mut one = Operands { codes: vec![two; cols], x: vec![0.0; cols], scales };
        for column in 0..cols {
            one.x[column] = x;
            self.rounds_before_weight[column] = probe.product_of(&one)?.to_bits() == 4;
            one.x[column] = 0.0;
        }
        Ok(())
    }

    /// Weights of 1, activations that are zero but for two, of nearly one size so that fusing shows, and scales.
    fn pair(&self, one: u8, [i, j]: [usize; 2], rng: &mut ChaCha8Rng, probe: &Probe<'_>) -> Operands {
        let cols = self.order.cols;
        let mut x = vec![0.0; cols];
        [x[i], x[j]] = [wild(rng.next_u64(), 1), wild(rng.next_u64(), 1)];
        let scales = (0..probe.scales()).map(|_| probe.stored(wild(rng.next_u64(), 1))).collect();
        Operands { codes: vec![one; cols], x, scales }
    }

    /// Whether the kernel gives what the model does: of numbers of all sizes, and of numbers of about one size, whose sums round at
    /// nearly every addition, so that a wider accumulator shows even where few columns are added.
    fn predicts(
        &self,
        probe: &mut Probe<'_>,
        trials: usize,
        mut codes: impl FnMut(&mut ChaCha8Rng) -> Vec<u8>,
    ) -> Result<bool, RevealError> {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for trial in 0..trials {
            let codes = codes(&mut rng);
            let operands = random_operands(&mut rng, trial, codes, probe);
            let (got, must) = (probe.product_of(&operands)?, self.predict(&operands));
            if !same_sum(got.to_bits(), must.to_bits()) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A number, and the scale that it is still to be multiplied by.
#[derive(Clone, Copy)]
struct Scaled {
    value: f32,
    by: Option<f32>,
}

impl Scaled {
    fn rounded(self) -> f32 {
        self.by.map_or(self.value, |scale| self.value * scale)
    }

    fn plus(self, other: Self, join: Join) -> f32 {
        let fused = |a: Self, b: Self| a.value.mul_add(a.by.unwrap_or(1.0), b.rounded());
        match join {
            Join::Rounded => self.rounded() + other.rounded(),
            Join::FirstFused => fused(self, other),
            Join::SecondFused => fused(other, self),
        }
    }
}

/// For each column and addition, the block if all columns below it are of one and those of the addition above are not.
fn leaving_blocks(format: &Format, order: &Order) -> Vec<Option<usize>> {
    let mut block: Vec<Option<usize>> = (0..order.cols).map(|column| Some(format.scale_of(column))).collect();
    let mut leaving = vec![None; order.cols + order.sums.len()];
    for &[a, b] in &order.sums {
        let within = block[a].filter(|_| block[a] == block[b]);
        if within.is_none() {
            (leaving[a], leaving[b]) = (block[a], block[b]);
        }
        block.push(within);
    }
    if let (Some(last), Some(root)) = (leaving.last_mut(), block.last()) {
        *last = *root;
    }
    leaving
}

/// Whether random rows with these codes and with their complements are exact opposites.
pub(super) fn negates(kernel: &dyn Kernel, subject: Subject, codes: &[u8]) -> Result<bool, RevealError> {
    let mut probe = Probe::new(kernel, subject, Placement::EndFlush)?;
    let (complement, mut rng) = (kernel.domain().format.code_count() - 1, ChaCha8Rng::seed_from_u64(1));
    for trial in 0..TRIALS_OF_CODES {
        let mut operands = random_operands(&mut rng, trial, codes.to_vec(), &probe);
        let first = probe.product_of(&operands)?;
        operands.codes.iter_mut().for_each(|code| *code ^= complement);
        if !same_sum((-first).to_bits(), probe.product_of(&operands)?.to_bits()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Operands with these codes and as many scales: numbers of all sizes in every second trial, otherwise of about one size.
fn random_operands(rng: &mut ChaCha8Rng, trial: usize, codes: Vec<u8>, probe: &Probe<'_>) -> Operands {
    let span = if trial.is_multiple_of(2) { 30 } else { 1 };
    let mut draw =
        |count: usize, span| -> Vec<f32> { (0..count).map(|_| wild(rng.next_u64(), span)).collect() };
    let x = draw(codes.len(), span);
    // Scales of 16 bits have few exponents.
    let is_narrow = probe.stored(f32::MAX) != f32::MAX;
    let scales = draw(probe.scales(), if is_narrow { span.min(12) } else { span });
    let scales = scales.into_iter().map(|scale| probe.stored(scale)).collect();
    Operands { codes, x, scales }
}

/// Codes drawn from some of the `count` that there are, so that rows of few different weights come up as well as rows of all.
fn random_codes(rng: &mut ChaCha8Rng, cols: usize, count: u8) -> Vec<u8> {
    let some = 1 + rng.next_u64() % ((1 << count) - 1);
    let some: Vec<u8> = (0..count).filter(|code| some >> code & 1 == 1).collect();
    (0..cols).map(|_| some[rng.next_u64() as usize % some.len()]).collect()
}

/// Any sign and mantissa, exponents from `-span` to `span`.
fn wild(draw: u64, span: u32) -> f32 {
    let exponent = 127 - span + (draw >> 32) as u32 % (2 * span + 1);
    f32::from_bits(draw as u32 & 0x807f_ffff | exponent << 23)
}
