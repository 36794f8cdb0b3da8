//! Cases of a seed that meet what a property is about.

use arbitrary::Unstructured;
use qk256_verify::data::Distribution;
use qk256_verify::{Case, Domain, Operation};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// Bytes that a seed is stretched to. The raw distribution fills buffers with those that the shape leaves.
const BYTES: usize = 4096;

/// The legal case that `seed` draws, `gemm` and `dot` in a format that it chooses. A product has scales for every odd seed.
pub fn drawn(operation: Operation, seed: u64) -> Case {
    let bytes = stretched(seed);
    let case = Case::draw(
        Domain::nth_drawn(operation, (seed >> 8) as usize),
        seed % 2 == 1,
        &mut Unstructured::new(&bytes),
    );
    finite(case.expect("bytes that have run out read as zero"))
}

/// The case, with finite data where the operation refuses its own.
pub fn finite(case: Case) -> Case {
    if !case.operation.needs_finite_x() || is_legal(&case) {
        return case;
    }
    Case { distribution: Distribution::Ten, patches: Vec::new(), ..case }
}

/// The case that `seed` draws, with data of `distribution` and nothing else, and with at least one output that sums at least two
/// terms.
pub fn drawn_from(operation: Operation, seed: u64, distribution: Distribution) -> Case {
    let mut case = drawn(operation, seed);
    case.patches.clear();
    case.distribution = distribution;
    case.rows = case.rows.max(1);
    case.cols = case.cols.max(2);
    case
}

/// The case with wrong sizes, or an x that must be refused, that `seed` draws.
///
/// # Panics
/// If its sizes are legal.
pub fn wrong_sizes(operation: Operation, seed: u64) -> Case {
    let bytes = stretched(seed);
    let case = Case::draw_wrong_sizes(
        Domain::nth_drawn(operation, (seed >> 8) as usize),
        seed % 2 == 1,
        &mut Unstructured::new(&bytes),
    )
    .expect("bytes that have run out read as zero");
    assert!(!is_legal(&case), "the sizes are legal: {case}");
    case
}

fn is_legal(case: &Case) -> bool {
    case.materialize(None).expect("a drawn case has data").is_legal()
}

fn stretched(seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; BYTES];
    ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}
