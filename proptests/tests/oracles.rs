//! The oracle ladder (docs/verification.md): each property holds for every kernel on the data that it is about.

use qk256_proptests::{drawn, drawn_from, property};
use qk256_verify::buffer::Buffer;
use qk256_verify::case::Patch;
use qk256_verify::data::{Codes, Distribution};
use qk256_verify::oracle::{FLAT_COLUMNS, FLAT_FIXED_COLUMNS};
use qk256_verify::order::ORDER_COLUMNS;
use qk256_verify::{Case, Operation, Property};

/// Oracle 1.
const BIT_EXACT: [Property; 1] = [Property::BitExact];

property!(unpack_gives_the_right_codes, 512, BIT_EXACT, 50_000, |seed| vec![drawn(Operation::Unpack, seed)]);

property!(lut_gives_the_right_weights_of_the_low_two_bits, 512, BIT_EXACT, 50_000, |seed| {
    // Any byte at all: six bits of a code say nothing.
    let mut case = drawn(Operation::Lut, seed);
    case.patches.push(Patch {
        buffer: Buffer::Codes,
        index: 0,
        bits: (0..256.min(case.cols as u32)).collect(),
    });
    vec![case]
});

property!(dequantize_is_bit_identical, 512, BIT_EXACT, 50_000, |seed| vec![drawn(
    Operation::Dequantize,
    seed
)]);

property!(dequantize_keeps_nan_infinities_zeros_and_subnormals, 512, BIT_EXACT, 50_000, |seed| {
    [Distribution::Special, Distribution::Subnormal]
        .map(|distribution| drawn_from(Operation::Dequantize, seed, distribution))
        .to_vec()
});

property!(gemv_is_exact_where_no_order_of_summation_rounds, 512, [Property::ExactRegime], 512, |seed| {
    vec![drawn_from(Operation::Gemv, seed, Distribution::Integer)]
});

property!(gemv_is_exact_for_a_single_activation, 512, [Property::ExactRegime], 512, |seed| {
    vec![drawn_from(Operation::Gemv, seed, Distribution::OneHot)]
});

property!(gemv_is_bit_identical_to_its_own_order_of_summation, 256, [Property::Order], 512, |seed| {
    [Distribution::Unit, Distribution::Ten, Distribution::Wide]
        .map(|distribution| Case { scaled: false, ..drawn_from(Operation::Gemv, seed, distribution) })
        .map(|case| Case { cols: case.cols.min(ORDER_COLUMNS), stride: case.stride.max(0), ..case })
        .to_vec()
});

property!(gemv_stays_within_1e_4_of_the_exact_sum_on_unit_data, 512, [Property::Flat], 512, |seed| {
    let mut case = drawn_from(Operation::Gemv, seed, Distribution::Unit);
    case.cols = case.cols.min(FLAT_COLUMNS);
    case.codes = Codes::Random;
    vec![case]
});

property!(gemv_stays_within_the_bound_of_any_order_of_summation, 256, [Property::Bound], 512, |seed| {
    [Distribution::Ten, Distribution::Wide, Distribution::Subnormal]
        .map(|distribution| drawn_from(Operation::Gemv, seed, distribution))
        .to_vec()
});

property!(gemv_gives_the_nan_or_infinity_of_an_activation, 512, [Property::Special], 512, |seed| {
    let case = drawn_from(Operation::Gemv, seed, Distribution::Ten);
    let len = case.cols;
    vec![with_special(case, Buffer::X, len, seed)]
});

property!(gemv_gives_the_nan_or_infinity_of_a_scale, 512, [Property::Special], 512, |seed| {
    let mut case = drawn_from(Operation::Gemv, seed, Distribution::Ten);
    case.scaled = true;
    let len = case.rows * case.shape().blocks();
    vec![with_special(case, Buffer::Scales, len, seed)]
});

property!(gemv_survives_sprinkled_special_values, 512, [Property::Special], 100, |seed| {
    vec![drawn_from(Operation::Gemv, seed, Distribution::Special)]
});

/// Every distribution without NaN and infinities.
const FINITE: [Distribution; 6] = [
    Distribution::Unit,
    Distribution::Ten,
    Distribution::Integer,
    Distribution::Wide,
    Distribution::Subnormal,
    Distribution::Extreme,
];

/// A `gemv_fixed` in each finite distribution.
fn fixed_on_each_distribution(seed: u64) -> Vec<Case> {
    FINITE.map(|distribution| drawn_from(Operation::GemvFixed, seed, distribution)).to_vec()
}

property!(gemv_fixed_is_bit_identical, 256, BIT_EXACT, 5_000, fixed_on_each_distribution);

property!(gemv_fixed_stays_within_its_bound, 256, [Property::Bound], 5_000, fixed_on_each_distribution);

property!(gemv_fixed_stays_within_1e_4, 256, [Property::Flat], 2_000, |seed| {
    let flat = |distribution| {
        let mut case = drawn_from(Operation::GemvFixed, seed, distribution);
        case.digits = 4;
        case.cols = case.cols.min(FLAT_FIXED_COLUMNS);
        case
    };
    [Distribution::Unit, Distribution::Ten, Distribution::Subnormal].map(flat).to_vec()
});

property!(gemv_fixed_is_right_where_narrow_sums_would_overflow, 128, BIT_EXACT, 128, |seed| {
    // One sign, and the weight that kernels make the largest unsigned one.
    let mut case = drawn_from(Operation::GemvFixed, seed, Distribution::Extreme);
    case.codes = Codes::Uniform(3);
    case.cols = 1024 + (seed >> 32) as usize % 4096;
    case.rows = 1 + (seed >> 16) as usize % 3;
    case.stride = 0;
    vec![case]
});

property!(gemv_fixed_refuses_what_is_not_finite, 512, [Property::Sizes], 1024, |seed| {
    let case = drawn_from(Operation::GemvFixed, seed, Distribution::Ten);
    let len = case.cols;
    vec![with_special(case, Buffer::X, len, seed)]
});

property!(
    quantize_gives_the_bits_of_the_least_squared_error,
    256,
    [Property::BitExact, Property::Bound],
    2_000,
    |seed| {
        [
            Distribution::Unit,
            Distribution::Integer,
            Distribution::Wide,
            Distribution::Subnormal,
            Distribution::Levels,
            Distribution::Outliers,
        ]
        .map(|distribution| drawn_from(Operation::Quantize, seed, distribution))
        .to_vec()
    }
);

property!(quantize_decides_ties_as_documented, 512, BIT_EXACT, 512, |seed| {
    let mut case = drawn_from(Operation::Quantize, seed, Distribution::Levels);
    // Blocks in which two numbers of twos have the same error are of 16 values, or a multiple.
    case.cols = 16 * (1 + (seed >> 8) as usize % 32);
    vec![case]
});

property!(quantize_refuses_what_is_not_finite, 512, [Property::Sizes], 1024, |seed| {
    let case = drawn_from(Operation::Quantize, seed, Distribution::Ten);
    let len = case.cols;
    vec![with_special(case, Buffer::X, len, seed)]
});

/// Replaces one of the first `len` elements of `buffer` by NaN or an infinity.
fn with_special(mut case: Case, buffer: Buffer, len: usize, seed: u64) -> Case {
    let specials = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    let special = specials[(seed >> 1) as usize % specials.len()];
    let index = (seed >> 8) as usize % len;
    case.patches.push(Patch { buffer, index, bits: vec![special.to_bits()] });
    case
}
