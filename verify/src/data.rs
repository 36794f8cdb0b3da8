//! Where the data of a case come from: codes, scales, and the distributions of x.

use crate::format::Format;

/// Where codes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codes {
    /// Independent and uniform.
    Random,
    /// The same code everywhere.
    Uniform(u8),
    /// 0, 1, 2, 3, 0, 1 and so on along each row.
    Ramp,
    /// 0, 3, 0, 3 and so on along each row.
    Stripes,
    /// Each packed byte, and each byte of `lut`, is its block's number plus 37 times its place in the block, modulo 256: in 256
    /// blocks every byte stands at every place.
    Bytes,
}

impl Codes {
    /// Those that are tried of a format: every code everywhere, or of many the two that are largest in magnitude and two in between.
    pub(crate) fn of(format: &Format) -> Vec<Self> {
        let last = format.code_count() - 1;
        let codes = if last > 3 { vec![0, 1, last / 2 + 1, last] } else { (0..=last).collect() };
        let uniform = codes.into_iter().map(Self::Uniform);
        let patterns = [Self::Ramp, Self::Stripes, Self::Bytes];
        [Self::Random].into_iter().chain(uniform).chain(patterns).collect()
    }

    /// The codes of that name.
    pub(crate) fn find(name: &str) -> Option<Self> {
        let uniform = (0..UNIFORM.len() as u8).map(Self::Uniform);
        let mut all = [Self::Random, Self::Ramp, Self::Stripes, Self::Bytes].into_iter().chain(uniform);
        all.find(|codes| codes.name() == name)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Uniform(code) => UNIFORM[code as usize % UNIFORM.len()],
            Self::Ramp => "ramp",
            Self::Stripes => "stripes",
            Self::Bytes => "bytes",
        }
    }

    /// Element `at` of the codes that `lut` reads; `None` where codes are random.
    pub(crate) fn code(self, format: &Format, at: usize) -> Option<u8> {
        let count = format.code_count();
        match self {
            Self::Random => None,
            Self::Uniform(code) => Some(code % count),
            Self::Ramp => Some((at % usize::from(count)) as u8),
            Self::Stripes => Some(if at.is_multiple_of(2) { 0 } else { count - 1 }),
            Self::Bytes => Some(every_byte(at / format.block_len, at % format.block_len)),
        }
    }

    /// The first `len` bytes of a row of packed blocks; `None` where codes are random.
    pub(crate) fn row(self, format: &Format, len: usize) -> Option<Vec<u8>> {
        if self == Self::Bytes {
            let place = |at| every_byte(at / format.block_bytes, at % format.block_bytes);
            return Some((0..len).map(place).collect());
        }
        let codes: Option<Vec<u8>> = (0..format.block_len).map(|at| self.code(format, at)).collect();
        let packed = format.pack(&codes?);
        let (header, block) = packed.split_at(format.header_bytes());
        Some(header.iter().chain(block.iter().cycle()).copied().take(len).collect())
    }
}

/// The names of codes that are the same everywhere.
const UNIFORM: [&str; 16] = [
    "all0", "all1", "all2", "all3", "all4", "all5", "all6", "all7", "all8", "all9", "all10", "all11",
    "all12", "all13", "all14", "all15",
];

/// The byte at a place of a block of `codes=bytes`.
pub(crate) const fn every_byte(block: usize, place: usize) -> u8 {
    (block + 37 * place) as u8
}

/// How scales relate to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scales {
    /// Each is drawn for itself.
    Independent,
    /// All are the first that is drawn.
    Equal,
    /// The first two that are drawn, in turn.
    Alternating,
}

impl Scales {
    pub(crate) const ALL: [Self; 3] = [Self::Independent, Self::Equal, Self::Alternating];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Independent => "independent",
            Self::Equal => "equal",
            Self::Alternating => "alternating",
        }
    }
}

/// Where x and scales come from. Each distribution serves one or more properties of the ladder (docs/verification.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// x uniform on [-a, a], where a is 1 up to 256 columns, then 1/2, 1/4 from 513 and 1/8 from 1025 on; scales 1. Oracle 4.
    Unit,
    /// x uniform on [-10, 10]; scales positive with full mantissas, 2^-7 to 2^-3. Oracle 5.
    Ten,
    /// Integer x, scales powers of two, so that every order of summation is exact. Oracle 2.
    Integer,
    /// x is zero but for one column, which has arbitrary bits, special values among them; scales have full mantissas. Oracle 2
    /// and 6.
    OneHot,
    /// Exponents from 2^-60 to 2^60 with full mantissas; scales 2^-20 to 2^20. Oracle 5.
    Wide,
    /// Subnormal x; scales 1, 2, subnormal, or around 1 with full mantissas. Oracle 2 and 5.
    Subnormal,
    /// As `Ten` with a few NaN, infinities, -0.0, subnormals and the largest finite values. Oracle 6.
    Special,
    /// x zero, of either sign, in half of the blocks and in many groups of 32 columns of the others; otherwise as `Ten`.
    Sparse,
    /// x with full mantissas, so large that sums are just below what may overflow; scales as of `Ten`. Oracle 5.
    Huge,
    /// One large x, one a little above half of its last place, and many that are smaller still, times one power of two: what is
    /// lost of them adds up. Scales 1. Oracle 5.
    Absorbing,
    /// x and scales zero: all that matters is in the patches.
    Raw,
    /// Nearly every digit of x 127 or -128 and of one sign, at any exponent; scales 1. Where sums of digits overflow, if
    /// anywhere.
    Extreme,
    /// In each block of 256 x is of few magnitudes, those of the format, those between which a quantiser decides, or such that two
    /// choices of codes have exactly the same error; scales 1.
    Levels,
    /// Integer multiples of a power of two, of which the largest in magnitude of each group is 127 times that: what x rounded to 8 bits
    /// holds exactly. Scales powers of two.
    Steps,
    /// In each block of 256 one x is far larger than the others, or all are near the largest f32, or the smallest; scales 1.
    Outliers,
    /// Every x the largest integer of this many bits, and of one sign: narrow sums overflow there, where those of mixed signs do not.
    /// In rows so long that such sums would round in f32, the lowest bits are zero. Scales 1. Oracle 2.
    Full(u8),
}

impl Distribution {
    pub(crate) const ALL: &[Self] = &[
        Self::Unit,
        Self::Ten,
        Self::Integer,
        Self::OneHot,
        Self::Wide,
        Self::Subnormal,
        Self::Special,
        Self::Sparse,
        Self::Huge,
        Self::Absorbing,
        Self::Raw,
        Self::Extreme,
        Self::Levels,
        Self::Outliers,
        Self::Steps,
        Self::Full(7),
        Self::Full(8),
        Self::Full(15),
        Self::Full(16),
        Self::Full(23),
    ];

    /// Those whose x are the largest integers of some number of bits.
    pub(crate) fn full() -> &'static [Self] {
        &Self::ALL[Self::ALL.len() - 5..]
    }

    /// Those of sums in f32: the values that a quantiser looks for are left out, those of full integers are in parts of the sweep of their own.
    pub const OF_SUMS: &[Self] = Self::ALL.split_at(11).0;

    /// The same where a kernel rounds x to 8 bits.
    pub const OF_ROUNDED_SUMS: &[Self] = &[
        Self::Unit,
        Self::Ten,
        Self::Integer,
        Self::OneHot,
        Self::Wide,
        Self::Subnormal,
        Self::Special,
        Self::Sparse,
        Self::Huge,
        Self::Absorbing,
        Self::Raw,
        Self::Steps,
    ];

    /// The same for sums of digits.
    pub const OF_DIGITS: &[Self] = Self::ALL.split_at(12).0;

    /// Those of products of quantised activations.
    pub const OF_PRODUCTS: &[Self] = &[
        Self::Extreme,
        Self::Integer,
        Self::Ten,
        Self::Unit,
        Self::OneHot,
        Self::Wide,
        Self::Subnormal,
        Self::Special,
        Self::Sparse,
        Self::Raw,
    ];

    /// Those of values to be quantised: all but [`Extreme`](Self::Extreme) and the full ones.
    pub const OF_VALUES: &[Self] = &[
        Self::Unit,
        Self::Ten,
        Self::Integer,
        Self::OneHot,
        Self::Wide,
        Self::Subnormal,
        Self::Special,
        Self::Sparse,
        Self::Huge,
        Self::Absorbing,
        Self::Raw,
        Self::Levels,
        Self::Outliers,
    ];

    /// The name in cases.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Ten => "ten",
            Self::Integer => "integer",
            Self::OneHot => "onehot",
            Self::Wide => "wide",
            Self::Subnormal => "subnormal",
            Self::Special => "special",
            Self::Sparse => "sparse",
            Self::Huge => "huge",
            Self::Absorbing => "absorbing",
            Self::Raw => "raw",
            Self::Extreme => "extreme",
            Self::Levels => "levels",
            Self::Outliers => "outliers",
            Self::Steps => "steps",
            Self::Full(7) => "full7",
            Self::Full(8) => "full8",
            Self::Full(15) => "full15",
            Self::Full(16) => "full16",
            Self::Full(_) => "full23",
        }
    }
}
