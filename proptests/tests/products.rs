//! What holds for `gemm` and `dot` of every format.

use qk256_proptests::{drawn, property};
use qk256_verify::data::{Codes, Distribution};
use qk256_verify::{Case, Domain, Operation, Property};

/// The case with data of one distribution alone, and at least one result.
fn with(case: Case, distribution: Distribution) -> Case {
    let domain = case.domain();
    let (rows, batch) = (case.rows.max(1), case.batch.max(1));
    Case { distribution, rows, batch, cols: domain.cols(case.cols.max(1)), patches: Vec::new(), ..case }
}

property!(each_vector_of_a_batch_is_multiplied_by_itself, 512, [Property::RowOrder], 128, |seed| {
    let case = drawn(Operation::Gemm, seed);
    vec![Case { batch: 2 + (seed % 7) as usize, ..with(case, Distribution::Ten) }]
});

property!(gemm_of_integers_is_exact_in_every_format, 512, [Property::ExactRegime], 256, |seed| {
    vec![with(drawn(Operation::Gemm, seed), Distribution::Integer)]
});

property!(dot_of_integers_is_exact_in_every_pair_of_formats, 512, [Property::ExactRegime], 128, |seed| {
    let case = with(drawn(Operation::Dot, seed), Distribution::Integer);
    vec![Case { rows: case.rows.min(8), cols: case.domain().cols(case.cols.min(1024)), ..case }]
});

property!(dot_of_any_scales_keeps_its_bound, 512, [Property::Bound], 128, |seed| {
    let case = drawn(Operation::Dot, seed);
    // Without scales there are integers only.
    let has_scales = case.format.has_inner_scales() || case.activations.scale.is_some();
    let all = [Distribution::Ten, Distribution::Wide].map(|each| with(case.clone(), each));
    if has_scales { all.to_vec() } else { Vec::new() }
});

property!(sums_of_all_extreme_rows_do_not_overflow, 64, [Property::ExactRegime], 64, |seed| {
    let domain = Domain::nth_drawn(Operation::Dot, (seed >> 8) as usize);
    let codes = domain.format.extreme_codes();
    let case = |code| {
        let cols = domain.cols(1 + (seed % 4096) as usize);
        let once = Case { once: true, seed, codes: Codes::Uniform(code), ..Case::new(domain, 1, cols) };
        Case { distribution: Distribution::Extreme, ..once }
    };
    codes.into_iter().map(case).collect()
});

property!(scales_that_are_special_give_what_they_must, 512, [Property::Special], 32, |seed| {
    [Operation::Gemm, Operation::Dot].map(|each| with(drawn(each, seed), Distribution::Special)).to_vec()
});

property!(products_do_not_depend_on_addresses_or_old_contents, 256, [Property::Placement], 64, |seed| {
    [Operation::Gemm, Operation::Dot].map(|operation| drawn(operation, seed)).to_vec()
});
