//! Numbers of each distribution: x and scales, from draws of 64 bits.

use std::num::FpCategory;

use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use crate::data::Distribution;
use crate::format::Number;
use crate::operation::DIGITS;
use crate::requirements::Rounding;

impl Distribution {
    pub(super) fn activation(self, cols: usize, draw: u64) -> f32 {
        match self {
            Self::Unit => signed_unit(draw) * flat_amplitude(cols),
            Self::Ten | Self::Special => signed_unit(draw) * 10.0,
            Self::Huge => huge(draw, cols),
            Self::Integer => {
                // Four scales at most 8 apart: 2 * |x| * 8 * cols stays below 2^24.
                let limit = ((1 << 20) / cols.max(1)).clamp(1, 1 << 12) as u64;
                (draw % (2 * limit + 1)) as f32 - limit as f32
            }
            Self::Wide => wide(draw, 60),
            Self::Subnormal => f32::from_bits(draw as u32 & 0x807f_ffff),
            Self::OneHot
            | Self::Extreme
            | Self::Sparse
            | Self::Absorbing
            | Self::Full(_)
            | Self::Raw
            | Self::Levels
            | Self::Outliers
            | Self::Steps => 0.0,
        }
    }

    /// A scale that is stored as such a number. Those that are too large for it are made smaller by a power of two, and where f32 would
    /// be subnormal it is.
    pub(super) fn stored_scale(self, number: Number, draw: u64) -> f64 {
        if self == Self::Special && draw >> 60 == 0 {
            let special = SPECIALS[(draw >> 32) as usize % SPECIALS.len()];
            return match special.classify() {
                FpCategory::Normal if special > 1.0 => number.max(),
                FpCategory::Subnormal | FpCategory::Normal => number.least().copysign(special.into()),
                _ => special.into(),
            };
        }
        let scale = f64::from(self.scale(draw));
        match number {
            Number::F16 | Number::SplitF16
                if self == Self::Subnormal && scale.abs() < f64::from(f32::MIN_POSITIVE) =>
            {
                (draw >> 2 & 0x3ff) as f64 * 2_f64.powi(-24)
            }
            _ if scale.abs() > number.max() => scale / 2_f64.powi(16),
            _ => scale,
        }
    }

    pub(super) fn scale(self, draw: u64) -> f32 {
        match self {
            Self::Unit | Self::Extreme | Self::Absorbing | Self::Full(_) | Self::Levels | Self::Outliers => {
                1.0
            }
            Self::Ten | Self::Special | Self::Sparse | Self::Huge => {
                f32::from_bits(0x3c00_0000 + (draw as u32 & 0x01ff_ffff))
            }
            Self::Integer | Self::Steps => {
                let (exponent, sign) = ((draw as u32 & 3) << 23, draw as u32 & 0x8000_0000);
                f32::from_bits((0x3f80_0000 + exponent) | sign)
            }
            Self::OneHot | Self::Wide => wide(draw, 20),
            Self::Subnormal => {
                let subnormal = f32::from_bits((draw >> 2) as u32 & 0x007f_ffff);
                [1.0, 2.0, subnormal, wide(draw >> 2, 3)][(draw % 4) as usize]
            }
            Self::Raw => 0.0,
        }
    }
}

/// The last two bits of a draw that gives a subnormal scale of [`Distribution::Subnormal`].
pub(super) const SUBNORMAL: u64 = 2;

/// Uniform on [-1, 1), a multiple of 2^-23.
fn signed_unit(draw: u64) -> f32 {
    ((draw as u32 >> 8) as f32 - 8_388_608.0) / 8_388_608.0
}

/// The amplitude of the unit distribution. At 1 the in-order f32 sum misses 1e-4 in 1.7 % of rows of 2048 columns; its error
/// grows with amplitude times columns, so their product is held at 256 (docs/numerics.md has the measurement).
fn flat_amplitude(cols: usize) -> f32 {
    match cols {
        0..=256 => 1.0,
        257..=512 => 0.5,
        513..=1024 => 0.25,
        _ => 0.125,
    }
}

/// Random sign and mantissa, exponent uniform on [-span, span].
fn wide(draw: u64, span: u64) -> f32 {
    let exponent = (127 - span + (draw >> 32) % (2 * span + 1)) as u32;
    f32::from_bits(draw as u32 & 0x807f_ffff | exponent << 23)
}

/// Any sign and mantissa, the exponents of three binades such that the sum of `cols` terms of twice the magnitude stays below an
/// eighth of the largest f32.
fn huge(draw: u64, cols: usize) -> f32 {
    let bits = cols.max(1).next_power_of_two().ilog2();
    let top = 127 + 127 - 5 - bits;
    f32::from_bits(draw as u32 & 0x807f_ffff | (top - (draw >> 32) as u32 % 3) << 23)
}

/// 2^24, 1 + 2^-10 and then 2^-9 throughout, times one power of two from -20 to 20: from left to right all but the second are
/// absorbed, and a compensation with the wrong sign grows from step to step.
pub(super) fn absorbing(len: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let unit = 2_f32.powi((rng.next_u64() % 41) as i32 - 20);
    let front = [16_777_216.0, 1.0 + 1.0 / 1024.0].into_iter();
    front.chain(std::iter::repeat(1.0 / 512.0)).map(|x| x * unit).take(len).collect()
}

/// Magnitudes in a row of 16 of which three twos and eleven twos give exactly the same squared error, with scales of 28 and 20, and
/// every other number of twos more: with 3 twos the sum of weight times magnitude is 700 and that of squared weights 25, with 11 it is
/// 980 and 49, and `700 * 700 / 25 = 980 * 980 / 49`.
const TIED: [f32; 16] =
    [50.0, 50.0, 50.0, 35.0, 35.0, 35.0, 35.0, 35.0, 35.0, 35.0, 35.0, 24.0, 24.0, 24.0, 24.0, 24.0];

/// The largest integer of 8 bits that a symmetric rounding makes.
const LARGEST_STEP: i32 = 127;

/// In each group that shares a scale integers up to 127 times one power of two, one of them 127 times it: rounded to 8 bits they stay
/// what they are.
pub(super) fn steps(len: usize, rounding: Rounding, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let group = match rounding {
        Rounding::Group(len) => len as usize,
        Rounding::None | Rounding::Row => len.max(1),
    };
    let mut values = Vec::with_capacity(len);
    while values.len() < len {
        let draw = rng.next_u64();
        let unit = 2_f32.powi((draw % 9) as i32 - 4);
        let start = values.len();
        let count = (len - start).min(group);
        let integer = |draw: u64| (draw % (2 * LARGEST_STEP as u64 + 1)) as i32 - LARGEST_STEP;
        values.extend((0..count).map(|_| integer(rng.next_u64()) as f32 * unit));
        values[start + (draw >> 8) as usize % count] = LARGEST_STEP as f32 * unit;
    }
    values
}

/// 8-bit integers from `least` to 127: all as large as can be, and of one sign but for one in sixteen; none but one; none in half of the
/// groups of 32; or any.
pub(super) fn quantized(distribution: Distribution, len: usize, least: i8, rng: &mut ChaCha8Rng) -> Vec<i8> {
    let span = (i32::from(i8::MAX) - i32::from(least) + 1) as u64;
    let any = |draw: u64| (i32::from(least) + (draw % span) as i32) as i8;
    let choice = rng.next_u64();
    let largest = if choice & 1 == 0 { i8::MAX } else { least };
    let mut is_zero = false;
    let value = |at: usize| {
        let draw = rng.next_u64();
        if at.is_multiple_of(32) {
            is_zero = draw >> 63 == 1;
        }
        match distribution {
            // Half of the rows have no other.
            Distribution::Extreme if choice & 2 == 0 && draw.is_multiple_of(16) => any(draw >> 4),
            Distribution::Extreme => largest,
            Distribution::OneHot if at as u64 == (choice >> 8) % len as u64 => any(draw),
            Distribution::OneHot | Distribution::Raw => 0,
            Distribution::Sparse | Distribution::Special if is_zero => 0,
            _ => any(draw),
        }
    };
    (0..len).map(value).collect()
}

/// In each block few magnitudes, times one power of two from -64 to 63 or, in one block of four, any number.
pub(super) fn levels(len: usize, block_len: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    while values.len() < len {
        let draw = rng.next_u64();
        let scale = match draw & 3 {
            0 => wide(draw >> 8, 60).abs(),
            _ => 2_f32.powi((draw >> 8 & 127) as i32 - 64),
        };
        let block = (len - values.len()).min(block_len);
        values.extend((0..block).map(|at| {
            let bits = rng.next_u64();
            let magnitude = match draw >> 2 & 3 {
                0 => [1.0, 2.0][bits as usize >> 1 & 1],
                1 => [1.0, 1.25, 1.5, 1.75, 2.0][(bits >> 1) as usize % 5],
                2 => TIED[(at + (draw >> 4) as usize) % TIED.len()],
                _ => 1.0,
            };
            magnitude * scale * if bits & 1 == 0 { 1.0 } else { -1.0 }
        }));
    }
    values
}

/// In each block one value that is larger than the others by a power of two up to 63, or the largest f32; or values around half of the largest f32 with
/// a few near it, so that the best scale is one at which a weight overflows; or subnormal ones of a few units, most of them zero.
pub(super) fn outliers(len: usize, block_len: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    while values.len() < len {
        let draw = rng.next_u64();
        let block = (len - values.len()).min(block_len);
        let (place, factor) = ((draw >> 8) as usize % block, 2_f32.powi((draw >> 16) as i32 & 63));
        values.extend((0..block).map(|at| {
            let bits = rng.next_u64();
            let (unit, sign) = (signed_unit(bits), if bits >> 63 == 0 { 1.0 } else { -1.0 });
            match draw & 3 {
                0 if at == place => f32::MAX * sign,
                1 if bits & 15 == 0 || at == place => (0.9 + 0.1 * unit.abs()) * f32::MAX * sign,
                1 => (0.5 + 0.1 * unit.abs()) * f32::MAX * sign,
                2 => f32::from_bits((bits >> 32 & bits >> 40 & 7) as u32) * sign,
                _ if at == place => (1.0 + unit.abs()) * factor * sign,
                _ => unit,
            }
        }));
    }
    values
}

/// Values as of `ten` in half of the blocks of 256; there, of each 32 columns all are zero, or negative zero, or half, or none.
pub(super) fn sparse(len: usize, block_len: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let mut block = false;
    let mut group = 0;
    let value = |at: usize| {
        let draw = rng.next_u64();
        if at.is_multiple_of(block_len) {
            block = draw & 1 == 0;
        }
        if at.is_multiple_of(32) {
            group = if block { draw >> 1 & 3 } else { draw >> 1 & 1 };
        }
        match group {
            0 => 0.0,
            1 => -0.0,
            2 if draw & 8 == 0 => 0.0,
            _ => signed_unit(draw) * 10.0,
        }
    };
    (0..len).map(value).collect()
}

pub(super) fn one_hot(len: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let mut x = vec![0.0; len];
    let (place, bits) = (rng.next_u64() as usize, rng.next_u64());
    if len > 0 {
        // Half are plain numbers, a quarter any bits at all, a quarter values that ordinary data never hold.
        x[place % len] = match bits >> 62 {
            0 | 1 => wide(bits, 30),
            2 => f32::from_bits(bits as u32),
            _ => SPECIALS[bits as usize % SPECIALS.len()],
        };
    }
    x
}

/// Integers whose digits are as large as they get, times one power of two. One in sixteen has the other sign, one the other
/// digits.
pub(super) fn extreme(len: usize, digits: u8, rng: &mut ChaCha8Rng) -> Vec<f32> {
    // Of another number, which must be refused, it does not matter.
    let digits = digits.clamp(*DIGITS.start(), *DIGITS.end());
    let bits = 8 * i32::from(digits);
    let ones = |digits: u8| (0..digits).fold(0, |all, _| all << 8 | 1_i64);
    let high = 127 << (bits - 8);
    // 127 everywhere, and -128 everywhere but on top. An f32 has 24 bits: of four digits the lowest cannot be 127 as well.
    let room = !0 << (bits - f32::MANTISSA_DIGITS as i32).max(0);
    let integers = [(127 * ones(digits)) & room, high - 128 * ones(digits - 1)];
    // From that of the smallest f32 to that at which the largest integer is still below 2^128.
    let (choice, exponents) = (rng.next_u64(), (129 - bits + 149 + 1) as u64);
    let exponent = ((choice >> 32) % exponents) as i32 - 149;
    let (first, negated) = ((choice & 1) as usize, choice & 2 != 0);
    let integer = |draw: u64| match draw % 16 {
        0 => -integers[first],
        1 => integers[1 - first],
        _ => integers[first],
    };
    let value =
        |draw| (integer(draw) as f64 * 2_f64.powi(exponent)) as f32 * if negated { -1.0 } else { 1.0 };
    (0..len).map(|_| value(rng.next_u64())).collect()
}

/// The largest integer of `bits` bits, negative or not. As many of its lowest bits are zero as it takes that twice the sum of all is
/// at most 2^24 times the lowest that is not: then no order of summation rounds, whatever the codes.
pub(super) fn full(len: usize, bits: u8, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let is_exact = |&zeros: &u8| 2 * len as u64 * ((1 << (bits - zeros)) - 1) <= 1 << f32::MANTISSA_DIGITS;
    let zeros = (0..bits).find(is_exact).unwrap_or(bits - 1);
    let value = ((1_u32 << bits) - (1 << zeros)) as f32;
    vec![if rng.next_u64() & 1 == 1 { -value } else { value }; len]
}

/// Values that ordinary data never hold.
const SPECIALS: [f32; 8] = [
    f32::NAN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    -0.0,
    f32::from_bits(1),
    f32::from_bits(0x807f_ffff),
    f32::MAX,
    f32::MIN_POSITIVE,
];

/// Replaces one to three values, or none in one vector of four.
pub(super) fn sprinkle(values: &mut [f32], rng: &mut ChaCha8Rng) {
    for _ in 0..rng.next_u64() % 4 {
        let (place, which) = (rng.next_u64() as usize, rng.next_u64() as usize);
        if !values.is_empty() {
            let place = place % values.len();
            values[place] = SPECIALS[which % SPECIALS.len()];
        }
    }
}
