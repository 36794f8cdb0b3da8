//! Shared libraries as the host knows them: what they have, and what can be asked of it.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::OPERATIONS;
use super::confirm::Confirm;
use super::host::{Answer, Death, Ending, GuestError, Host, Worker, exists};
use super::message::{Beside, Request, Response};
use super::run::Run;
use crate::case::Case;
use crate::check::{Plan, Progress, Report};
use crate::finding::Finding;
use crate::kernel::{Arguments, Kernel, Outcome};
use crate::operation::Operation;
use crate::order::{Revealed, Subject};
use crate::rung::{Cause, Failure, Rung};
use crate::timing::Ratio;
use crate::weights::Weights;

/// Kernels of shared libraries, and how to call them.
#[derive(Debug)]
pub struct Guests {
    guests: Vec<Guest>,
    weights: Option<Weights>,
}

/// A library.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) host: Host,
    /// One for each operation of the ABI.
    pub(super) faces: Vec<Face>,
}

/// A kernel of a library, as the host knows it: it cannot be called here.
#[derive(Debug)]
pub(super) struct Face {
    name: String,
    library: PathBuf,
    pub(super) operation: Operation,
    refuses_wrong_sizes: bool,
    varies_with_rows: bool,
    /// Its place among the kernels of the worker; `None` if the library does not export it.
    pub(super) place: Option<usize>,
}

impl Kernel for Face {
    fn name(&self) -> &str {
        &self.name
    }

    fn operation(&self) -> Operation {
        self.operation
    }

    fn refuses_wrong_sizes(&self) -> bool {
        self.refuses_wrong_sizes
    }

    fn varies_with_rows(&self) -> bool {
        self.varies_with_rows
    }

    fn library(&self) -> Option<&Path> {
        Some(&self.library)
    }

    fn call(&self, _: Arguments<'_>) -> Outcome {
        Outcome::Unsupported
    }
}

/// The speed of a kernel beside scalar ones.
#[derive(Clone, Debug)]
pub struct Speed {
    /// The kernel.
    pub name: String,
    /// Median time of a call, in nanoseconds.
    pub nanoseconds: f64,
    /// Over the in-order scalar kernel.
    pub over_scalar: Ratio,
    /// Over the fastest of the honest scalar kernels.
    pub over_fast_scalar: Ratio,
}

/// What one case comes to.
#[derive(Clone, Debug)]
pub struct Examined {
    /// Why the kernel was not called, or that it does not do this.
    pub skipped: Option<String>,
    /// The rungs that were applied.
    pub rungs: Vec<Rung>,
    /// What was violated.
    pub failures: Vec<Failure>,
}

impl Guests {
    /// Loads each library in a worker of its own, to see what it has.
    ///
    /// # Errors
    /// If one is no guest, or the system gives no process.
    pub fn open(hosts: Vec<Host>, weights: Option<Weights>) -> Result<Self, GuestError> {
        let guests = hosts.into_iter().map(Guest::open).collect::<Result<_, _>>()?;
        Ok(Self { guests, weights })
    }

    /// The kernels, those that libraries do not export included.
    pub fn kernels(&self) -> impl Iterator<Item = &dyn Kernel> {
        self.guests.iter().flat_map(|guest| guest.faces.iter().map(|face| face as &dyn Kernel))
    }

    /// Whether one of the libraries exports the kernel.
    pub fn has(&self, kernel: &dyn Kernel) -> bool {
        self.place(kernel).is_some()
    }

    /// Examines the kernels for which `wanted` holds as [`check`](crate::check::check) does, with so many workers a library. What ends the
    /// run early is a fault of the harness in the report.
    ///
    /// # Errors
    /// If nothing was examined, because the system gives no process or a case has no data.
    pub fn check(
        &self,
        plan: &Plan,
        wanted: &dyn Fn(&dyn Kernel) -> bool,
        jobs: usize,
        watch: &mut (dyn FnMut(Progress<'_>) -> ControlFlow<()> + Send),
    ) -> Result<Report<'_>, GuestError> {
        let (mut report, began, mut flow) =
            (Report::blank(plan.seed), Instant::now(), ControlFlow::Continue(()));
        for guest in &self.guests {
            let faces: Vec<&Face> = guest.faces.iter().filter(|face| wanted(*face)).collect();
            let run = Run::new(guest, faces, *plan, self.weights.as_ref(), began);
            if flow.is_continue() {
                flow = run.whole(jobs.max(1), watch);
            }
            run.finish(&mut report)?;
        }
        Ok(report)
    }

    /// Examines one kernel by one case in a new process, in which each of `earlier` was called so many times before.
    ///
    /// # Errors
    /// If the system gives no process, or a case has no data.
    pub fn examine(
        &self,
        kernel: &dyn Kernel,
        earlier: &[(u64, Case)],
        case: &Case,
    ) -> Result<Examined, GuestError> {
        let (guest, place) = self.place(kernel).ok_or_else(|| unknown(kernel))?;
        guest.examine(place, earlier, case, Beside::ALL)
    }

    /// The finding for the smallest case on which `kernel` still violates the rung of `finding`, each seen in a process of its own.
    ///
    /// # Errors
    /// If the system gives no process.
    pub fn minimize(&self, kernel: &dyn Kernel, finding: &Finding) -> Result<Finding, GuestError> {
        let (guest, place) = self.place(kernel).ok_or_else(|| unknown(kernel))?;
        Ok(Confirm { guest, kernel, place, weights: self.weights.as_ref() }.minimize(finding))
    }

    /// How a gemv adds up a row, or in words why no tree explains it.
    ///
    /// # Errors
    /// If the system gives no process, the row is none, or the kernel takes its process down.
    pub fn reveal(
        &self,
        kernel: &dyn Kernel,
        subject: Subject,
    ) -> Result<Result<Revealed, String>, GuestError> {
        let (guest, place) = self.place(kernel).ok_or_else(|| unknown(kernel))?;
        let Subject { rows, cols, row, scaled } = subject;
        let (_, mut worker) = guest.host.start()?;
        match worker.ask(&Request::Reveal { kernel: place, rows, cols, row, scaled }, &mut |_| {})? {
            Answer::Response(Response::Revealed(revealed)) => Ok(revealed),
            Answer::Response(Response::Failed(why)) => Err(GuestError::Load(why)),
            Answer::Response(other) => Err(worker.unexpected(&other)),
            Answer::Death(death) => Err(guest.broken_off(death)),
        }
    }

    /// Times a kernel beside our own; the plugin comes first. `None` if it does not survive that.
    ///
    /// # Errors
    /// If the system gives no process, or the worker's answer cannot be read.
    pub fn time(&self, kernel: &dyn Kernel, budget: Duration) -> Result<Option<Vec<Speed>>, GuestError> {
        let Some((guest, place)) = self.place(kernel) else { return Ok(None) };
        let request = Request::Time { kernel: place, milliseconds: budget.as_millis() as u64 };
        let (_, mut worker) = guest.host.start()?;
        Ok(match worker.ask(&request, &mut |_| {})? {
            Answer::Response(Response::Timed(timed)) => {
                let speed = |timed: super::message::Timed| Speed {
                    name: timed.name,
                    nanoseconds: timed.nanoseconds,
                    over_scalar: timed.over_scalar,
                    over_fast_scalar: timed.over_fast_scalar,
                };
                Some(timed.into_iter().map(speed).collect())
            }
            _ => None,
        })
    }

    fn place(&self, kernel: &dyn Kernel) -> Option<(&Guest, usize)> {
        self.guests.iter().find_map(|guest| {
            let face = guest.faces.iter().find(|face| {
                face.operation == kernel.operation() && Some(face.library.as_path()) == kernel.library()
            })?;
            Some((guest, face.place?))
        })
    }
}

fn unknown(kernel: &dyn Kernel) -> GuestError {
    GuestError::Load(format!("{kernel:?} is exported by none of the libraries"))
}

impl Guest {
    fn open(host: Host) -> Result<Self, GuestError> {
        exists(&host.library)?;
        let (loaded, _) = host.start()?;
        let Response::Loaded { name, refuses_wrong_sizes, varies_with_rows, operations } = loaded else {
            unreachable!("a worker that starts has loaded its library")
        };
        let face = |operation: Operation| Face {
            name: name.clone(),
            library: host.library.clone(),
            operation,
            refuses_wrong_sizes,
            varies_with_rows: varies_with_rows && operation == Operation::Gemv,
            place: operations.iter().position(|&exported| exported == operation),
        };
        let faces = OPERATIONS.into_iter().map(face).collect();
        Ok(Self { faces, host })
    }

    /// Examines a kernel by a case in a new process. What was not the kernel's doing is tried once more: what happens to both is the
    /// kernel's. `beside` is looked for as well.
    pub(super) fn examine(
        &self,
        place: usize,
        earlier: &[(u64, Case)],
        case: &Case,
        beside: Beside,
    ) -> Result<Examined, GuestError> {
        let once = || self.examine_in(&mut None, place, earlier, case, beside);
        match once()? {
            Ended::Examined(examined) => Ok(examined),
            Ended::Outside(_) => match once()? {
                Ended::Examined(examined) => Ok(examined),
                Ended::Outside(failure) => Ok(Examined::failed(failure)),
            },
        }
    }

    /// Examines a kernel by a case, in the worker that is there or a new one.
    pub(super) fn examine_in(
        &self,
        worker: &mut Option<Worker>,
        place: usize,
        earlier: &[(u64, Case)],
        case: &Case,
        beside: Beside,
    ) -> Result<Ended, GuestError> {
        let mut alive = match worker.take() {
            Some(alive) => alive,
            None => self.host.start()?.1,
        };
        let words = earlier.iter().map(|(times, case)| (*times, case.to_string())).collect();
        let request = Request::Examine { kernel: place, earlier: words, case: case.to_string(), beside };
        match alive.ask(&request, &mut |_| {})? {
            Answer::Response(Response::Examined { skipped, rungs, failures }) => {
                *worker = Some(alive);
                Ok(Ended::Examined(Examined { skipped, rungs, failures }))
            }
            Answer::Response(Response::Failed(why)) => Err(GuestError::Load(why)),
            Answer::Response(other) => Err(alive.unexpected(&other)),
            Answer::Death(Death { step, ending, .. }) => {
                let is_last = step == earlier.iter().map(|(times, _)| times).sum::<u64>();
                match ending {
                    // An earlier case is not the one in question.
                    Ending::Kernel(failure) if is_last => Ok(Ended::Examined(Examined::failed(failure))),
                    Ending::Kernel(_) => Ok(Ended::Examined(Examined::nothing())),
                    Ending::Outside(failure) => Ok(Ended::Outside(failure)),
                    Ending::NoMemory(why) | Ending::Harness(why) => Err(self.fault(why)),
                }
            }
        }
    }

    fn fault(&self, why: String) -> GuestError {
        GuestError::Harness { library: self.host.library.display().to_string(), why }
    }

    /// The error that a death is where nothing was examined.
    fn broken_off(&self, death: Death) -> GuestError {
        match death.ending {
            Ending::Kernel(failure) | Ending::Outside(failure) => GuestError::Load(failure.detail),
            Ending::NoMemory(why) | Ending::Harness(why) => self.fault(why),
        }
    }
}

/// How an examination ended.
pub(super) enum Ended {
    /// With a result.
    Examined(Examined),
    /// By a signal that may have come from outside.
    Outside(Failure),
}

impl Examined {
    fn failed(failure: Failure) -> Self {
        Self { skipped: None, rungs: vec![failure.rung], failures: vec![failure] }
    }

    fn nothing() -> Self {
        Self { skipped: None, rungs: Vec::new(), failures: Vec::new() }
    }

    /// The violation of a rung by a cause, if there is one.
    pub(super) fn violation(self, (rung, cause): (Rung, Cause)) -> Option<Failure> {
        self.failures.into_iter().find(|failure| failure.shows(rung, cause))
    }
}
