//! `cargo bench -p qk256-benches --bench decode`: tokens a second of a model of 2 billion weights. With `-- --distances`: of
//! some products, with prefetches at several distances. This informs, the gate decides.

use std::process::ExitCode;

use qk256_benches::decode::{Scope, run};

fn main() -> ExitCode {
    // Cargo and criterion's users pass options that mean nothing here: `--bench`, `--save-baseline`, filters.
    let distances = std::env::args().any(|argument| argument == "--distances");
    match run(if distances { Scope::Distances } else { Scope::All }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}\n\ndecode: failed");
            ExitCode::FAILURE
        }
    }
}
