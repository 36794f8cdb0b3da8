//! The metamorphic relations: changes of the call whose effect on the output is known without an oracle.

use qk256_proptests::{drawn, drawn_from, finite, property};
use qk256_verify::buffer::Buffer;
use qk256_verify::data::Distribution;
use qk256_verify::format::QK256;
use qk256_verify::shape::Threads;
use qk256_verify::{Case, Operation, Property};

/// A drawn case of every operation.
fn of_each_operation(seed: u64) -> Vec<Case> {
    Operation::ALL.map(|operation| drawn(operation, seed)).to_vec()
}

property!(
    no_address_and_no_old_contents_of_the_output_matter,
    256,
    [Property::Placement],
    256,
    of_each_operation
);

property!(a_second_call_gives_the_same_bits, 256, [Property::Repeat], 256, of_each_operation);

property!(concurrent_calls_give_the_same_bits, 64, [Property::Threads], 512, |seed| {
    let two_to_four =
        |case: Case| Case { threads: Threads::new(2 + (seed % 3) as u8).expect("at most 4"), ..case };
    of_each_operation(seed).into_iter().map(two_to_four).collect()
});

property!(
    codes_past_the_last_column_gaps_and_slack_elements_do_not_matter,
    256,
    [Property::Padding],
    256,
    |seed| {
        let padded = |mut case: Case| {
            if case.operation == Operation::Lut {
                case.slack[Buffer::Codes] = 1 + (seed % 40) as i64;
            } else if case.cols.is_multiple_of(256) {
                case.cols += 1 + (seed % 255) as usize;
            }
            case.rows = case.rows.max(1);
            case.patches.clear();
            finite(case)
        };
        // What a quantiser reads has no padding.
        let has_padding = |case: &Case| case.operation.reads_codes() && !case.operation.whole_blocks();
        of_each_operation(seed).into_iter().filter(has_padding).map(padded).collect()
    }
);

/// The products of a matrix and a vector.
const PRODUCTS: [Operation; 2] = [Operation::Gemv, Operation::GemvFixed];

property!(gemv_negates_exactly_where_codes_are_complemented, 256, [Property::Complement], 256, |seed| {
    PRODUCTS.map(|operation| drawn(operation, seed)).to_vec()
});

property!(gemv_scales_exactly_with_a_power_of_two, 256, [Property::PowerOfTwo], 512, |seed| {
    let distributions = [Distribution::Unit, Distribution::Ten, Distribution::Wide];
    let all = |operation| distributions.map(|distribution| drawn_from(operation, seed, distribution));
    PRODUCTS.into_iter().flat_map(all).collect()
});

property!(gemv_gives_a_row_the_same_bits_wherever_it_stands, 256, [Property::RowOrder], 256, |seed| {
    let with_rows = |operation| {
        let mut case = drawn(operation, seed);
        if case.rows < 2 {
            case.rows = 2 + (seed % 7) as usize;
            case.stride = 0;
            case.patches.clear();
        }
        finite(case)
    };
    PRODUCTS.map(with_rows).to_vec()
});

/// A `quantize` in each distribution whose values are finite, of at least two blocks.
fn quantize_on_each_distribution(seed: u64) -> Vec<Case> {
    let of_blocks = |distribution| {
        let case = drawn_from(Operation::Quantize, seed, distribution);
        Case { cols: case.cols.clamp(2 * QK256.block_len, 8 * QK256.block_len), ..case }
    };
    [Distribution::Unit, Distribution::Wide, Distribution::Levels, Distribution::Outliers]
        .map(of_blocks)
        .to_vec()
}

property!(
    quantize_gives_complemented_codes_where_values_are_negated,
    128,
    [Property::Negation],
    512,
    quantize_on_each_distribution
);

property!(quantize_scales_exactly_with_a_power_of_two, 256, [Property::PowerOfTwo], 256, |seed| {
    [Distribution::Unit, Distribution::Ten]
        .map(|distribution| drawn_from(Operation::Quantize, seed, distribution))
        .to_vec()
});

property!(
    quantize_gives_a_block_the_same_bits_wherever_it_stands,
    128,
    [Property::RowOrder],
    1024,
    quantize_on_each_distribution
);
