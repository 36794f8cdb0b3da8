//! The first call of a process, made by several threads at once: what a kernel prepares then, a table or a choice of code, must be whole
//! before any thread uses it. Only a new process has a first call, so each try is one, forked from this one.

use std::io::{PipeReader, Read, Write, pipe};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::case::Case;
use crate::kernel::{Kernel, Outcome};
use crate::memory::fault;
use crate::rung::{Cause, Failure, Rung};
use crate::timing::Workload;

/// Processes that are started for each kernel, half of them with each number of threads. A fault that shows in one start of twenty is
/// missed in one run of ten thousand.
const STARTS: usize = 240;

/// Threads of a start, in turn.
const THREADS: [usize; 2] = [2, 8];

/// How long a start may take.
const LIMIT: Duration = Duration::from_secs(10);

/// What a start writes behind its message, which is empty where all is well: without it, the process was ended by the kernel.
const END: u8 = 0;

/// Turns that a thread waits behind the one before it, at most: some calls begin while another one prepares something.
const STAGGER: usize = 16;

/// Looks at whether all threads are there, before others are let on the CPU.
const LOOKS: u32 = 20_000;

/// Whether calls by new processes, each of them the first, give what `judge` accepts; `judge` says what is wrong with an output. No
/// kernel may have been called in this process. `None` too where the kernel does not do the case.
pub(super) fn examine(
    kernel: &dyn Kernel,
    case: &Case,
    judge: impl Fn(&[u32]) -> Option<String> + Sync,
) -> Option<Failure> {
    let most = THREADS.into_iter().max().unwrap_or(1);
    let mut workloads: Vec<Workload> = (0..most).map(|_| Workload::of(case.clone())).collect();
    for start in 0..STARTS {
        fault::go_on();
        let threads = THREADS[start % THREADS.len()];
        let (mut reader, mut writer) = pipe().ok()?;
        // SAFETY: the child uses what it has copied, which no other thread of this process has locked for long: the C library puts its
        // own locks right, and the child ends by _exit.
        match unsafe { libc::fork() } {
            0 => {
                default_signals();
                let calls = || at_once(kernel, &mut workloads[..threads], start / THREADS.len(), &judge);
                let seen = catch_unwind(AssertUnwindSafe(calls)).unwrap_or(Some("a panic".to_owned()));
                // A few hundred bytes, which a pipe takes although nobody reads yet.
                let _ = writer.write_all(&[seen.unwrap_or_default().as_bytes(), &[END]].concat());
                // SAFETY: _exit ends the process without running anything else.
                unsafe { libc::_exit(0) };
            }
            // The system gives no process: nothing is known.
            child if child < 0 => return None,
            child => {
                drop(writer);
                let ended = wait(child);
                let said = message(&mut reader);
                let what = match (ended, said) {
                    (None, _) => format!("a call does not return within {} s", LIMIT.as_secs()),
                    (Some(_), Some(said)) if said.is_empty() => continue,
                    (Some(_), Some(said)) => said,
                    (Some(status), None) if libc::WIFSIGNALED(status) => {
                        format!("the process dies of {}", fault::signal_name(libc::WTERMSIG(status)))
                    }
                    (Some(_), None) => "the kernel ends the process".to_owned(),
                };
                let detail = format!(
                    "where {threads} threads make the first call of a process at once, in start {} of {STARTS}: {what}",
                    start + 1
                );
                return Some(Failure::new(Rung::FirstCall, Cause::Process, detail));
            }
        }
    }
    None
}

/// What a process that is gone has written, if that is whole.
fn message(reader: &mut PipeReader) -> Option<String> {
    let mut bytes = Vec::new();
    // What cannot be read was not written.
    let _ = reader.read_to_end(&mut bytes);
    (bytes.pop()? == END).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

/// Calls the kernel from a thread for each workload, all at once but for some turns of a loop: what is wrong with an output.
fn at_once(
    kernel: &dyn Kernel,
    workloads: &mut [Workload],
    turn: usize,
    judge: &(impl Fn(&[u32]) -> Option<String> + Sync),
) -> Option<String> {
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
        for _ in 0..place * (turn % STAGGER) {
            std::hint::spin_loop();
        }
        match catch_unwind(AssertUnwindSafe(|| workload.run(kernel))) {
            Ok(Outcome::Done) => judge(&workload.output()),
            // What it does not support, it does not support from one thread either.
            Ok(Outcome::Unsupported) => None,
            Ok(Outcome::Refused) => Some("a legal call is refused".to_owned()),
            Err(_) => Some("the kernel panics".to_owned()),
        }
    };
    let call = &call;
    std::thread::scope(|scope| {
        let callers: Vec<_> =
            workloads.iter_mut().enumerate().map(|each| scope.spawn(move || call(each))).collect();
        callers.into_iter().find_map(|caller| caller.join().unwrap_or(Some("a thread panics".to_owned())))
    })
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
