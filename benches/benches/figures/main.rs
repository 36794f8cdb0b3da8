//! `cargo bench`: every kernel of the registry that this CPU has, at the sizes of docs/benchmarking.md.
#![allow(missing_docs, reason = "criterion_group makes public functions without any")]

use criterion::{criterion_group, criterion_main};

mod suite;

criterion_group! {
    name = figures;
    config = suite::configuration();
    targets = suite::vectors, suite::gemv, suite::gemv_fixed, suite::rounding
}
criterion_main!(figures);
