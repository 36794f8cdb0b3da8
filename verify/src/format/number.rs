//! How formats store their scales.

use half::{bf16, f16};

/// How a scale is stored, least significant byte first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// IEEE 754 binary16.
    F16,
    /// The upper half of an f32.
    Bf16,
    /// IEEE 754 binary32.
    F32,
    /// Half of a power of two, E8M0 of the OCP microscaling formats: a byte `e` is `2^(e - 128)`. There is no sign, zero or infinity.
    HalfE8m0,
    /// Half of an unsigned E4M3: exponent in bits 6 to 3, mantissa in bits 2 to 0. The byte without a number counts as zero.
    HalfE4m3,
    /// An F16 whose hexadecimal digits are the highest of four 16-bit numbers, the lowest digit first. The other digits are no part of it.
    SplitF16,
}

impl Number {
    /// Those that descriptions of formats may name.
    pub const ALL: [Self; 3] = [Self::F16, Self::Bf16, Self::F32];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
            Self::HalfE8m0 => "half e8m0",
            Self::HalfE4m3 => "half e4m3",
            Self::SplitF16 => "split f16",
        }
    }

    /// Its bytes.
    pub const fn width(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::HalfE8m0 | Self::HalfE4m3 => 1,
            Self::SplitF16 => 8,
        }
    }

    /// The bit of its last byte that changes its sign; none where all are positive.
    pub const fn sign(self) -> u8 {
        match self {
            Self::F16 | Self::Bf16 | Self::F32 | Self::SplitF16 => 0x80,
            Self::HalfE8m0 | Self::HalfE4m3 => 0,
        }
    }

    /// The largest finite one.
    pub fn max(self) -> f64 {
        match self {
            Self::F16 | Self::SplitF16 => f16::MAX.into(),
            Self::Bf16 => bf16::MAX.into(),
            Self::F32 => f32::MAX.into(),
            Self::HalfE8m0 => 2_f64.powi(127),
            Self::HalfE4m3 => half_e4m3(E4M3_MAX),
        }
    }

    /// The smallest positive one.
    pub fn least(self) -> f64 {
        match self {
            Self::F16 | Self::SplitF16 => 2_f64.powi(-24),
            Self::Bf16 => 2_f64.powi(-133),
            Self::F32 => f32::from_bits(1).into(),
            Self::HalfE8m0 => 2_f64.powi(-128),
            Self::HalfE4m3 => half_e4m3(1),
        }
    }

    /// The number in the first bytes, exact.
    ///
    /// # Panics
    /// If there are fewer.
    #[inline]
    pub fn read(self, bytes: &[u8]) -> f64 {
        let low = || bytes.first_chunk().copied().expect("the number is there");
        match self {
            Self::F16 => f16::from_le_bytes(low()).into(),
            Self::Bf16 => bf16::from_le_bytes(low()).into(),
            Self::F32 => {
                f32::from_le_bytes(bytes.first_chunk().copied().expect("the number is there")).into()
            }
            Self::HalfE8m0 => 2_f64.powi(i32::from(bytes[0]) - 128),
            Self::HalfE4m3 => half_e4m3(bytes[0]),
            Self::SplitF16 => {
                let digit = |at: usize| u16::from(bytes[2 * at + 1] >> 4) << (4 * at);
                f16::from_bits((0..4).map(digit).sum()).into()
            }
        }
    }

    /// Puts the nearest number into the first bytes, of two that are equally near the even one. What is too large becomes an infinity, or the
    /// largest where there is none; what has no sign loses it.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn write(self, value: f64, bytes: &mut [u8]) {
        // The crate `half` drops the low bits of an f64 before it rounds, so it is given numbers that need no rounding.
        let to = &mut bytes[..self.width()];
        match self {
            Self::F16 => {
                to.copy_from_slice(&f16::from_f64(rounded(value, f16::MANTISSA_DIGITS, -24)).to_le_bytes())
            }
            Self::Bf16 => {
                to.copy_from_slice(&bf16::from_f64(rounded(value, bf16::MANTISSA_DIGITS, -133)).to_le_bytes())
            }
            Self::F32 => to.copy_from_slice(&(value as f32).to_le_bytes()),
            Self::HalfE8m0 => to[0] = nearest(self, u8::MAX, value),
            Self::HalfE4m3 => to[0] = nearest(self, E4M3_MAX, value),
            Self::SplitF16 => {
                let mut whole = [0; 2];
                Self::F16.write(value, &mut whole);
                let bits = u16::from_le_bytes(whole);
                (0..4).for_each(|at| to[2 * at + 1] = to[2 * at + 1] & 15 | (bits >> (4 * at) << 4) as u8);
            }
        }
    }
}

/// The byte of the largest [`Number::HalfE4m3`].
const E4M3_MAX: u8 = 0x7e;

/// Half of an unsigned E4M3.
fn half_e4m3(byte: u8) -> f64 {
    let (exponent, mantissa) = (i32::from(byte >> 3 & 15), f64::from(byte & 7));
    match (byte & 0x7f, exponent) {
        (0x7f, _) => 0.0,
        (_, 0) => mantissa * 2_f64.powi(-10),
        _ => (8.0 + mantissa) * 2_f64.powi(exponent - 11),
    }
}

/// The byte up to `last` whose number is nearest to a magnitude.
fn nearest(number: Number, last: u8, value: f64) -> u8 {
    // NaN becomes the largest too.
    let magnitude = value.abs().min(number.max());
    let distance = |byte: u8| (number.read(&[byte]) - magnitude).abs();
    (0..=last).min_by(|&one, &other| distance(one).total_cmp(&distance(other))).unwrap_or(0)
}

/// The nearest number of N significant bits that is a multiple of 2 to the power of `lowest`, ties to even.
fn rounded(value: f64, digits: u32, lowest: i32) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    // A subnormal f64 has an exponent field of 0, and is far below the lowest step of either format.
    let exponent = (value.to_bits() >> 52 & 0x7ff) as i32 - 1023;
    let step = 2_f64.powi((exponent + 1 - digits as i32).max(lowest));
    (value / step).round_ties_even() * step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_written_as_it_was_read() {
        for number in [Number::F16, Number::Bf16] {
            for bits in 0..=u16::MAX {
                let (bytes, mut written) = (bits.to_le_bytes(), [0; 2]);
                let value = number.read(&bytes);
                number.write(value, &mut written);
                assert!(
                    written == bytes || value.is_nan() && number.read(&written).is_nan(),
                    "{number:?} {bits:#x}"
                );
            }
        }
    }

    #[test]
    fn numbers_of_other_widths_are_written_as_they_were_read() {
        for byte in 0..=u8::MAX {
            let mut written = [0];
            Number::HalfE8m0.write(Number::HalfE8m0.read(&[byte]), &mut written);
            assert_eq!(written, [byte]);
            if byte <= E4M3_MAX {
                Number::HalfE4m3.write(Number::HalfE4m3.read(&[byte]), &mut written);
                assert_eq!(written, [byte]);
            }
        }
        // 1 is exponent 7 and no mantissa; half of that, of half the largest, and of the least.
        assert_eq!([0x38, E4M3_MAX, 1].map(half_e4m3), [0.5, 224.0, 2_f64.powi(-10)]);
        let mut split = [0x5a; 8];
        Number::SplitF16.write(-1.5, &mut split);
        assert_eq!(split, [0x5a, 0x0a, 0x5a, 0x0a, 0x5a, 0xea, 0x5a, 0xba]);
        assert_eq!(Number::SplitF16.read(&split), -1.5);
    }

    #[test]
    fn what_lies_between_two_numbers_is_rounded_to_the_nearest_and_ties_to_even() {
        for number in [Number::F16, Number::Bf16] {
            let (max, mut written) = (number.max(), [0; 2]);
            let mut write = |value: f64| {
                number.write(value, &mut written);
                (u16::from_le_bytes(written), number.read(&written))
            };
            let (top, largest) = write(max);
            assert_eq!(largest, max);
            for bits in 0..top {
                let [low, high] = [bits, bits + 1].map(|bits| number.read(&bits.to_le_bytes()));
                let middle = f64::midpoint(low, high);
                let even = bits + (bits & 1);
                let near = [(middle.next_down(), bits), (middle, even), (middle.next_up(), bits + 1)];
                for (value, must) in near {
                    assert_eq!(write(value).0, must, "{number:?} {value:e}");
                    assert_eq!(write(-value).0, must | 1 << 15, "{number:?} -{value:e}");
                }
            }
            assert_eq!(write(2.0 * max).1, f64::INFINITY);
        }
    }
}
