//! What host and worker share in memory, and what a guest may do to its process.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::memory::beside;
use crate::memory::fault::{Crash, signal_name};
use crate::operation::Buffer;
use crate::rung::{Cause, Failure, Rung};

/// Bytes of the shared file.
pub(super) const SHARED_BYTES: u64 = 4096;

/// What the worker is at. Written by it, and by its fault handler; read by the host when it is gone.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Shared {
    /// Grows with every call.
    pub(super) heartbeat: AtomicU64,
    pub(super) step: AtomicU64,
    pub(super) kernel: AtomicU64,
    /// 1 while a kernel is examined.
    pub(super) busy: AtomicU64,
    cause: AtomicU64,
    signal: AtomicI64,
    address: AtomicU64,
    /// 1 more than the place of the nearest buffer; 0 for none.
    buffer: AtomicU64,
    distance: AtomicI64,
}

const CRASH: u64 = 1;
const EXIT: u64 = 2;

impl Shared {
    /// The mapping of a file of [`SHARED_BYTES`], for good.
    pub(super) fn of(file: &File) -> std::io::Result<&'static Self> {
        let map: &'static memmap2::MmapRaw = Box::leak(Box::new(memmap2::MmapRaw::map_raw(file)?));
        assert!(map.len() >= size_of::<Self>(), "the file has as many bytes as it must");
        // SAFETY: the mapping is never undone, aligned to a page, long enough, and every bit pattern is an atomic integer.
        Ok(unsafe { &*map.as_ptr().cast::<Self>() })
    }

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

    /// Notes a crash; called by the fault handler.
    pub(super) fn note_crash(&self, crash: Crash) {
        self.signal.store(crash.signal.into(), Ordering::Relaxed);
        self.address.store(crash.address as u64, Ordering::Relaxed);
        let near = crash.near;
        self.buffer.store(near.map_or(0, |near| near.buffer as u64 + 1), Ordering::Relaxed);
        self.distance.store(near.map_or(0, |near| near.distance as i64), Ordering::Relaxed);
        self.cause.store(CRASH, Ordering::SeqCst);
    }

    /// Notes that the process is about to end in the middle of a call.
    pub(super) fn note_exit(&self) {
        self.cause.store(EXIT, Ordering::SeqCst);
    }

    /// Whether the process ended itself.
    pub(super) fn has_exited(&self) -> bool {
        self.cause.load(Ordering::SeqCst) == EXIT
    }

    /// The crash that was noted: its signal, address, and the nearest buffer with the distance from it.
    pub(super) fn crash(&self) -> Option<String> {
        if self.cause.load(Ordering::SeqCst) != CRASH {
            return None;
        }
        let signal = signal_name(self.signal.load(Ordering::Relaxed) as i32);
        let address = self.address.load(Ordering::Relaxed);
        let buffer = (self.buffer.load(Ordering::Relaxed) as usize).checked_sub(1);
        let buffer = buffer.and_then(|at| Buffer::ALL.get(at));
        let distance = self.distance.load(Ordering::Relaxed) as isize;
        Some(match (signal, buffer) {
            ("SIGSEGV" | "SIGBUS", Some(&buffer)) => {
                format!("{signal} at {address:#x}, {}", beside(buffer, distance))
            }
            ("SIGSEGV" | "SIGBUS", None) if address < 4096 => {
                format!("{signal} at {address:#x}: a null pointer")
            }
            ("SIGSEGV" | "SIGBUS", None) => format!("{signal} at {address:#x}, near none of its buffers"),
            _ => signal.to_owned(),
        })
    }
}

/// File descriptors that a guest has no business with, and what it wrote to standard output.
#[derive(Debug)]
pub(super) struct Belongings {
    /// Where standard output goes: nothing may.
    output: File,
    nothing: File,
    /// Open descriptors with the lowest numbers, such as a careless loop closes.
    sentinels: Vec<File>,
}

impl Belongings {
    /// Puts standard output into a file of its own.
    pub(super) fn new() -> std::io::Result<Self> {
        let nothing = File::open("/dev/null")?;
        let sentinels = (0..3).map(|_| nothing.try_clone()).collect::<Result<_, _>>()?;
        let belongings = Self { output: tempfile()?, nothing, sentinels };
        belongings.redirect(&belongings.output, libc::STDOUT_FILENO);
        Ok(belongings)
    }

    /// What became of them since the last time; puts right what can be.
    pub(super) fn failures(&mut self) -> Vec<Failure> {
        let mut failures = Vec::new();
        let closed: Vec<RawFd> = self.descriptors().into_iter().filter(|&fd| !is_open(fd)).collect();
        if !closed.is_empty() {
            let numbers: Vec<String> = closed.iter().map(ToString::to_string).collect();
            let detail = format!("the kernel closes file descriptor(s) {}", numbers.join(", "));
            failures.push(Failure::new(Rung::Descriptors, Cause::Process, detail));
            closed.into_iter().for_each(|fd| self.redirect(&self.nothing, fd));
            self.redirect(&self.output, libc::STDOUT_FILENO);
        }
        if let Some(text) = self.written() {
            let detail = format!("the kernel writes to standard output: {text:?}");
            failures.push(Failure::new(Rung::Output, Cause::Process, detail));
        }
        failures
    }

    fn descriptors(&self) -> Vec<RawFd> {
        [0, 1, 2].into_iter().chain(self.sentinels.iter().map(AsRawFd::as_raw_fd)).collect()
    }

    /// Makes `fd` another name of `file`.
    fn redirect(&self, file: &File, fd: RawFd) {
        // SAFETY: dup2 has no preconditions on numbers; `fd` is one that nothing else of this process relies on.
        unsafe { libc::dup2(file.as_raw_fd(), fd) };
    }

    /// The beginning of what was written since the last time.
    fn written(&mut self) -> Option<String> {
        // SAFETY: flushes every stream of C, of which this process has those of the guest.
        unsafe { libc::fflush(std::ptr::null_mut()) };
        if self.output.metadata().ok()?.len() == 0 {
            return None;
        }
        let mut bytes = Vec::new();
        self.output.seek(SeekFrom::Start(0)).ok()?;
        Read::by_ref(&mut self.output).take(60).read_to_end(&mut bytes).ok()?;
        self.output.set_len(0).ok()?;
        self.output.seek(SeekFrom::Start(0)).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn is_open(fd: RawFd) -> bool {
    // SAFETY: fcntl with F_GETFD has no preconditions.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// A file without a name, with a descriptor that a careless loop does not reach.
fn tempfile() -> std::io::Result<File> {
    high(tempfile::tempfile()?)
}

/// The same file under a descriptor from 200 on.
pub(super) fn high(file: File) -> std::io::Result<File> {
    use std::os::fd::FromRawFd;
    // SAFETY: fcntl with F_DUPFD_CLOEXEC has no preconditions.
    let fd = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 200) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { File::from_raw_fd(fd) })
}
