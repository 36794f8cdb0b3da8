//! Outputs held against what the oracle demands.

mod packed;
mod quantize;

use serde::{Deserialize, Serialize};

use crate::buffer::Buffer;
use crate::evidence::{Allowed, Bits, Evidence, Miss, Place, Wrong, ulp};
use crate::inputs::Inputs;
use crate::oracle::{Expected, FLAT_BOUND, RowTruth, Wide};
use crate::property::{Cause, Failure, Property, PropertyCounts};

/// An error and where it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorstError {
    /// |y - exact|.
    #[serde(with = "crate::number")]
    pub absolute: f64,
    /// The same in units in the last place of the exact value.
    #[serde(with = "crate::number")]
    pub ulps: f64,
}

/// What one output was judged by, and how it did.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// Outputs judged on each property.
    pub properties: PropertyCounts,
    /// The largest error on the data of oracle 4.
    pub worst: WorstError,
    /// The largest part of its bound that an error on oracle 5 comes to.
    pub share: f64,
    /// The strictest violated property first, each property once.
    pub failures: Vec<Failure>,
}

/// Judges `output` (f32 bits, or codes widened) by every oracle that applies. `depth` is the most additions that a term
/// goes through, where that is known.
pub fn judge(inputs: &Inputs, expected: &Expected, depth: Option<usize>, output: &[u32]) -> Judgement {
    let mut judgement = Judgement::default();
    match expected {
        Expected::Bits(bits) => judge_bits(inputs, bits, output, &mut judgement),
        Expected::Rows(rows) => judge_rows(inputs, rows, depth, output, &mut judgement),
        Expected::Blocks(blocks) => quantize::judge_blocks(blocks, output, &mut judgement),
        Expected::Packed(blocks) => {
            packed::judge_packed(inputs.shape.format.block_bytes, blocks, output, &mut judgement);
        }
    }
    judgement
}

/// Whether two outputs are the same: equal bits, or NaN both.
#[inline]
pub(crate) fn same_bits(a: u32, b: u32) -> bool {
    a == b || (f32::from_bits(a).is_nan() && f32::from_bits(b).is_nan())
}

/// Whether two sums are the same: equal bits, NaN both, or zero both.
#[inline]
pub(crate) fn same_sum(a: u32, b: u32) -> bool {
    same_bits(a, b) || (a | b) << 1 == 0
}

fn judge_bits(inputs: &Inputs, expected: &[u32], output: &[u32], judgement: &mut Judgement) {
    judgement.properties.add(Property::BitExact, expected.len() as u64);
    // Comparing slices first is what makes this cheap.
    if expected == output {
        return;
    }
    let signed_zeros = inputs.shape.format.has_signed_zeros();
    let same = |a, b| if signed_zeros { same_bits(a, b) } else { same_sum(a, b) };
    let wrong: Vec<usize> = (0..expected.len()).filter(|&at| !same(expected[at], output[at])).collect();
    if let Some(&first) = wrong.first() {
        let (must, got) = (expected[first], output[first]);
        let cause = Cause::of_bits(inputs.operation.width(Buffer::Out), must, got);
        let evidence = Evidence::Judged(Wrong {
            wrong: wrong.len() as u64,
            of: expected.len() as u64,
            first: Miss::new(inputs, first, got, must),
            worst: None,
        });
        judgement.failures.push(Failure::new(Property::BitExact, cause, evidence));
    }
}

fn judge_rows(
    inputs: &Inputs,
    rows: &[RowTruth],
    depth: Option<usize>,
    output: &[u32],
    judgement: &mut Judgement,
) {
    let mut misses =
        [Property::BitExact, Property::ExactRegime, Property::Flat, Property::Bound, Property::Special]
            .map(|property| (property, Vec::<(Miss, Cause)>::new()));
    let (mut exact_rows, mut fixed_rows) = (0, 0);
    for (row, (truth, &bits)) in rows.iter().zip(output).enumerate() {
        let got = f32::from_bits(bits);
        // The usual cases, of millions of rows.
        match *truth {
            RowTruth::Exact(exact) if exact.to_bits() == bits => {
                exact_rows += 1;
                continue;
            }
            RowTruth::Fixed { bits: must, exact, bound, flat: false }
                if must == bits && bound.is_finite() && exact.distance(got) <= bound =>
            {
                fixed_rows += 1;
                if bound > 0.0 {
                    judgement.share = judgement.share.max(exact.distance(got) / bound);
                }
                continue;
            }
            _ => {}
        }
        for demand in demands(truth, depth, got) {
            judgement.properties.add(demand.property, 1);
            if demand.property == Property::Flat && demand.error > judgement.worst.absolute {
                judgement.worst = WorstError { absolute: demand.error, ulps: demand.error / demand.ulp() };
            }
            if demand.property == Property::Bound && demand.bound > 0.0 {
                judgement.share = judgement.share.max(demand.error / demand.bound).min(f64::MAX);
            }
            if !demand.met {
                let (_, list) = misses
                    .iter_mut()
                    .find(|(property, _)| *property == demand.property)
                    .expect("a property of rows");
                let (place, expected) = (Place::of_result(inputs, row), demand.allowed());
                list.push((Miss { place, got: Bits::of(got), expected }, demand.cause(got)));
            }
        }
    }
    let counts = [
        (Property::ExactRegime, exact_rows),
        (Property::Bound, fixed_rows),
        (Property::BitExact, fixed_rows),
    ];
    counts.into_iter().for_each(|(property, rows)| judgement.properties.add(property, rows));
    judgement
        .failures
        .extend(misses.into_iter().filter_map(|(property, misses)| describe(property, rows.len(), &misses)));
}

/// What one property asks of one row.
struct Demand<'a> {
    property: Property,
    truth: &'a RowTruth,
    met: bool,
    error: f64,
    bound: f64,
}

impl Demand<'_> {
    /// The distance of f32 neighbours at the magnitude of what must be.
    fn ulp(&self) -> f64 {
        match self.truth {
            RowTruth::Near { exact, .. } | RowTruth::Fixed { exact, .. } => ulp(exact.to_f32()),
            _ => 1.0,
        }
    }

    /// What kind of miss `got` is.
    fn cause(&self, got: f32) -> Cause {
        let must = match self.truth {
            RowTruth::Exact(exact) => *exact,
            RowTruth::Infinite(infinity) => *infinity,
            RowTruth::Fixed { bits, .. } => f32::from_bits(*bits),
            RowTruth::Near { exact, .. } => exact.to_f32(),
            RowTruth::Nan | RowTruth::NotFinite | RowTruth::MayOverflow => f32::NAN,
        };
        Cause::of_bits(size_of::<f32>(), must.to_bits(), got.to_bits())
    }

    fn allowed(&self) -> Allowed {
        match *self.truth {
            RowTruth::Exact(exact) => Allowed::Exactly(Bits::of(exact)),
            RowTruth::Fixed { bits, .. } if self.property == Property::BitExact => {
                Allowed::Exactly(Bits::of(f32::from_bits(bits)))
            }
            RowTruth::Near { exact, .. } | RowTruth::Fixed { exact, .. } => {
                Allowed::Near { nearest: Bits::of(exact.to_f32()), bound: self.bound, error: self.error }
            }
            RowTruth::Infinite(infinity) => Allowed::Infinity(Bits::of(infinity)),
            RowTruth::Nan => Allowed::Nan,
            RowTruth::NotFinite | RowTruth::MayOverflow => Allowed::NotFinite,
        }
    }
}

fn demands(truth: &RowTruth, depth: Option<usize>, got: f32) -> impl Iterator<Item = Demand<'_>> {
    let plain = |property, met| Some(Demand { property, truth, met, error: f64::INFINITY, bound: 0.0 });
    let only = |demand| [None, None, demand];
    // No list on the heap: there are millions of rows.
    let demands = match *truth {
        RowTruth::Exact(exact) => {
            only(plain(Property::ExactRegime, same_sum(exact.to_bits(), got.to_bits())))
        }
        RowTruth::Nan => only(plain(Property::Special, got.is_nan())),
        RowTruth::Infinite(infinity) => only(plain(Property::Special, got == infinity)),
        RowTruth::NotFinite => only(plain(Property::Special, !got.is_finite())),
        RowTruth::MayOverflow => only(None),
        RowTruth::Near { exact, spread, flat } => {
            let [bound, flat] = near(truth, got, exact, spread.bound(depth), flat);
            [bound, flat, None]
        }
        RowTruth::Fixed { bits, exact, bound, flat } => {
            // Where y overflows there is no bound to hold.
            let [bound, flat] =
                if bound.is_finite() { near(truth, got, exact, bound, flat) } else { [None, None] };
            [bound, flat, plain(Property::BitExact, got.to_bits() == bits)]
        }
    };
    demands.into_iter().flatten()
}

/// Oracle 5, and oracle 4 where it applies.
fn near(truth: &RowTruth, got: f32, exact: Wide, bound: f64, flat: bool) -> [Option<Demand<'_>>; 2] {
    let error = if got.is_finite() { exact.distance(got) } else { f64::INFINITY };
    let within = |property, bound| Demand { property, truth, met: error <= bound, error, bound };
    [Some(within(Property::Bound, bound)), flat.then(|| within(Property::Flat, FLAT_BOUND))]
}

fn describe(property: Property, rows: usize, misses: &[(Miss, Cause)]) -> Option<Failure> {
    let &(first, cause) = misses.first()?;
    let worse =
        |worst: Miss, &(miss, _): &(Miss, Cause)| if miss.error() > worst.error() { miss } else { worst };
    let worst = misses.iter().fold(first, worse);
    let worst = (worst.place != first.place).then(|| Box::new(worst));
    let evidence = Evidence::Judged(Wrong { wrong: misses.len() as u64, of: rows as u64, first, worst });
    Some(Failure::new(property, cause, evidence))
}
