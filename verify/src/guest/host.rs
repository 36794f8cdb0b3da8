//! The host's side of a worker: it starts one, asks it, and knows why it ended.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use super::message::{Request, Response};
use super::process::{SHARED_BYTES, Shared};
use crate::memory::fault::signal_name;
use crate::rung::{Cause, Failure, Rung};

/// Between two looks at a worker that says nothing.
const LOOK: Duration = Duration::from_millis(20);

/// How workers are made.
#[derive(Clone, Debug)]
pub struct Host {
    /// The program and its first words; `--lib`, `--record` and `--weights` with their values follow.
    pub program: Vec<String>,
    /// The shared library.
    pub library: PathBuf,
    /// Weights that cases may name.
    pub weights: Option<PathBuf>,
    /// How long one call may take.
    pub timeout: Duration,
}

/// Why there is no worker to talk to.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// The library is no guest, with the reason.
    #[error("{0}")]
    Load(String),
    /// The system gives no process or no file.
    #[error("cannot start a worker for {library}: {error}")]
    System {
        /// The library.
        library: String,
        /// The system's reason.
        #[source]
        error: std::io::Error,
    },
    /// A worker ended, and not by a kernel.
    #[error("the worker of {library} ended although no kernel was being called: {why}")]
    Worker {
        /// The library.
        library: String,
        /// What is known.
        why: String,
    },
}

/// How a request ended.
pub(super) enum Answer {
    /// As asked.
    Response(Response),
    /// The kernel took the process down.
    Death(Death),
}

/// A worker taken down by a kernel.
#[derive(Clone, Debug)]
pub(super) struct Death {
    pub(super) step: u64,
    pub(super) kernel: usize,
    pub(super) failure: Failure,
}

/// A process with a guest in it.
pub(super) struct Worker {
    library: PathBuf,
    timeout: Duration,
    child: Child,
    requests: ChildStdin,
    responses: Receiver<String>,
    shared: &'static Shared,
    complaints: NamedTempFile,
    _record: NamedTempFile,
}

impl Host {
    /// Starts a worker: what it has loaded, and the worker.
    pub(super) fn start(&self) -> Result<(Response, Worker), GuestError> {
        let mut worker = self.spawn().map_err(|error| GuestError::System { library: self.shown(), error })?;
        match worker.receive(Instant::now(), &mut |_| {}) {
            Ok(Answer::Response(loaded @ Response::Loaded { .. })) => Ok((loaded, worker)),
            Ok(Answer::Response(Response::NotLoaded(why))) => Err(GuestError::Load(why)),
            Ok(Answer::Response(other)) => Err(worker.broken(format!("it says {other:?}"))),
            Ok(Answer::Death(death)) => Err(worker.broken(death.failure.detail)),
            // Nothing was called yet: it is the library that ended the process while it was loaded.
            Err(GuestError::Worker { library, why }) => {
                Err(GuestError::Load(format!("{library} ends the process that loads it: {why}")))
            }
            Err(error) => Err(error),
        }
    }

    fn spawn(&self) -> std::io::Result<Worker> {
        let (record, complaints) = (NamedTempFile::new()?, NamedTempFile::new()?);
        record.as_file().set_len(SHARED_BYTES)?;
        let shared = Shared::of(record.as_file())?;
        let mut command = Command::new(&self.program[0]);
        command.args(&self.program[1..]).arg("--lib").arg(&self.library).arg("--record").arg(record.path());
        if let Some(weights) = &self.weights {
            command.arg("--weights").arg(weights);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::from(complaints.reopen()?))
            .spawn()?;
        let requests = child.stdin.take().expect("it is piped");
        let answers = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, responses) = channel();
        std::thread::spawn(move || {
            for line in answers.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let (library, timeout) = (self.library.clone(), self.timeout);
        Ok(Worker { library, timeout, child, requests, responses, shared, complaints, _record: record })
    }

    fn shown(&self) -> String {
        self.library.display().to_string()
    }
}

impl Worker {
    /// Asks for something; `found` is told of violations on the way.
    pub(super) fn ask(
        &mut self,
        request: &Request,
        found: &mut dyn FnMut(&Response),
    ) -> Result<Answer, GuestError> {
        let mut line = serde_json::to_vec(request).expect("a request is JSON");
        line.push(b'\n');
        let asked = Instant::now();
        // A worker that is gone cannot read; why it is gone is seen next.
        let _ = self.requests.write_all(&line);
        self.receive(asked, found)
    }

    fn receive(&mut self, asked: Instant, found: &mut dyn FnMut(&Response)) -> Result<Answer, GuestError> {
        let (mut beat, mut since) = (self.heartbeat(), asked);
        loop {
            match self.responses.recv_timeout(LOOK) {
                Ok(line) => match serde_json::from_str(&line) {
                    Ok(response @ Response::Found { .. }) => found(&response),
                    Ok(response) => return Ok(Answer::Response(response)),
                    Err(_) => return Err(self.broken(format!("it says {line:?}"))),
                },
                Err(RecvTimeoutError::Disconnected) => return self.death(),
                Err(RecvTimeoutError::Timeout) => {
                    let now = self.heartbeat();
                    if now != beat {
                        (beat, since) = (now, Instant::now());
                    } else if self.is_busy() && since.elapsed() > self.timeout {
                        return Ok(self.hang());
                    }
                }
            }
        }
    }

    fn heartbeat(&self) -> u64 {
        self.shared.heartbeat.load(Ordering::Relaxed)
    }

    fn is_busy(&self) -> bool {
        self.shared.busy.load(Ordering::SeqCst) == 1
    }

    fn hang(&mut self) -> Answer {
        // It may have ended by itself just now.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let detail = format!("the kernel has not returned for {} ms", self.timeout.as_millis());
        self.told(Failure::new(Rung::Hang, Cause::Process, detail))
    }

    fn told(&self, failure: Failure) -> Answer {
        Answer::Death(Death {
            step: self.shared.step.load(Ordering::Relaxed),
            kernel: self.shared.kernel.load(Ordering::Relaxed) as usize,
            failure,
        })
    }

    /// Why the worker is gone, which is a finding if a kernel was being called.
    fn death(&mut self) -> Result<Answer, GuestError> {
        let status = self.child.wait().map_err(|error| self.broken(error.to_string()))?;
        let said = self.last_complaint();
        if !self.is_busy() {
            return Err(self.broken(format!("{status}{said}")));
        }
        Ok(self.told(self.end(status, &said)))
    }

    fn end(&self, status: ExitStatus, said: &str) -> Failure {
        if let Some(crash) = self.shared.crash() {
            let detail = format!("the kernel dies of {crash}{said}");
            return Failure::new(Rung::Crash, Cause::Process, detail);
        }
        match status.signal() {
            Some(signal) => {
                let name = signal_name(signal);
                Failure::new(
                    Rung::Crash,
                    Cause::Process,
                    format!("the kernel dies of {name} ({signal}){said}"),
                )
            }
            None if self.shared.has_exited() => {
                Failure::new(Rung::Exit, Cause::Process, "the kernel ends the process".to_owned())
            }
            None => {
                let code = status.code().unwrap_or_default();
                let detail = format!("the kernel ends the process, with exit code {code}");
                Failure::new(Rung::Exit, Cause::Process, detail)
            }
        }
    }

    /// The last line on standard error that is not ours, such as the C library's of a broken heap.
    fn last_complaint(&self) -> String {
        let text = std::fs::read(self.complaints.path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let before = text.split("\nfinding: ").next().unwrap_or_default();
        let line = before.lines().map(str::trim).rfind(|line| !line.is_empty());
        line.map_or(String::new(), |line| format!(" ({line})"))
    }

    fn broken(&self, why: String) -> GuestError {
        GuestError::Worker { library: self.library.display().to_string(), why }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The file of a library, if there is one.
pub(super) fn exists(library: &Path) -> Result<(), GuestError> {
    File::open(library)
        .map(drop)
        .map_err(|error| GuestError::Load(format!("cannot read {}: {error}", library.display())))
}
