//! `cargo bench -p qk256-gate --bench gate`: exits 1 unless every speed-up that `gate/gates.toml` demands is met. What
//! `qk256 gate` does without options, which has more to offer.

use std::process::ExitCode;

use qk256_gate::{Cpu, Effort, GateError, Program, Report, WORKER, promises, rows, worker};

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(WORKER) {
        return match worker::serve(&worker::own_kernels()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&format!("the worker lost its gate: {error}")),
        };
    }
    // Cargo and criterion's users pass options that mean nothing here: `--bench`, `--save-baseline`, filters.
    match gate() {
        Ok(report) => {
            print!("{}", report.table());
            report.complaints().iter().for_each(|complaint| eprintln!("{complaint}"));
            report.notes().iter().for_each(|note| println!("{note}"));
            println!("{}", report.summary());
            ExitCode::from(report.verdict.exit_code())
        }
        Err(error) => fail(&error.to_string()),
    }
}

fn gate() -> Result<Report, GateError> {
    let itself = Program::itself(&[WORKER])?;
    let demands = rows::Demands::own(Cpu::this().as_ref());
    promises::run(&itself, &demands, Effort::default(), &mut |_, _| {})
}

fn fail(why: &str) -> ExitCode {
    eprintln!("gate: {why}");
    ExitCode::FAILURE
}
