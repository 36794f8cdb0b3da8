//! The fault handler: it turns a forbidden access to a watched region into a note, and any other crash into a last line with the case.
//! What ends the process in another way, or does not return, is reported in the same way where that was asked for.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, Once, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::watch::{Access, Near, let_go_on, nearest};

/// A crash that is no touch of a guard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crash {
    pub(crate) signal: c_int,
    /// What was touched, where the signal is about that.
    pub(crate) address: usize,
    pub(crate) near: Option<Near>,
    /// Whether that lies below the small stack that the kernel was called on.
    pub(crate) overflows: bool,
}

/// What is called with a crash before the process ends, if anything: it may do what a signal handler may.
type NoteCrash = fn(Crash);
static NOTE_CRASH: OnceLock<(NoteCrash, fn())> = OnceLock::new();

/// From now on `crash` is called before the process ends by a crash, and `exit` before it ends by an exit in the middle of a call.
pub(crate) fn note_ends(crash: NoteCrash, exit: fn()) {
    // Whoever was first stays.
    let _ = NOTE_CRASH.set((crash, exit));
}

/// What the handler says if the call now running on this thread ends the process.
#[derive(Clone, Copy)]
pub(super) struct Running {
    text: *const u8,
    len: usize,
}

// SAFETY: the text is only read, and lives until the call on record has returned.
unsafe impl Send for Running {}

impl Running {
    /// The call on record of this thread.
    pub(super) fn now() -> Self {
        RUNNING.get()
    }

    /// Runs part of that call on another thread, while the one that has it on record waits.
    pub(super) fn here<T>(self, part: impl FnOnce() -> T) -> T {
        RUNNING.set(self);
        let result = part();
        RUNNING.set(IDLE);
        result
    }
}

const IDLE: Running = Running { text: std::ptr::null(), len: 0 };

thread_local! {
    static RUNNING: Cell<Running> = const { Cell::new(IDLE) };
    /// Where the guard below the small stack of this thread starts and ends; empty where it runs on an ordinary one.
    static BELOW_STACK: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// From now on, accesses of this thread to these addresses are overflows of its stack.
pub(super) fn set_below_stack(guard: Range<usize>) {
    BELOW_STACK.set((guard.start, guard.end));
}

/// Whether the address lies below the small stack that this thread runs on.
pub(super) fn is_below_stack(address: usize) -> bool {
    let (start, end) = BELOW_STACK.get();
    (start..end).contains(&address)
}

/// Exit code after a crash that is not a touch of a guard; negative: die of the signal itself, and watch for nothing else.
static EXIT_CODE: AtomicI32 = AtomicI32::new(-1);

/// From now on a kernel that crashes, ends the process or does not return within `limit` ends it with `code`, after the finding was
/// written to standard error.
///
/// # Panics
/// If the system gives no further thread.
pub fn exit_after_crash(code: i32, limit: Duration) {
    static ONCE: Once = Once::new();
    EXIT_CODE.store(code, Ordering::Release);
    install();
    ONCE.call_once(|| {
        // SAFETY: the function is one that may be called at exit.
        unsafe { libc::atexit(at_exit) };
        // Not among `SIGNALS`: a fuzzer has a handler of its own for this one, and needs it.
        // SAFETY: the handler does what a handler may.
        unsafe { libc::signal(libc::SIGABRT, aborted as *const () as usize) };
        std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || watch_for_hangs(limit))
            .expect("the system gives a thread to watch for calls that do not return");
    });
}

/// Calls under way, by thread: since when, and what is on record.
static CALLS: Mutex<BTreeMap<u64, (Instant, String)>> = Mutex::new(BTreeMap::new());

/// What is called at each call of a kernel, if anything.
static BEAT: OnceLock<fn()> = OnceLock::new();

/// From now on `beat` is called at each call of a kernel.
pub(crate) fn beat(beat: fn()) {
    // Whoever was first stays.
    let _ = BEAT.set(beat);
}

/// Says that the call on record goes on, with another call of the kernel.
pub(crate) fn go_on() {
    if let Some(beat) = BEAT.get() {
        beat();
    }
    if EXIT_CODE.load(Ordering::Acquire) >= 0
        && let Some((since, _)) = CALLS.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&this_thread())
    {
        *since = Instant::now();
    }
}

/// Runs a call that may take so much longer than others.
pub(crate) fn patient<T>(more: Duration, call: impl FnOnce() -> T) -> T {
    if let Some((since, _)) = CALLS.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&this_thread()) {
        *since += more;
    }
    let Some(beat) = BEAT.get() else { return call() };
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let start = Instant::now();
            while start.elapsed() < more && !is_over.load(Ordering::Relaxed) {
                beat();
                std::thread::sleep(BEATS_APART);
            }
        });
        let result = call();
        is_over.store(true, Ordering::Relaxed);
        result
    })
}

/// Time between two beats of a call that may take long.
const BEATS_APART: Duration = Duration::from_millis(20);

/// A number for this thread.
fn this_thread() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        static NUMBER: u64 = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    NUMBER.with(|&number| number)
}

fn watch_for_hangs(limit: Duration) {
    loop {
        std::thread::sleep(limit / 16);
        let calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, record)) = calls.values().find(|(since, _)| since.elapsed() > limit) {
            end(&format!(
                "\nfinding: hang\n  the kernel has not returned for {} ms{record}",
                limit.as_millis()
            ));
        }
    }
}

/// A kernel that ends the process does so in the middle of a call.
extern "C" fn at_exit() {
    let calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
    // Also one that another thread makes: the kernel may have made that thread.
    if let Some((_, record)) = calls.values().next() {
        if let Some((_, note)) = NOTE_CRASH.get() {
            note();
        }
        end(&format!("\nfinding: exit\n  the kernel ends the process{record}"));
    }
}

/// Writes the last words and ends the process.
fn end(words: &str) -> ! {
    // SAFETY: the words are a live string.
    unsafe { libc::write(libc::STDERR_FILENO, words.as_ptr().cast(), words.len()) };
    // SAFETY: _exit does not return, and runs nothing else.
    unsafe { libc::_exit(EXIT_CODE.load(Ordering::Acquire)) }
}

/// Runs `call` with `on_record` as what is written to standard error if `call` crashes.
pub fn on_record<T>(on_record: &str, call: impl FnOnce() -> T) -> T {
    struct Clear;
    impl Drop for Clear {
        fn drop(&mut self) {
            RUNNING.set(IDLE);
            if EXIT_CODE.load(Ordering::Acquire) >= 0 {
                CALLS.lock().unwrap_or_else(PoisonError::into_inner).remove(&this_thread());
            }
        }
    }
    RUNNING.set(Running { text: on_record.as_ptr(), len: on_record.len() });
    let _clear = Clear;
    if EXIT_CODE.load(Ordering::Acquire) >= 0 {
        let call = (Instant::now(), on_record.to_owned());
        CALLS.lock().unwrap_or_else(PoisonError::into_inner).insert(this_thread(), call);
    }
    call()
}

const SIGNALS: [c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// The actions that were in force before ours, in the order of `SIGNALS`.
static mut PREVIOUS: [std::mem::MaybeUninit<libc::sigaction>; SIGNALS.len()] =
    [const { std::mem::MaybeUninit::zeroed() }; SIGNALS.len()];

pub(crate) fn install() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        for (at, &signal) in SIGNALS.iter().enumerate() {
            // SAFETY: all-zero is a valid sigaction.
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            let previous = (&raw mut PREVIOUS).cast::<libc::sigaction>().wrapping_add(at);
            // SAFETY: `previous` is written here only, once, before the handler that reads it is installed.
            unsafe { libc::sigaction(signal, std::ptr::null(), previous) };
            // SAFETY: the action is a live one.
            let status = unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
            assert_eq!(
                status,
                0,
                "the fault handler cannot be installed: {}",
                std::io::Error::last_os_error()
            );
        }
    });
}

extern "C" fn handler(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the system passes a live siginfo to a handler installed with SA_SIGINFO.
    let info = unsafe { &*info };
    // SAFETY: the signals that are about an access come with its address; of the others it is not used.
    let address = unsafe { info.si_addr() } as usize;
    let is_access = signal == libc::SIGSEGV || signal == libc::SIGBUS;
    if is_access && let_go_on(address, access(context)) {
        return;
    }
    let overflows = is_access && is_below_stack(address);
    if let (Some((note, _)), false) = (NOTE_CRASH.get(), RUNNING.get().text.is_null()) {
        let near = if is_access && !overflows { nearest(address) } else { None };
        note(Crash { signal, address, near, overflows });
    }
    last_words(if overflows { OVERFLOW } else { signal_name(signal) });
    let at = SIGNALS.iter().position(|&each| each == signal).unwrap_or(0);
    let previous = (&raw const PREVIOUS).cast::<libc::sigaction>().wrapping_add(at);
    // SAFETY: `previous` was filled by `install`. With the earlier action back in force, returning repeats the faulting
    // instruction, which then ends the process as it would have without us.
    unsafe { libc::sigaction(signal, previous, std::ptr::null_mut()) };
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn access(context: *mut c_void) -> Access {
    // Bits of the error code of a page fault (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 3, section 4.7).
    const WRITE: i64 = 1 << 1;
    const FETCH: i64 = 1 << 4;
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: the system passes a live ucontext to a handler installed with SA_SIGINFO.
    let error = unsafe { (*context).uc_mcontext.gregs[libc::REG_ERR as usize] };
    match error {
        _ if error & FETCH != 0 => Access::Fetch,
        _ if error & WRITE != 0 => Access::Write,
        _ => Access::Read,
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn access(_context: *mut c_void) -> Access {
    Access::Unknown
}

/// What happens on SIGABRT.
extern "C" fn aborted(signal: c_int) {
    if let (Some((note, _)), false) = (NOTE_CRASH.get(), RUNNING.get().text.is_null()) {
        note(Crash { signal, address: 0, near: None, overflows: false });
    }
    last_words(signal_name(signal));
}

/// What a kernel dies of whose small stack is not enough.
pub(crate) const OVERFLOW: &str =
    "a stack overflow (SIGSEGV): it needs more stack than the `stack=` of the case";

/// The name of a signal that a crash may have.
pub(crate) fn signal_name(signal: c_int) -> &'static str {
    match signal {
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGBUS => "SIGBUS",
        libc::SIGILL => "SIGILL",
        libc::SIGABRT => "SIGABRT",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGTERM => "SIGTERM",
        libc::SIGINT => "SIGINT",
        libc::SIGHUP => "SIGHUP",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        _ => "a signal",
    }
}

/// Writes the record of the running call and, where a code was set, ends the process.
fn last_words(cause: &str) {
    let code = EXIT_CODE.load(Ordering::Acquire);
    if write_record(cause) && code >= 0 {
        // SAFETY: _exit may be called from a handler and does not return.
        unsafe { libc::_exit(code) };
    }
}

/// Writes the record of the call that runs on this thread, once, by means that a signal handler may use; false if none runs.
fn write_record(cause: &str) -> bool {
    let running = RUNNING.replace(IDLE);
    if running.text.is_null() {
        return false;
    }
    let head = "\nfinding: crash\n  the kernel crashed with ";
    let parts = [(head.as_ptr(), head.len()), (cause.as_ptr(), cause.len()), (running.text, running.len)];
    for (text, len) in parts {
        // SAFETY: each pair is a live string: two borrowed ones, and the text that `on_record` borrows until its call returns.
        unsafe { libc::write(libc::STDERR_FILENO, text.cast(), len) };
    }
    true
}

/// What AddressSanitizer, with which `cargo fuzz` builds, calls before it reports an error and ends the process: the case is
/// reported as after any other crash.
#[cfg(fuzzing)]
#[unsafe(no_mangle)]
extern "C" fn __asan_on_error() {
    write_record("what AddressSanitizer reports below");
}
