//! A process in which kernels are timed, for a gate that asks from another.

use std::io::{self, BufRead, Write};
use std::time::Duration;

use qk256_verify::child::line;
use qk256_verify::kernel::missing_features;
use qk256_verify::timing::{self, Workload};
use qk256_verify::{Harness, Kernel, registry};

use super::canary;
use super::message::{Offered, PROTOCOL, Request, Response};
use super::rows::Task;
use crate::decode::{self, DecodeError};
use crate::limit::{is_limit, limits};
use crate::verified::Verified;

/// What a slice of [`Request::Slice`] should last: long beside the way from process to process, which leaves caches cold.
const SLICE: Duration = Duration::from_micros(250);

/// The kernels of the registry that work on one thread, and the limits of the machine beside them.
pub fn own_kernels() -> Vec<Box<dyn Kernel>> {
    registry::kernels()
        .into_iter()
        .filter(|kernel| !kernel.shares_work() && kernel.domain().is_plain())
        .chain(limits())
        .collect()
}

/// Answers on standard output what a gate asks for on standard input, until it asks no more.
///
/// What kernels print goes to standard error.
///
/// # Errors
/// If the gate is gone, or says what is no request.
pub fn serve(kernels: &[Box<dyn Kernel>]) -> io::Result<()> {
    let mut answers = apart::standard_output()?;
    let mut say = |response: &Response| answers.write_all(&line(response));
    let mut worker = Worker { kernels, harness: Harness::new(None), prepared: Vec::new() };
    say(&worker.ready())?;
    for request in io::stdin().lock().lines() {
        let response = worker.answer(serde_json::from_str(&request?)?);
        say(&response.unwrap_or_else(Response::Refused))?;
    }
    Ok(())
}

struct Worker<'k> {
    kernels: &'k [Box<dyn Kernel>],
    harness: Harness,
    /// In the order in which they were asked for.
    prepared: Vec<Prepared<'k>>,
}

/// A task with the kernels that do it.
struct Prepared<'k> {
    verified: Verified<'k>,
    /// Of a slice of each kernel, once it was timed.
    calls: Vec<Option<u64>>,
}

impl<'k> Worker<'k> {
    fn ready(&self) -> Response {
        let offered = |kernel: &dyn Kernel| Offered {
            operation: kernel.domain().to_string(),
            name: kernel.name().to_owned(),
            missing: missing_features(kernel.required_features()).into_iter().map(str::to_owned).collect(),
        };
        Response::Ready {
            protocol: PROTOCOL,
            kernels: self.kernels.iter().map(|kernel| offered(kernel.as_ref())).collect(),
        }
    }

    /// The answer, or why there is none.
    fn answer(&mut self, request: Request) -> Result<Response, String> {
        match request {
            Request::Pin { cpu } => apart::pin(cpu).map(|()| Response::Prepared { cpu }),
            Request::Prepare { task, kernels, check } => self.prepare(&task.parse()?, &kernels, check),
            Request::Race { task, places, milliseconds } => {
                let race = self.task(task)?.verified.race(&places, Duration::from_millis(milliseconds));
                Ok(Response::Raced((0..places.len()).map(|at| race.rounds(at).to_vec()).collect()))
            }
            Request::Slice { task, place } => self.task(task)?.slice(place).map(Response::Sliced),
            Request::Decode { ways, rounds } => match decode::parts_of_reading(&ways, rounds) {
                Ok(parts) => Ok(Response::Decoded(parts)),
                Err(DecodeError::Wrong(why)) => Ok(Response::Wrong(vec![why])),
                Err(DecodeError::Impossible(why)) => Err(why),
            },
            Request::Canary => Ok(Response::Canary(canary::elements_per_cycle())),
        }
    }

    fn task(&mut self, place: usize) -> Result<&mut Prepared<'k>, String> {
        self.prepared.get_mut(place).ok_or_else(|| format!("no task {place} was prepared"))
    }

    fn prepare(&mut self, task: &Task, wanted: &[(String, String)], check: bool) -> Result<Response, String> {
        let found = |(operation, name): &(String, String)| {
            let is_wanted =
                |kernel: &&dyn Kernel| kernel.domain().to_string() == *operation && kernel.name() == name;
            let kernel = self.kernels.iter().map(AsRef::as_ref).find(is_wanted);
            kernel.ok_or_else(|| format!("there is no {operation} {name}"))
        };
        let kernels = wanted.iter().map(found).collect::<Result<Vec<&'k dyn Kernel>, _>>()?;
        let mut workload = workload(task, &kernels);
        if check {
            let examined = kernels.iter().copied().filter(|kernel| !is_limit(kernel.name()));
            let verified = match Verified::new(&mut self.harness, examined.clone(), workload) {
                Ok(verified) => verified,
                Err(findings) => {
                    return Ok(Response::Wrong(findings.iter().map(ToString::to_string).collect()));
                }
            };
            if verified.kernels().len() < examined.count() {
                return Err(format!("not every kernel supports {task}"));
            }
            workload = verified.into_workload();
        }
        let verified = Verified::trusting(kernels, workload);
        self.prepared.push(Prepared { calls: vec![None; wanted.len()], verified });
        Ok(Response::Prepared { cpu: apart::cpu() })
    }
}

/// The data of a task: its plainest case, or of other formats and what kernels require the nearest that they take.
fn workload(task: &Task, kernels: &[&dyn Kernel]) -> Workload {
    let case = task.case();
    match kernels.first().map(|kernel| kernel.domain()) {
        Some(domain) if domain.operation == case.operation && domain != case.domain() => {
            Workload::new(domain, case.rows, case.cols, case.scaled)
        }
        _ => Workload::of(case),
    }
}

impl Prepared<'_> {
    /// Nanoseconds of a call.
    fn slice(&mut self, place: usize) -> Result<f64, String> {
        let known = self.calls.get(place).ok_or_else(|| format!("no kernel {place} was prepared"))?;
        let calls = match known {
            Some(calls) => *calls,
            None => timing::calls_per_slice(SLICE, |calls| self.verified.time(place, calls)),
        };
        self.calls[place] = Some(calls);
        Ok(self.verified.time(place, calls).as_nanos() as f64 / calls as f64)
    }
}

/// What keeps a worker apart from the rest of its machine.
mod apart {
    use std::fs::File;
    use std::io;
    use std::os::fd::AsFd;

    /// A way to the reader of standard output for this process alone: what anything else prints goes to standard error.
    pub(super) fn standard_output() -> io::Result<File> {
        let answers = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        // SAFETY: both are descriptors that the process was started with, and nothing here owns the one that is replaced.
        if unsafe { libc::dup2(libc::STDERR_FILENO, libc::STDOUT_FILENO) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(answers)
    }

    /// The CPU that this thread runs on.
    pub(super) fn cpu() -> usize {
        // SAFETY: the call has no preconditions.
        let cpu = unsafe { libc::sched_getcpu() };
        usize::try_from(cpu).unwrap_or_default()
    }

    /// Keeps this thread on a CPU.
    pub(super) fn pin(cpu: usize) -> Result<(), String> {
        // SAFETY: a set of CPUs is plain bits, none of which set is a set too.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: the set is a live one; the macro refuses numbers past its end.
        unsafe { libc::CPU_SET(cpu, &mut set) };
        // SAFETY: the set is a live one of the size that is passed.
        let status = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
        if status == 0 { Ok(()) } else { Err(format!("CPU {cpu}: {}", io::Error::last_os_error())) }
    }
}
