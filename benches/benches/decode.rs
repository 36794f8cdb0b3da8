//! `cargo bench -p qk256-benches --bench decode`: tokens a second of a model of 2 billion weights.

use std::process::ExitCode;

use qk256_benches::decode::{Scope, run};

fn main() -> ExitCode {
    match run(Scope::All) {
        // A bar that is missed has been named. This informs, the gate decides.
        Ok(_) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}\n\ndecode: failed");
            ExitCode::FAILURE
        }
    }
}
