//! Calls on a small stack: what a thread pool gives, with a guard below it that no frame of a kernel jumps over.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::{io, ptr};

use super::fault;

/// Inaccessible bytes below the stack. A table of 256 bytes for each of 2^17 columns ends within them.
const GUARD_BYTES: usize = 1 << 26;

/// Bytes of the stack that signal handlers run on.
const HANDLER_BYTES: usize = 1 << 16;

/// Runs `work` on a thread with a stack of `bytes` bytes, a multiple of the page size, and waits for it. The call on record is that of
/// the caller.
///
/// # Panics
/// As `work` does; if the system gives no thread or no address space.
pub(crate) fn with_stack<T: Send>(bytes: usize, work: impl FnOnce() -> T + Send) -> T {
    let stack = Stack::new(bytes);
    let start = stack.base.addr();
    let running = fault::Running::now();
    let job = move || {
        let handler = HandlerStack::new();
        fault::set_below_stack(start..start + GUARD_BYTES);
        let result = running.here(|| catch_unwind(AssertUnwindSafe(work)));
        fault::set_below_stack(0..0);
        drop(handler);
        result
    };
    match stack.run(job) {
        Ok(value) => value,
        Err(payload) => resume_unwind(payload),
    }
}

/// The memory of a stack, above its guard.
struct Stack {
    base: *mut c_void,
    bytes: usize,
}

impl Stack {
    fn new(bytes: usize) -> Self {
        let len = GUARD_BYTES + bytes;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches no existing memory.
        let base = unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
        assert_ne!(
            base,
            libc::MAP_FAILED,
            "no memory for a stack of {bytes} bytes: raise the limit (ulimit -v)"
        );
        let stack = Self { base, bytes };
        // SAFETY: the range is the end of the mapping that was made above.
        let status = unsafe { libc::mprotect(stack.start(), bytes, libc::PROT_READ | libc::PROT_WRITE) };
        assert_eq!(status, 0, "the system refused {bytes} bytes: {}", io::Error::last_os_error());
        stack
    }

    /// The lowest byte of the stack.
    fn start(&self) -> *mut c_void {
        self.base.wrapping_byte_add(GUARD_BYTES)
    }

    /// Runs a job, which must not panic, on a thread with this stack.
    fn run<T: Send>(&self, job: impl FnOnce() -> T + Send) -> T {
        let mut job = Job { work: Some(job), result: None };
        let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
        // SAFETY: the call fills the attributes that it is given.
        done(unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) });
        // SAFETY: the attributes were filled above; the stack is mapped, writable, and used by nobody else.
        done(unsafe { libc::pthread_attr_setstack(attributes.as_mut_ptr(), self.start(), self.bytes) });
        let mut thread = std::mem::MaybeUninit::<libc::pthread_t>::uninit();
        let argument = (&raw mut job).cast::<c_void>();
        // SAFETY: the entry is the one for jobs of this type, and the job lives until the thread has been waited for.
        done(unsafe {
            libc::pthread_create(thread.as_mut_ptr(), attributes.as_ptr(), entry(&job), argument)
        });
        // SAFETY: pthread_create has filled it.
        let thread = unsafe { thread.assume_init() };
        // SAFETY: the thread was made above and is waited for once.
        done(unsafe { libc::pthread_join(thread, ptr::null_mut()) });
        // SAFETY: they were filled above and are not used any more.
        done(unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) });
        job.result.expect("the thread has run the job")
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new`, and the thread that ran on it has ended.
        unsafe { libc::munmap(self.base, GUARD_BYTES + self.bytes) };
    }
}

/// What a thread does, and what came of it.
struct Job<F, T> {
    work: Option<F>,
    result: Option<T>,
}

/// The function that runs a job of this type.
fn entry<F: FnOnce() -> T, T>(_: &Job<F, T>) -> extern "C" fn(*mut c_void) -> *mut c_void {
    extern "C" fn run<F: FnOnce() -> T, T>(job: *mut c_void) -> *mut c_void {
        // SAFETY: it is the job that `Stack::run` passes, which is lent to this thread alone until it ends.
        let job = unsafe { &mut *job.cast::<Job<F, T>>() };
        job.result = job.work.take().map(|work| work());
        ptr::null_mut()
    }
    run::<F, T>
}

fn done(status: libc::c_int) {
    assert_eq!(status, 0, "the system gives no thread: {}", io::Error::from_raw_os_error(status));
}

/// A stack for signal handlers, of the thread that makes it: an overflow of its own leaves it none.
struct HandlerStack(Vec<u8>);

impl HandlerStack {
    fn new() -> Self {
        let mut stack = Self(vec![0; HANDLER_BYTES]);
        let start = stack.0.as_mut_ptr().cast();
        set_handler_stack(libc::stack_t { ss_sp: start, ss_flags: 0, ss_size: HANDLER_BYTES });
        stack
    }
}

impl Drop for HandlerStack {
    fn drop(&mut self) {
        set_handler_stack(libc::stack_t {
            ss_sp: ptr::null_mut(),
            ss_flags: libc::SS_DISABLE,
            ss_size: HANDLER_BYTES,
        });
    }
}

fn set_handler_stack(stack: libc::stack_t) {
    // SAFETY: the memory lives until another stack, or none, is set; this thread is in no handler.
    let status = unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) };
    assert_eq!(status, 0, "no stack for signal handlers: {}", io::Error::last_os_error());
}

#[cfg(test)]
mod tests {
    use std::thread;

    use crate::quiet::quiet;

    use super::*;

    #[test]
    fn work_runs_on_a_stack_of_its_own_and_its_result_and_panics_come_back() {
        let thread = with_stack(1 << 18, || {
            let local = 0_u8;
            assert!(
                !fault::is_below_stack((&raw const local).addr())
                    && fault::is_below_stack((&raw const local).addr() - (1 << 18))
            );
            thread::current().id()
        });
        assert_ne!(thread, thread::current().id());
        let panics = || with_stack(1 << 18, || quiet(|| -> u8 { panic!("as expected") }));
        let panic = quiet(|| catch_unwind(panics));
        assert!(panic.is_err_and(|payload| payload.downcast_ref::<&str>() == Some(&"as expected")));
        assert!(!fault::is_below_stack(0), "the caller has no such guard");
    }
}
