//! What one cause violates on a case, with everything that a person needs to see it again.

use std::fmt;
use std::path::Path;
use std::sync::OnceLock;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::case::Case;
use crate::data::Distribution;
use crate::format::{self, Format};
use crate::kernel::Kernel;
use crate::library::Library;
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
    /// The case.
    pub case: Case,
    /// What is violated.
    pub failure: Failure,
    /// What it takes to see it again.
    pub again: Again,
    /// The command that shows it again, wherever it is pasted.
    pub replay: String,
    /// Seconds from the start of the run to the finding, where there was a run.
    pub seconds: Option<f64>,
}

/// What it takes to see a finding again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// Its case.
    Case,
    /// Its case, after N others.
    After(u64),
    /// Nobody knows: it was seen once.
    Unknown,
}

/// The command that calls `kernel` with `case`, whose tensor, if any, is of `weights`.
fn replay(kernel: &dyn Kernel, case: &Case, weights: Option<&Weights>) -> String {
    let file = weights.filter(|_| case.tensor.is_some());
    let weights = file.map_or(String::new(), |weights| format!(" --weights {}", anywhere(weights.path())));
    let (library, format) = (option_of_library(kernel), option_of_format(case.format));
    format!("{} replay{library}{format} --kernel {}{weights} {case}", program(), shell_word(kernel.name()))
}

/// The option that names the library of a kernel, if it has one.
fn option_of_library(kernel: &dyn Kernel) -> String {
    let words = kernel.library().map(Library::options).unwrap_or_default();
    words.iter().map(|word| format!(" {}", shell_word(word))).collect()
}

/// The option that gives the file of a format, if it has one.
pub(crate) fn option_of_format(format: &'static Format) -> String {
    if format::is_of_file(format) {
        format!(" --format {}", anywhere(Path::new(format.origin)))
    } else {
        String::new()
    }
}

/// The block that is written when a kernel crashes the process on a case.
pub(crate) fn record(kernel: &dyn Kernel, case: &Case, weights: Option<&Weights>) -> String {
    format!("\n  kernel:  {kernel:?}\n  case:    {case}\n  again:   {}\n", replay(kernel, case, weights))
}

impl Finding {
    /// The finding that `failure` is, of `kernel` on `case`, whose tensor, if any, is of `weights`.
    pub fn new(kernel: &dyn Kernel, case: &Case, weights: Option<&Weights>, failure: Failure) -> Self {
        Self {
            kernel: kernel.name().to_owned(),
            case: case.clone(),
            failure,
            again: Again::Case,
            replay: replay(kernel, case, weights),
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
        self.again = Again::After(calls);
        self
    }

    /// The same finding, which was not seen a second time; `command` repeats the run that it was seen in.
    #[must_use]
    pub(crate) fn seen_once(mut self, command: String) -> Self {
        (self.again, self.replay) = (Again::Unknown, command);
        self
    }

    /// The violated properties, each once, the strictest first.
    pub fn properties(&self) -> Vec<Property> {
        let mut properties: Vec<Property> = self.failure.all().map(|failure| failure.property).collect();
        properties.dedup();
        properties
    }

    /// Whether it is one of `property` by `cause`, or that is one of several properties that it violates.
    pub fn shows(&self, property: Property, cause: Cause) -> bool {
        self.failure.shows(property, cause)
    }

    /// What shows it, in words.
    pub fn detail(&self) -> String {
        self.failure.detail() + &self.again.to_string()
    }

    /// Its call with integer data, and how that fails, where it is a stricter oracle and the same kind of failure: what is wrong is
    /// then wrong to the bit. `examine` says how the kernel fails on a case.
    pub(crate) fn by_exact_data(
        &self,
        examine: impl FnOnce(&Case) -> Vec<Failure>,
    ) -> Option<(Case, Failure)> {
        let case = Case { distribution: Distribution::Integer, ..self.case.clone() };
        let Failure { property, cause, .. } = self.failure;
        if property.number().is_none() || case == self.case {
            return None;
        }
        let is_stricter = |failure: &Failure| {
            failure.property.number().is_some()
                && failure.property.strictness() < property.strictness()
                && failure.cause.is_like(cause)
        };
        let failure = examine(&case).into_iter().find(is_stricter)?;
        Some((case, failure))
    }

    /// The operation of the case.
    pub fn operation(&self) -> Operation {
        self.case.operation
    }
}

impl fmt::Display for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Case => Ok(()),
            Self::After(calls) => {
                write!(f, "; only after other calls: a new process needs {}", count(*calls, "earlier case"))
            }
            Self::Unknown => f.write_str(
                "; seen once: not again by this case in a new process, nor after the cases that came before",
            ),
        }
    }
}

/// As machines read it: the fields of docs/verification.md, those of [`Evidence::facts`](crate::evidence::Evidence::facts) among them.
impl Serialize for Finding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kernel", &self.kernel)?;
        map.serialize_entry("operation", self.operation().name())?;
        map.serialize_entry("property", &self.failure.property)?;
        map.serialize_entry("properties", &self.properties())?;
        map.serialize_entry("cause", &self.failure.cause.to_string())?;
        map.serialize_entry("case", &self.case)?;
        map.serialize_entry("detail", &self.detail())?;
        for (name, fact) in self.failure.evidence.facts() {
            map.serialize_entry(name, &fact)?;
        }
        map.serialize_entry("also", &self.failure.also.iter().map(also_text).collect::<Vec<_>>())?;
        map.serialize_entry("replay", &self.replay)?;
        if let Some(seconds) = self.seconds {
            map.serialize_entry("seconds", &((seconds * 1e3).round() / 1e3))?;
        }
        map.end()
    }
}

/// Everything but the case and the command is folded at [`MAX_WIDTH`](crate::words::MAX_WIDTH); these two stay single lines, to be copied.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let properties: Vec<String> =
            self.properties().iter().map(|property| format!("`{property}`")).collect();
        let after = self.seconds.map_or(String::new(), |seconds| format!(", after {seconds:.1} s"));
        let properties = properties.join(", ");
        let head = format!("{} {} violates {properties}{after}", self.kernel, self.case.domain());
        folded(f, "finding: ", &head)?;
        folded(f, "  what:    ", &self.detail())?;
        for failure in &self.failure.also {
            folded(f, "           ", &also_text(failure))?;
        }
        writeln!(f, "  case:    {}", self.case)?;
        write!(f, "  again:   {}", self.replay)
    }
}

fn also_text(failure: &Failure) -> String {
    format!("`{}`: {}", failure.property, failure.evidence)
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
            case: case.clone(),
            failure: Failure { also, ..Failure::new(Property::Order, Cause::Process, words) },
            again: Again::Case,
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
