//! A requested end is noticed by what takes long. The request is for the whole process: these tests are alone in theirs.

use qk256_verify::case::{Case, shrink};
use qk256_verify::{exhaustive, interrupt, registry};

#[test]
fn a_request_to_end_stops_shrinking_and_exhaustive_checks() {
    let case: Case = "gemv rows=9 cols=2047 dist=wide seed=7".parse().expect("the case parses");
    interrupt::request();
    assert!(interrupt::is_requested());
    let mut tries = 0;
    let smallest = shrink(&case, |_| {
        tries += 1;
        true
    });
    assert_eq!((smallest, tries), (case, 0), "the case is left as it is");
    let kernels = registry::kernels();
    let of =
        |name: &str| kernels.iter().find(|kernel| format!("{kernel:?}") == name).expect("it is registered");
    let start = std::time::Instant::now();
    assert_eq!(exhaustive::wrong_scale(of("scalar dequantize").as_ref(), 0..exhaustive::ALL_SCALES), None);
    let cols = exhaustive::WIRED_COLS;
    assert_eq!(exhaustive::wrong_wiring(of("scalar gemv").as_ref(), cols, 33), None);
    // The whole takes minutes on any machine.
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}
