//! What the lists of mutants are held to, and the harness by them: every rung has a kernel that trips it, so that an oracle
//! that cannot fail shows here.

use std::collections::HashSet;

use qk256_mutants::{Class, Mutant, right, wrong};
use qk256_verify::{Finding, Harness, KernelFn, Operation, Rung, case};

/// Seeded cases in which a mutant must be caught.
const CASES: u64 = 1500;

/// Seeded cases in which a right kernel must be left alone.
const RIGHT_CASES: u64 = 400;

/// The rung that must catch a mutant, whatever other rungs do.
const TRIPPED: &[(Rung, &str)] = &[
    (Rung::BitExact, "code-three-read-as-two"),
    (Rung::BitExact, "scale-of-the-previous-block"),
    (Rung::BitExact, "codes-clamped-instead-of-masked"),
    (Rung::BitExact, "a-digit-short"),
    (Rung::BitExact, "ties-away-from-zero"),
    (Rung::BitExact, "cut-instead-of-rounded"),
    (Rung::BitExact, "exponent-one-too-large"),
    (Rung::BitExact, "16-bit-sums-that-saturate"),
    (Rung::BitExact, "16-bit-sums-that-wrap"),
    (Rung::BitExact, "rounded-in-two-parts"),
    (Rung::BitExact, "negative-zero"),
    (Rung::BitExact, "last-of-129-dropped"),
    (Rung::BitExact, "tie-to-the-most-twos"),
    (Rung::BitExact, "scale-an-ulp-too-large"),
    (Rung::BitExact, "padding-from-the-block-before"),
    (Rung::ExactRegime, "last-dropped-when-7-of-8"),
    (Rung::Order, "backwards-where-there-are-gaps"),
    (Rung::Flat, "products-cut-to-11-bits"),
    (Rung::Flat, "three-digits-for-four"),
    (Rung::Bound, "a-result-of-11-bits"),
    (Rung::Bound, "three-digits-for-four"),
    (Rung::Bound, "one-digit-always"),
    (Rung::Bound, "scale-from-the-largest"),
    (Rung::Bound, "outliers-clipped"),
    (Rung::Bound, "largest-scale-not-limited"),
    (Rung::Bound, "scale-of-zeros-is-nan"),
    (Rung::Special, "nan-becomes-zero"),
    (Rung::Memory, "reads-a-byte-before-packed"),
    (Rung::Memory, "reads-16-bytes-past-the-last-block"),
    (Rung::Memory, "writes-spare-rows"),
    (Rung::Memory, "codes-complemented-in-place-and-back"),
    (Rung::Memory, "scales-halved-in-place-and-doubled"),
    (Rung::Memory, "x-negated-in-place-and-back"),
    (Rung::Memory, "a-sentinel-behind-the-codes-and-back"),
    (Rung::Memory, "scales-stored-as-they-were"),
    (Rung::Memory, "codes-masked-in-place-and-put-back"),
    (Rung::Memory, "x-rounded-in-place-and-put-back"),
    (Rung::Memory, "slack-of-y-stored-with-its-own-bytes"),
    (Rung::Memory, "all-of-y-stored-with-its-own-bytes-for-no-rows"),
    (Rung::Memory, "slack-of-fixed-y-stored-with-its-own-bytes"),
    (Rung::Memory, "codes-of-a-tail-blended-with-what-lies-behind"),
    (Rung::Memory, "weights-of-a-tail-blended-with-what-lies-behind"),
    (Rung::Memory, "entries-of-a-tail-blended-with-what-lies-behind"),
    (Rung::Sizes, "y-stored-with-its-own-bytes-and-refused"),
    (Rung::Memory, "reads-a-value-past-the-end"),
    (Rung::Memory, "spare-codes-stored-as-they-were"),
    (Rung::Inputs, "x-left-negated"),
    (Rung::Mxcsr, "flush-to-zero-left-on"),
    (Rung::Panic, "three-rows-panic"),
    (Rung::Sizes, "wrong-sizes-done-nothing"),
    (Rung::Sizes, "one-column-refused"),
    (Rung::Sizes, "nan-taken-for-zero"),
    (Rung::Sizes, "infinities-clamped"),
    (Rung::Sizes, "subnormal-x-refused"),
    (Rung::Sizes, "finite-only-in-whole-vectors"),
    (Rung::Sizes, "codes-written-and-then-refused"),
    (Rung::Placement, "last-bytes-not-written"),
    (Rung::Placement, "accumulates-into-y"),
    (Rung::Placement, "another-order-for-aligned-x"),
    (Rung::Repeat, "every-seventh-call-off"),
    (Rung::Repeat, "every-ninth-call-takes-the-other-tie"),
    (Rung::Threads, "wrong-on-every-thread-but-the-first"),
    (Rung::Threads, "magnitudes-in-shared-scratch"),
    (Rung::Padding, "code-behind-the-last-matters"),
    (Rung::Padding, "exponent-for-spare-x-as-well"),
    (Rung::Negation, "scale-without-its-sign"),
    (Rung::Negation, "first-x-cached-by-address"),
    (Rung::Negation, "scales-cached-by-address"),
    (Rung::Negation, "negative-zero-is-minus-one"),
    (Rung::Negation, "best-gain-kept-between-calls"),
    (Rung::Complement, "a-bias"),
    (Rung::Complement, "a-sum-that-is-cut"),
    (Rung::PowerOfTwo, "a-floor"),
    (Rung::RowOrder, "backwards-in-odd-rows"),
    (Rung::Invariance, "columns-split-in-two-for-one-row"),
    (Rung::RowOrder, "sums-from-those-of-the-row-before"),
    (Rung::RowOrder, "value-of-the-next-block-in-the-sum"),
    (Rung::RowOrder, "blocks-from-the-fifth-on-by-the-mean"),
];

fn mutant(name: &str) -> Mutant {
    wrong().into_iter().find(|mutant| mutant.name == name).unwrap_or_else(|| panic!("no mutant `{name}`"))
}

/// The first finding for which `wanted`, in so many cases.
fn first_finding(
    harness: &mut Harness,
    kernel: &KernelFn,
    cases: u64,
    wanted: impl Fn(&Finding) -> bool,
) -> Option<Finding> {
    (0..cases).find_map(|index| {
        let case = case::from_seed(kernel.operation, 7, index);
        harness.findings(kernel, &case).expect("seeded cases have data").into_iter().find(&wanted)
    })
}

/// The first finding of `rung`.
fn first_of(harness: &mut Harness, kernel: &KernelFn, rung: Rung) -> Option<Finding> {
    first_finding(harness, kernel, CASES, |finding| finding.properties().contains(&rung))
}

#[test]
fn every_rung_catches_the_kernel_that_violates_it() {
    let mut harness = Harness::new(None);
    let survivors: Vec<String> = TRIPPED
        .iter()
        .filter(|(rung, name)| first_of(&mut harness, &mutant(name).kernel, *rung).is_none())
        .map(|(rung, name)| format!("{rung} does not see {name}"))
        .collect();
    assert!(survivors.is_empty(), "{survivors:#?}");
}

#[test]
fn every_rung_has_a_mutant() {
    // The plugins of cli/tests/plugins and `selftest`, which has a process for each kernel, trip the others.
    let lonely: Vec<Rung> = Rung::ALL
        .into_iter()
        .filter(|rung| !rung.is_of_processes())
        .filter(|rung| TRIPPED.iter().all(|(tripped, _)| tripped != rung))
        .collect();
    assert!(lonely.is_empty(), "no mutant for {lonely:?}");
}

#[test]
fn right_kernels_that_are_different_are_left_alone() {
    let mut harness = Harness::new(None);
    let first = |mutant: &Mutant| first_finding(&mut harness, &mutant.kernel, RIGHT_CASES, |_| true);
    let accused: Vec<Finding> = right().iter().filter_map(first).collect();
    assert!(accused.is_empty(), "{accused:#?}");
}

#[test]
fn a_minimised_finding_is_at_its_smallest_shape_and_replays() {
    let mut harness = Harness::new(None);
    let dropper = mutant("last-dropped-when-7-of-8").kernel;
    let found = first_of(&mut harness, &dropper, Rung::ExactRegime).expect("the mutant is caught");
    let smallest = harness.minimize(&dropper, &found);
    assert_eq!((smallest.case.rows, smallest.case.cols), (1, 7), "{smallest}");
    let line = smallest.replay.split_once(" gemv ").expect("a replay line has the case").1;
    let again = format!("gemv {line}").parse().expect("a replay line parses");
    let found = harness.findings(&dropper, &again).expect("the case has data");
    assert!(found.iter().any(|finding| finding.rung == Rung::ExactRegime), "{found:?}");
}

#[test]
fn names_are_words_joined_by_hyphens_and_no_two_are_the_same() {
    let mut seen = HashSet::new();
    for Mutant { name, kernel, history, .. } in wrong().into_iter().chain(right()) {
        let is_word = |word: &str| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        assert!(name.split('-').all(is_word), "{name}");
        assert!(seen.insert(name), "{name} is there twice");
        assert_eq!(kernel.name, name);
        assert!(!history.is_empty() && !history.ends_with('.'), "{name}: {history}");
    }
}

#[test]
fn no_class_and_no_operation_is_short_of_mutants() {
    let (wrong, right) = (wrong(), right());
    assert!(wrong.len() >= 90 && right.len() >= 14, "{} wrong, {} right", wrong.len(), right.len());
    for class in Class::ALL {
        let count = wrong.iter().filter(|mutant| mutant.class == class).count();
        assert!(count >= 5, "{count} of class {}", class.name());
    }
    for operation in Operation::ALL {
        let count = wrong.iter().filter(|mutant| mutant.kernel.operation == operation).count();
        assert!(count >= 5, "{count} of {operation}");
    }
}
