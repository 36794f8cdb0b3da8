//! `cargo bench -p qk256-benches --bench decode`: tokens a second of a model of 2 billion weights.

use std::process::ExitCode;

use qk256_benches::decode;

fn main() -> ExitCode {
    decode::run()
}
