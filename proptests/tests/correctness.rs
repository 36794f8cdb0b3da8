//! The plain correctness cases: twelve that anyone would think of first, then ten thousand that nobody has to.
//!
//! Each shape is held to 1e-4 of the exact sum on unit data, where that is a fair demand (docs/numerics.md), and to the very
//! bits on integer data, with scales and without.

use qk256_proptests::{drawn, property, wrong_sizes};
use qk256_verify::data::{Codes, Distribution};
use qk256_verify::operation::{DIGITS, MAX_FIXED_COLUMNS};
use qk256_verify::shape::Threads;
use qk256_verify::{Case, Operation, Property};

/// What a gemv of at most 2048 columns is held to.
const FLAT_AND_EXACT: [Property; 2] = [Property::Flat, Property::ExactRegime];

/// What a gemv of any columns and any codes is held to.
const BOUND_AND_EXACT: [Property; 2] = [Property::Bound, Property::ExactRegime];

/// A gemv of this shape in each of two distributions, with scales and without.
fn gemv(rows: usize, cols: usize, distributions: [Distribution; 2], seed: u64) -> Vec<Case> {
    let choices =
        distributions.into_iter().flat_map(|distribution| [(distribution, false), (distribution, true)]);
    choices
        .map(|(distribution, scaled)| Case {
            distribution,
            scaled,
            seed,
            ..Case::new(Operation::Gemv, rows, cols)
        })
        .collect()
}

/// A `gemv_fixed` of this shape with each number of digits, and data of up to 10.
fn fixed(rows: usize, cols: usize, seed: u64) -> Vec<Case> {
    let of = |digits| Case {
        digits,
        distribution: Distribution::Ten,
        seed,
        ..Case::new(Operation::GemvFixed, rows, cols)
    };
    DIGITS.map(of).collect()
}

/// Unit data for the flat bound, integers for the exact bits.
const FLAT: [Distribution; 2] = [Distribution::Unit, Distribution::Integer];

/// Data that no flat bound can be asked of.
const WIDER: [Distribution; 2] = [Distribution::Ten, Distribution::Integer];

property!(columns_256, 8, FLAT_AND_EXACT, 8 * 2 * 3, |seed| gemv(3, 256, FLAT, seed));
property!(columns_512, 8, FLAT_AND_EXACT, 8 * 2 * 3, |seed| gemv(3, 512, FLAT, seed));
property!(columns_1024, 8, FLAT_AND_EXACT, 8 * 2 * 3, |seed| gemv(3, 1024, FLAT, seed));
property!(columns_4096, 8, BOUND_AND_EXACT, 8 * 2 * 3, |seed| gemv(3, 4096, WIDER, seed));
property!(columns_300, 8, FLAT_AND_EXACT, 8 * 2 * 3, |seed| gemv(3, 300, FLAT, seed));
property!(columns_513, 8, FLAT_AND_EXACT, 8 * 2 * 3, |seed| gemv(3, 513, FLAT, seed));
property!(rows_16_of_300_columns, 8, FLAT_AND_EXACT, 8 * 2 * 16, |seed| gemv(16, 300, FLAT, seed));
property!(rows_64_of_1000_columns, 8, FLAT_AND_EXACT, 8 * 2 * 64, |seed| gemv(64, 1000, FLAT, seed));
property!(seven_seeds, 7, FLAT_AND_EXACT, 7 * 2 * 5, |seed| gemv(5, 777, FLAT, seed));

property!(uniform_codes, 4, BOUND_AND_EXACT, 4 * 4 * 2 * 3, |seed| {
    let all = |code| {
        gemv(3, 300, WIDER, seed).into_iter().map(move |case| Case { codes: Codes::Uniform(code), ..case })
    };
    (0..4).flat_map(all).collect()
});

property!(all_four_codes_of_the_lut, 4, [Property::BitExact], 4 * 260, |seed| {
    let ramp = |operation| Case { codes: Codes::Ramp, seed, ..Case::new(operation, 1, 260) };
    [Operation::Unpack, Operation::Lut, Operation::Dequantize].map(ramp).to_vec()
});

/// What a `gemv_fixed` of few columns is held to.
const FIXED: [Property; 3] = [Property::BitExact, Property::Bound, Property::Flat];

property!(fixed_point_at_all_these_columns, 4, FIXED, 4 * 3 * 6, |seed| {
    [256, 300, 512, 513, 1000, 1024, 4096].into_iter().flat_map(|cols| fixed(3, cols, seed)).collect()
});

property!(fixed_point_in_tiles_of_1_to_64_rows, 2, FIXED, 64, |seed| {
    (1..=64).flat_map(|rows| fixed(rows, 300, seed)).collect()
});

property!(
    fixed_point_takes_as_many_columns_as_it_says,
    1,
    [Property::BitExact, Property::Bound],
    4,
    |seed| {
        let widest = |case| Case {
            distribution: Distribution::Extreme,
            codes: Codes::Uniform(3),
            threads: Threads::ONE,
            ..case
        };
        fixed(1, MAX_FIXED_COLUMNS, seed).into_iter().map(widest).collect()
    }
);

property!(fixed_point_refuses_more_columns, 1, [Property::Sizes], 8, |seed| {
    fixed(1, MAX_FIXED_COLUMNS + 1, seed)
});

property!(tiles_of_8_to_64_rows, 2, FLAT_AND_EXACT, 2 * 2 * (8 + 64) * 57 / 2, |seed| {
    (8..=64).flat_map(|rows| gemv(rows, 300, FLAT, seed)).collect()
});

property!(ten_thousand_seeded_rounds, 10_000, Property::ALL, 0, |seed| {
    let operation = Operation::ALL[(seed >> 1) as usize % Operation::ALL.len()];
    let wrong = (seed >> 3).is_multiple_of(8);
    vec![if wrong { wrong_sizes(operation, seed) } else { drawn(operation, seed) }]
});
