//! The speed gate: every promised speed-up is measured, and one that is not met fails the run.
//!
//! | file | what |
//! | --- | --- |
//! | `rows`, `task`, `cpu` | what is demanded: `gate/gates.toml` |
//! | `promises` | each row measured, in several processes |
//! | `calibrate` | the bars of a CPU |
//! | `against`, `libraries`, `placement` | two builds, or two libraries with their code at several places, measured in turn |
//! | `instructions` | instructions counted |
//! | `judge` | from ratios to verdicts |
//! | `canary` | whether the moment can be trusted |
//! | `worker`, `host`, `message` | the processes that time, and how they are asked |
//! | `report`, `history` | tables, files, trends |
//! | `verified`, `limit`, `decode` | what is timed: kernels that were just checked, limits of the machine, a whole model |
//!
//! docs/benchmarking.md says how it judges, and how often it errs.

pub mod against;
pub mod calibrate;
mod canary;
mod cpu;
pub mod decode;
pub mod history;
mod host;
pub mod instructions;
pub mod judge;
pub mod libraries;
mod limit;
mod message;
mod placement;
pub mod promises;
pub mod report;
pub mod rows;
mod task;
mod verified;
pub mod worker;

use std::time::Duration;

pub use cpu::Cpu;
pub use host::Program;
pub use report::{Line, Outcome, Report};
pub use verified::{Verified, kernels_here};

/// The first argument of a process that is to time for a gate.
pub const WORKER: &str = "gate-worker";

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Processes that every row is measured in.
    pub processes: usize,
    /// Processes after which a row that is still between met and missed is inconclusive.
    pub most: usize,
    /// Time after which no further process is begun.
    pub time: Duration,
}

impl Default for Effort {
    fn default() -> Self {
        Self { processes: 5, most: 15, time: Duration::from_secs(80) }
    }
}

impl Effort {
    /// Whether another process is begun after `done` of them, by what is open and the time since the start.
    fn goes_on(&self, done: usize, is_open: bool, spent: Duration) -> bool {
        done < self.processes || (done < self.most && is_open && spent <= self.time)
    }
}

/// What is reported while a gate is at work: the part of the work that is certainly done, and what is being done.
pub type Watch<'a> = dyn FnMut(f64, &str) + 'a;

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// Kernels are wrong on what they were to be timed on.
    #[error("{}\n\nnothing was timed: a kernel is wrong", .0.join("\n\n"))]
    Wrong(Vec<String>),
    /// A file of demands cannot be used.
    #[error("{file}: {why}")]
    Rows {
        /// The file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// No row is left, or no kernel to compare.
    #[error("{0}")]
    Nothing(String),
    /// The machine was too noisy for figures that others are to be held to.
    #[error(
        "cannot calibrate: {row}: the base over itself, or the canary, was off, or nothing was measured: wait until this machine is \
             quieter, or give it --processes 15"
    )]
    Noisy {
        /// The row.
        row: String,
    },
    /// A library cannot be copied.
    #[error("cannot copy the library to move its code: {path}: {why}")]
    Copy {
        /// The file that cannot be read or written.
        path: String,
        /// The system's reason.
        why: String,
    },
    /// The system gives no process.
    #[error("cannot start {program}: {error}")]
    Start {
        /// The program.
        program: String,
        /// The system's reason.
        error: std::io::Error,
    },
    /// A program that was to time does not know how.
    #[error(
        "{program} cannot be compared with this build: give the `qk256` of a commit that has the same `qk256 gate`"
    )]
    Foreign {
        /// The program.
        program: String,
    },
    /// A process ended while it was asked for something.
    #[error("{program} ended while it was timed: {status}")]
    Ended {
        /// The program.
        program: String,
        /// How.
        status: String,
    },
    /// A process does not answer.
    #[error(
        "{program} has not answered for {seconds} s: a kernel may hang; `qk256 check` shows which kernel"
    )]
    Silent {
        /// The program.
        program: String,
        /// For how long.
        seconds: u64,
    },
    /// A process cannot do what it was asked for.
    #[error("{program}: {why}")]
    Refused {
        /// The program.
        program: String,
        /// Its reason.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_processes_are_for_what_is_open_and_only_while_there_is_time() {
        let effort = Effort { processes: 5, most: 15, time: Duration::from_secs(80) };
        let [soon, late] = [Duration::from_secs(80), Duration::from_secs(81)];
        for (done, is_open, spent, expected) in [
            (4, false, late, true),
            (5, false, soon, false),
            (5, true, soon, true),
            (5, true, late, false),
            (14, true, soon, true),
            (15, true, soon, false),
        ] {
            assert_eq!(effort.goes_on(done, is_open, spent), expected, "{done}, {is_open}, {spent:?}");
        }
    }
}
