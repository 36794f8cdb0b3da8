//! Every evaluation order that docs/numerics.md covers, held against the oracle.
//!
//! A sum is a tree of fused operations over pairs: the pair (a, b) joins with one rounding, and (t, 1) is a plain
//! addition of t.

use qk256_verify::case::Case;
use qk256_verify::data::Distribution;
use qk256_verify::format::QK256;
use qk256_verify::inputs::{Inputs, PackedBytes};
use qk256_verify::operation::Operation;
use qk256_verify::oracle::{self, Expected, RowTruth};
use rand_core::Rng;

use super::{stream, wide};

/// Vectors of a data set; each has four rows.
const CASES: u64 = 400;

type Pair = (f32, f32);

/// How the scale comes to the product of weight and x.
#[derive(Clone, Copy, Debug)]
enum Scaling {
    /// (w s) x, then added.
    Weight,
    /// (w s) x, fused with the addition.
    WeightFused,
    /// (w x) s, then added.
    Product,
    /// w (x s), then added.
    Activation,
    /// The block's sum of w x, times s, then added.
    Block,
    /// The block's sum of w x, times s, fused with the addition.
    BlockFused,
    /// In each block x summed apart where |w| is 2, doubled once; then as `Block`.
    Classes,
}

const SCALINGS: [Scaling; 7] = [
    Scaling::Weight,
    Scaling::WeightFused,
    Scaling::Product,
    Scaling::Activation,
    Scaling::Block,
    Scaling::BlockFused,
    Scaling::Classes,
];

/// The shape of the additions.
#[derive(Clone, Copy, Debug)]
enum Tree {
    LeftToRight,
    RightToLeft,
    Pairwise,
    /// Eight partial sums, the last of them joined pairwise.
    Lanes,
}

const TREES: [Tree; 4] = [Tree::LeftToRight, Tree::RightToLeft, Tree::Pairwise, Tree::Lanes];

/// The operands of one row, without padding.
struct Row {
    weights: Vec<f32>,
    x: Vec<f32>,
    scales: Vec<f32>,
}

impl Row {
    fn of(inputs: &Inputs, row: usize) -> Self {
        let (shape, blocks) = (inputs.shape, inputs.shape.blocks());
        let bytes = inputs.packed.from_row(shape, row);
        let weight = |c: usize| [-2.0, -1.0, 1.0, 2.0][usize::from(bytes[c / 4] >> (2 * (c % 4)) & 3)];
        let scales =
            inputs.scales.as_ref().map_or(vec![1.0; blocks], |all| all[row * blocks..][..blocks].to_vec());
        Self { weights: (0..shape.cols).map(weight).collect(), x: inputs.x[..shape.cols].to_vec(), scales }
    }

    fn evaluate(&self, scaling: Scaling, tree: Tree) -> f32 {
        let blocks =
            self.weights.chunks(QK256.block_len).zip(self.x.chunks(QK256.block_len)).zip(&self.scales);
        let pairs: Vec<Pair> =
            blocks.flat_map(|((weights, x), &scale)| scaling.pairs(tree, weights, x, scale)).collect();
        tree.sum(&pairs)
    }
}

impl Scaling {
    /// What a block gives to the sum over the whole row.
    fn pairs(self, tree: Tree, weights: &[f32], x: &[f32], scale: f32) -> Vec<Pair> {
        let terms = |pair: &dyn Fn(f32, f32) -> Pair| -> Vec<Pair> {
            weights.iter().zip(x).map(|(&w, &x)| pair(w, x)).collect()
        };
        let class =
            |size: f32| tree.sum(&terms(&|w, x| (if w.abs() == size { x * w.signum() } else { 0.0 }, 1.0)));
        let block = || tree.sum(&terms(&|w, x| (w * x, 1.0)));
        match self {
            Self::Weight => terms(&|w, x| ((w * scale) * x, 1.0)),
            Self::WeightFused => terms(&|w, x| (w * scale, x)),
            Self::Product => terms(&|w, x| ((w * x) * scale, 1.0)),
            Self::Activation => terms(&|w, x| (w * (x * scale), 1.0)),
            Self::Block => vec![(block() * scale, 1.0)],
            Self::BlockFused => vec![(block(), scale)],
            Self::Classes => vec![((2.0 * class(2.0) + class(1.0)) * scale, 1.0)],
        }
    }
}

impl Tree {
    fn sum(self, pairs: &[Pair]) -> f32 {
        let join = |sum: f32, &(a, b): &Pair| a.mul_add(b, sum);
        match self {
            Self::LeftToRight => pairs.iter().fold(0.0, join),
            Self::RightToLeft => pairs.iter().rev().fold(0.0, join),
            Self::Pairwise => match pairs {
                [] => 0.0,
                [pair] => join(0.0, pair),
                [(a, b), last] => join(a * b, last),
                _ => {
                    let (front, back) = pairs.split_at(pairs.len() / 2);
                    self.sum(front) + self.sum(back)
                }
            },
            Self::Lanes => {
                let lane = |lane: usize| (pairs.iter().skip(lane).step_by(8).fold(0.0, join), 1.0);
                Self::Pairwise.sum(&(0..8).map(lane).collect::<Vec<Pair>>())
            }
        }
    }
}

/// What the oracle demanded of the rows of a data set, and how near any order came to the bound.
#[derive(Default)]
struct Tally {
    exact: u64,
    near: u64,
    special: u64,
    free: u64,
    worst: f64,
    worst_order: Option<(Scaling, Tree)>,
}

impl Tally {
    fn add(&mut self, inputs: &Inputs) {
        let Expected::Rows(rows) = oracle::expected(inputs) else { unreachable!("a gemv has rows") };
        for (at, truth) in rows.iter().enumerate() {
            match truth {
                RowTruth::Exact(_) => self.exact += 1,
                RowTruth::Near { .. } => self.near += 1,
                RowTruth::MayOverflow => self.free += 1,
                RowTruth::Nan | RowTruth::Infinite(_) | RowTruth::NotFinite => self.special += 1,
                RowTruth::Fixed { .. } => unreachable!("a gemv is in f32"),
            }
            let row = Row::of(inputs, at);
            for scaling in SCALINGS {
                for tree in TREES {
                    self.hold(truth, row.evaluate(scaling, tree), (scaling, tree), inputs);
                }
            }
        }
    }

    /// Panics where `got` is not what the oracle demands.
    fn hold(&mut self, truth: &RowTruth, got: f32, order: (Scaling, Tree), inputs: &Inputs) {
        let met = match *truth {
            RowTruth::Exact(exact) => got == exact,
            RowTruth::Nan => got.is_nan(),
            RowTruth::Infinite(infinity) => got == infinity,
            RowTruth::NotFinite => !got.is_finite(),
            RowTruth::MayOverflow | RowTruth::Fixed { .. } => true,
            RowTruth::Near { exact, spread, .. } => {
                let share = exact.distance(got) / spread.bound(None);
                if share > self.worst {
                    (self.worst, self.worst_order) = (share, Some(order));
                }
                share <= 1.0
            }
        };
        assert!(met, "{order:?} gives {got:e}, must be {truth:?}\n{inputs:?}");
    }
}

pub(super) fn print() {
    println!(
        "\nEvery order of operations against the oracle: rows by what it demands, and the largest share of the"
    );
    println!("bound of oracle 5 that an error reached. {} orders a row.", SCALINGS.len() * TREES.len());
    println!("\ndata          exact    near  special  no demand   share of bound");
    let distributions = [
        Distribution::Integer,
        Distribution::OneHot,
        Distribution::Ten,
        Distribution::Wide,
        Distribution::Subnormal,
        Distribution::Special,
    ];
    for distribution in distributions {
        let mut tally = Tally::default();
        (0..CASES).for_each(|seed| tally.add(&seeded(distribution, seed)));
        tally.print(distribution.name());
    }
    for (name, inputs) in [("underflow", underflow as fn(u64) -> Inputs), ("edges", edges)] {
        let mut tally = Tally::default();
        (0..CASES).for_each(|seed| tally.add(&inputs(seed)));
        tally.print(name);
    }
    for (name, inputs) in [("absorbed", absorbed()), ("absorbed, scaled", absorbed_underflow())] {
        let mut tally = Tally::default();
        tally.add(&inputs);
        tally.print(name);
    }
}

impl Tally {
    fn print(&self, name: &str) {
        let order =
            self.worst_order.map_or(String::new(), |(scaling, tree)| format!("{scaling:?}, {tree:?}"));
        println!(
            "{name:16} {:5}  {:5}    {:5}      {:5}   {:8.4}  {order}",
            self.exact, self.near, self.special, self.free, self.worst
        );
    }
}

/// A distribution of cases, with scales, at a few lengths in turn.
fn seeded(distribution: Distribution, seed: u64) -> Inputs {
    let cols = [1, 2, 3, 9, 64, 255, 300, 700][seed as usize % 8];
    let case = Case { scaled: true, distribution, seed, ..Case::new(Operation::Gemv, 4, cols) };
    case.materialize(None).expect("a small case without a tensor")
}

/// Products of x and scale that lie among the subnormals, or just above.
fn underflow(seed: u64) -> Inputs {
    let mut inputs = seeded(Distribution::Raw, seed);
    let mut rng = stream(1000 + seed);
    inputs.x.iter_mut().for_each(|x| *x = wide(&mut rng, -84, -66, true));
    inputs.scales.iter_mut().flatten().for_each(|scale| *scale = wide(&mut rng, -66, -60, false));
    inputs
}

/// A few columns of values at which arithmetic changes its ways.
fn edges(seed: u64) -> Inputs {
    let mut inputs = seeded(Distribution::Raw, seed);
    let mut rng = stream(2000 + seed);
    let bits = [
        0,
        1,
        2,
        3,
        0x0040_0001,
        0x007f_ffff,
        0x0080_0000,
        0x0100_0001,
        0x1a00_0001,
        0x1f80_0001,
        0x2000_0000,
        0x3380_0000,
        0x3400_0001,
        0x3f80_0000,
        0x3f80_0001,
        0x3fff_ffff,
        0x4b80_0000,
        0x5f00_0000,
        0x7e00_0000,
        0x7e7f_ffff,
        0x7eff_ffff,
        0x7f00_0000,
        0x7f7f_ffff,
        0x7f80_0000,
        0x7fc0_0000,
    ];
    let mut edge = |chance: u32| {
        let draw = rng.next_u64();
        // The last two are not finite.
        let among = if (draw >> 40) as u32 % 100 < chance { bits.len() } else { bits.len() - 2 };
        f32::from_bits(bits[(draw as u32 as usize >> 1) % among] | (draw as u32 & 1) << 31)
    };
    inputs.x.iter_mut().for_each(|x| *x = edge(10));
    inputs.scales.iter_mut().flatten().for_each(|scale| *scale = edge(20));
    inputs
}

/// One row of `x` with one weight throughout.
fn one_row(x: Vec<f32>, code: u8, scales: Option<Vec<f32>>) -> Inputs {
    let cols = x.len();
    let row_stride = cols.div_ceil(256) * 64;
    let plain = Case::new(Operation::Gemv, 1, cols).materialize(None).expect("a small case has data");
    let packed = PackedBytes::whole(vec![code * 0b0101_0101; row_stride]);
    Inputs { packed, scales, x, flat: false, ..plain }
}

/// 2^24, then ones: from left to right each one is half an ulp and is lost.
fn absorbed() -> Inputs {
    let mut x = vec![1.0; 2048];
    x[0] = 16_777_216.0;
    one_row(x, 2, None)
}

/// 2^-123, then products of x and scale that underflow by half a step, doubled and lost.
fn absorbed_underflow() -> Inputs {
    let mut x = vec![2_f32.powi(-76) * 5.0; 2048];
    x[0] = 2_f32.powi(-50);
    one_row(x, 3, Some(vec![2_f32.powi(-74); 8]))
}
