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
}

impl Number {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::F16, Self::Bf16, Self::F32];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::F32 => "f32",
        }
    }

    /// Its bytes.
    pub const fn width(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
        }
    }

    /// The largest finite one.
    pub fn max(self) -> f64 {
        match self {
            Self::F16 => f16::MAX.into(),
            Self::Bf16 => bf16::MAX.into(),
            Self::F32 => f32::MAX.into(),
        }
    }

    /// The smallest positive one, which is subnormal.
    pub fn least(self) -> f64 {
        match self {
            Self::F16 => 2_f64.powi(-24),
            Self::Bf16 => 2_f64.powi(-133),
            Self::F32 => f32::from_bits(1).into(),
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
        }
    }

    /// Puts the nearest number into the first bytes, of two that are equally near the even one. What is too large becomes an infinity.
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
        }
    }
}

/// The nearest number of so many significant bits that is a multiple of 2 to the power of `lowest`, ties to even.
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
