//! What one cause violates on a case, with everything that a person needs to see it again.

use std::fmt;
use std::path::Path;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::data::Distribution;
use crate::kernel::Kernel;
use crate::operation::Operation;
use crate::property::{Cause, Failure, Property};
use crate::weights::Weights;
use crate::words::{count, folded};

/// How this program is called, where that is not `qk256`.
static PROGRAM: OnceLock<String> = OnceLock::new();

/// From now on the commands of findings begin with `program`, as a shell reads it, in the place of `qk256`. The first call counts.
pub fn set_program(program: String) {
    // Whoever was first stays.
    let _ = PROGRAM.set(program);
}

/// What a command of this program begins with: `qk256`, unless [`set_program`] was called.
pub fn program() -> &'static str {
    PROGRAM.get().map_or("qk256", String::as_str)
}

/// One kernel violates one property, or several by one cause, on one case.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The kernel's name.
    pub kernel: String,
    /// What was violated; of several properties the strictest.
    pub property: Property,
    /// What kind of failure it is.
    pub cause: Cause,
    /// The case.
    pub case: Case,
    /// First and worst place, both values with their bits, the bound.
    pub detail: String,
    /// Further properties that the same cause violates on the case, the strictest first.
    pub also: Vec<Failure>,
    /// The command that shows it again, wherever it is pasted.
    pub replay: String,
    /// Seconds from the start of the run to the finding, where there was a run.
    pub seconds: Option<f64>,
}

impl Finding {
    /// The finding that `failure` is, of `kernel` on `case`, whose tensor, if any, is of `weights`.
    pub fn new(kernel: &dyn Kernel, case: &Case, weights: Option<&Weights>, failure: Failure) -> Self {
        let file = weights.filter(|_| case.tensor.is_some());
        let weights =
            file.map_or(String::new(), |weights| format!(" --weights {}", anywhere(weights.path())));
        let library = kernel.library().map_or(String::new(), |path| format!(" --lib {}", anywhere(path)));
        let program = program();
        let name = shell_word(kernel.name());
        Self {
            kernel: kernel.name().to_owned(),
            property: failure.property,
            cause: failure.cause,
            case: case.clone(),
            detail: failure.detail,
            also: failure.also,
            replay: format!("{program} replay{library} --kernel {name}{weights} {case}"),
            seconds: None,
        }
    }

    /// The same finding, of a kernel that does right in a new process: only after N calls of each of these cases does it fail.
    #[must_use]
    pub(crate) fn only_after(mut self, earlier: &[(u64, Case)]) -> Self {
        let case = self.case.to_string();
        let calls: u64 = earlier.iter().map(|(times, _)| times).sum();
        let options = earlier.iter().map(|(times, case)| {
            let times = if *times > 1 { format!("{times}x ") } else { String::new() };
            format!("--after {} ", shell_word(&format!("{times}{case}")))
        });
        let command = self.replay.strip_suffix(&case).unwrap_or(&self.replay);
        self.replay = format!("{command}{}{case}", String::from_iter(options));
        self.detail +=
            &format!("; only after other calls: a new process needs {}", count(calls, "earlier case"));
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

    /// The violated properties, each once, the strictest first.
    pub fn properties(&self) -> Vec<Property> {
        let mut properties = vec![self.property];
        properties.extend(self.also.iter().map(|failure| failure.property));
        properties.dedup();
        properties
    }

    /// Whether it is one of `property` by `cause`, or that is one of several properties that it violates.
    pub fn shows(&self, property: Property, cause: Cause) -> bool {
        let own =
            Failure { also: self.also.clone(), ..Failure::new(self.property, self.cause, String::new()) };
        own.shows(property, cause)
    }

    /// Its call with integer data, and how that fails, where it is a stricter oracle and the same kind of failure: what is wrong is
    /// then wrong to the bit. `examine` says how the kernel fails on a case.
    pub(crate) fn by_exact_data(
        &self,
        examine: impl FnOnce(&Case) -> Vec<Failure>,
    ) -> Option<(Case, Failure)> {
        let case = Case { distribution: Distribution::Integer, ..self.case.clone() };
        if self.property.number().is_none() || case == self.case {
            return None;
        }
        let is_stricter = |failure: &Failure| {
            failure.property.number().is_some()
                && failure.property.strictness() < self.property.strictness()
                && failure.cause.is_like(self.cause)
        };
        let failure = examine(&case).into_iter().find(is_stricter)?;
        Some((case, failure))
    }

    /// The operation of the case.
    pub fn operation(&self) -> Operation {
        self.case.operation
    }

    /// The block that is written when the kernel crashes the process.
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
            property: self.property.name().to_owned(),
            properties: self.properties().into_iter().map(|property| property.name().to_owned()).collect(),
            cause: self.cause.to_string(),
            case: self.case.to_string(),
            detail: self.detail.clone(),
            also: self.also.iter().map(also_text).collect(),
            replay: self.replay.clone(),
            seconds: self.seconds.map(|seconds| (seconds * 1e3).round() / 1e3),
        }
    }
}

/// Everything but the case and the command is folded at [`MAX_WIDTH`](crate::words::MAX_WIDTH); these two stay single lines, to be copied.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let properties: Vec<String> =
            self.properties().iter().map(|property| format!("`{property}`")).collect();
        let after = self.seconds.map_or(String::new(), |seconds| format!(", after {seconds:.1} s"));
        let properties = properties.join(", ");
        let head = format!("{} {} violates {properties}{after}", self.kernel, self.operation());
        folded(f, "finding: ", &head)?;
        folded(f, "  what:    ", &self.detail)?;
        for failure in &self.also {
            folded(f, "           ", &also_text(failure))?;
        }
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
    /// The name of the violated property; of several the strictest.
    pub property: String,
    /// The names of all properties that the cause violates on the case, the strictest first.
    pub properties: Vec<String>,
    /// What kind of failure it is, in a few words.
    pub cause: String,
    /// The case's text form.
    pub case: String,
    /// First and worst place, values, bound.
    pub detail: String,
    /// The same for each further violation: its property and its detail.
    pub also: Vec<String>,
    /// The command to run again.
    pub replay: String,
    /// Seconds from the start of the run to the finding, where there was a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

fn also_text(failure: &Failure) -> String {
    format!("`{}`: {}", failure.property, failure.detail)
}

/// A path that names the same file from every folder, as one word of a POSIX shell.
pub(crate) fn anywhere(path: &Path) -> String {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    shell_word(&absolute.to_string_lossy())
}

/// A text as one word of a POSIX shell.
pub fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@".contains(c);
    let is_plain = !text.is_empty() && text.chars().all(plain);
    if is_plain { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::MAX_WIDTH;

    #[test]
    fn a_finding_folds_its_words_and_keeps_case_and_command_to_be_copied() {
        let case: Case = format!("gemv rows=3 cols=300 seed=1 patch.x.0={}", "7fc00000".repeat(20))
            .parse()
            .expect("a case");
        let words = "a long reason ".repeat(20);
        let also = vec![Failure::new(Property::Memory, Cause::Process, words.clone())];
        let finding = Finding {
            kernel: "mine".to_owned(),
            property: Property::Order,
            cause: Cause::Process,
            case: case.clone(),
            detail: words,
            also,
            replay: format!("qk256 replay --kernel mine {case}"),
            seconds: None,
        };
        let text = finding.to_string();
        let (copied, folded): (Vec<&str>, Vec<&str>) = text
            .lines()
            .partition(|line| ["  case: ", "  again: "].iter().any(|label| line.starts_with(label)));
        assert_eq!(copied, [format!("  case:    {case}"), format!("  again:   {}", finding.replay)]);
        assert!(folded.iter().all(|line| line.len() <= MAX_WIDTH) && folded.len() > 6, "{text}");
    }
}
