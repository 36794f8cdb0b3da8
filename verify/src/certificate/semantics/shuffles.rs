//! Shuffles: bytes to other lanes, by numbers that are part of the instruction, or by an index; one that depends on codes makes a choice.

use super::{Effect, Operands};
use crate::certificate::bits::{Bit, FALSE, table};
use crate::certificate::expression::WIDTH;
use crate::certificate::value::{Byte, Datum, Values, are_known, number};

/// Bytes of half of a 256-bit register, in which most shuffles stay.
const HALF: usize = 16;

/// Where a unit of the result comes from: the first or second source, and the unit of it; `None` is zero.
type From = Option<(usize, usize)>;

pub(super) fn apply(operands: &Operands<'_>) -> Option<Vec<Datum>> {
    let control = operands.control() as usize;
    let bits = |at: usize, count: usize| control >> at & ((1 << count) - 1);
    let pair = operands.pair();
    let whole = [operands.last(); 2];
    let len = operands.len();
    Some(match operands.name {
        "unpcklps" | "punpckldq" => interleaved(pair, 4, 0, len),
        "unpckhps" | "punpckhdq" => interleaved(pair, 4, 1, len),
        "unpcklpd" | "punpcklqdq" => interleaved(pair, 8, 0, len),
        "unpckhpd" | "punpckhqdq" => interleaved(pair, 8, 1, len),
        "punpcklbw" => interleaved(pair, 1, 0, len),
        "punpckhbw" => interleaved(pair, 1, 1, len),
        "punpcklwd" => interleaved(pair, 2, 0, len),
        "punpckhwd" => interleaved(pair, 2, 1, len),
        "movlhps" => within(pair, 8, len, |_, at| Some((at, 0))),
        "movhlps" => within(pair, 8, len, |_, at| Some((1 - at, 1))),
        "shufps" => within(pair, 4, len, |_, at| Some((at / 2, bits(2 * at, 2)))),
        "shufpd" => within(pair, 8, len, |half, at| Some((at, bits(2 * half + at, 1)))),
        "pshufd" => within(whole, 4, len, |_, at| Some((0, bits(2 * at, 2)))),
        "permilps" if operands.immediate.is_some() => {
            within(whole, 4, len, |_, at| Some((0, bits(2 * at, 2))))
        }
        "permilpd" if operands.immediate.is_some() => {
            within(whole, 8, len, |half, at| Some((0, bits(2 * half + at, 1))))
        }
        "pshuflw" => within(whole, 2, len, |_, at| Some((0, if at < 4 { bits(2 * at, 2) } else { at }))),
        "pshufhw" => {
            within(whole, 2, len, |_, at| Some((0, if at < 4 { at } else { 4 + bits(2 * (at - 4), 2) })))
        }
        "movsldup" => within(whole, 4, len, |_, at| Some((0, at & !1))),
        "movshdup" => within(whole, 4, len, |_, at| Some((0, at | 1))),
        "movddup" => within(whole, 8, len, |_, _| Some((0, 0))),
        "palignr" => within([pair[1], pair[0]], 1, len, |_, at| {
            let from = at + bits(0, 8);
            (from < 2 * HALF).then_some((from / HALF, from % HALF))
        }),
        "psrldq" => within(whole_or_old(operands), 1, len, |_, at| {
            (at + bits(0, 8) < HALF).then_some((0, at + bits(0, 8)))
        }),
        "pslldq" => within(whole_or_old(operands), 1, len, |_, at| Some((0, at.checked_sub(bits(0, 8))?))),
        "permq" | "permpd" => across(whole, 8, len, |at| Some((0, bits(2 * at, 2)))),
        "perm2f128" | "perm2i128" => across(pair, HALF, len, |at| {
            (bits(4 * at + 3, 1) == 0).then_some((bits(4 * at + 1, 1), bits(4 * at, 1)))
        }),
        "extractf128" | "extracti128" => across(whole, HALF, len, |_| Some((0, bits(0, 1)))),
        "insertf128" | "inserti128" => {
            across(pair, HALF, len, |at| Some(if at == bits(0, 1) { (1, 0) } else { (0, at) }))
        }
        "blendps" | "pblendd" => across(pair, 4, len, |at| Some((bits(at, 1), at))),
        "blendpd" => across(pair, 8, len, |at| Some((bits(at, 1), at))),
        "pblendw" => across(pair, 2, len, |at| Some((bits(at % 8, 1), at))),
        "insertps" => inserted(operands),
        "pinsrb" => set(pair, 1, control, len),
        "pinsrw" => set(pair, 2, control, len),
        "pinsrd" => set(pair, 4, control, len),
        "pinsrq" => set(pair, 8, control, len),
        _ => return broadcast(operands).or_else(|| widened(operands)),
    })
}

/// Units of both sources in turn, of the lower or upper part of each half.
fn interleaved(pair: [&[Datum]; 2], unit: usize, part: usize, len: usize) -> Vec<Datum> {
    let units = HALF / unit / 2;
    within(pair, unit, len, |_, at| Some((at % 2, part * units + at / 2)))
}

/// A shuffle that stays within halves: `from` is asked for each unit of each half.
fn within(
    sources: [&[Datum]; 2],
    unit: usize,
    len: usize,
    from: impl Fn(usize, usize) -> From,
) -> Vec<Datum> {
    let units = HALF / unit;
    across(sources, unit, len, |at| {
        let half = at / units;
        from(half, at % units).map(|(source, at)| (source, half * units + at))
    })
}

/// A shuffle of units of the whole register.
fn across(sources: [&[Datum]; 2], unit: usize, len: usize, from: impl Fn(usize) -> From) -> Vec<Datum> {
    let mut data = Vec::with_capacity(len);
    for at in 0..len / unit {
        match from(at) {
            Some((source, at)) => data.extend_from_slice(&sources[source][unit * at..unit * (at + 1)]),
            None => data.extend(std::iter::repeat_n(Datum::ZERO, unit)),
        }
    }
    data
}

/// The source of a shift of bytes, which older instructions make in place.
fn whole_or_old<'a>(operands: &'a Operands<'_>) -> [&'a [Datum]; 2] {
    [operands.sources.first().map_or(&operands.destination[..], |source| &source[..]); 2]
}

fn broadcast(operands: &Operands<'_>) -> Option<Vec<Datum>> {
    let unit = match operands.name {
        "pbroadcastb" => 1,
        "pbroadcastw" => 2,
        "pbroadcastd" | "broadcastss" => 4,
        "pbroadcastq" | "broadcastsd" => 8,
        "broadcastf128" | "broadcasti128" => HALF,
        _ => return None,
    };
    Some(across([operands.last(); 2], unit, operands.len(), |_| Some((0, 0))))
}

/// Elements with zeros behind each.
fn widened(operands: &Operands<'_>) -> Option<Vec<Datum>> {
    let (from, to) = match operands.name {
        "pmovzxbw" => (1, 2),
        "pmovzxbd" => (1, 4),
        "pmovzxbq" => (1, 8),
        "pmovzxwd" => (2, 4),
        "pmovzxwq" => (2, 8),
        "pmovzxdq" => (4, 8),
        _ => return None,
    };
    let source = operands.last();
    let element = |at: usize| super::moves::zero_extended(&source[from * at..from * (at + 1)], to);
    Some((0..operands.len() / to).flat_map(element).collect())
}

/// The first source with one element of the second.
fn set(pair: [&[Datum]; 2], unit: usize, at: usize, len: usize) -> Vec<Datum> {
    let place = at % (HALF / unit);
    across(pair, unit, len, |at| Some(if at == place { (1, 0) } else { (0, at) }))
}

fn inserted(operands: &Operands<'_>) -> Vec<Datum> {
    let control = operands.control() as usize;
    let [under, over] = operands.pair();
    let from = if over.len() == WIDTH { 0 } else { control >> 6 & 3 };
    across([under, over], WIDTH, operands.len(), |at| match at {
        _ if control >> at & 1 == 1 => None,
        _ if at == control >> 4 & 3 => Some((1, from)),
        _ => Some((0, at)),
    })
}

/// A shuffle by an index in a register.
pub(super) fn choose(values: &mut Values, operands: &Operands<'_>) -> Option<(Effect, Vec<Datum>)> {
    let [first, second] = operands.pair();
    let (entries, index, unit, bits, is_within) = match operands.name {
        "pshufb" => (first, second, 1, 4, true),
        "permilps" => (first, second, 4, 2, true),
        "permd" | "permps" => (second, first, 4, 3, false),
        "blendvps" | "blendvpd" | "pblendvb" => return blended(values, operands),
        _ => return None,
    };
    let effect = if are_known(index) { Effect::Shuffle } else { Effect::Choice };
    let clears = operands.name == "pshufb";
    let mut data = Vec::with_capacity(operands.len());
    for (at, index) in index[..operands.len()].chunks(unit).enumerate() {
        let units = HALF / unit;
        let first = if is_within { at / units * units } else { 0 };
        let selectors = values.bits(index[0]).map(|all| {
            let highest = if clears { all[7] } else { FALSE };
            [&all[..bits], &[highest]].concat()
        });
        let zeros = vec![Datum::ZERO; unit];
        data.extend(picked(values, selectors, unit, |number| match number >> bits {
            0 => &entries[unit * (first + number)..][..unit],
            _ => &zeros,
        }));
    }
    Some((effect, data))
}

/// The unit that `pick` gives for the number that these bits form.
fn picked<'a>(
    values: &mut Values,
    selectors: Option<Vec<Bit>>,
    unit: usize,
    pick: impl Fn(usize) -> &'a [Datum],
) -> Vec<Datum> {
    let variables = selectors.as_ref().and_then(|bits| values.functions.variables(bits.iter().copied()));
    let (Some(bits), Some(variables)) = (selectors, variables) else {
        return vec![Datum::of(Byte::UNCLEAR); unit];
    };
    let chosen: Vec<&[Datum]> = (0..1_u64 << variables.len())
        .map(|entry| {
            pick(bits.iter().rev().fold(0, |number, &bit| {
                number << 1 | usize::from(values.functions.value(bit, &variables, entry))
            }))
        })
        .collect();
    match &chosen[..] {
        [only] => only.to_vec(),
        _ => one_of(values, &variables, &chosen),
    }
}

/// One of these units, by the bits of `variables`.
fn one_of(values: &mut Values, variables: &[u32], units: &[&[Datum]]) -> Vec<Datum> {
    let len = units[0].len();
    if units.iter().all(|unit| are_known(unit)) {
        let numbers: Vec<u64> = units.iter().map(|unit| number(unit)).collect();
        let bits: Vec<Bit> = (0..8 * len)
            .map(|at| {
                let table = table(variables.len(), |entry| numbers[entry as usize] >> at & 1 == 1);
                values.functions.of_table(variables, table)
            })
            .collect();
        return values.bytes_of(&bits);
    }
    let floats: Option<Vec<_>> = match len {
        WIDTH => units.iter().map(|unit| values.float(unit)).collect(),
        _ => None,
    };
    match floats {
        Some(floats) => {
            let choice = values.choice(variables, floats);
            values.lane(choice)
        }
        None => vec![Datum::of(Byte::UNCLEAR); len],
    }
}

/// One of two sources, by the highest bit of each element of a third.
fn blended(values: &mut Values, operands: &Operands<'_>) -> Option<(Effect, Vec<Datum>)> {
    let unit = match operands.name {
        "blendvps" => 4,
        "blendvpd" => 8,
        _ => 1,
    };
    let [under, over, mask] = &operands.sources[..] else { return None };
    let mut data = Vec::with_capacity(operands.len());
    for at in 0..operands.len() / unit {
        let range = unit * at..unit * (at + 1);
        let selector = values.bits(mask[range.end - 1]).map(|bits| vec![bits[7]]);
        let of = |number| if number == 0 { &under[range.clone()] } else { &over[range.clone()] };
        data.extend(picked(values, selector, unit, of));
    }
    Some((Effect::Choice, data))
}

/// What an address made of codes reads: one of the entries of a table, by the variables that the address depends on.
pub(in crate::certificate) fn looked_up(
    values: &mut Values,
    variables: &[u32],
    entries: &[Vec<Datum>],
) -> Vec<Datum> {
    let units: Vec<&[Datum]> = entries.iter().map(|entry| &entry[..]).collect();
    one_of(values, variables, &units)
}
