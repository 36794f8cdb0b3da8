//! The gate's side of a process in which kernels are timed.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use qk256_verify::Library;
use qk256_verify::child::{Answer, Child, Errors, Patience};

use super::message::{Offered, PROTOCOL, Request, Response};
use super::{GateError, WORKER};

/// How long a worker may take for one answer. The longest, the examination of a large matrix, takes seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// How a worker is started.
#[derive(Clone, Debug)]
pub struct Program {
    /// The program and its arguments.
    pub words: Vec<String>,
    /// What people call it.
    pub name: String,
}

impl Program {
    /// This program, with these arguments.
    ///
    /// # Errors
    /// If the system does not report where it is.
    pub fn itself(arguments: &[&str]) -> Result<Self, GateError> {
        let program = "this program".to_owned();
        let path = std::env::current_exe().map_err(|error| GateError::Start { program, error })?;
        Ok(Self::at(&path, arguments))
    }

    /// This program as the worker of a library, of whose kernels those of these formats count, as `--format` takes them; all where there are none.
    ///
    /// # Errors
    /// If the name of the library is no UTF-8, or as of [`itself`](Self::itself).
    pub fn of_library(library: &Library, formats: &[String]) -> Result<Self, GateError> {
        if library.path.to_str().is_none() {
            return Err(GateError::Nothing(format!("{library}: the name of a library must be UTF-8")));
        }
        let options = library.options();
        let mut words = vec![WORKER];
        words.extend(options.iter().map(String::as_str));
        for format in formats {
            words.extend(["--format", format]);
        }
        Ok(Self { name: library.to_string(), ..Self::itself(&words)? })
    }

    /// The program at `path`, with these arguments.
    pub fn at(path: &Path, arguments: &[&str]) -> Self {
        let name = path.display().to_string();
        let arguments = arguments.iter().map(|&argument| argument.to_owned());
        Self { words: std::iter::once(name.clone()).chain(arguments).collect(), name }
    }
}

/// A worker.
pub(super) struct Process {
    name: String,
    child: Child,
    offered: Vec<Offered>,
}

impl Process {
    /// Starts a worker and hears what it has to offer.
    pub(super) fn start(program: &Program) -> Result<Self, GateError> {
        let cannot = |error| GateError::Start { program: program.name.clone(), error };
        let mut command = Command::new(&program.words[0]);
        // What a worker prints is shown. Ctrl-C is for the gate, which then reports what was measured.
        let child = Child::start(command.args(&program.words[1..]), Errors::Shown).map_err(cannot)?;
        let mut worker = Self { name: program.name.clone(), child, offered: Vec::new() };
        match worker.receive() {
            Ok(Response::Ready { protocol: PROTOCOL, kernels }) => worker.offered = kernels,
            Ok(Response::Refused(why)) => {
                return Err(GateError::Refused { program: worker.name.clone(), why });
            }
            // Whatever else it says or does: it is not what can be talked to.
            _ => return Err(GateError::Foreign { program: worker.name.clone() }),
        }
        Ok(worker)
    }

    /// The kernels that it has.
    pub(super) fn offered(&self) -> &[Offered] {
        &self.offered
    }

    /// Asks for something.
    pub(super) fn ask(&mut self, request: &Request) -> Result<Response, GateError> {
        self.child.ask(request);
        match self.receive()? {
            Response::Wrong(findings) => Err(GateError::Wrong(findings)),
            Response::Refused(why) => Err(GateError::Refused { program: self.name.clone(), why }),
            response => Ok(response),
        }
    }

    fn receive(&mut self) -> Result<Response, GateError> {
        let program = self.name.clone();
        match self.child.receive(&Patience::of(PATIENCE)) {
            Answer::Line(line) => serde_json::from_str(&line).map_err(|_| GateError::Foreign { program }),
            Answer::Ended(status) => Err(GateError::Ended { program, status: status.to_string() }),
            Answer::Silent | Answer::Interrupted => {
                Err(GateError::Silent { program, seconds: PATIENCE.as_secs() })
            }
        }
    }

    /// That the answer was another than the request is for.
    pub(super) fn foreign(&self) -> GateError {
        GateError::Foreign { program: self.name.clone() }
    }
}
