//! A violated rung, with everything that a person needs to see it again.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::kernel::Kernel;
use crate::operation::Operation;
use crate::rung::{Failure, Rung};
use crate::weights::Weights;

/// One kernel violated one rung on one case.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The kernel's name.
    pub kernel: String,
    /// What was violated.
    pub rung: Rung,
    /// The case.
    pub case: Case,
    /// First and worst place, both values with their bits, the bound.
    pub detail: String,
    /// The command that shows it again.
    pub replay: String,
    /// Seconds from the start of the run to the finding, where there was a run.
    pub seconds: Option<f64>,
}

impl Finding {
    /// The finding that `failure` is, of `kernel` on `case`, whose tensor, if any, is of `weights`.
    pub fn new(kernel: &dyn Kernel, case: &Case, weights: Option<&Weights>, failure: Failure) -> Self {
        let file = weights.filter(|_| case.tensor.is_some());
        let weights =
            file.map_or(String::new(), |weights| format!(" --weights {}", shell_word(weights.path())));
        let library = kernel.library().map_or(String::new(), |path| format!(" --lib {}", shell_word(path)));
        Self {
            kernel: kernel.name().to_owned(),
            rung: failure.rung,
            case: case.clone(),
            detail: failure.detail,
            replay: format!(
                "qk256 replay{library} --kernel {}{weights} {case}",
                shell_word(kernel.name().as_ref())
            ),
            seconds: None,
        }
    }

    /// The same finding, of a kernel that does right in a new process: only after so many calls of each of these cases does it fail.
    #[must_use]
    pub(crate) fn only_after(mut self, earlier: &[(u64, Case)]) -> Self {
        let case = self.case.to_string();
        let calls: u64 = earlier.iter().map(|(times, _)| times).sum();
        let options = earlier.iter().map(|(times, case)| {
            let times = if *times > 1 { format!("{times}x ") } else { String::new() };
            format!("--after {} ", shell_word(format!("{times}{case}").as_ref()))
        });
        let command = self.replay.strip_suffix(&case).unwrap_or(&self.replay);
        self.replay = format!("{command}{}{case}", String::from_iter(options));
        self.detail += &format!("; only after other calls: a new process needs {calls} earlier case(s)");
        self
    }

    /// The same finding, which was not seen a second time; `command` repeats the run that it was seen in.
    #[must_use]
    pub(crate) fn seen_once(mut self, command: String) -> Self {
        self.detail +=
            "; seen once: not again by this case in a new process, nor after the cases that came before";
        self.replay = command;
        self
    }

    /// The operation of the case.
    pub fn operation(&self) -> Operation {
        self.case.operation
    }

    /// The block that is written when the kernel takes the process down.
    pub(crate) fn last_words(&self) -> String {
        format!(
            "\n  kernel:  {} {}\n  case:    {}\n  again:   {}\n",
            self.kernel,
            self.operation(),
            self.case,
            self.replay
        )
    }

    /// The finding as machines read it.
    pub fn to_json(&self) -> FindingJson {
        FindingJson {
            kernel: self.kernel.clone(),
            operation: self.operation().name().to_owned(),
            rung: self.rung.name().to_owned(),
            case: self.case.to_string(),
            detail: self.detail.clone(),
            replay: self.replay.clone(),
            seconds: self.seconds.map(|seconds| (seconds * 1e3).round() / 1e3),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "finding: {} {} violates `{}`", self.kernel, self.operation(), self.rung)?;
        self.seconds.map_or(Ok(()), |seconds| write!(f, ", after {seconds:.1} s"))?;
        writeln!(f)?;
        writeln!(f, "  what:    {}", self.detail)?;
        writeln!(f, "  case:    {}", self.case)?;
        write!(f, "  again:   {}", self.replay)
    }
}

/// A finding in the JSON report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FindingJson {
    /// The kernel's name.
    pub kernel: String,
    /// The operation's name.
    pub operation: String,
    /// The rung's name.
    pub rung: String,
    /// The case's text form.
    pub case: String,
    /// First and worst place, values, bound.
    pub detail: String,
    /// The command to run again.
    pub replay: String,
    /// Seconds from the start of the run to the finding, where there was a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// A path as one word of a POSIX shell.
pub(crate) fn shell_word(path: &std::path::Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@".contains(c);
    if text.chars().all(plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
