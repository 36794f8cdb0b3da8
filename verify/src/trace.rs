//! Which instructions a call executes: the evidence that a kernel runs vector code, and other code than its scalar neighbour.
//!
//! Code of the C library, such as that of `memset`, does not count: it runs in any kernel that allocates.
//!
//! The CPU's trap flag stops the thread after each instruction (Intel 64 and IA-32 Architectures Software Developer's Manual,
//! volume 3, section 19.3.1.4), and a handler notes where it is. That takes microseconds an instruction, so that calls are
//! short and few. Elsewhere than on x86-64 Linux, and under an emulator that has no trap flag, nothing is seen.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// What a call executed, up to [`MAX_STEPS`] instructions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// How often the instruction at each address was executed.
    steps: HashMap<usize, u32>,
    width: Option<Width>,
}

/// The widest registers that instructions worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Width {
    /// None wider than 128 bits: scalar code, or SSE.
    Narrow,
    /// 256 bits: AVX.
    Bits256,
    /// 512 bits: AVX-512.
    Bits512,
}

impl Width {
    /// In reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Narrow => "narrow",
            Self::Bits256 => "256-bit",
            Self::Bits512 => "512-bit",
        }
    }
}

/// Instructions after which a trace ends.
pub const MAX_STEPS: usize = 4000;

/// Of two traces of the same function, the least part of instructions that are the same: the rest is how they came to it.
const SAME_FUNCTION: f64 = 0.9;

impl Trace {
    /// The widest registers that instructions worked on; `None` where nothing could be seen.
    pub fn width(&self) -> Option<Width> {
        self.width
    }

    /// A trace of which nothing but this is known.
    pub(crate) fn of_width(width: Option<Width>) -> Self {
        Self { width, ..Self::default() }
    }

    /// Whether both are traces of the same code.
    pub fn is_same_function(&self, other: &Self) -> bool {
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

/// Runs `call`; nothing is seen of it here.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub fn trace(call: impl FnOnce()) -> Trace {
    call();
    Trace::default()
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod step {
    use std::arch::asm;
    use std::ffi::{c_int, c_void};
    use std::ops::Range;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::{MAX_STEPS, Trace, Width};

    /// The trap flag of RFLAGS.
    const TRAP: i64 = 1 << 8;

    /// Addresses of the instructions executed; written by the handler, which must not allocate.
    static ADDRESSES: [AtomicUsize; MAX_STEPS] = [const { AtomicUsize::new(0) }; MAX_STEPS];
    static STEPS: AtomicUsize = AtomicUsize::new(0);
    static GOES_ON: AtomicBool = AtomicBool::new(false);

    /// Runs `call` step by step.
    ///
    /// # Panics
    /// If the system refuses a handler.
    pub fn trace(call: impl FnOnce()) -> Trace {
        // One at a time: there is one place for what is seen.
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let previous = install();
        STEPS.store(0, Ordering::Relaxed);
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
        let widest = trace.steps.keys().map(|&address| width_at(address)).max();
        trace.width = widest;
        trace
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

    fn install() -> libc::sigaction {
        // SAFETY: all-zero is a valid sigaction.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handler as *const () as usize;
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
    fn start() {
        // SAFETY: pushes and pops the flags, of which it changes the trap flag alone; the trap that follows is handled.
        unsafe { asm!("pushfq", "or qword ptr [rsp], {trap}", "popfq", trap = const TRAP) };
    }

    extern "C" fn handler(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
        let context = context.cast::<libc::ucontext_t>();
        // SAFETY: the system passes a live ucontext to a handler installed with SA_SIGINFO.
        let registers = unsafe { &mut (*context).uc_mcontext.gregs };
        let address = registers[libc::REG_RIP as usize] as usize;
        let step = STEPS.fetch_add(1, Ordering::SeqCst);
        if step < MAX_STEPS && GOES_ON.load(Ordering::Relaxed) {
            ADDRESSES[step].store(address, Ordering::Relaxed);
        } else {
            STEPS.fetch_sub(1, Ordering::SeqCst);
            registers[libc::REG_EFL as usize] &= !TRAP;
        }
    }

    /// What the instruction here works on: its VEX or EVEX prefix, if it has one, says so (the same manual, volume 2, sections 2.3
    /// and 2.7).
    fn width_at(address: usize) -> Width {
        // SAFETY: the thread has executed the instruction here, which is longer than its prefix.
        let byte = |at: usize| unsafe { std::ptr::with_exposed_provenance::<u8>(address + at).read() };
        let (vex_long, evex_long) = match byte(0) {
            // vzeroall works on all of them, whatever else the code does.
            0xc5 if byte(1) == 0xfc && byte(2) == 0x77 => (0, 0),
            0xc5 => (byte(1) >> 2 & 1, 0),
            0xc4 => (byte(2) >> 2 & 1, 0),
            0x62 => (0, byte(3) >> 5 & 3),
            _ => (0, 0),
        };
        match (vex_long, evex_long) {
            (0, 0) => Width::Narrow,
            (_, 2 | 3) => Width::Bits512,
            _ => Width::Bits256,
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

    #[test]
    fn wide_registers_are_seen() {
        #[target_feature(enable = "avx2")]
        fn wide(x: &mut [f32; 64]) {
            use std::arch::x86_64::*;
            for chunk in x.as_chunks_mut::<8>().0 {
                // SAFETY: a chunk is eight f32.
                let all = unsafe { _mm256_loadu_ps(chunk.as_ptr()) };
                let sum = _mm256_add_ps(all, all);
                // SAFETY: as above.
                unsafe { _mm256_storeu_ps(chunk.as_mut_ptr(), sum) };
            }
        }
        if is_x86_feature_detected!("avx2") {
            let mut x = [1.5; 64];
            // SAFETY: the CPU has AVX2.
            let trace = trace(|| unsafe { wide(black_box(&mut x)) });
            assert_eq!((trace.width(), x[63]), (Some(Width::Bits256), 3.0));
        }
    }
}
