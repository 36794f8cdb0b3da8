//! `cargo bench -p qk256-benches --bench gate`: exits 1 unless every speed-up that docs/benchmarking.md promises is met.

use std::process::ExitCode;

use qk256_benches::gate;

fn main() -> ExitCode {
    // Cargo and criterion's users pass options that mean nothing here: `--bench`, `--save-baseline`, filters.
    let required = std::env::args().any(|argument| argument == gate::REQUIRE_AVX2);
    gate::run(required)
}
