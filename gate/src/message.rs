//! What the gate and the processes in which it times say to each other: a line of JSON each.

use serde::{Deserialize, Serialize};

/// The version of the messages. Another build of `qk256` may be a worker, so that a change of meaning needs a new number.
pub(super) const PROTOCOL: u32 = 1;

/// What a worker is asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    /// Stay on this CPU.
    Pin {
        /// Its number.
        cpu: usize,
    },
    /// Make the data of a task, and examine the kernels on it if `check` says so. They are named by operation and name.
    Prepare {
        /// As text.
        task: String,
        /// In the order in which places number them.
        kernels: Vec<(String, String)>,
        /// Whether they are examined first.
        check: bool,
    },
    /// Time kernels of a prepared task beside each other.
    Race {
        /// In the order of preparation.
        task: usize,
        /// Of the kernels; one may stand there twice.
        places: Vec<usize>,
        /// Wall time.
        milliseconds: u64,
    },
    /// Time one kernel of a prepared task for one slice.
    Slice {
        /// In the order of preparation.
        task: usize,
        /// Of the kernel.
        place: usize,
    },
    /// Decode tokens in several ways, named with their numbers of threads.
    Decode {
        /// Ways and threads.
        ways: Vec<(String, usize)>,
        /// Tokens of each.
        rounds: usize,
    },
    /// Fill a buffer, by the clock of the CPU.
    Canary,
}

/// What a worker answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Response {
    /// Sent unasked, at the start.
    Ready {
        /// [`PROTOCOL`].
        protocol: u32,
        /// What there is to time.
        kernels: Vec<Offered>,
    },
    /// Done, on this CPU.
    Prepared {
        /// The number of the CPU that the worker ran on last.
        cpu: usize,
    },
    /// Time of a call in nanoseconds, for each kernel in each round.
    Raced(Vec<Vec<f64>>),
    /// Time of a call in nanoseconds.
    Sliced(f64),
    /// Parts of the rate of reading, for each way in each round.
    Decoded(Vec<Vec<f64>>),
    /// Elements filled in a cycle.
    Canary(f64),
    /// Findings: a kernel is wrong.
    Wrong(Vec<String>),
    /// What was asked for cannot be done.
    Refused(String),
}

/// A kernel of a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Offered {
    /// With the formats that are not plain: `unpack`, `gemm q4_0`.
    pub(super) operation: String,
    pub(super) name: String,
    /// Features that this CPU would need for it.
    pub(super) missing: Vec<String>,
}

impl Offered {
    /// Whether it performs an operation, on whatever format.
    pub(super) fn does(&self, operation: &str) -> bool {
        self.operation.split(' ').next() == Some(operation)
    }
}
