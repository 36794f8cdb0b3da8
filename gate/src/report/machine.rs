//! Where and of what something was measured.

use serde::{Deserialize, Serialize};

use crate::cpu::{self, Cpu};

/// Where and of what something was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The name of the CPU.
    pub cpu: String,
    /// Its model, if Linux reports it.
    #[serde(default)]
    pub model: Option<Cpu>,
    /// CPUs that this process may use.
    pub cpus: usize,
    /// The compiler.
    pub rustc: String,
    /// The commit, if it is known.
    pub commit: Option<String>,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        Self {
            cpu: cpu::name().unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            model: Cpu::this(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            rustc: env!("QK256_RUSTC").to_owned(),
            commit: commit(),
        }
    }
}

/// What the services that run merge requests say, or git.
fn commit() -> Option<String> {
    let printed = ["CI_COMMIT_SHA", "GITHUB_SHA"].into_iter().find_map(|name| std::env::var(name).ok());
    printed.or_else(|| {
        let output = std::process::Command::new("git").args(["rev-parse", "HEAD"]).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    })
}
