//! The first call of a process, made by several threads at once: what a kernel prepares then, a table or a choice of code, must be whole
//! before any thread uses it. Only a new process has a first call, so each try is one, forked from this one.

use std::fmt;
use std::fs::File;
use std::io::{PipeReader, Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::case::Case;
use crate::kernel::{Kernel, Outcome};
use crate::memory::fault;
use crate::process;
use crate::property::{Cause, Failure, Property};
use crate::timing::Workload;
use crate::trace;

/// How the first call of a process is made.
#[derive(Clone, Copy, Debug)]
enum Start {
    /// Alone, to see whether it writes to static memory at all: if not, there is nothing that other calls could see half made.
    Alone,
    /// Alone, to count its instructions.
    Counted,
    /// Stopped after a number of instructions, for another thread's whole call. This needs no second CPU, and no luck.
    Stopped(usize),
    /// By several threads at once, each some turns of a loop behind the one before.
    AtOnce { threads: usize, turns: usize },
}

/// Starts with a call that is stopped: half of them early, the n-th after n^2 instructions, as what is prepared is prepared early as a
/// rule, and half of them anywhere.
const STOPPED: usize = 80;

/// Instructions of all calls that are stopped anywhere, at most: long calls are stopped at fewer places.
const STOPPED_STEPS: usize = 120_000;

/// Instructions that are counted at most.
const MOST_STEPS: usize = 1 << 16;

/// Threads of other starts, in turn, and how many starts there are.
const THREADS: [usize; 2] = [2, 8];
const AT_ONCE: usize = 60;

/// How long a call is stopped at most, for another that waits for it.
const PATIENCE: Duration = Duration::from_millis(5);

/// How long a start may take.
const LIMIT: Duration = Duration::from_secs(10);

/// What a start writes behind its message, which is empty where all is well: without it, the process was ended by the kernel.
const END: u8 = 0;

/// Turns that a thread waits behind the one before it, at most: some calls begin while another one prepares something.
const STAGGER: usize = 16;

/// Looks at whether all threads are there, before others are let on the CPU.
const LOOKS: u32 = 20_000;

/// What a start says where all is well, or where no further start of its kind can show anything.
const NOTHING_WRITTEN: &str = "nothing written";
const NOT_DONE: &str = "not done";
const NOT_REACHED: &str = "not reached";

/// What a process says of its first calls; it is empty where they are right.
type Answer = String;

/// Whether a process that this one forks can start threads: under some emulators it cannot.
pub(super) fn is_possible() -> bool {
    static IS_POSSIBLE: OnceLock<bool> = OnceLock::new();
    *IS_POSSIBLE.get_or_init(|| {
        let threads = || {
            if silence().is_err() {
                return NOT_DONE.to_owned();
            }
            std::thread::scope(|scope| THREADS.map(|_| scope.spawn(std::thread::yield_now)).map(drop));
            String::new()
        };
        in_a_process(threads).is_some_and(|printed| printed.is_empty())
    })
}

/// Sends what this process prints nowhere: an emulator that cannot start threads says so, on standard output too.
fn silence() -> std::io::Result<()> {
    let nowhere = File::options().write(true).open("/dev/null")?;
    for printed in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        // SAFETY: it replaces descriptors of this process, whose memory no call touches.
        if unsafe { libc::dup2(nowhere.as_raw_fd(), printed) } < 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(())
}

/// What is wrong with the first calls of new processes, if anything; `judge` says what is wrong with an output. No kernel may have been called
/// in this process. `None` where nothing is known: the kernel does not do the case, or the system gives no process.
pub(super) fn examine(
    kernel: &dyn Kernel,
    case: &Case,
    judge: impl Fn(&[u32]) -> Option<String> + Sync,
) -> Option<Option<Failure>> {
    let most = THREADS.into_iter().max().unwrap_or(1);
    let mut workloads: Vec<Workload> = (0..most).map(|_| Workload::of(case.clone())).collect();
    let mut total = 0;
    let at_once = (0..AT_ONCE).map(|start| Start::AtOnce {
        threads: THREADS[start % THREADS.len()],
        turns: start / THREADS.len() % STAGGER,
    });
    let starts = [Start::Alone, Start::Counted].into_iter();
    let stopped = (0..STOPPED).map(Start::Stopped);
    for start in starts.chain(stopped).chain(at_once) {
        let start = match start {
            Start::Stopped(start) => match stop(start, total) {
                Some(steps) => Start::Stopped(steps),
                None => continue,
            },
            start => start,
        };
        let printed = in_a_process(|| match start {
            Start::Alone => alone(kernel, &mut workloads[0]),
            Start::Counted => counted(kernel, &mut workloads[0]).to_string(),
            Start::Stopped(steps) => {
                let [first, second, ..] = &mut workloads[..] else { return String::new() };
                around(kernel, [first, second], steps, &judge)
            }
            Start::AtOnce { threads, turns } => at_once_by(kernel, &mut workloads[..threads], turns, &judge),
        })?;
        match (start, printed.as_str()) {
            (_, "") => {}
            (Start::Alone, NOT_DONE) => return None,
            // Nothing to prepare; or a call that goes wrong alone, which is no matter of threads: cases show it.
            (Start::Alone, _) => return Some(None),
            (Start::Counted, printed) => total = printed.parse().unwrap_or(0),
            (_, NOT_REACHED) => {}
            (start, printed) => {
                let detail = format!("{start}: {printed}");
                return Some(Some(Failure::new(Property::FirstCall, Cause::Process, detail)));
            }
        }
    }
    Some(None)
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alone | Self::Counted => f.write_str("the first call of a process"),
            Self::Stopped(steps) => write!(
                f,
                "the first call of a process is stopped after {steps} instructions while another thread makes a call"
            ),
            Self::AtOnce { threads, .. } => {
                write!(f, "{threads} threads make the first call of a process at once")
            }
        }
    }
}

/// Where a call of `total` instructions is stopped; `None` behind its end.
fn stop(start: usize, total: usize) -> Option<usize> {
    let (half, places) = (start / 2, STOPPED / 2);
    // On the average half a call is stepped through.
    let affordable = (2 * STOPPED_STEPS).checked_div(total)?.clamp(1, places);
    let at = match start.is_multiple_of(2) {
        true => half * half,
        false if half < affordable => total * half / affordable,
        false => return None,
    };
    (at < total).then_some(at)
}

/// Does `work` in a process that this one forks, and returns what it wrote, or how it ended; `None` where the system gives no process.
fn in_a_process(work: impl FnOnce() -> Answer) -> Option<Answer> {
    fault::go_on();
    let (mut reader, mut writer) = pipe().ok()?;
    // SAFETY: the child uses what it has copied, which no other thread of this process has locked for long: the C library puts its own
    // locks right, and the child ends by _exit.
    match unsafe { libc::fork() } {
        0 => {
            die_with_the_parent();
            default_signals();
            let printed = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| "a panic".to_owned());
            // A few hundred bytes, which a pipe takes although nobody reads yet.
            let _ = writer.write_all(&[printed.as_bytes(), &[END]].concat());
            // SAFETY: _exit ends the process without running anything else.
            unsafe { libc::_exit(0) };
        }
        // The system gives no process.
        child if child < 0 => None,
        child => {
            drop(writer);
            Some(match (wait(child), message(&mut reader)) {
                (None, _) => format!("a call does not return within {} s", LIMIT.as_secs()),
                (Some(_), Some(printed)) => printed,
                (Some(status), None) if libc::WIFSIGNALED(status) => {
                    format!("the process dies of {}", fault::signal_name(libc::WTERMSIG(status)))
                }
                (Some(_), None) => "the kernel ends the process".to_owned(),
            })
        }
    }
}

/// Makes one call, and says whether it wrote to static memory.
fn alone(kernel: &dyn Kernel, workload: &mut Workload) -> Answer {
    let before = process::statics();
    let outcome = workload.run(kernel);
    let is_same = !before.is_empty() && process::statics() == before;
    match outcome {
        Outcome::Done if is_same => NOTHING_WRITTEN,
        Outcome::Done => "",
        Outcome::Refused | Outcome::Unsupported => NOT_DONE,
    }
    .to_owned()
}

/// Makes one call and counts its instructions, as far as that is seen.
fn counted(kernel: &dyn Kernel, workload: &mut Workload) -> usize {
    let call = || {
        workload.run(kernel);
    };
    trace::paused(call, MOST_STEPS, || {}).1
}

/// Whether the call of the other thread may begin, and whether it is done.
static GO: AtomicBool = AtomicBool::new(false);
static DONE: AtomicBool = AtomicBool::new(false);

/// Lets the other thread make its call. What the call that is stopped holds, the other one waits for; then there is nothing to see.
fn let_the_other_call() {
    GO.store(true, Ordering::SeqCst);
    let began = Instant::now();
    while !DONE.load(Ordering::SeqCst) && began.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
}

/// Stops the first call after `steps` instructions, and makes a second one from another thread.
fn around(
    kernel: &dyn Kernel,
    [first, second]: [&mut Workload; 2],
    steps: usize,
    judge: &(impl Fn(&[u32]) -> Option<String> + Sync),
) -> Answer {
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            while !GO.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_micros(20));
            }
            let printed = judged(kernel, second, judge);
            DONE.store(true, Ordering::SeqCst);
            printed
        });
        let mut own = String::new();
        let call = || own = judged(kernel, first, &|_: &[u32]| None);
        let (is_reached, _) = trace::paused(call, steps, let_the_other_call);
        if !is_reached {
            GO.store(true, Ordering::SeqCst);
        }
        let printed = other.join().unwrap_or_else(|_| "a thread panics".to_owned());
        match () {
            () if !is_reached => NOT_REACHED.to_owned(),
            () if !printed.is_empty() => printed,
            () if !own.is_empty() => own,
            () => judge(&first.output()).unwrap_or_default(),
        }
    })
}

/// Makes a call and says what is wrong with it.
fn judged(kernel: &dyn Kernel, workload: &mut Workload, judge: &impl Fn(&[u32]) -> Option<String>) -> Answer {
    match catch_unwind(AssertUnwindSafe(|| workload.run(kernel))) {
        Ok(Outcome::Done) => judge(&workload.output()).unwrap_or_default(),
        // What it does not support, it does not support from one thread either.
        Ok(Outcome::Unsupported) => String::new(),
        Ok(Outcome::Refused) => "a legal call is refused".to_owned(),
        Err(_) => "the kernel panics".to_owned(),
    }
}

/// What a process that is gone has written, if that is whole.
fn message(reader: &mut PipeReader) -> Option<String> {
    let mut bytes = Vec::new();
    // What cannot be read was not written.
    let _ = reader.read_to_end(&mut bytes);
    (bytes.pop()? == END).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

/// Calls the kernel from a thread for each workload, all at once but for some turns of a loop, and says what is wrong with an output.
fn at_once_by(
    kernel: &dyn Kernel,
    workloads: &mut [Workload],
    turns: usize,
    judge: &(impl Fn(&[u32]) -> Option<String> + Sync),
) -> Answer {
    let (ready, count) = (AtomicUsize::new(0), workloads.len());
    let call = |(place, workload): (usize, &mut Workload)| {
        ready.fetch_add(1, Ordering::SeqCst);
        // Threads that have a CPU each begin within nanoseconds; with fewer CPUs than threads, others need theirs.
        let mut looks = 0_u32;
        while ready.load(Ordering::SeqCst) < count {
            looks += 1;
            match looks {
                0..LOOKS => std::hint::spin_loop(),
                _ => std::thread::yield_now(),
            }
        }
        for _ in 0..place * turns {
            std::hint::spin_loop();
        }
        judged(kernel, workload, judge)
    };
    let call = &call;
    std::thread::scope(|scope| {
        let callers: Vec<_> =
            workloads.iter_mut().enumerate().map(|each| scope.spawn(move || call(each))).collect();
        let printed = callers.into_iter().map(|caller| caller.join().unwrap_or("a thread panics".to_owned()));
        printed.fold(String::new(), |first, printed| if first.is_empty() { printed } else { first })
    })
}

/// A call that never returns must not outlive a run that is killed.
fn die_with_the_parent() {
    #[cfg(target_os = "linux")]
    // SAFETY: prctl with these arguments only says which signal follows the death of the parent.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL)
    };
}

/// A child that crashes says so by its status, and not by the handlers of this process.
fn default_signals() {
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT, libc::SIGTRAP] {
        // SAFETY: the default action has no handler to answer for.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// How a child ended; `None` if it did not, and was killed.
fn wait(child: libc::pid_t) -> Option<libc::c_int> {
    let (mut status, began, mut looks) = (0, Instant::now(), 0_u32);
    loop {
        // SAFETY: `status` is live; the child is this process's own.
        let ended = unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) };
        if ended != 0 {
            return Some(status);
        }
        if began.elapsed() > LIMIT {
            // SAFETY: kill has no preconditions, and the child has not been waited for, so that the number is its own.
            unsafe { libc::kill(child, libc::SIGKILL) };
            // SAFETY: as above.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            return None;
        }
        looks += 1;
        match looks {
            0..100 => std::thread::yield_now(),
            _ => {
                fault::go_on();
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    }
}
