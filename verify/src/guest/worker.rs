//! The worker: a process with one guest in it, which does what the host asks for.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::FromRawFd;
use std::path::Path;
use std::time::Duration;

use super::abi::{GuestKernel, load};
use super::message::{Counts, FailureWords, PlanWords, Request, Response, Timed};
use super::process::{Belongings, Shared, high};
use crate::case::{Case, MaterializeError};
use crate::check::{KernelReport, Steps, traced};
use crate::kernel::{Kernel, missing_features};
use crate::memory::fault;
use crate::order::{RevealError, Revealed, Subject};
use crate::registry;
use crate::timing::{Workload, race};
use crate::trial::{Harness, Prepared, Trial};
use crate::weights::Weights;

/// The exit code of a process that a kernel has ended.
const ENDED_BY_A_KERNEL: i32 = 86;

/// Far beyond what the host waits: it is the host that says when a call hangs.
const NEVER: Duration = Duration::from_secs(1 << 30);

/// Does what the host asks for, on standard input, and answers on standard output, until there are no more requests. `record` is the
/// file in which worker and host share memory.
///
/// # Safety
/// The process was started for this alone: it loads the library, as [`load_here`](super::load_here) does, and takes standard input and
/// output for itself.
///
/// # Errors
/// If the system refuses a file.
pub unsafe fn serve(library: &Path, record: &Path, weights: Option<Weights>) -> std::io::Result<()> {
    // A kernel that never returns would outlive a host that is killed.
    #[cfg(target_os = "linux")]
    // SAFETY: prctl with these arguments only says which signal follows the death of the parent.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL)
    };
    let shared = Shared::of(&File::options().read(true).write(true).open(record)?)?;
    // SAFETY: the descriptors are those that this process was started with; nobody else here owns them.
    let [requests, answers] =
        [libc::STDIN_FILENO, libc::STDOUT_FILENO].map(|fd| unsafe { File::from_raw_fd(fd) });
    let (mut requests, mut answers) = (BufReader::new(high(requests)?), high(answers)?);
    let belongings = Belongings::new()?;
    // SAFETY: the process is there for this library, as the caller says.
    let response = match unsafe { load(library) } {
        Ok(kernels) => {
            let loaded = loaded(&kernels);
            watch(shared);
            write(&mut answers, &loaded)?;
            let bench = Bench { harness: Harness::new(weights), shared, belongings };
            let mut worker = Worker { kernels, bench };
            return worker.answer_all(&mut requests, &mut answers);
        }
        Err(error) => Response::NotLoaded(error.to_string()),
    };
    write(&mut answers, &response)
}

fn loaded(kernels: &[GuestKernel]) -> Response {
    Response::Loaded {
        name: kernels[0].name().to_owned(),
        refuses_wrong_sizes: kernels[0].refuses_wrong_sizes(),
        operations: kernels.iter().map(|kernel| kernel.operation().to_string()).collect(),
    }
}

/// From now on whatever ends the process is noted in shared memory.
fn watch(shared: &'static Shared) {
    static SHARED: std::sync::OnceLock<&'static Shared> = std::sync::OnceLock::new();
    let _ = SHARED.set(shared);
    fault::note_ends(
        |crash| SHARED.get().into_iter().for_each(|shared| shared.note_crash(crash)),
        || SHARED.get().into_iter().for_each(|shared| shared.note_exit()),
    );
    fault::beat(|| {
        SHARED.get().into_iter().for_each(|shared| {
            shared.heartbeat.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        })
    });
    fault::exit_after_crash(ENDED_BY_A_KERNEL, NEVER);
}

fn write(answers: &mut File, response: &Response) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(response)?;
    line.push(b'\n');
    answers.write_all(&line)
}

struct Worker {
    kernels: Vec<GuestKernel>,
    bench: Bench,
}

/// Where kernels are examined.
struct Bench {
    harness: Harness,
    shared: &'static Shared,
    belongings: Belongings,
}

impl Bench {
    /// Examines a kernel, with what it does to its process.
    fn examine(&mut self, step: u64, (place, kernel): (usize, &GuestKernel), prepared: &Prepared) -> Trial {
        self.shared.enter(step, place);
        let mut trial = self.harness.examine(kernel, prepared);
        self.shared.leave();
        trial.take_process(self.belongings.failures());
        trial
    }
}

impl Worker {
    fn answer_all(&mut self, requests: &mut impl BufRead, answers: &mut File) -> std::io::Result<()> {
        let mut line = String::new();
        while requests.read_line(&mut line)? > 0 {
            let response = match serde_json::from_str(&line)? {
                Request::Steps { plan, start, end, from_kernel, dropped } => {
                    let first = (start, from_kernel);
                    self.steps(&plan, first, end, &dropped, answers)?
                }
                Request::Examine { kernel, case } => self.one(kernel, &case),
                Request::Reveal { kernel, rows, cols, row, scaled } => {
                    self.reveal(kernel, Subject { rows, cols, row, scaled })
                }
                Request::Trace { kernel } => self.trace(kernel),
                Request::Time { kernel, milliseconds } => {
                    self.time(kernel, Duration::from_millis(milliseconds))
                }
            };
            write(answers, &response)?;
            line.clear();
        }
        Ok(())
    }

    fn steps(
        &mut self,
        plan: &PlanWords,
        (start, from_kernel): (u64, usize),
        end: u64,
        dropped: &[usize],
        answers: &mut File,
    ) -> std::io::Result<Response> {
        let Self { kernels, bench } = self;
        let steps =
            Steps::new(&plan.plan(), &plan.operations(), bench.harness.weights(), bench.harness.parts());
        let mut reports: Vec<KernelReport<'_>> =
            kernels.iter().map(|kernel| KernelReport::blank(kernel)).collect();
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
            for (kernel, report) in reports.iter_mut().enumerate().skip(first) {
                if report.kernel.operation() != case.operation || dropped.contains(&kernel) {
                    continue;
                }
                let trial = bench.examine(step, (kernel, &kernels[kernel]), &prepared);
                report.take(&case, prepared.is_legal(), &trial);
                for failure in &trial.failures {
                    write(answers, &Response::Found { step, kernel, failure: failure.into() })?;
                }
            }
        }
        let counts = |report: &KernelReport<'_>| {
            let harness = &bench.harness;
            Counts::of(
                report,
                harness.has_unexplained_order(report.kernel),
                harness.known_depth(report.kernel),
            )
        };
        Ok(Response::Done { counts: reports.iter().map(counts).collect(), without_memory })
    }

    fn one(&mut self, kernel: usize, case: &str) -> Response {
        let prepared = case
            .parse::<Case>()
            .map_err(|error| error.to_string())
            .and_then(|case| self.bench.harness.prepare(&case).map_err(|error| error.to_string()));
        match prepared {
            Ok(prepared) => {
                let trial = self.bench.examine(0, (kernel, &self.kernels[kernel]), &prepared);
                Response::Examined {
                    skipped: trial.skipped.map(str::to_owned),
                    rungs: trial.rungs.applied().map(|rung| rung.name().to_owned()).collect(),
                    failures: trial.failures.iter().map(FailureWords::from).collect(),
                }
            }
            Err(error) => Response::Failed(error),
        }
    }

    fn reveal(&mut self, kernel: usize, subject: Subject) -> Response {
        self.bench.shared.enter(0, kernel);
        let revealed = Revealed::of(&self.kernels[kernel], subject);
        self.bench.shared.leave();
        match revealed {
            Ok(revealed) => Response::Revealed(Ok(revealed.into())),
            Err(error @ RevealError::NoTree(_)) => Response::Revealed(Err(error.to_string())),
            Err(error) => Response::Failed(error.to_string()),
        }
    }

    fn trace(&mut self, kernel: usize) -> Response {
        self.bench.shared.enter(0, kernel);
        let width = traced(&self.kernels[kernel]).width();
        self.bench.shared.leave();
        Response::Traced(width.map(|width| width.name().to_owned()))
    }

    /// Times a kernel beside the scalar ones of its operation and our own fastest.
    fn time(&mut self, kernel: usize, budget: Duration) -> Response {
        let operation = self.kernels[kernel].operation();
        let mut workload = Workload::usual(operation);
        let own = registry::kernels();
        let can_run = |own: &&dyn Kernel| {
            let name = own.name();
            let is_meant =
                name == registry::SCALAR || name.starts_with(registry::FAST_SCALAR) || name == "avx2";
            own.operation() == operation && is_meant && missing_features(own.required_features()).is_empty()
        };
        let mut racers: Vec<&dyn Kernel> = vec![&self.kernels[kernel]];
        racers.extend(own.iter().map(Box::as_ref).filter(can_run));
        self.bench.shared.enter(0, kernel);
        let race = race(&racers, &mut workload, budget);
        self.bench.shared.leave();
        let scalar =
            racers.iter().position(|racer| racer.name() == registry::SCALAR && racer.library().is_none());
        let fast = (1..racers.len())
            .filter(|&at| racers[at].name().starts_with(registry::FAST_SCALAR))
            .min_by(|&a, &b| race.nanoseconds(a).total_cmp(&race.nanoseconds(b)));
        let over = |at, base: Option<usize>| {
            base.map_or([0.0; 3], |base| {
                let ratio = race.speedup(at, base);
                [ratio.median, ratio.low, ratio.high]
            })
        };
        let timed = |at: usize| Timed {
            name: racers[at].name().to_owned(),
            nanoseconds: race.nanoseconds(at),
            over_scalar: over(at, scalar),
            over_fast_scalar: over(at, fast),
        };
        Response::Timed((0..racers.len()).map(timed).collect())
    }
}
