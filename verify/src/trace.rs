//! Which instructions a call executes: the evidence that a kernel runs vector code, and other code than its scalar neighbour.
//!
//! Code of the C library, such as that of `memset`, does not count: it runs in any kernel that allocates.
//!
//! The CPU's trap flag stops the thread after each instruction (Intel 64 and IA-32 Architectures Software Developer's Manual,
//! volume 3, section 19.3.1.4), and a handler notes where it is. That takes microseconds an instruction, so that calls are
//! small and few. Elsewhere than on x86-64 Linux, and under an emulator that has no trap flag, nothing is seen.

use std::collections::HashMap;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// What a call executed, up to [`MAX_STEPS`] instructions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// How often the instruction at each address was executed.
    steps: HashMap<usize, u32>,
    width: Option<Width>,
    uses_avx: bool,
}

/// The widest registers that instructions worked on, or why they are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Width {
    /// None wider than 128 bits: scalar code, or SSE.
    Narrow,
    /// 256 bits: AVX.
    Bits256,
    /// 512 bits: AVX-512.
    Bits512,
    /// None wider than 128 bits in the first [`MAX_STEPS`] instructions, after which the call went on. Its main part was not
    /// reached.
    NotReached,
}

impl Width {
    /// In reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Narrow => "narrow",
            Self::Bits256 => "256-bit",
            Self::Bits512 => "512-bit",
            Self::NotReached => "not reached",
        }
    }
}

/// Instructions after which a trace ends: seconds, where a call takes that many.
pub const MAX_STEPS: usize = 1 << 20;

/// Of two traces of the same function, the least part of instructions that are the same: the rest is how they came to it.
const SAME_FUNCTION: f64 = 0.9;

impl Trace {
    /// The widest registers that instructions worked on; `None` where nothing could be seen.
    pub fn width(&self) -> Option<Width> {
        self.width
    }

    /// Whether an instruction was of AVX or later, however wide its registers: it has a VEX or EVEX prefix. Some of BMI have one too.
    pub fn uses_avx(&self) -> bool {
        self.uses_avx
    }

    /// A trace of which nothing but this is known.
    pub(crate) fn of_width(width: Option<Width>) -> Self {
        Self { width, ..Self::default() }
    }

    /// Whether both are traces of the same code. Where one did not reach the main part of its call, they show nothing.
    pub fn is_same_function(&self, other: &Self) -> bool {
        if self.width != other.width || self.width == Some(Width::NotReached) {
            return false;
        }
        let count = |trace: &Self, address| trace.steps.get(address).copied().unwrap_or(0);
        let both: u32 =
            self.steps.keys().map(|address| count(self, address).min(count(other, address))).sum();
        let total = |trace: &Self| trace.steps.values().sum::<u32>();
        let most = total(self).max(total(other));
        most > 0 && f64::from(both) >= SAME_FUNCTION * f64::from(most)
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub use step::trace;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) use step::{TRAP, paused, start, with_handler};

/// Makes the call; it is not paused here.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(crate) fn paused(call: impl FnOnce(), _: usize, _: fn()) -> (bool, usize) {
    call();
    (false, 0)
}

/// Runs `call`; nothing is seen of it here.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub fn trace(call: impl FnOnce()) -> Trace {
    call();
    Trace::default()
}

/// Whether the program runs under valgrind or an emulator like it: its memory grows by itself, and it knows no trap flag.
pub(crate) fn is_emulated() -> bool {
    static IS_EMULATED: OnceLock<bool> = OnceLock::new();
    let steps = || (0..100_u32).for_each(|step| _ = std::hint::black_box(step));
    *IS_EMULATED
        .get_or_init(|| cfg!(all(target_arch = "x86_64", target_os = "linux")) && !paused(steps, 10, || {}).0)
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod step {
    use std::arch::asm;
    use std::ffi::{c_int, c_void};
    use std::ops::Range;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::{Mutex, PoisonError};

    use super::{MAX_STEPS, Trace, Width};

    /// The trap flag of RFLAGS.
    pub(crate) const TRAP: i64 = 1 << 8;

    /// Addresses of the instructions executed; written by the handler, which must not allocate.
    static ADDRESSES: [AtomicUsize; MAX_STEPS] = [const { AtomicUsize::new(0) }; MAX_STEPS];
    static STEPS: AtomicUsize = AtomicUsize::new(0);
    /// Instructions after which the trace ends.
    static MOST: AtomicUsize = AtomicUsize::new(MAX_STEPS);
    /// Whether the trace ended before the call did.
    static IS_CUT: AtomicBool = AtomicBool::new(false);
    static GOES_ON: AtomicBool = AtomicBool::new(false);

    /// Runs `call` step by step.
    ///
    /// # Panics
    /// If the system refuses a handler.
    pub fn trace(call: impl FnOnce()) -> Trace {
        trace_up_to(MAX_STEPS, call)
    }

    /// The same, of N instructions at most.
    pub(super) fn trace_up_to(most: usize, call: impl FnOnce()) -> Trace {
        // One at a time: there is one place for what is seen.
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let previous = install(handler as *const () as usize);
        MOST.store(most.min(MAX_STEPS), Ordering::Relaxed);
        STEPS.store(0, Ordering::Relaxed);
        IS_CUT.store(false, Ordering::Relaxed);
        GOES_ON.store(true, Ordering::Relaxed);
        start();
        call();
        GOES_ON.store(false, Ordering::Relaxed);
        // The next trap ends it; one instruction at least comes before the handler is taken away.
        let seen = STEPS.load(Ordering::SeqCst).min(MAX_STEPS);
        // SAFETY: `previous` is the action that was in force before.
        unsafe { libc::sigaction(libc::SIGTRAP, &raw const previous, std::ptr::null_mut()) };
        let libraries = libraries();
        let mut trace = Trace::default();
        for address in ADDRESSES[..seen].iter().map(|address| address.load(Ordering::Relaxed)) {
            if libraries.iter().all(|library| !library.contains(&address)) {
                *trace.steps.entry(address).or_default() += 1;
            }
        }
        let prefixes: Vec<Prefix> = trace.steps.keys().map(|&address| Prefix::at(address)).collect();
        trace.width = match prefixes.iter().map(Prefix::width).max() {
            None | Some(Width::Narrow) if IS_CUT.load(Ordering::SeqCst) => Some(Width::NotReached),
            widest => widest,
        };
        trace.uses_avx = prefixes.iter().any(|prefix| *prefix != Prefix::Other);
        trace
    }

    /// What is called in the middle of a call, and after how many of its instructions.
    static PAUSE: Mutex<Option<fn()>> = Mutex::new(None);
    static PAUSE_AFTER: AtomicUsize = AtomicUsize::new(usize::MAX);

    /// Makes `call`, and `pause` after `steps` of its instructions, in a signal handler on the same thread; whether `pause` was called,
    /// and the instructions up to then.
    pub(crate) fn paused(call: impl FnOnce(), steps: usize, pause: fn()) -> (bool, usize) {
        *PAUSE.lock().unwrap_or_else(PoisonError::into_inner) = Some(pause);
        PAUSE_AFTER.store(steps, Ordering::SeqCst);
        STEPS.store(0, Ordering::SeqCst);
        let previous = install(pausing as *const () as usize);
        GOES_ON.store(true, Ordering::SeqCst);
        start();
        call();
        GOES_ON.store(false, Ordering::SeqCst);
        // SAFETY: this action was in force before.
        unsafe { libc::sigaction(libc::SIGTRAP, &raw const previous, std::ptr::null_mut()) };
        let seen = STEPS.load(Ordering::SeqCst);
        (seen > steps, seen)
    }

    extern "C" fn pausing(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
        let goes_on = GOES_ON.load(Ordering::SeqCst);
        let is_there = goes_on && STEPS.fetch_add(1, Ordering::SeqCst) == PAUSE_AFTER.load(Ordering::SeqCst);
        if is_there || !goes_on {
            let context = context.cast::<libc::ucontext_t>();
            // SAFETY: the system passes a live ucontext to a handler installed with SA_SIGINFO.
            let registers = unsafe { &mut (*context).uc_mcontext.gregs };
            registers[libc::REG_EFL as usize] &= !TRAP;
        }
        // Nobody else takes the lock: `paused` has left it.
        if is_there
            && let Ok(pause) = PAUSE.try_lock()
            && let Some(pause) = *pause
        {
            pause();
        }
    }

    /// Where the code of the C library and of the dynamic loader lies.
    fn libraries() -> Vec<Range<usize>> {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let is_library = |line: &&str| {
            ["/libc.", "/libc-", "/ld-", "/libm.", "/libpthread", "[vdso]"]
                .iter()
                .any(|name| line.contains(name))
        };
        let range = |line: &str| {
            let (start, end) = line.split_once(' ')?.0.split_once('-')?;
            let number = |digits| usize::from_str_radix(digits, 16).ok();
            Some(number(start)?..number(end)?)
        };
        maps.lines().filter(is_library).filter_map(range).collect()
    }

    /// The handler of traps of a call that another part of the program watches.
    pub(crate) type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);

    /// Makes `call` while `handler` is that of traps.
    ///
    /// # Panics
    /// If the system refuses a handler.
    pub(crate) fn with_handler<T>(handler: Handler, call: impl FnOnce() -> T) -> T {
        let previous = install(handler as *const () as usize);
        let result = call();
        // SAFETY: this action was in force before.
        unsafe { libc::sigaction(libc::SIGTRAP, &raw const previous, std::ptr::null_mut()) };
        result
    }

    fn install(handler: usize) -> libc::sigaction {
        // SAFETY: all-zero is a valid sigaction.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: as above.
        let mut previous: libc::sigaction = unsafe { std::mem::zeroed() };
        // SAFETY: both point to live sigactions.
        let status = unsafe { libc::sigaction(libc::SIGTRAP, &raw const action, &raw mut previous) };
        assert_eq!(status, 0, "no handler of SIGTRAP: {}", std::io::Error::last_os_error());
        previous
    }

    /// Sets the trap flag of this thread.
    #[inline(always)]
    pub(crate) fn start() {
        // SAFETY: pushes and pops the flags, of which it changes the trap flag alone; the trap that follows is handled.
        unsafe { asm!("pushfq", "or qword ptr [rsp], {trap}", "popfq", trap = const TRAP) };
    }

    extern "C" fn handler(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
        let context = context.cast::<libc::ucontext_t>();
        // SAFETY: the system passes a live ucontext to a handler installed with SA_SIGINFO.
        let registers = unsafe { &mut (*context).uc_mcontext.gregs };
        let address = registers[libc::REG_RIP as usize] as usize;
        let step = STEPS.fetch_add(1, Ordering::SeqCst);
        if step < MOST.load(Ordering::Relaxed) && GOES_ON.load(Ordering::Relaxed) {
            ADDRESSES[step].store(address, Ordering::Relaxed);
        } else {
            IS_CUT.store(GOES_ON.load(Ordering::Relaxed), Ordering::SeqCst);
            STEPS.fetch_sub(1, Ordering::SeqCst);
            registers[libc::REG_EFL as usize] &= !TRAP;
        }
    }

    /// What an instruction begins with (the same manual, volume 2, sections 2.3 and 2.7).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Prefix {
        /// With its bit of length.
        Vex(u8),
        /// With its two bits of length.
        Evex(u8),
        /// Neither: of the instructions before AVX.
        Other,
    }

    impl Prefix {
        /// That of the instruction here.
        fn at(address: usize) -> Self {
            // SAFETY: the thread has executed the instruction here, which is longer than what is read of it.
            let byte = |at: usize| unsafe { std::ptr::with_exposed_provenance::<u8>(address + at).read() };
            // Prefixes of segments and of the size of addresses may come first.
            let first = (0..).find(|&at| !matches!(byte(at), 0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0x67));
            let first = first.expect("an instruction is more than its prefixes");
            match byte(first) {
                // vzeroall works on all of the registers, whatever else the code does.
                0xc5 if byte(first + 1) == 0xfc && byte(first + 2) == 0x77 => Self::Vex(0),
                0xc5 => Self::Vex(byte(first + 1) >> 2 & 1),
                0xc4 => Self::Vex(byte(first + 2) >> 2 & 1),
                0x62 => Self::Evex(byte(first + 3) >> 5 & 3),
                _ => Self::Other,
            }
        }

        fn width(&self) -> Width {
            match self {
                Self::Other | Self::Vex(0) | Self::Evex(0) => Width::Narrow,
                Self::Evex(2..) => Width::Bits512,
                Self::Vex(_) | Self::Evex(_) => Width::Bits256,
            }
        }
    }
}

#[cfg(all(test, target_arch = "x86_64", target_os = "linux"))]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[inline(never)]
    fn sum(x: &[f32]) -> f32 {
        x.iter().sum()
    }

    #[inline(never)]
    fn product(x: &[f32]) -> f32 {
        x.iter().product()
    }

    fn traced(function: fn(&[f32]) -> f32) -> Trace {
        let x = [1.5; 64];
        trace(|| {
            black_box(function(black_box(&x)));
        })
    }

    #[test]
    fn two_traces_of_one_function_are_alike_and_of_two_functions_are_not() {
        let first = traced(sum);
        assert_eq!(first.width(), Some(Width::Narrow));
        assert!(first.is_same_function(&traced(sum)));
        assert!(!first.is_same_function(&traced(product)));
        assert!(!Trace::default().is_same_function(&Trace::default()), "nothing seen is no evidence");
    }

    #[target_feature(enable = "avx2")]
    fn doubled(x: &mut [f32; 64]) {
        use std::arch::x86_64::*;
        for chunk in x.as_chunks_mut::<8>().0 {
            // SAFETY: a chunk is eight f32.
            let all = unsafe { _mm256_loadu_ps(chunk.as_ptr()) };
            let sum = _mm256_add_ps(all, all);
            // SAFETY: as above.
            unsafe { _mm256_storeu_ps(chunk.as_mut_ptr(), sum) };
        }
    }

    /// Steps of a loop of plain code, each of two instructions at least.
    #[inline(never)]
    fn set_up(steps: usize) {
        (0..steps).for_each(|step| _ = black_box(step));
    }

    /// What is seen of AVX2 code after a set-up, in N instructions at most.
    fn traced_after(steps: usize, most: usize) -> Option<Trace> {
        if !is_x86_feature_detected!("avx2") {
            qk256_skip::skip(&["avx2"]);
            return None;
        }
        let mut x = [1.5; 64];
        let trace = step::trace_up_to(most, || {
            set_up(steps);
            // SAFETY: the CPU has AVX2.
            unsafe { doubled(black_box(&mut x)) };
        });
        assert_eq!(x[63], 3.0);
        Some(trace)
    }

    #[test]
    fn wide_registers_are_seen() {
        let Some(trace) = traced_after(0, MAX_STEPS) else { return };
        assert_eq!((trace.width(), trace.uses_avx()), (Some(Width::Bits256), true));
    }

    #[test]
    fn wide_registers_are_seen_after_a_long_set_up() {
        let Some(trace) = traced_after(100_000, MAX_STEPS) else { return };
        assert_eq!(trace.width(), Some(Width::Bits256));
    }

    #[test]
    fn a_trace_that_ends_before_its_call_is_no_evidence_of_narrow_code() {
        let Some(trace) = traced_after(2000, 1000) else { return };
        assert_eq!(trace.width(), Some(Width::NotReached));
        assert!(!trace.is_same_function(&trace), "only the set-up was seen");
    }

    #[test]
    fn narrow_instructions_of_avx_are_seen() {
        #[target_feature(enable = "avx2")]
        #[inline(never)]
        fn halved(x: f32) -> f32 {
            x * black_box(0.5)
        }
        if !is_x86_feature_detected!("avx2") {
            return qk256_skip::skip(&["avx2"]);
        }
        // SAFETY: the CPU has AVX2.
        let narrow = trace(|| _ = black_box(unsafe { halved(black_box(3.0)) }));
        assert_eq!((narrow.width(), narrow.uses_avx()), (Some(Width::Narrow), true));
        assert_eq!(traced(sum).uses_avx(), cfg!(target_feature = "avx"));
    }
}
