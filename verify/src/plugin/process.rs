//! What host and worker share in memory, and the file descriptors of a worker.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::buffer::Buffer;
use crate::child::{Record, anonymous_file};
use crate::memory::beside;
use crate::memory::fault::{Crash, OVERFLOW, signal_name};
use crate::property::{Cause, Failure, Property};
use crate::words::count;

/// What the worker is at. Written by it, and by its fault handler; read by the host when it is gone.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Shared {
    /// Grows with every call.
    pub(super) heartbeat: AtomicU64,
    pub(super) step: AtomicU64,
    pub(super) kernel: AtomicU64,
    /// 1 while a kernel is examined.
    busy: AtomicU64,
    cause: AtomicU64,
    /// 1 if the thread that crashed was in a function of the library.
    inside: AtomicU64,
    signal: AtomicI64,
    address: AtomicU64,
    /// 1 more than the place of the nearest buffer; 0 for none.
    buffer: AtomicU64,
    distance: AtomicI64,
    /// 1 if the crash was an overflow of the small stack that the kernel was called on.
    overflows: AtomicU64,
}

// SAFETY: atomic integers in the order of C, far less than a page.
unsafe impl Record for Shared {}

const CRASH: u64 = 1;
const EXIT: u64 = 2;
const PANIC: u64 = 3;
const CLOSED: u64 = 4;

/// Why a worker ended, as far as it could note that itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndCause {
    /// Nothing was noted: it was killed, or ended without the C library's knowledge.
    Unknown,
    /// A signal that its handler saw; whether the library was being called by the thread that it came to.
    Crash { inside: bool },
    /// The process was ended in the middle of a call.
    Exit,
    /// The harness panicked.
    Panic,
    /// The kernel closed the file descriptors that the worker cannot do without.
    Closed,
}

impl Shared {
    /// Says that a kernel is being examined.
    pub(super) fn enter(&self, step: u64, kernel: usize) {
        self.step.store(step, Ordering::Relaxed);
        self.kernel.store(kernel as u64, Ordering::Relaxed);
        self.busy.store(1, Ordering::SeqCst);
        self.heartbeat.fetch_add(1, Ordering::Relaxed);
    }

    /// Says that it no longer is.
    pub(super) fn leave(&self) {
        self.busy.store(0, Ordering::SeqCst);
    }

    /// Whether a kernel is being examined.
    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::SeqCst) == 1
    }

    /// Notes a crash; called by the fault handler.
    pub(super) fn note_crash(&self, crash: Crash, inside: bool) {
        self.inside.store(inside.into(), Ordering::Relaxed);
        self.signal.store(crash.signal.into(), Ordering::Relaxed);
        self.address.store(crash.address as u64, Ordering::Relaxed);
        let near = crash.near;
        self.buffer.store(near.map_or(0, |near| near.buffer as u64 + 1), Ordering::Relaxed);
        self.distance.store(near.map_or(0, |near| near.distance as i64), Ordering::Relaxed);
        self.overflows.store(crash.overflows.into(), Ordering::Relaxed);
        self.cause.store(CRASH, Ordering::SeqCst);
    }

    /// Notes that the process is about to end in the middle of a call.
    pub(super) fn note_exit(&self) {
        self.cause.store(EXIT, Ordering::SeqCst);
    }

    /// Notes that the harness panicked.
    pub(super) fn note_panic(&self) {
        self.cause.store(PANIC, Ordering::SeqCst);
    }

    /// Notes that the worker has lost its file descriptors.
    pub(super) fn note_closed(&self) {
        self.cause.store(CLOSED, Ordering::SeqCst);
    }

    /// What was noted last.
    pub(super) fn cause(&self) -> EndCause {
        match self.cause.load(Ordering::SeqCst) {
            CRASH => EndCause::Crash { inside: self.inside.load(Ordering::Relaxed) == 1 },
            EXIT => EndCause::Exit,
            PANIC => EndCause::Panic,
            CLOSED => EndCause::Closed,
            _ => EndCause::Unknown,
        }
    }

    /// The signal of the crash that was noted.
    pub(super) fn signal(&self) -> i32 {
        self.signal.load(Ordering::Relaxed) as i32
    }

    /// The crash that was noted: its signal, address, and the nearest buffer with the distance from it.
    pub(super) fn crash(&self) -> String {
        let signal = signal_name(self.signal());
        let address = self.address.load(Ordering::Relaxed);
        let buffer = (self.buffer.load(Ordering::Relaxed) as usize).checked_sub(1);
        let buffer = buffer.and_then(|at| Buffer::ALL.get(at));
        let distance = self.distance.load(Ordering::Relaxed) as isize;
        if self.overflows.load(Ordering::Relaxed) == 1 {
            return OVERFLOW.to_owned();
        }
        match (signal, buffer) {
            ("SIGSEGV" | "SIGBUS", Some(&buffer)) => {
                format!("{signal} at {address:#x}, {}", beside(buffer, distance))
            }
            ("SIGSEGV" | "SIGBUS", None) if address < 4096 => {
                format!("{signal} at {address:#x}: a null pointer")
            }
            ("SIGSEGV" | "SIGBUS", None) => format!("{signal} at {address:#x}, near none of its buffers"),
            _ => signal.to_owned(),
        }
    }
}

/// The least number of a descriptor of the harness: a careless loop closes the low ones.
pub(super) const FIRST_DESCRIPTOR: RawFd = 200;

/// Descriptors with low numbers that are open for a kernel to close.
const SENTINELS: usize = 3;

/// The standard streams and other low descriptors of a worker, which a kernel must leave open, and what it wrote to standard output.
#[derive(Debug)]
pub(super) struct FdGuard {
    /// What standard input, output and error are, by number. Nothing may be written to the second.
    standard: [File; 3],
    /// Open descriptors with the lowest numbers, such as a careless loop closes.
    _sentinels: Vec<File>,
    /// The low descriptors, and what they are.
    low: Vec<(RawFd, Identity)>,
    /// Descriptors that the worker cannot do without, and what they are.
    own: Vec<(RawFd, Identity)>,
}

impl FdGuard {
    /// Puts standard input and output into files of their own; `channels` are what the worker speaks through.
    ///
    /// # Errors
    /// If the system refuses a file or a descriptor.
    pub(super) fn new(channels: [&File; 2]) -> io::Result<Self> {
        let anonymous = || high(&anonymous_file()?);
        // SAFETY: the descriptor is open for as long as this process lives, and is not closed when this is dropped.
        let errors = std::mem::ManuallyDrop::new(unsafe { File::from_raw_fd(libc::STDERR_FILENO) });
        let standard = [anonymous()?, anonymous()?, high(&errors)?];
        redirect(&standard, libc::STDIN_FILENO);
        redirect(&standard, libc::STDOUT_FILENO);
        let sentinels: Vec<File> =
            (0..SENTINELS).map(|_| standard[0].try_clone()).collect::<Result<_, _>>()?;
        let low = (0..standard.len() as RawFd).chain(sentinels.iter().map(AsRawFd::as_raw_fd));
        let low = low.filter_map(|fd| Some((fd, identity(fd)?))).collect();
        let own = channels.into_iter().chain(&standard).map(AsRawFd::as_raw_fd);
        let own = own.filter_map(|fd| Some((fd, identity(fd)?))).collect();
        Ok(Self { standard, _sentinels: sentinels, low, own })
    }

    /// Whether the worker can still be spoken to.
    pub(super) fn is_intact(&self) -> bool {
        lost(&self.own).is_empty()
    }

    /// What became of the low descriptors since the last time; puts right what can be.
    pub(super) fn failures(&mut self) -> Vec<Failure> {
        let mut failures = Vec::new();
        let closed = lost(&self.low);
        if !closed.is_empty() {
            let numbers: Vec<String> = closed.iter().map(ToString::to_string).collect();
            let detail = format!(
                "the kernel closes {}: {}",
                count(closed.len() as u64, "file descriptor"),
                numbers.join(", ")
            );
            failures.push(Failure::new(Property::Descriptors, Cause::Process, detail));
            closed.into_iter().for_each(|fd| redirect(&self.standard, fd));
        }
        if let Some(text) = self.written() {
            let detail = format!("the kernel writes to standard output: {text:?}");
            failures.push(Failure::new(Property::Output, Cause::Process, detail));
        }
        failures
    }

    /// The beginning of what was written since the last time.
    fn written(&mut self) -> Option<String> {
        // SAFETY: flushes every stream of C, of which this process has those of the plugin.
        unsafe { libc::fflush(std::ptr::null_mut()) };
        let output = &self.standard[libc::STDOUT_FILENO as usize];
        if output.metadata().ok()?.len() == 0 {
            return None;
        }
        let mut bytes = [0; 60];
        let len = output.read_at(&mut bytes, 0).ok()?;
        output.set_len(0).ok()?;
        io::Seek::rewind(&mut &*output).ok()?;
        Some(String::from_utf8_lossy(&bytes[..len]).into_owned())
    }
}

/// Makes `fd` what it was at the start.
fn redirect(standard: &[File; 3], fd: RawFd) {
    let file = standard.get(fd as usize).unwrap_or(&standard[0]);
    // SAFETY: dup2 has no preconditions on numbers; `fd` is one that nothing else of this process relies on.
    unsafe { libc::dup2(file.as_raw_fd(), fd) };
}

/// Device and number of a file.
type Identity = (libc::dev_t, libc::ino_t);

/// What is behind a descriptor; `None` if it is closed.
fn identity(fd: RawFd) -> Option<Identity> {
    // SAFETY: all-zero is a valid stat.
    let mut status: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: fstat has no preconditions on numbers, and `status` is a live stat.
    let known = unsafe { libc::fstat(fd, &raw mut status) } == 0;
    known.then_some((status.st_dev, status.st_ino))
}

/// The descriptors that are closed, or are something else by now.
fn lost(descriptors: &[(RawFd, Identity)]) -> Vec<RawFd> {
    let lost = descriptors.iter().filter(|&&(fd, was)| identity(fd) != Some(was));
    lost.map(|&(fd, _)| fd).collect()
}

/// A file under a descriptor from [`FIRST_DESCRIPTOR`] on.
///
/// # Errors
/// If this process may not open as many files, with what to do.
pub(super) fn high(file: &File) -> io::Result<File> {
    // SAFETY: fcntl with F_DUPFD_CLOEXEC has no preconditions.
    let fd = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, FIRST_DESCRIPTOR) };
    if fd < 0 {
        let error = io::Error::last_os_error();
        return Err(io::Error::other(format!(
            "it needs file descriptors from {FIRST_DESCRIPTOR} on ({error}): raise the limit (ulimit -n 256)"
        )));
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { File::from_raw_fd(fd) })
}
