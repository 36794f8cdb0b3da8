//! Real weights: every kernel on every tensor of the repository's model.

use qk256_proptests::{PropertyTest, weights_file};
use qk256_verify::data::Distribution;
use qk256_verify::operation::DIGITS;
use qk256_verify::weights::{Tensor, TensorRows};
use qk256_verify::{Case, Harness, Operation, Property, Weights};

/// Holds a property of cases that take codes and scales from each tensor.
fn hold(property: PropertyTest, cases: impl Fn(&Tensor, &Case) -> Vec<Case>) {
    let path = weights_file();
    let weights = Weights::open(&path).unwrap_or_else(|error| panic!("{error}"));
    let tensors = weights.tensors();
    assert!(!tensors.is_empty(), "{} has no tensor that can be quantised", path.display());
    property.hold(Harness::new(Some(weights)), |seed| {
        let of = |tensor: &Tensor| {
            let part = TensorRows { name: tensor.name.clone(), first_row: 0 };
            let base =
                Case { seed, tensor: Some(part), ..Case::new(Operation::Gemv, tensor.rows, tensor.cols) };
            cases(tensor, &base)
        };
        tensors.iter().flat_map(of).collect()
    });
}

#[test]
fn vector_operations_are_bit_identical_on_real_weights() {
    let name = "vector_operations_are_bit_identical_on_real_weights";
    let property = PropertyTest { name, rounds: 1, properties: &[Property::BitExact], at_least: 300_000 };
    hold(property, |tensor, base| {
        let whole = |operation| Case {
            seed: base.seed,
            tensor: base.tensor.clone(),
            ..Case::new(operation, 1, tensor.rows * tensor.cols)
        };
        [Operation::Unpack, Operation::Lut, Operation::Dequantize].map(whole).to_vec()
    });
}

#[test]
fn quantize_gives_the_least_squared_error_on_real_weights() {
    let name = "quantize_gives_the_least_squared_error_on_real_weights";
    let property =
        PropertyTest { name, rounds: 1, properties: &[Property::BitExact, Property::Bound], at_least: 1000 };
    hold(property, |tensor, base| {
        let whole = Case::new(Operation::Quantize, 1, tensor.rows * tensor.cols);
        vec![Case { seed: base.seed, tensor: base.tensor.clone(), ..whole }]
    });
}

#[test]
fn gemv_stays_within_the_bound_on_real_weights_and_scales() {
    let name = "gemv_stays_within_the_bound_on_real_weights_and_scales";
    let property = PropertyTest { name, rounds: 2, properties: &[Property::Bound], at_least: 1000 };
    hold(property, |_, base| vec![Case { scaled: true, distribution: Distribution::Ten, ..base.clone() }]);
}

#[test]
fn gemv_fixed_is_bit_identical_within_its_bound_on_real_weights() {
    let name = "gemv_fixed_is_bit_identical_within_its_bound_on_real_weights";
    let property =
        PropertyTest { name, rounds: 1, properties: &[Property::BitExact, Property::Bound], at_least: 2000 };
    hold(property, |tensor, base| {
        let fixed = |digits| Case {
            seed: base.seed,
            tensor: base.tensor.clone(),
            digits,
            distribution: Distribution::Ten,
            ..Case::new(Operation::GemvFixed, tensor.rows, tensor.cols)
        };
        DIGITS.map(fixed).collect()
    });
}

#[test]
fn gemv_is_exact_on_real_weights_and_integer_activations() {
    let name = "gemv_is_exact_on_real_weights_and_integer_activations";
    let property = PropertyTest { name, rounds: 2, properties: &[Property::ExactRegime], at_least: 1000 };
    hold(property, |_, base| vec![Case { distribution: Distribution::Integer, ..base.clone() }]);
}
