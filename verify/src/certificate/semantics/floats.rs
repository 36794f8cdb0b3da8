//! f32 arithmetic: sums, products, and both in one.

use super::{Effect, Operands};
use crate::certificate::expression::{Expression, Operator, WIDTH};
use crate::certificate::value::{Byte, Datum, Values, are_known};

pub(super) fn apply(values: &mut Values, operands: &Operands<'_>) -> Option<(Effect, Vec<Datum>)> {
    let (base, is_scalar) = match operands.name.strip_suffix("ss") {
        Some(base) => (base, true),
        None => (operands.name.strip_suffix("ps")?, false),
    };
    if base == "hadd" {
        return Some((Effect::Sum, added_horizontally(values, operands)));
    }
    if let Some(fused) = Fusion::of(base) {
        let [b, c] = [&operands.sources[0], &operands.sources[1]];
        let lanes = lanes(operands, is_scalar, &operands.destination, |at| {
            fused.lane(values, [&operands.destination[at..][..WIDTH], &b[at..][..WIDTH], &c[at..][..WIDTH]])
        });
        return Some((Effect::Fused, lanes));
    }
    let (operator, effect) = match base {
        "add" => (Operator::Add, Effect::Sum),
        "sub" => (Operator::Subtract, Effect::Sum),
        "mul" => (Operator::Multiply, Effect::Product),
        _ => return None,
    };
    let [a, b] = operands.pair();
    let lanes =
        lanes(operands, is_scalar, a, |at| operate(values, operator, &a[at..][..WIDTH], &b[at..][..WIDTH]));
    Some((effect, lanes))
}

/// The result of each lane, or of the lowest with what lies above it.
fn lanes(
    operands: &Operands<'_>,
    is_scalar: bool,
    under: &[Datum],
    mut lane: impl FnMut(usize) -> Vec<Datum>,
) -> Vec<Datum> {
    if is_scalar {
        return [&lane(0)[..], &under[WIDTH..operands.len()]].concat();
    }
    (0..operands.len()).step_by(WIDTH).flat_map(lane).collect()
}

fn operate(values: &mut Values, operator: Operator, a: &[Datum], b: &[Datum]) -> Vec<Datum> {
    if are_known(a) && are_known(b) {
        return vec![Datum::of(Byte::KNOWN); WIDTH];
    }
    let (Some(a), Some(b)) = (values.float(a), values.float(b)) else {
        return vec![Datum::of(Byte::UNCLEAR); WIDTH];
    };
    let result = values.operate(operator, a, b);
    values.lane(result)
}

/// Sums of neighbours, of both sources in turn within each half.
fn added_horizontally(values: &mut Values, operands: &Operands<'_>) -> Vec<Datum> {
    const HALF: usize = 16;
    let pair = operands.pair();
    let mut data = Vec::with_capacity(operands.len());
    for half in 0..operands.len() / HALF {
        for source in pair {
            for at in [0, 2 * WIDTH] {
                let [a, b] = [0, WIDTH].map(|next| &source[HALF * half + at + next..][..WIDTH]);
                data.extend(operate(values, Operator::Add, a, b));
            }
        }
    }
    data
}

/// A product and a sum in one: which operands are multiplied, and what is negated.
#[derive(Clone, Copy)]
struct Fusion {
    /// The places of the two factors and of the addend.
    places: [usize; 3],
    negates_product: bool,
    subtracts: bool,
}

impl Fusion {
    fn of(name: &str) -> Option<Self> {
        let (kind, order) = name.split_at_checked(name.len().checked_sub(3)?)?;
        let places = match order {
            "132" => [0, 2, 1],
            "213" => [1, 0, 2],
            "231" => [1, 2, 0],
            _ => return None,
        };
        let (negates_product, subtracts) = match kind {
            "fmadd" => (false, false),
            "fmsub" => (false, true),
            "fnmadd" => (true, false),
            "fnmsub" => (true, true),
            _ => return None,
        };
        Some(Self { places, negates_product, subtracts })
    }

    fn lane(self, values: &mut Values, operands: [&[Datum]; 3]) -> Vec<Datum> {
        if operands.iter().all(|operand| are_known(operand)) {
            return vec![Datum::of(Byte::KNOWN); WIDTH];
        }
        let [a, b, c] = self.places.map(|place| values.float(operands[place]));
        let (Some(mut a), Some(b), Some(mut c)) = (a, b, c) else {
            return vec![Datum::of(Byte::UNCLEAR); WIDTH];
        };
        let mut negated = |is_negated: bool, float: &mut Expression| {
            if is_negated {
                *float = values.negate(*float);
            }
        };
        negated(self.negates_product, &mut a);
        negated(self.subtracts, &mut c);
        let result = values.fuse(a, b, c);
        values.lane(result)
    }
}
