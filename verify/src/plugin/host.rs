//! The host's side of a worker: it starts one, asks it, and knows why it ended.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::message::{Request, Response};
use super::process::{EndCause, Shared};
use crate::child::{self, Child, Errors, Patience, SharedMemory, last_message, pass};
use crate::library::Library;
use crate::memory::fault::signal_name;
use crate::property::{Cause, Failure, Property};

/// Workers that are started in the place of one that was killed before it was ready.
const STARTS: usize = 3;

/// Characters of an unreadable answer that are shown.
const SHOWN: usize = 200;

/// How workers are made.
#[derive(Clone, Debug)]
pub struct Host {
    /// The program and its first words; the options of the library, `--record`, `--weights` and `--format` with their values follow.
    pub program: Vec<String>,
    /// The shared library.
    pub library: Library,
    /// Weights that cases may name.
    pub weights: Option<PathBuf>,
    /// TOML files of formats that kernels may name.
    pub formats: Vec<PathBuf>,
    /// How long one call may take.
    pub timeout: Duration,
}

/// Why there is no worker to talk to.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The library is not a plugin, with the reason; or a case has no data.
    #[error("{0}")]
    Load(String),
    /// The system gives no process or no file.
    #[error("cannot start a worker for {library}: {error}")]
    System {
        /// The library.
        library: String,
        /// The system's reason.
        error: std::io::Error,
    },
    /// A worker ended while no kernel was being called.
    #[error("the worker of {library} ended while no kernel was being called: {why}")]
    Ended {
        /// The library.
        library: String,
        /// What is known.
        why: String,
    },
    /// The host was asked to end while a worker was at work.
    #[error("ended on request")]
    Interrupted,
    /// A worker broke the protocol, or panicked: a fault of qk256 itself.
    #[error("fault of the harness (worker of {library}): {why}")]
    Harness {
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
    /// The worker ended while a kernel was being examined.
    Death(Death),
}

/// The end of a worker in the middle of an examination.
#[derive(Clone, Debug)]
pub(super) struct Death {
    pub(super) step: u64,
    pub(super) kernel: usize,
    pub(super) ending: Ending,
}

/// Who ended a worker.
#[derive(Clone, Debug)]
pub(super) enum Ending {
    /// The kernel.
    Kernel(Failure),
    /// A signal that nothing in the process noted: the kernel, or somebody else. The failure is what it is if it was the kernel.
    Outside(Failure),
    /// The harness, because it has too little address space.
    NoMemory(String),
    /// The harness.
    Harness(String),
}

/// A process with a plugin in it.
pub(super) struct Worker {
    library: Library,
    timeout: Duration,
    child: Child,
    shared: SharedMemory<Shared>,
}

impl Host {
    /// Starts a worker: what it has loaded, and the worker.
    ///
    /// # Errors
    /// If the system gives no process, the library is not a plugin, or it ends the process that loads it.
    pub(super) fn start(&self) -> Result<(Response, Worker), PluginError> {
        for _ in 1..STARTS {
            match self.start_once() {
                Err(PluginError::Ended { .. }) => {}
                started => return started,
            }
        }
        self.start_once()
    }

    fn start_once(&self) -> Result<(Response, Worker), PluginError> {
        let system = |error| PluginError::System { library: self.shown(), error };
        let mut worker = self.spawn().map_err(system)?;
        match worker.receive(&mut |_| {}) {
            Ok(Answer::Response(loaded @ Response::Loaded { .. })) => Ok((loaded, worker)),
            Ok(Answer::Response(Response::NotLoaded(why))) => Err(PluginError::Load(why)),
            Ok(Answer::Response(Response::NotReady(why))) => Err(system(std::io::Error::other(why))),
            Ok(Answer::Response(other)) => Err(worker.unexpected(&other)),
            // What is busy before a kernel is called is the loader.
            Ok(Answer::Death(Death { ending: Ending::Kernel(failure), .. })) => {
                let library = self.shown();
                Err(PluginError::Load(format!(
                    "{library} ends the process that loads it: {}",
                    failure.detail()
                )))
            }
            Ok(Answer::Death(Death { ending: Ending::Outside(failure), .. })) => {
                Err(PluginError::Ended { library: self.shown(), why: failure.detail() })
            }
            Ok(Answer::Death(Death { ending: Ending::NoMemory(why) | Ending::Harness(why), .. })) => {
                Err(worker.fault(why))
            }
            Err(error) => Err(error),
        }
    }

    fn spawn(&self) -> std::io::Result<Worker> {
        let (shared, record) = SharedMemory::new()?;
        let mut command = Command::new(&self.program[0]);
        command.args(&self.program[1..]).args(self.library.options());
        let descriptor = pass(&mut command, &record);
        command.args(["--record", &descriptor]);
        if let Some(weights) = &self.weights {
            command.arg("--weights").arg(weights);
        }
        for format in &self.formats {
            command.arg("--format").arg(format);
        }
        let child = Child::start(&mut command, Errors::Kept)?;
        Ok(Worker { library: self.library.clone(), timeout: self.timeout, child, shared })
    }

    fn shown(&self) -> String {
        self.library.to_string()
    }
}

impl Worker {
    /// Asks for something; `found` is called with violations on the way.
    ///
    /// # Errors
    /// If the worker ends while it examines no kernel, or breaks the protocol.
    pub(super) fn ask(
        &mut self,
        request: &Request,
        found: &mut dyn FnMut(Response),
    ) -> Result<Answer, PluginError> {
        self.child.ask(request);
        self.receive(found)
    }

    fn receive(&mut self, found: &mut dyn FnMut(Response)) -> Result<Answer, PluginError> {
        loop {
            let shared = &self.shared;
            let heartbeat = || shared.is_busy().then(|| shared.heartbeat.load(Ordering::Relaxed));
            let patience = Patience { limit: self.timeout, heartbeat: &heartbeat, is_interruptible: true };
            return match self.child.receive(&patience) {
                child::Answer::Line(line) => match serde_json::from_str(&line) {
                    Ok(response @ Response::Found { .. }) => {
                        found(response);
                        continue;
                    }
                    Ok(response) => Ok(Answer::Response(response)),
                    Err(error) => Err(self.unreadable(&line, &error)),
                },
                child::Answer::Ended(status) => self.death(status),
                child::Answer::Silent => Ok(self.hang()),
                child::Answer::Interrupted => Err(PluginError::Interrupted),
            };
        }
    }

    fn hang(&self) -> Answer {
        let detail = format!("the kernel has not returned for {} ms", self.timeout.as_millis());
        self.at_work(Ending::Kernel(Failure::new(Property::Hang, Cause::Process, detail)))
    }

    fn at_work(&self, ending: Ending) -> Answer {
        Answer::Death(Death {
            step: self.shared.step.load(Ordering::Relaxed),
            kernel: self.shared.kernel.load(Ordering::Relaxed) as usize,
            ending,
        })
    }

    /// Why the worker is gone, which may be a finding if a kernel was being called.
    fn death(&self, status: ExitStatus) -> Result<Answer, PluginError> {
        let last = self.last_error();
        if !self.shared.is_busy() {
            let library = self.library.to_string();
            let killed = status.signal().map(killed_by);
            let why = killed.map_or(format!("{status}{last}"), |killed| format!("{killed}{last}"));
            return Err(match status.signal() {
                Some(_) => PluginError::Ended { library, why },
                None => PluginError::Harness { library, why },
            });
        }
        Ok(self.at_work(self.ending(status, &last)))
    }

    fn ending(&self, status: ExitStatus, last: &str) -> Ending {
        let kernel =
            |property, detail: String| Ending::Kernel(Failure::new(property, Cause::Process, detail));
        match self.shared.cause() {
            // An allocation that fails aborts; the harness's own does so outside of the library.
            EndCause::Crash { inside: false }
                if self.shared.signal() == libc::SIGABRT && has_little_address_space() =>
            {
                Ending::NoMemory(format!("the worker has too little address space{last}"))
            }
            EndCause::Crash { .. } => {
                kernel(Property::Crash, format!("the kernel crashes with {}{last}", self.shared.crash()))
            }
            EndCause::Exit => kernel(Property::Exit, "the kernel ends the process".to_owned()),
            EndCause::Closed => {
                let detail = "the kernel closes file descriptors, those of the harness among them";
                kernel(Property::Descriptors, detail.to_owned())
            }
            EndCause::Panic if has_little_address_space() => {
                Ending::NoMemory(format!("the worker has too little address space{last}"))
            }
            EndCause::Panic => Ending::Harness(format!("the worker panicked{last}")),
            EndCause::Unknown => match status.signal() {
                Some(signal) => Ending::Outside(Failure::new(
                    Property::Crash,
                    Cause::Process,
                    format!("the process of the kernel is {}{last}", killed_by(signal)),
                )),
                None => {
                    let code = status.code().unwrap_or_default();
                    kernel(Property::Exit, format!("the kernel ends the process, with exit code {code}"))
                }
            },
        }
    }

    /// The last message on standard error that is not ours, such as the C library's of a broken heap.
    fn last_error(&self) -> String {
        let text = self.child.errors();
        let before = text.split("\nfinding: ").next().unwrap_or_default();
        last_message(before).map_or(String::new(), |message| format!(" ({message})"))
    }

    fn unreadable(&self, line: &str, error: &serde_json::Error) -> PluginError {
        let shown: String = line.chars().take(SHOWN).collect();
        self.fault(format!("the worker's answer cannot be read ({error}): {shown:?}"))
    }

    /// The error that an answer is which belongs to another request.
    pub(super) fn unexpected(&self, answer: &Response) -> PluginError {
        let shown: String = format!("{answer:?}").chars().take(SHOWN).collect();
        self.fault(format!("the worker's answer belongs to another request: {shown}"))
    }

    fn fault(&self, why: String) -> PluginError {
        PluginError::Harness { library: self.library.to_string(), why }
    }
}

/// Whether the address space is limited (`ulimit -v`), for this process as for its workers.
fn has_little_address_space() -> bool {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live rlimit.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) } == 0;
    known && limit.rlim_cur != libc::RLIM_INFINITY
}

/// What a signal that the process did not note says.
fn killed_by(signal: i32) -> String {
    let name = signal_name(signal);
    let hint = match signal {
        libc::SIGKILL => ": by `kill -KILL`, the out-of-memory killer, or the CPU time limit",
        libc::SIGXCPU => ": the CPU time limit (ulimit -t)",
        libc::SIGXFSZ => ": the file size limit (ulimit -f)",
        _ => "",
    };
    format!("killed by {name} ({signal}{hint})")
}

/// The file of a library, if there is one.
pub(super) fn exists(library: &Path) -> Result<(), PluginError> {
    File::open(library)
        .map(drop)
        .map_err(|error| PluginError::Load(format!("cannot read {}: {error}", library.display())))
}
