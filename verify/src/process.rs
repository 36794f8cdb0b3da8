//! The state of this process that a call must leave as it was, beside memory and the floating-point mode.

use std::ffi::{CStr, c_int};
use std::fs;
use std::os::fd::RawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::property::{Cause, Failure, Property};

/// Signals of Linux, real-time ones included.
const SIGNALS: std::ops::RangeInclusive<c_int> = 1..=64;

/// Threads that a pool may have for each CPU; a call that starts more leaves them behind each time.
const POOL_THREADS: usize = 4;

/// Names of files in memory that belong to the harness.
const OWN_FILES: &str = "/memfd:qk256";

/// What `setrlimit` limits, with its name.
const LIMITS: [(&str, Limit); 7] = [
    ("RLIMIT_AS", libc::RLIMIT_AS as Limit),
    ("RLIMIT_CORE", libc::RLIMIT_CORE as Limit),
    ("RLIMIT_CPU", libc::RLIMIT_CPU as Limit),
    ("RLIMIT_FSIZE", libc::RLIMIT_FSIZE as Limit),
    ("RLIMIT_MEMLOCK", libc::RLIMIT_MEMLOCK as Limit),
    ("RLIMIT_NOFILE", libc::RLIMIT_NOFILE as Limit),
    ("RLIMIT_STACK", libc::RLIMIT_STACK as Limit),
];
type Limit = c_int;

/// The state at one moment, of the process and of the calling thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProcessState {
    /// What each signal does: its handler, flags and mask.
    actions: Vec<[u64; 3]>,
    /// The signals that this thread blocks.
    blocked: u64,
    /// The stack of signal handlers on this thread.
    signal_stack: usize,
    /// The CPUs that this thread may run on, a bit each.
    cpus: Vec<u8>,
    nice: c_int,
    policy: c_int,
    limits: Vec<(u64, u64)>,
    environment: Vec<Vec<u8>>,
    directory: Option<PathBuf>,
    locale: Vec<u8>,
    umask: u32,
    /// The interval timer's period and whether it runs.
    timer: [i64; 2],
    threads: usize,
    descriptors: Vec<(RawFd, PathBuf)>,
}

impl ProcessState {
    /// The state now.
    pub(crate) fn now() -> Self {
        Self {
            actions: SIGNALS.map(action).collect(),
            blocked: blocked(),
            signal_stack: signal_stack(),
            cpus: cpus(),
            // SAFETY: reads a number; of this process, which there is.
            nice: unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) },
            policy: policy(),
            limits: LIMITS.map(|(_, limit)| limits(limit)).to_vec(),
            environment: environment(),
            directory: std::env::current_dir().ok(),
            locale: locale(),
            umask: umask(),
            timer: timer(),
            threads: fs::read_dir("/proc/self/task").map_or(0, Iterator::count),
            descriptors: descriptors(),
        }
    }

    /// What `after` differs in, in words; an empty string where nothing does.
    fn changes(&self, after: &Self) -> String {
        let mut changes: Vec<String> = Vec::new();
        for (signal, (was, is)) in SIGNALS.zip(self.actions.iter().zip(&after.actions)) {
            if was != is {
                changes.push(format!("the action of {}", named(signal)));
            }
        }
        let limits = LIMITS.iter().zip(self.limits.iter().zip(&after.limits));
        let changed = limits.filter(|(_, (was, is))| was != is);
        changes.extend(changed.map(|((name, _), _)| format!("the limit {name}")));
        for (is_changed, what) in [
            (self.blocked != after.blocked, "the signals that the thread blocks".to_owned()),
            (self.signal_stack != after.signal_stack, "the stack of signal handlers".to_owned()),
            (self.cpus != after.cpus, "the CPUs that the thread may run on".to_owned()),
            (self.nice != after.nice, format!("the priority (nice {} to {})", self.nice, after.nice)),
            (self.policy != after.policy, "the scheduling policy".to_owned()),
            (self.environment != after.environment, self.changed_variables(after)),
            (self.directory != after.directory, "the working directory".to_owned()),
            (self.locale != after.locale, "the locale".to_owned()),
            (self.umask != after.umask, format!("the umask ({:03o} to {:03o})", self.umask, after.umask)),
            (self.timer != after.timer, "the interval timer".to_owned()),
        ] {
            if is_changed {
                changes.push(what);
            }
        }
        let allowed = POOL_THREADS * std::thread::available_parallelism().map_or(1, usize::from);
        let started = after.threads.saturating_sub(self.threads);
        if started > allowed {
            changes.push(format!(
                "the number of threads ({started} more; a pool may have {allowed}, {POOL_THREADS} for each CPU)"
            ));
        }
        changes.join(", ")
    }

    fn changed_variables(&self, after: &Self) -> String {
        let differs = |one: &Self, other: &Self| -> Vec<String> {
            let lacks = one.environment.iter().filter(|each| !other.environment.contains(each));
            lacks.map(|each| String::from_utf8_lossy(each).into_owned()).collect()
        };
        let all = [differs(self, after), differs(after, self)].concat();
        let mut names: Vec<&str> = all.iter().filter_map(|each| each.split('=').next()).collect();
        names.sort_unstable();
        names.dedup();
        format!("the environment ({})", names.join(", "))
    }

    /// What a call before which the state was this one has changed for good; `after` is the state now.
    pub(crate) fn violations(&self, after: &Self) -> Vec<Failure> {
        let mut failures = Vec::new();
        let changes = self.changes(after);
        if !changes.is_empty() {
            let detail = format!("the call changes {changes}");
            failures.push(Failure::new(Property::Process, Cause::Process, detail));
        }
        let opened = after.descriptors.iter().filter(|each| !self.descriptors.contains(each));
        let opened: Vec<String> =
            opened.map(|(number, target)| format!("{number} ({})", target.display())).collect();
        if after.descriptors.len() > self.descriptors.len() && !opened.is_empty() {
            let detail = format!("the call leaves file descriptors open: {}", opened.join(", "));
            failures.push(Failure::new(Property::Descriptors, Cause::Process, detail));
        }
        failures
    }

    /// Puts back what would disturb the harness: signals, the mask, CPUs, the directory and the umask.
    pub(crate) fn restore(&self, now: &Self) {
        for (signal, (was, is)) in SIGNALS.zip(self.actions.iter().zip(&now.actions)) {
            if was != is {
                set_action(signal, *was);
            }
        }
        if self.blocked != now.blocked {
            set_blocked(self.blocked);
        }
        if self.cpus != now.cpus {
            set_cpus(&self.cpus);
        }
        if let (Some(directory), true) = (&self.directory, self.directory != now.directory) {
            // Where it is gone there is nothing to go back to.
            let _ = std::env::set_current_dir(directory);
        }
        if self.umask != now.umask {
            // SAFETY: umask has no preconditions.
            unsafe { libc::umask(self.umask as libc::mode_t) };
        }
    }
}

fn named(signal: c_int) -> String {
    match crate::memory::fault::signal_name(signal) {
        "a signal" => format!("signal {signal}"),
        name => name.to_owned(),
    }
}

/// The action of a signal; zeros for one that the C library keeps for itself. Of one without a handler, flags and mask mean nothing.
fn action(signal: c_int) -> [u64; 3] {
    // SAFETY: a sigaction of zeros is valid.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: without a new action the call only writes the old one, which is ours.
    unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) };
    // The flag that the C library adds to each action that it sets.
    let flags = action.sa_flags as u64 & !0x0400_0000;
    match action.sa_sigaction {
        handler @ (libc::SIG_DFL | libc::SIG_IGN) => [handler as u64, 0, 0],
        handler => [handler as u64, flags, bits(&action.sa_mask)],
    }
}

fn set_action(signal: c_int, [handler, flags, mask]: [u64; 3]) {
    // SAFETY: as above.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    (action.sa_sigaction, action.sa_flags) = (handler as usize, flags as c_int);
    action.sa_mask = set_of(mask);
    // SAFETY: the action is one that was in force before.
    unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
}

/// The first 64 signals of a set, a bit each.
fn bits(set: &libc::sigset_t) -> u64 {
    // SAFETY: sigismember reads a live set.
    let has = |signal| unsafe { libc::sigismember(set, signal) } == 1;
    SIGNALS.filter(|&signal| has(signal)).fold(0, |bits, signal| bits | 1 << (signal - 1))
}

fn set_of(bits: u64) -> libc::sigset_t {
    // SAFETY: sigemptyset makes any memory of this size a set.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    for signal in SIGNALS.filter(|signal| bits >> (signal - 1) & 1 == 1) {
        // SAFETY: the set is live; a number that is no signal is refused.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set
}

fn blocked() -> u64 {
    let mut set = set_of(0);
    // SAFETY: without a new mask the call only writes the old one.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut set) };
    bits(&set)
}

fn set_blocked(bits: u64) {
    let set = set_of(bits);
    // SAFETY: the set is live.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) };
}

fn signal_stack() -> usize {
    // SAFETY: a stack_t of zeros is valid.
    let mut stack: libc::stack_t = unsafe { std::mem::zeroed() };
    // SAFETY: without a new stack the call only writes the old one.
    unsafe { libc::sigaltstack(std::ptr::null(), &raw mut stack) };
    stack.ss_sp as usize
}

#[cfg(target_os = "linux")]
fn cpus() -> Vec<u8> {
    let mut set = vec![0_u8; size_of::<libc::cpu_set_t>()];
    // SAFETY: the set has as many bytes as are passed.
    unsafe { libc::sched_getaffinity(0, set.len(), set.as_mut_ptr().cast()) };
    set
}

#[cfg(target_os = "linux")]
fn set_cpus(set: &[u8]) {
    // SAFETY: the set has as many bytes as are passed.
    unsafe { libc::sched_setaffinity(0, set.len(), set.as_ptr().cast()) };
}

#[cfg(target_os = "linux")]
fn policy() -> c_int {
    // SAFETY: reads a number of this thread.
    unsafe { libc::sched_getscheduler(0) }
}

#[cfg(not(target_os = "linux"))]
fn cpus() -> Vec<u8> {
    Vec::new()
}

#[cfg(not(target_os = "linux"))]
fn set_cpus(_: &[u8]) {}

#[cfg(not(target_os = "linux"))]
fn policy() -> c_int {
    0
}

fn limits(limit: Limit) -> (u64, u64) {
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limits` is a live rlimit.
    unsafe { libc::getrlimit(limit as _, &raw mut limits) };
    (limits.rlim_cur, limits.rlim_max)
}

/// The variables, in the C library's order.
fn environment() -> Vec<Vec<u8>> {
    unsafe extern "C" {
        static environ: *const *const std::ffi::c_char;
    }
    let mut all = Vec::new();
    // SAFETY: the C library defines the symbol; no other thread of this process changes variables while a kernel is examined.
    let mut at = unsafe { environ };
    while !at.is_null() {
        // SAFETY: the list goes on up to a null pointer, which is met at the latest here.
        let variable = unsafe { *at };
        if variable.is_null() {
            break;
        }
        // SAFETY: each entry is a string that ends in a zero.
        all.push(unsafe { CStr::from_ptr(variable) }.to_bytes().to_vec());
        // SAFETY: not past the null pointer, which ends the loop.
        at = unsafe { at.add(1) };
    }
    all
}

fn locale() -> Vec<u8> {
    // SAFETY: without a new locale the call only names the old one.
    let name = unsafe { libc::setlocale(libc::LC_ALL, std::ptr::null()) };
    if name.is_null() {
        return Vec::new();
    }
    // SAFETY: it is a string that ends in a zero, valid up to the next such call.
    unsafe { CStr::from_ptr(name) }.to_bytes().to_vec()
}

/// There is no way to read the umask but to set it.
fn umask() -> u32 {
    // SAFETY: umask has no preconditions.
    let umask = unsafe { libc::umask(0o077) };
    // SAFETY: as above.
    unsafe { libc::umask(umask) };
    umask as u32
}

fn timer() -> [i64; 2] {
    // SAFETY: an itimerval of zeros is valid.
    let mut timer: libc::itimerval = unsafe { std::mem::zeroed() };
    // SAFETY: `timer` is live.
    unsafe { libc::getitimer(libc::ITIMER_REAL, &raw mut timer) };
    let runs = timer.it_value.tv_sec != 0 || timer.it_value.tv_usec != 0;
    [timer.it_interval.tv_sec * 1_000_000 + timer.it_interval.tv_usec, i64::from(runs)]
}

/// Open descriptors and what they are, but for those of the harness; none where the system does not say.
fn descriptors() -> Vec<(RawFd, PathBuf)> {
    let Ok(folder) = fs::read_dir("/proc/self/fd") else { return Vec::new() };
    let named = |entry: fs::DirEntry| {
        let target = fs::read_link(entry.path()).ok()?;
        Some((entry.file_name().to_str()?.parse().ok()?, target))
    };
    let mut all: Vec<(RawFd, PathBuf)> = folder.flatten().filter_map(named).collect();
    // The folder itself was open while it was read; it is gone now.
    all.retain(|(_, target)| {
        let target = target.to_string_lossy();
        !(target.starts_with(OWN_FILES) || target.starts_with("/proc/") && target.ends_with("/fd"))
    });
    all.sort();
    all
}

/// Bytes of memory that the process has: virtual, resident, and what this thread has from the C library's allocator and has not given
/// back; zeros where the system does not say.
pub(crate) fn memory() -> [u64; 3] {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    // SAFETY: reads a number.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
    let mut pages = text.split(' ').map(|word| word.parse::<u64>().unwrap_or(0) * page);
    [pages.next().unwrap_or(0), pages.next().unwrap_or(0), allocated()]
}

/// Of the main arena, which is that of the main thread.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn allocated() -> u64 {
    // SAFETY: reads counters of the allocator. It is the older of two such calls, whose numbers wrap around: the newer one is missing in
    // older C libraries.
    let info = unsafe { libc::mallinfo() };
    u64::from(info.uordblks.cast_unsigned()) + u64::from(info.hblkhd.cast_unsigned())
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn allocated() -> u64 {
    0
}

/// The contents of static memory that this process may write: what programs and libraries keep from call to call. Not that of the C
/// library, which has locks for it. Nothing where the system does not say.
pub(crate) fn statics() -> Vec<(usize, Vec<u8>)> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let Ok(memory) = fs::File::open("/proc/self/mem") else { return Vec::new() };
    let (mut all, mut module_end) = (Vec::new(), None);
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(range), Some(access)) = (words.next(), words.next()) else { continue };
        let Some((start, end)) = range.split_once('-') else { continue };
        let [Ok(start), Ok(end)] = [start, end].map(|digits| usize::from_str_radix(digits, 16)) else {
            continue;
        };
        let path = words.nth(3).unwrap_or_default();
        // What is zero in the file has no file: it follows what has.
        let is_module = path.starts_with('/') || path.is_empty() && module_end == Some(start);
        let is_left_out =
            ["/memfd:", "/dev/", "/libc.", "/libc-", "/ld-"].iter().any(|name| path.contains(name));
        module_end = (is_module && !is_left_out).then_some(end);
        if module_end.is_some() && access.starts_with("rw") && access.ends_with('p') {
            // By the system, as tools that watch every read of a program have memory of their own among it.
            let mut bytes = vec![0; end - start];
            if memory.read_exact_at(&mut bytes, start as u64).is_err() {
                return Vec::new();
            }
            all.push((start, bytes));
        }
    }
    all
}
