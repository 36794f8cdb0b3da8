//! Bits, shifts, and integers made of codes: exact functions of the few bits of the weights that they depend on.

use super::{Effect, Operands};
use crate::certificate::bits::{Bit, FALSE};
use crate::certificate::expression::WIDTH;
use crate::certificate::value::{Byte, Content, Datum, Values, are_known, number};

pub(super) fn apply(values: &mut Values, operands: &Operands<'_>) -> Option<(Effect, Vec<Datum>)> {
    masked(values, operands)
        .map(|data| (Effect::Mask, data))
        .or_else(|| shifted(values, operands).map(|data| (Effect::Shift, data)))
        .or_else(|| converted(values, operands).map(|data| (Effect::Conversion, data)))
        .or_else(|| computed(values, operands).map(|data| (Effect::Integer, data)))
}

fn masked(values: &mut Values, operands: &Operands<'_>) -> Option<Vec<Datum>> {
    let of: fn(&mut Values, Datum, Datum) -> Datum = match operands.name {
        "and" | "pand" | "andps" | "andpd" => and,
        "or" | "por" | "orps" | "orpd" => or,
        "xor" | "pxor" | "xorps" | "xorpd" => {
            if operands.is_of_one_register {
                return Some(vec![Datum::ZERO; operands.len()]);
            }
            xor
        }
        "andn" | "pandn" | "andnps" | "andnpd" => |values, a, b| {
            let a = xor(values, a, ONES);
            and(values, a, b)
        },
        "not" => |values, _, b| xor(values, b, ONES),
        _ => return None,
    };
    let [a, b] = operands.pair();
    let (a, b) = (a.to_vec(), b.to_vec());
    if operands.name.starts_with("xor") || operands.name == "pxor" {
        return Some(signs_flipped(values, &a, &b));
    }
    Some(a.iter().zip(b).map(|(&a, b)| of(values, a, b)).collect())
}

const ONES: Datum = Datum { byte: Byte::KNOWN, value: u8::MAX };

/// The other of two bytes, where one is known to be this.
fn beside(a: Datum, b: Datum, value: u8) -> Option<Datum> {
    let is = |datum: Datum| datum.byte.is_known() && datum.value == value;
    if is(a) {
        return Some(b);
    }
    is(b).then_some(a)
}

fn and(values: &mut Values, a: Datum, b: Datum) -> Datum {
    if beside(a, b, 0).is_some() {
        return Datum::ZERO;
    }
    beside(a, b, u8::MAX).unwrap_or_else(|| values.bitwise(a, b, |functions, a, b| functions.and(a, b)))
}

fn or(values: &mut Values, a: Datum, b: Datum) -> Datum {
    beside(a, b, 0).unwrap_or_else(|| values.bitwise(a, b, |functions, a, b| functions.or(a, b)))
}

fn xor(values: &mut Values, a: Datum, b: Datum) -> Datum {
    beside(a, b, 0).unwrap_or_else(|| values.bitwise(a, b, |functions, a, b| functions.xor(a, b)))
}

/// An exclusive or, which negates f32 numbers where it flips their signs alone.
fn signs_flipped(values: &mut Values, a: &[Datum], b: &[Datum]) -> Vec<Datum> {
    const SIGN: u64 = 1 << 31;
    let mut data = Vec::with_capacity(a.len());
    for (a, b) in a.chunks(WIDTH).zip(b.chunks(WIDTH)) {
        let (lane, other) = if are_known(a) { (b, a) } else { (a, b) };
        let is_flip = lane.len() == WIDTH && are_known(other) && number(other) == SIGN;
        let is_float = matches!(lane[0].byte.content(), Content::Float { .. });
        match values.float(lane).filter(|_| is_flip && is_float) {
            Some(float) => {
                let negated = values.negate(float);
                data.extend(values.lane(negated));
            }
            None => data.extend(a.iter().zip(b).map(|(&a, &b)| xor(values, a, b))),
        }
    }
    data
}

/// How bits of an element move.
#[derive(Clone, Copy)]
enum Shift {
    Left,
    Right,
    /// With copies of the highest bit.
    RightSigned,
    RotatedLeft,
    RotatedRight,
}

/// Shifts by a number that does not depend on data.
fn shifted(values: &mut Values, operands: &Operands<'_>) -> Option<Vec<Datum>> {
    use Shift::{Left, Right, RightSigned, RotatedLeft, RotatedRight};
    let (shift, width, is_by_element) = match operands.name {
        "psllw" => (Left, 2, false),
        "pslld" => (Left, 4, false),
        "psllq" => (Left, 8, false),
        "psrlw" => (Right, 2, false),
        "psrld" => (Right, 4, false),
        "psrlq" => (Right, 8, false),
        "psraw" => (RightSigned, 2, false),
        "psrad" => (RightSigned, 4, false),
        "psllvd" => (Left, 4, true),
        "psllvq" => (Left, 8, true),
        "psrlvd" => (Right, 4, true),
        "psrlvq" => (Right, 8, true),
        "psravd" => (RightSigned, 4, true),
        "shl" | "sal" | "shlx" => (Left, operands.len(), false),
        "shr" | "shrx" => (Right, operands.len(), false),
        "sar" | "sarx" => (RightSigned, operands.len(), false),
        "rol" => (RotatedLeft, operands.len(), false),
        "ror" | "rorx" => (RotatedRight, operands.len(), false),
        "bswap" => return Some(operands.destination.iter().rev().copied().collect()),
        "movbe" => return Some(operands.last().iter().rev().copied().collect()),
        _ => return None,
    };
    let is_general = !operands.name.starts_with('p');
    let [source, count] = match operands.immediate {
        Some(_) => [operands.sources.first().map_or(&operands.destination[..], |source| source), &[]],
        None => operands.pair(),
    };
    let mut data = Vec::with_capacity(operands.len());
    for (at, element) in source[..operands.len()].chunks(width).enumerate() {
        let lowest = *count.first().unwrap_or(&Datum::ZERO);
        let count = match operands.immediate {
            Some(count) => Some(count),
            None if is_by_element => known(&count[width * at..][..width]),
            None => known(&count[..count.len().min(8)]),
        };
        let count =
            count.map(|count| if is_general { count & if width == 8 { 63 } else { 31 } } else { count });
        data.extend(match count {
            Some(count) => moved(values, element, count as usize, shift),
            None if is_general && matches!(shift, Shift::Left | Shift::Right) => {
                by_codes(values, element, lowest, shift)
            }
            None => vec![Datum::of(Byte::UNCLEAR); width],
        });
    }
    Some(data)
}

/// A shift by a number made of codes, of which only the lowest bits count.
fn by_codes(values: &mut Values, element: &[Datum], count: Datum, shift: Shift) -> Vec<Datum> {
    let width = element.len();
    let most = if width == 8 { 63 } else { 31 };
    let count = and(values, count, Datum { byte: Byte::KNOWN, value: most });
    values.compute(&[element, &[count]], width, |both| {
        let [value, count] = both else { unreachable!("there are two operands") };
        match shift {
            Shift::Left => value << count,
            Shift::Right => value >> count,
            _ => unreachable!("other shifts are not made by codes"),
        }
    })
}

/// An integer times a power of two.
pub(in crate::certificate) fn shifted_left(values: &mut Values, data: &[Datum], count: usize) -> Vec<Datum> {
    moved(values, data, count, Shift::Left)
}

fn known(data: &[Datum]) -> Option<u64> {
    are_known(data).then(|| number(data))
}

/// An element with its bits moved.
fn moved(values: &mut Values, element: &[Datum], count: usize, shift: Shift) -> Vec<Datum> {
    let width = element.len();
    if count.is_multiple_of(8) && !matches!(shift, Shift::RightSigned) {
        return (0..width)
            .map(|at| from(at, count / 8, width, shift).map_or(Datum::ZERO, |at| element[at]))
            .collect();
    }
    let Some(bits) = values.all_bits(element) else { return vec![Datum::of(Byte::UNCLEAR); width] };
    let moved: Vec<Bit> = (0..bits.len())
        .map(|at| match (from(at, count, bits.len(), shift), shift) {
            (Some(at), _) => bits[at],
            (None, Shift::RightSigned) => bits[bits.len() - 1],
            (None, _) => FALSE,
        })
        .collect();
    values.bytes_of(&moved)
}

/// Which of `len` comes to place `at`.
fn from(at: usize, count: usize, len: usize, shift: Shift) -> Option<usize> {
    match shift {
        Shift::Left => at.checked_sub(count),
        Shift::Right | Shift::RightSigned => at.checked_add(count).filter(|&at| at < len),
        Shift::RotatedLeft => Some((at + len - count % len) % len),
        Shift::RotatedRight => Some((at + count) % len),
    }
}

/// Codes, widened or made f32 numbers.
fn converted(values: &mut Values, operands: &Operands<'_>) -> Option<Vec<Datum>> {
    let source = operands.last().to_vec();
    let len = operands.len();
    let each = |values: &mut Values, from: usize, to: usize, of: fn(u64) -> u64| {
        let mut data = Vec::with_capacity(len);
        for element in source.chunks(from).take(len / to) {
            data.extend(values.compute(&[element], to, |element| of(element[0])));
        }
        data
    };
    Some(match operands.name {
        "cvtdq2ps" => each(values, 4, 4, |integer| u64::from((integer as i32 as f32).to_bits())),
        "cvtsi2ss" => {
            let float = values.compute(&[&source], 4, |integer| {
                let integer = if source.len() == 8 { integer[0] as i64 } else { (integer[0] as i32).into() };
                u64::from((integer as f32).to_bits())
            });
            let under = operands.pair()[0];
            [&float[..], &under[WIDTH..len]].concat()
        }
        "pmovsxbw" => each(values, 1, 2, |byte| byte as i8 as u64),
        "pmovsxbd" => each(values, 1, 4, |byte| byte as i8 as u64),
        "pmovsxwd" => each(values, 2, 4, |word| word as i16 as u64),
        "movsx" | "movsxd" => {
            let bits = 64 - 8 * source.len() as u32;
            values.compute(&[&source], len, |value| ((value[0] << bits) as i64 >> bits) as u64)
        }
        _ => return None,
    })
}

/// An operation on two elements of this many bytes.
type OfTwo = (usize, fn(u64, u64) -> u64);

fn computed(values: &mut Values, operands: &Operands<'_>) -> Option<Vec<Datum>> {
    if operands.sources.is_empty() {
        return in_place(values, operands);
    }
    let len = operands.len();
    let (width, of): OfTwo = match operands.name {
        "paddb" => (1, u64::wrapping_add),
        "paddw" => (2, u64::wrapping_add),
        "paddd" => (4, u64::wrapping_add),
        "psubb" => (1, u64::wrapping_sub),
        "psubw" => (2, u64::wrapping_sub),
        "psubd" => (4, u64::wrapping_sub),
        "pcmpeqb" => (1, |a, b| if a == b { u64::MAX } else { 0 }),
        "pcmpeqw" => (2, |a, b| if a == b { u64::MAX } else { 0 }),
        "pcmpeqd" => (4, |a, b| if a == b { u64::MAX } else { 0 }),
        "pcmpgtb" => (1, |a, b| if a as i8 > b as i8 { u64::MAX } else { 0 }),
        "pcmpgtw" => (2, |a, b| if a as i16 > b as i16 { u64::MAX } else { 0 }),
        "pcmpgtd" => (4, |a, b| if a as i32 > b as i32 { u64::MAX } else { 0 }),
        "add" => (len, u64::wrapping_add),
        "sub" => (len, u64::wrapping_sub),
        "imul" if operands.immediate.is_none() => (len, u64::wrapping_mul),
        "pmullw" | "pmulhuw" | "pmulhw" | "pmulld" | "pmaddwd" | "pmaddubsw" => {
            return Some(multiplied(values, operands));
        }
        "packuswb" | "packsswb" | "packssdw" | "packusdw" => return Some(packed(values, operands)),
        _ => return in_place(values, operands),
    };
    if operands.is_of_one_register && matches!(operands.name, "psubb" | "psubw" | "psubd" | "sub") {
        return Some(vec![Datum::ZERO; len]);
    }
    if operands.is_of_one_register && operands.name.starts_with("pcmpeq") {
        return Some(vec![ONES; len]);
    }
    if operands.is_of_one_register && matches!(operands.name, "paddb" | "paddw" | "paddd" | "add") {
        let [a, _] = operands.pair().map(<[Datum]>::to_vec);
        return Some(a.chunks(width).flat_map(|element| moved(values, element, 1, Shift::Left)).collect());
    }
    let [a, b] = operands.pair();
    let (a, b) = (a.to_vec(), b.to_vec());
    let mut data = Vec::with_capacity(len);
    for (a, b) in a[..len].chunks(width).zip(b.chunks(width)) {
        data.extend(values.compute(&[a, b], width, |both| of(both[0], both[1])));
    }
    Some(data)
}

/// How elements are multiplied: their bytes, whether each is signed, and which bytes of the product are kept.
struct Product {
    width: usize,
    is_signed: [bool; 2],
    kept: std::ops::Range<usize>,
    /// Whether two neighbours are added, clamped to the range of the result.
    adds_pairs: bool,
}

fn multiplied(values: &mut Values, operands: &Operands<'_>) -> Vec<Datum> {
    let of = |width, is_signed, kept, adds_pairs| Product { width, is_signed, kept, adds_pairs };
    let product = match operands.name {
        "pmullw" => of(2, [false; 2], 0..2, false),
        "pmulhuw" => of(2, [false; 2], 2..4, false),
        "pmulhw" => of(2, [true; 2], 2..4, false),
        "pmulld" => of(4, [false; 2], 0..4, false),
        "pmaddwd" => of(2, [true; 2], 0..4, true),
        _ => of(1, [false, true], 0..2, true),
    };
    let [a, b] = operands.pair().map(<[Datum]>::to_vec);
    let step = product.width * if product.adds_pairs { 2 } else { 1 };
    let mut data = Vec::with_capacity(operands.len());
    for (a, b) in a[..operands.len()].chunks(step).zip(b.chunks(step)) {
        data.extend(product.element(values, a, b));
    }
    data
}

impl Product {
    fn element(&self, values: &mut Values, a: &[Datum], b: &[Datum]) -> Vec<Datum> {
        let parts: Vec<_> = a.chunks(self.width).zip(b.chunks(self.width)).collect();
        let is_zero = |data: &[Datum]| are_known(data) && number(data) == 0;
        let counting: Vec<_> = parts.iter().filter(|(a, b)| !is_zero(a) && !is_zero(b)).collect();
        match counting[..] {
            [] => return vec![Datum::ZERO; self.kept.len()],
            [(a, b)] => {
                let moved = self.by_power_of_two(values, (a, self.is_signed[0]), b);
                let moved = moved.or_else(|| self.by_power_of_two(values, (b, self.is_signed[1]), a));
                if let Some(moved) = moved {
                    return moved;
                }
            }
            _ => {}
        }
        let width = self.width;
        values.compute(&[a, b], self.kept.len(), |both| {
            let sum = (0..parts.len()).map(|at| self.product(both, 8 * width * at)).sum::<i64>();
            let most = 1 << (8 * self.kept.len() - 1);
            let sum = if self.adds_pairs { sum.clamp(-most, most - 1) } else { sum };
            sum as u64 >> (8 * self.kept.start)
        })
    }

    /// The product of the elements at this bit.
    fn product(&self, both: &[u64], at: usize) -> i64 {
        let shift = 64 - 8 * self.width;
        let factor = |which: usize| {
            let top = both[which] >> at << shift;
            if self.is_signed[which] { top as i64 >> shift } else { (top >> shift) as i64 }
        };
        factor(0).wrapping_mul(factor(1))
    }

    /// A product with a power of two moves bits, however many codes they are of.
    fn by_power_of_two(
        &self,
        values: &mut Values,
        (element, is_signed): (&[Datum], bool),
        factor: &[Datum],
    ) -> Option<Vec<Datum>> {
        let power = known(factor).filter(|factor| factor.is_power_of_two())?.trailing_zeros() as usize;
        let is_positive = power + 1 < 8 * self.width;
        let bits = values.all_bits(element).filter(|_| is_positive)?;
        let above = if is_signed { bits[bits.len() - 1] } else { FALSE };
        let product = (8 * self.kept.start..8 * self.kept.end).map(|at| match at.checked_sub(power) {
            Some(at) => *bits.get(at).unwrap_or(&above),
            None => FALSE,
        });
        let product: Vec<Bit> = product.collect();
        Some(values.bytes_of(&product))
    }
}

/// An operation on one element, or with a number that is part of the instruction.
fn in_place(values: &mut Values, operands: &Operands<'_>) -> Option<Vec<Datum>> {
    let constant = operands.immediate.unwrap_or(0);
    let of: Box<dyn Fn(u64) -> u64> = match operands.name {
        "imul" if operands.immediate.is_none() => return None,
        "inc" => Box::new(|a| a.wrapping_add(1)),
        "dec" => Box::new(|a| a.wrapping_sub(1)),
        "neg" => Box::new(u64::wrapping_neg),
        "imul" => Box::new(move |a| a.wrapping_mul(constant)),
        _ => return None,
    };
    let source = operands.last().to_vec();
    Some(values.compute(&[&source], operands.len(), |source| of(source[0])))
}

/// Elements made narrower, both sources one behind the other within each half.
fn packed(values: &mut Values, operands: &Operands<'_>) -> Vec<Datum> {
    const HALF: usize = 16;
    let (from, least, most) = match operands.name {
        "packuswb" => (2, 0, 0xff),
        "packsswb" => (2, -0x80, 0x7f),
        "packusdw" => (4, 0, 0xffff),
        _ => (4, -0x8000, 0x7fff),
    };
    let narrow = move |element: &[u64]| {
        let signed = if from == 2 { i64::from(element[0] as i16) } else { i64::from(element[0] as i32) };
        signed.clamp(least, most) as u64
    };
    let pair = operands.pair().map(<[Datum]>::to_vec);
    let mut data = Vec::with_capacity(operands.len());
    for half in 0..operands.len() / HALF {
        for source in &pair {
            for element in source[HALF * half..HALF * (half + 1)].chunks(from) {
                data.extend(values.compute(&[element], from / 2, narrow));
            }
        }
    }
    data
}
