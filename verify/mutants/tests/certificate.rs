//! No certificate is given to kernels that are wrong where no test looks.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use qk256_mutants::{Mutant, rare};
use qk256_verify::Case;
use qk256_verify::certificate::{certify, is_possible};

/// Rows and columns: within a byte, within a block, and beyond.
const SHAPES: [(usize, usize); 3] = [(1, 9), (2, 40), (2, 300)];

fn cases(mutant: &Mutant) -> Vec<Case> {
    let domain = mutant.kernel.domain;
    let rows = |rows| if domain.operation.is_matrix() { rows } else { 1 };
    SHAPES.map(|(of, cols)| Case::new(domain, rows(of), cols)).to_vec()
}

#[test]
fn wrong_kernels_that_no_test_finds_are_refused_and_a_right_one_in_their_manner_is_not() {
    if !is_possible() {
        return qk256_skip::skip(&["a CPU whose trap flag works"]);
    }
    let (wrong, right) = rare();
    assert!(wrong.len() >= 12, "only {} wrong kernels", wrong.len());
    for mutant in wrong {
        for case in cases(&mutant) {
            let certificate = certify(&mutant.kernel, &case);
            assert!(certificate.is_err(), "{} is certified: {case}", mutant.name);
        }
    }
    for case in cases(&right) {
        certify(&right.kernel, &case).unwrap_or_else(|refusal| panic!("{case}: {refusal}"));
    }
}

#[test]
fn rows_that_add_in_different_orders_are_refused() {
    if !is_possible() {
        return qk256_skip::skip(&["a CPU whose trap flag works"]);
    }
    let all = qk256_mutants::wrong();
    let wrong = all.iter().find(|mutant| mutant.name == "odd-rows-from-the-last-column-on");
    let kernel = &wrong.expect("the mutant is listed").kernel;
    let refusal = certify(kernel, &Case::new(kernel.domain, 2, 40)).expect_err("the second row differs");
    assert!(refusal.to_string().contains("in another order"), "{refusal}");
    // One row has one order, and so have two of two columns.
    for case in [Case::new(kernel.domain, 1, 40), Case::new(kernel.domain, 2, 2)] {
        certify(kernel, &case).unwrap_or_else(|refusal| panic!("{case}: {refusal}"));
    }
}
