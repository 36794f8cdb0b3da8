//! Signals that ask a command to end: the first is noted, and the command ends in order; a later one ends the process at once.

use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};

use libc::c_int;
use qk256_verify::interrupt;

/// Signals with their names.
const SIGNALS: [(c_int, &str); 3] =
    [(libc::SIGINT, "SIGINT"), (libc::SIGTERM, "SIGTERM"), (libc::SIGHUP, "SIGHUP")];

/// Milliseconds in which signals count as one: `timeout` sends its signal to the process and to its group.
const SAME_REQUEST: i64 = 300;

/// The first signal; 0 before.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// When it came, in milliseconds of the monotonic clock; 0 before.
static FIRST: AtomicI64 = AtomicI64::new(0);

/// From now on the signals request an end, which [`interrupt`] reports. One that was ignored when the process began (nohup) stays ignored.
pub(crate) fn watch() {
    for (signal, _) in SIGNALS {
        // SAFETY: a sigaction of zeros is the default action with no flags and an empty mask.
        let mut old: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: without a new action the call only writes the old one, which is ours.
        unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut old) };
        if old.sa_sigaction == libc::SIG_IGN {
            continue;
        }
        let mut new = old;
        new.sa_sigaction = note as extern "C" fn(c_int) as libc::sighandler_t;
        new.sa_flags = libc::SA_RESTART;
        // SAFETY: the handler makes calls and atomic operations alone that a handler may make.
        unsafe { libc::sigaction(signal, &raw const new, std::ptr::null_mut()) };
    }
}

/// The signal that asked for the end, if one did.
pub(crate) fn received() -> Option<(c_int, &'static str)> {
    let signal = SIGNAL.load(Ordering::SeqCst);
    SIGNALS.into_iter().find(|(number, _)| *number == signal)
}

extern "C" fn note(signal: c_int) {
    let now = milliseconds();
    match FIRST.compare_exchange(0, now, Ordering::SeqCst, Ordering::SeqCst) {
        Ok(_) => {
            SIGNAL.store(signal, Ordering::SeqCst);
            interrupt::request();
        }
        // SAFETY: _exit ends the process without running anything else, which a handler may do.
        Err(first) if now - first > SAME_REQUEST => unsafe { libc::_exit(128 + signal) },
        Err(_) => {}
    }
}

/// The monotonic clock; never 0.
fn milliseconds() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime writes one timespec, which is ours, and may be called by a handler.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    (time.tv_sec * 1000 + time.tv_nsec / 1_000_000).max(1)
}
