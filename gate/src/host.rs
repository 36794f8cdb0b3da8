//! The gate's side of a process in which kernels are timed.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

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

    /// This program as the worker of a library.
    ///
    /// # Errors
    /// If the name of the library is no UTF-8, or as of [`itself`](Self::itself).
    pub fn of_library(file: &Path) -> Result<Self, GateError> {
        let not_text =
            || GateError::Nothing(format!("{}: the name of a library must be UTF-8", file.display()));
        let path = file.to_str().ok_or_else(not_text)?;
        Ok(Self { name: path.to_owned(), ..Self::itself(&[WORKER, "--lib", path])? })
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
    requests: ChildStdin,
    answers: Receiver<String>,
    offered: Vec<Offered>,
}

impl Process {
    /// Starts a worker and hears what it has to offer.
    pub(super) fn start(program: &Program) -> Result<Self, GateError> {
        let cannot = |error| GateError::Start { program: program.name.clone(), error };
        let mut command = Command::new(&program.words[0]);
        command.args(&program.words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped());
        // Ctrl-C is for the gate, which then reports what was measured. A worker ends when its standard input is closed.
        command.process_group(0);
        let mut child = command.spawn().map_err(cannot)?;
        let requests = child.stdin.take().expect("it is piped");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let (sender, answers) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut worker = Self { name: program.name.clone(), child, requests, answers, offered: Vec::new() };
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
        let mut line = serde_json::to_vec(request).expect("a request is JSON");
        line.push(b'\n');
        // A worker that is gone cannot read; why it is gone is seen next.
        let _ = self.requests.write_all(&line);
        match self.receive()? {
            Response::Wrong(findings) => Err(GateError::Wrong(findings)),
            Response::Refused(why) => Err(GateError::Refused { program: self.name.clone(), why }),
            response => Ok(response),
        }
    }

    fn receive(&mut self) -> Result<Response, GateError> {
        let program = self.name.clone();
        match self.answers.recv_timeout(PATIENCE) {
            Ok(line) => serde_json::from_str(&line).map_err(|_| GateError::Foreign { program }),
            Err(RecvTimeoutError::Timeout) => Err(GateError::Silent { program, seconds: PATIENCE.as_secs() }),
            Err(RecvTimeoutError::Disconnected) => {
                let status =
                    self.child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
                Err(GateError::Ended { program, status })
            }
        }
    }

    /// That the answer was another than the request is for.
    pub(super) fn foreign(&self) -> GateError {
        GateError::Foreign { program: self.name.clone() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
