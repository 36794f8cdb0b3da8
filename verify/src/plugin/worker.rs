//! The worker: a process with one plugin in it, which does what the host asks for.

use std::any::Any;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{FromRawFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::abi::{PluginKernel, is_inside};
use super::declared::Declared;
use super::load::load;
use super::message::{Request, Response};
use super::process::{FdGuard, Shared, high};
use crate::case::{Case, MaterializeError};
use crate::check::{Counts, Steps, domains, traced};
use crate::child::{SharedMemory, line};
use crate::examiner::Examined;
use crate::format;
use crate::kernel::{Kernel, missing_features};
use crate::library::Library;
use crate::memory::fault;
use crate::order::{Revealed, Subject};
use crate::reference;
use crate::registry;
use crate::timing::{Workload, speeds};
use crate::trial::{Harness, Prepared, Trial};
use crate::weights::Weights;

/// The exit code of a process that ends in the middle of an examination, with a note why.
const ENDED_EARLY: i32 = 86;

/// Far beyond what the host waits: it is the host that says when a call hangs.
const NEVER: Duration = Duration::from_secs(1 << 30);

/// Does what the host asks for, on standard input, and answers on standard output, until there are no more requests. `record` is the
/// descriptor of the file in which worker and host share memory; it is closed.
///
/// # Safety
/// The process was started for this alone: it loads the library, as [`load_here`](super::load_here) does, and takes standard input and
/// output for itself.
///
/// # Errors
/// If the system refuses a file.
pub unsafe fn serve(library: &Library, record: RawFd, weights: Option<Weights>) -> std::io::Result<()> {
    // SAFETY: the descriptors are those that this process was started with; nobody else here owns them.
    let [requests, answers] =
        [libc::STDIN_FILENO, libc::STDOUT_FILENO].map(|fd| unsafe { File::from_raw_fd(fd) });
    // SAFETY: as above.
    let shared = unsafe { SharedMemory::<Shared>::inherited(record) }?.leak();
    let mut channel = match Channel::new(&requests, &answers) {
        Ok(channel) => channel,
        Err(error) => return write(&mut &answers, &Response::NotReady(error.to_string())),
    };
    drop((requests, answers));
    let guard = match channel.guard() {
        Ok(guard) => guard,
        Err(error) => return write(&mut channel.answers, &Response::NotReady(error.to_string())),
    };
    shared.enter(0, 0);
    // SAFETY: the process is there for this library, as the caller says.
    let kernels = unsafe { load(library) };
    shared.leave();
    match kernels {
        Ok(kernels) => {
            watch(shared);
            let declared = kernels.iter().map(Declared::of).collect();
            write(&mut channel.answers, &Response::Loaded { kernels: declared })?;
            let mut harness = Harness::new(weights);
            harness.watch_process(true);
            let bench = Bench { harness, shared, guard };
            let examined = kernels.iter().map(PluginKernel::seeing_registers).collect();
            Worker { kernels, examined, bench }.answer_all(&mut channel)
        }
        Err(error) => write(&mut channel.answers, &Response::NotLoaded(error.to_string())),
    }
}

/// What the worker speaks through: descriptors that a careless loop does not reach.
struct Channel {
    requests: BufReader<File>,
    answers: File,
}

impl Channel {
    fn new(requests: &File, answers: &File) -> std::io::Result<Self> {
        Ok(Self { requests: BufReader::new(high(requests)?), answers: high(answers)? })
    }

    fn guard(&self) -> std::io::Result<FdGuard> {
        FdGuard::new([self.requests.get_ref(), &self.answers])
    }
}

/// The kernel that an earlier case is called with: the one that is examined if it takes the case, or else one of its name, or another.
fn place_for(kernels: &[PluginKernel], examined: usize, case: &Case) -> Option<usize> {
    let takes = |place: &usize| {
        let kernel = &kernels[*place];
        kernel.domain() == case.domain() && missing_features(kernel.required_features()).is_empty()
    };
    let rank =
        |place: &usize| (*place != examined, kernels[*place].name() != kernels[examined].name(), *place);
    (0..kernels.len()).filter(takes).min_by_key(rank)
}

/// From now on whatever ends the process is noted in shared memory.
fn watch(shared: &'static Shared) {
    static SHARED: std::sync::OnceLock<&'static Shared> = std::sync::OnceLock::new();
    let _ = SHARED.set(shared);
    fault::note_ends(
        |crash| SHARED.get().into_iter().for_each(|shared| shared.note_crash(crash, is_inside())),
        || SHARED.get().into_iter().for_each(|shared| shared.note_exit()),
    );
    fault::beat(|| {
        SHARED.get().into_iter().for_each(|shared| {
            shared.heartbeat.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        })
    });
    fault::exit_after_crash(ENDED_EARLY, NEVER);
}

fn write(answers: &mut impl Write, response: &Response) -> std::io::Result<()> {
    answers.write_all(&line(response))
}

struct Worker {
    kernels: Vec<PluginKernel>,
    /// The same, for calls that are neither timed nor traced.
    examined: Vec<PluginKernel>,
    bench: Bench,
}

/// Where kernels are examined.
struct Bench {
    harness: Harness,
    shared: &'static Shared,
    guard: FdGuard,
}

impl Bench {
    /// Runs `work`, in which a kernel is called and not examined.
    fn busy_with<T>(&self, place: usize, work: impl FnOnce() -> T) -> T {
        self.shared.busy_with(0, place, work, || self.guard.is_intact())
    }

    /// A case with its data.
    fn prepared(&self, case: &Case) -> Result<Prepared, String> {
        self.harness.prepare(case).map_err(|error| error.to_string())
    }

    /// Examines a kernel, with what it does to its process.
    fn examine(&mut self, step: u64, (place, kernel): (usize, &PluginKernel), prepared: &Prepared) -> Trial {
        let Self { harness, guard, .. } = self;
        let mut trial =
            self.shared.busy_with(step, place, || harness.examine(kernel, prepared), || guard.is_intact());
        trial.take_process(guard.failures());
        trial
    }
}

impl Shared {
    /// Runs `work`, in which kernel `place` is called. If it panics, which kernels cannot make it do, or leaves a process that cannot go
    /// on, the process ends, with a note of the reason.
    fn busy_with<T>(
        &self,
        step: u64,
        place: usize,
        work: impl FnOnce() -> T,
        is_intact: impl FnOnce() -> bool,
    ) -> T {
        self.enter(step, place);
        let result = catch_unwind(AssertUnwindSafe(work));
        if !is_intact() {
            self.note_closed();
            end();
        }
        match result {
            Ok(result) => {
                self.leave();
                result
            }
            Err(payload) => {
                self.note_panic();
                // The last line is what the host shows.
                let _ = writeln!(std::io::stderr(), "{}", first_line(payload.as_ref()));
                end()
            }
        }
    }
}

/// The beginning of what a panic says.
fn first_line(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.and_then(|text| text.lines().next()).unwrap_or("a panic without words")
}

/// Ends the process and runs nothing else.
fn end() -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(ENDED_EARLY) }
}

impl Worker {
    fn answer_all(&mut self, channel: &mut Channel) -> std::io::Result<()> {
        let mut line = String::new();
        while channel.requests.read_line(&mut line)? > 0 {
            let response = match serde_json::from_str(&line)? {
                Request::Steps { plan, wanted, start, end, from_kernel, dropped } => {
                    let harness = &self.bench.harness;
                    let domains = domains(wanted.iter().map(|&place| self.kernels[place].domain()));
                    let steps = Steps::new(&plan, &domains, harness.weights(), harness.faults());
                    let first = (start, from_kernel);
                    self.steps(&steps, first, end, &dropped, &mut channel.answers)?
                }
                Request::Examine { kernel, earlier, case, beside } => {
                    self.bench.harness.watch_process(beside.leaks);
                    self.after(&earlier, (kernel, beside.first_calls), &case).unwrap_or_else(Response::Failed)
                }
                Request::Reveal { kernel, rows, cols, row, scaled } => {
                    self.reveal(kernel, Subject { rows, row, ..Subject::one_row(cols, scaled) })
                }
                Request::Trace { kernel } => self.trace(kernel),
                Request::Time { kernel, milliseconds } => {
                    self.time(kernel, Duration::from_millis(milliseconds))
                }
            };
            write(&mut channel.answers, &response)?;
            line.clear();
        }
        Ok(())
    }

    fn steps(
        &mut self,
        steps: &Steps,
        (start, from_kernel): (u64, usize),
        end: u64,
        dropped: &[usize],
        answers: &mut File,
    ) -> std::io::Result<Response> {
        let Self { examined: kernels, bench, .. } = self;
        let mut counts = vec![Counts::default(); kernels.len()];
        let mut without_memory = 0;
        for step in start..end {
            let Some(case) = steps.case(step) else { break };
            let prepared = match bench.harness.prepare(&case) {
                Ok(prepared) => prepared,
                Err(MaterializeError::NoSparseMemory { .. }) => {
                    without_memory += 1;
                    continue;
                }
                Err(error) => return Ok(Response::Failed(format!("{case}: {error}"))),
            };
            let first = if step == start { from_kernel } else { 0 };
            for (kernel, counts) in counts.iter_mut().enumerate().skip(first) {
                if kernels[kernel].domain() != case.domain() || dropped.contains(&kernel) {
                    continue;
                }
                let trial = bench.examine(step, (kernel, &kernels[kernel]), &prepared);
                counts.take(&case, prepared.is_legal(), &trial);
                for failure in trial.failures {
                    write(answers, &Response::Found { step, kernel, failure })?;
                }
            }
        }
        counts
            .iter_mut()
            .zip(kernels.iter())
            .for_each(|(counts, kernel)| counts.take_order(&bench.harness, kernel));
        Ok(Response::Done { counts, without_memory })
    }

    /// Examines a kernel by a case, after the kernels of the library were called with earlier ones. The steps that are noted are the
    /// numbers of the calls before.
    fn after(
        &mut self,
        earlier: &[(u64, Case)],
        (kernel, first_calls): (usize, bool),
        case: &Case,
    ) -> Result<Response, String> {
        let Self { examined: kernels, bench, .. } = self;
        let mut step = 0;
        for (times, case) in earlier {
            let prepared = bench.prepared(case)?;
            let Some(place) = place_for(kernels, kernel, case) else {
                return Err(format!("{case}: the library has no kernel for this case that this CPU can run"));
            };
            for _ in 0..*times {
                bench.examine(step, (place, &kernels[place]), &prepared);
                step += 1;
            }
        }
        let prepared = bench.prepared(case)?;
        let mut first = Trial::default();
        if first_calls && earlier.is_empty() {
            let Bench { harness, shared, guard } = &mut *bench;
            let calls = || harness.examine_first_calls(&kernels[kernel], &prepared);
            first = shared.busy_with(step, kernel, calls, || guard.is_intact());
        }
        let trial = bench.examine(step, (kernel, &kernels[kernel]), &prepared);
        Ok(Response::Examined(Examined::of(trial, first)))
    }

    fn reveal(&mut self, kernel: usize, subject: Subject) -> Response {
        let Self { kernels, bench, .. } = self;
        let revealed = bench.busy_with(kernel, || Revealed::of(&kernels[kernel], subject));
        match revealed {
            Ok(revealed) => Response::Revealed(revealed),
            Err(error) => Response::Failed(error.to_string()),
        }
    }

    fn trace(&mut self, kernel: usize) -> Response {
        let Self { kernels, bench, .. } = self;
        Response::Traced(bench.busy_with(kernel, || traced(&kernels[kernel]).width()))
    }

    /// Times a kernel beside the scalar ones of its operation and our own fastest.
    fn time(&mut self, kernel: usize, budget: Duration) -> Response {
        let domain = self.kernels[kernel].domain();
        let mut workload = Workload::usual(domain);
        let mut own = registry::kernels();
        if format::is_of_file(domain.format) {
            own.extend(reference::kernels_of_file(domain.format));
        }
        let can_run = |own: &&dyn Kernel| {
            let is_meant = registry::is_scalar(*own) || registry::is_chosen(*own);
            workload.can_time(*own)
                && own.operation() == domain.operation
                && is_meant
                && missing_features(own.required_features()).is_empty()
        };
        let mut racers: Vec<&dyn Kernel> = vec![&self.kernels[kernel]];
        racers.extend(own.iter().map(Box::as_ref).filter(can_run));
        let reported: Vec<String> = racers.iter().map(|racer| racer.name().to_owned()).collect();
        // The twin has a row of its own.
        let is_twin = |other: &&PluginKernel| other.name() == registry::TWIN && other.domain() == domain;
        racers.extend(self.kernels.iter().find(is_twin).map(|twin| twin as &dyn Kernel));
        let speeds = self.bench.busy_with(kernel, || speeds(&racers, &mut workload, budget));
        Response::Timed(reported.into_iter().zip(speeds).collect())
    }
}
