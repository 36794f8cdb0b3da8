//! What the lists of mutants are held to, and the harness by them: every property has a kernel that trips it, so that an oracle
//! that cannot fail shows here.

use std::collections::HashSet;

use qk256_mutants::{Class, Mutant, right, wrong};
use qk256_verify::{Domain, Finding, Harness, KernelFn, Operation, Property, case};

/// Seeded cases in which a mutant must be caught.
const CASES: u64 = 1500;

/// Seeded cases in which a right kernel must be left alone.
const RIGHT_CASES: u64 = 400;

/// The property that must catch a mutant, whatever other properties do.
const TRIPPED: &[(Property, &str)] = &[
    (Property::BitExact, "code-three-read-as-two"),
    (Property::BitExact, "scale-of-the-previous-block"),
    (Property::BitExact, "codes-clamped-instead-of-masked"),
    (Property::BitExact, "a-digit-short"),
    (Property::BitExact, "ties-away-from-zero"),
    (Property::BitExact, "cut-instead-of-rounded"),
    (Property::BitExact, "exponent-one-too-large"),
    (Property::BitExact, "16-bit-sums-that-saturate"),
    (Property::BitExact, "16-bit-sums-that-wrap"),
    (Property::BitExact, "rounded-in-two-parts"),
    (Property::BitExact, "negative-zero"),
    (Property::BitExact, "last-of-129-dropped"),
    (Property::BitExact, "tie-to-the-most-twos"),
    (Property::BitExact, "scale-an-ulp-too-large"),
    (Property::BitExact, "padding-from-the-block-before"),
    (Property::ExactRegime, "last-dropped-when-7-of-8"),
    (Property::Order, "backwards-where-there-are-gaps"),
    (Property::Order, "exact-sum-truncated-where-an-activation-is-zero"),
    (Property::Order, "dot-scaled-by-halves-where-the-first-is-zero"),
    (Property::Flat, "products-cut-to-11-bits"),
    (Property::Flat, "three-digits-for-four"),
    (Property::Bound, "a-result-of-11-bits"),
    (Property::Bound, "three-digits-for-four"),
    (Property::Bound, "one-digit-always"),
    (Property::Bound, "scale-from-the-largest"),
    (Property::Bound, "outliers-clipped"),
    (Property::Bound, "largest-scale-not-limited"),
    (Property::Bound, "scale-of-zeros-is-nan"),
    (Property::Special, "nan-becomes-zero"),
    (Property::Memory, "reads-a-byte-before-packed"),
    (Property::Memory, "reads-16-bytes-past-the-last-block"),
    (Property::Memory, "writes-slack-rows"),
    (Property::Memory, "codes-complemented-in-place-and-back"),
    (Property::Memory, "scales-halved-in-place-and-doubled"),
    (Property::Memory, "x-negated-in-place-and-back"),
    (Property::Memory, "a-sentinel-behind-the-codes-and-back"),
    (Property::Memory, "scales-stored-as-they-were"),
    (Property::Memory, "codes-masked-in-place-and-put-back"),
    (Property::Memory, "x-rounded-in-place-and-put-back"),
    (Property::Memory, "slack-of-y-stored-with-its-own-bytes"),
    (Property::Memory, "all-of-y-stored-with-its-own-bytes-for-no-rows"),
    (Property::Memory, "slack-of-fixed-y-stored-with-its-own-bytes"),
    (Property::Memory, "codes-of-a-tail-blended-with-what-lies-behind"),
    (Property::Memory, "weights-of-a-tail-blended-with-what-lies-behind"),
    (Property::Memory, "entries-of-a-tail-blended-with-what-lies-behind"),
    (Property::Sizes, "y-stored-with-its-own-bytes-and-refused"),
    (Property::Memory, "reads-a-value-past-the-end"),
    (Property::Memory, "slack-codes-stored-as-they-were"),
    (Property::Inputs, "x-left-negated"),
    (Property::Mxcsr, "flush-to-zero-left-on"),
    (Property::Panic, "three-rows-panic"),
    (Property::Sizes, "wrong-sizes-done-nothing"),
    (Property::Sizes, "one-column-refused"),
    (Property::Sizes, "nan-taken-for-zero"),
    (Property::Sizes, "infinities-clamped"),
    (Property::Sizes, "subnormal-x-refused"),
    (Property::Sizes, "finite-only-in-whole-vectors"),
    (Property::Sizes, "codes-written-and-then-refused"),
    (Property::Placement, "last-bytes-not-written"),
    (Property::Placement, "accumulates-into-y"),
    (Property::Placement, "another-order-for-aligned-x"),
    (Property::Repeat, "every-seventh-call-off"),
    (Property::Repeat, "every-ninth-call-takes-the-other-tie"),
    (Property::Threads, "wrong-on-every-thread-but-the-first"),
    (Property::Threads, "magnitudes-in-shared-scratch"),
    (Property::Padding, "code-behind-the-last-matters"),
    (Property::Padding, "exponent-for-slack-x-as-well"),
    (Property::Negation, "scale-without-its-sign"),
    (Property::Negation, "first-x-cached-by-address"),
    (Property::Negation, "scales-cached-by-address"),
    (Property::Negation, "negative-zero-is-minus-one"),
    (Property::Negation, "best-gain-kept-between-calls"),
    (Property::Complement, "a-bias"),
    (Property::Complement, "a-sum-that-is-cut"),
    (Property::PowerOfTwo, "a-floor"),
    (Property::RowOrder, "backwards-in-odd-rows"),
    (Property::Invariance, "columns-split-in-two-for-one-row"),
    (Property::RowOrder, "sums-from-those-of-the-row-before"),
    (Property::RowOrder, "value-of-the-next-block-in-the-sum"),
    (Property::RowOrder, "blocks-from-the-fifth-on-by-the-mean"),
];

fn mutant(name: &str) -> Mutant {
    wrong().into_iter().find(|mutant| mutant.name == name).unwrap_or_else(|| panic!("no mutant `{name}`"))
}

/// The first finding of each kernel for which `wanted`, in N seeded cases of its domain. Kernels of one domain share cases.
fn first_findings(
    kernels: &[KernelFn],
    cases: u64,
    wanted: impl Fn(usize, &Finding) -> bool,
) -> Vec<Option<Finding>> {
    let mut harness = Harness::new(None);
    let mut first: Vec<Option<Finding>> = vec![None; kernels.len()];
    let mut done: HashSet<Domain> = HashSet::new();
    for domain in kernels.iter().map(|kernel| kernel.domain).filter(|domain| done.insert(*domain)) {
        let mut open: Vec<usize> = (0..kernels.len()).filter(|&at| kernels[at].domain == domain).collect();
        for case in (0..cases).map(|index| case::from_seed(domain, 7, index)) {
            if open.is_empty() {
                break;
            }
            let prepared = harness.prepare(&case).expect("seeded cases have data");
            open.retain(|&at| {
                let failures = harness.examine(&kernels[at], &prepared).failures.into_iter();
                let mut findings = failures.map(|failure| Finding::new(&kernels[at], &case, None, failure));
                first[at] = findings.find(|finding| wanted(at, finding));
                first[at].is_none()
            });
        }
    }
    first
}

#[test]
fn every_property_catches_the_kernel_that_violates_it() {
    let kernels: Vec<KernelFn> = TRIPPED.iter().map(|(_, name)| mutant(name).kernel).collect();
    let is_of = |at: usize, finding: &Finding| finding.properties().contains(&TRIPPED[at].0);
    let found = first_findings(&kernels, CASES, is_of);
    let survivors = found.iter().zip(TRIPPED).filter(|(found, _)| found.is_none());
    let survivors: Vec<String> =
        survivors.map(|(_, (property, name))| format!("{property} does not see {name}")).collect();
    assert!(survivors.is_empty(), "{survivors:#?}");
}

#[test]
fn every_property_has_a_mutant() {
    // The plugins of cli/tests/plugins and `selftest`, which has a process for each kernel, trip the others.
    let lonely: Vec<Property> = Property::ALL
        .into_iter()
        .filter(|property| !property.is_of_processes())
        .filter(|property| TRIPPED.iter().all(|(tripped, _)| tripped != property))
        .collect();
    assert!(lonely.is_empty(), "no mutant for {lonely:?}");
}

#[test]
fn right_kernels_that_are_different_are_left_alone() {
    let kernels: Vec<KernelFn> = right().into_iter().map(|mutant| mutant.kernel).collect();
    let accused: Vec<Finding> =
        first_findings(&kernels, RIGHT_CASES, |_, _| true).into_iter().flatten().collect();
    assert!(accused.is_empty(), "{accused:#?}");
}

#[test]
fn a_minimised_finding_is_at_its_smallest_shape_and_replays() {
    let mut harness = Harness::new(None);
    let dropper = mutant("last-dropped-when-7-of-8").kernel;
    let is_of = |_, finding: &Finding| finding.properties().contains(&Property::ExactRegime);
    let [Some(found)] = &first_findings(&[dropper], CASES, is_of)[..] else {
        panic!("the mutant is not caught")
    };
    let smallest = harness.minimize(&dropper, found);
    assert_eq!((smallest.case.rows, smallest.case.cols), (1, 7), "{smallest}");
    let line = smallest.replay.split_once(" gemv ").expect("a replay line has the case").1;
    let again = format!("gemv {line}").parse().expect("a replay line parses");
    let found = harness.findings(&dropper, &again).expect("the case has data");
    assert!(found.iter().any(|finding| finding.failure.property == Property::ExactRegime), "{found:?}");
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
        let count = wrong.iter().filter(|mutant| mutant.kernel.domain.operation == operation).count();
        assert!(count >= 5, "{count} of {operation}");
    }
}
