//! Orders of summation that the contract allows, and what the harness makes of them.

use qk256_mutants::{Mutant, right};
use qk256_verify::order::{Scaling, Subject, reveal};
use qk256_verify::{Finding, Harness, Operation, case};

/// Seeds, and drawn cases of each.
const SEEDS: u64 = 8;
const CASES: u64 = 25;

/// A place in the sequence of cases of a seed that is past the sweep.
const DRAWN: u64 = 1 << 20;

/// Right kernels of gemv whose order depends on the codes.
const BY_CODES: [&str; 6] = [
    "magnitudes-one-and-two-apart",
    "added-and-subtracted-apart",
    "added-before-subtracted",
    "codes-apart",
    "planes-of-bits",
    "tables-of-four-activations",
];

fn kernel(name: &str) -> Mutant {
    right().into_iter().find(|mutant| mutant.name == name).unwrap_or_else(|| panic!("no kernel `{name}`"))
}

fn findings(harness: &mut Harness, name: &str, case: &str) -> Vec<Finding> {
    let case = case.parse().expect("the case is well formed");
    harness.findings(&kernel(name).kernel, &case).expect("the case has data")
}

#[test]
fn an_order_that_depends_on_the_codes_is_no_finding() {
    let mut harness = Harness::new(None);
    for name in BY_CODES.into_iter().chain(["order-by-the-first-codes"]) {
        for case in [
            "gemv rows=1 cols=3 dist=unit seed=1",
            "gemv rows=5 cols=7 codes=ramp dist=ten seed=2",
            "gemv rows=5 cols=600 codes=ramp dist=ten seed=3",
            "gemv rows=2 cols=7 scaled dist=ten seed=3249291112 patch.x.0=80000000 patch.scales.0=7fc00000",
            "gemv rows=1 cols=64 scaled dist=wide seed=147926635 threads=8",
        ] {
            let found = findings(&mut harness, name, case);
            assert!(found.is_empty(), "{name}, {case}: {found:#?}");
        }
    }
}

#[test]
fn a_scale_on_the_activation_is_no_finding_where_products_are_subnormal() {
    let case = "gemv rows=1 cols=3 scaled codes=all0 dist=ten seed=1 patch.scales.0=00000001";
    for name in ["scale-on-the-activation", "scale-on-the-activation-in-the-tail"] {
        let found = findings(&mut Harness::new(None), name, case);
        assert!(found.is_empty(), "{name}: {found:#?}");
        let model = reveal(&kernel(name).kernel, Subject::one_row(100, true)).expect("a tree explains it");
        assert_eq!(model.scaling(), Scaling::Term, "{name}");
    }
}

#[test]
fn reveal_names_the_codes_as_what_an_order_depends_on() {
    for name in BY_CODES {
        let error = reveal(&kernel(name).kernel, Subject::one_row(64, false)).expect_err(name).to_string();
        assert!(error.contains("the order depends on the codes"), "{name}: {error}");
    }
}

/// The first finding of each right kernel of gemv, in drawn cases of N seeds.
fn false_alarms(seeds: u64) -> Vec<Finding> {
    let mut harness = Harness::new(None);
    let mut first = |mutant: &Mutant| {
        let indices = (0..seeds).flat_map(|seed| (DRAWN..DRAWN + CASES).map(move |index| (seed, index)));
        indices.into_iter().find_map(|(seed, index)| {
            let case = case::from_seed(Operation::Gemv, seed, index);
            harness.findings(&mutant.kernel, &case).expect("drawn cases have data").into_iter().next()
        })
    };
    let right = right();
    right
        .iter()
        .filter(|mutant| mutant.kernel.domain.operation == Operation::Gemv)
        .filter_map(&mut first)
        .collect()
}

#[test]
fn right_kernels_are_left_alone_on_several_seeds() {
    let accused = false_alarms(SEEDS);
    assert!(accused.is_empty(), "{accused:#?}");
}

#[test]
#[ignore = "takes minutes: 600 seeds"]
fn right_kernels_are_left_alone_on_many_seeds() {
    let accused = false_alarms(600);
    assert!(accused.is_empty(), "{accused:#?}");
}
