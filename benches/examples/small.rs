//! Where AVX2 gains least: its speed over each scalar kernel at every small size.
//!
//! `cargo run --release -p qk256-benches --example small`

use std::time::Duration;

use qk256_gate::{Verified, kernels_here};
use qk256_verify::registry::{FAST_SCALAR, SCALAR};
use qk256_verify::timing::Workload;
use qk256_verify::{Harness, Kernel, Operation};

/// Time of each race.
const BUDGET: Duration = Duration::from_millis(20);

/// Sizes that are shown of each operation.
const SHOWN: usize = 5;

fn main() {
    let mut harness = Harness::new(None);
    for operation in Operation::ALL {
        let kernels = kernels_here(operation);
        let is_raced = |name: &str| name == "avx2" || name == SCALAR || name.starts_with(FAST_SCALAR);
        let raced: Vec<&dyn Kernel> =
            kernels.iter().map(AsRef::as_ref).filter(|kernel| is_raced(kernel.name())).collect();
        let Some(avx2) = raced.iter().position(|kernel| kernel.name() == "avx2") else {
            return println!("skipped: this CPU lacks AVX2 or FMA");
        };
        let places: Vec<usize> = (0..raced.len()).collect();
        let sizes = (1..=300).filter(|size| *size <= 70 || size % 13 == 0);
        let mut lowest: Vec<(f64, usize, &str)> = sizes
            .map(|size| {
                let workload = Workload::new(operation, 1, size, false);
                let mut verified = Verified::new(&mut harness, raced.iter().copied(), workload)
                    .unwrap_or_else(|findings| panic!("a kernel is wrong: {findings:?}"));
                let race = verified.race(&places, BUDGET);
                let others = (0..raced.len()).filter(|&other| other != avx2);
                let speedups =
                    others.map(|other| (race.speedup(avx2, other).median, size, raced[other].name()));
                speedups.min_by(|a, b| a.0.total_cmp(&b.0)).expect("there are scalar kernels")
            })
            .collect();
        lowest.sort_by(|a, b| a.0.total_cmp(&b.0));
        let shown = lowest
            .iter()
            .take(SHOWN)
            .map(|(speedup, size, over)| format!("{speedup:.2} at {size} over {over}"));
        println!("{operation}: {}", shown.collect::<Vec<_>>().join(", "));
    }
}
