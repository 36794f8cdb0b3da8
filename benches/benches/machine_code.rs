//! `cargo bench -p qk256-benches --bench machine_code`: exits 1 unless the machine code of the kernels is what is claimed.

use std::process::ExitCode;

use qk256_benches::machine_code;

fn main() -> ExitCode {
    // Cargo and criterion's users pass options that mean nothing here: `--bench`, `--save-baseline`, filters.
    machine_code::run()
}
