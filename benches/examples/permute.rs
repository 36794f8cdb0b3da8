//! From how many rows on permuting x pays: `avx2_permuted` over `avx2_natural`, by rows and columns.
//!
//! `cargo run --release -p qk256-benches --example permute`

use std::time::Duration;

use qk256_gate::{Verified, kernels_here};
use qk256_verify::timing::Workload;
use qk256_verify::{Harness, Kernel, Operation};

/// Time of each race.
const BUDGET: Duration = Duration::from_millis(150);

fn main() {
    let mut kernels = kernels_here(Operation::Gemv);
    kernels.retain(|kernel| ["avx2_natural", "avx2_permuted"].contains(&kernel.name()));
    if kernels.len() != 2 {
        return println!("skipped: this CPU lacks AVX2 or FMA");
    }
    let columns = [256, 1024, 2560, 6912];
    println!("rows  {}", columns.map(|cols| format!("{cols:>8} columns")).join(""));
    for rows in [4, 8, 12, 16, 24, 32, 48, 64, 256, 1024] {
        let speedups = columns.map(|cols| {
            let workload = Workload::new(Operation::Gemv, rows, cols, false);
            let kernels: Vec<&dyn Kernel> = kernels.iter().map(AsRef::as_ref).collect();
            let place =
                |name| kernels.iter().position(|kernel| kernel.name() == name).expect("both are there");
            let (permuted, natural) = (place("avx2_permuted"), place("avx2_natural"));
            let mut verified = Verified::new(&mut Harness::new(None), kernels, workload)
                .unwrap_or_else(|findings| panic!("a kernel is wrong: {findings:?}"));
            verified.race(&[permuted, natural], BUDGET).speedup(0, 1).median
        });
        println!("{rows:>4}  {}", speedups.map(|speedup| format!("{speedup:>16.2}")).join(""));
    }
}
