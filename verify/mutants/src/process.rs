//! Kernels that leave something of the process, the thread or the registers changed, or keep memory, and some that put everything back.

use std::ffi::c_void;
use std::fs::File;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use qk256_verify::Operation::{Dequantize, Gemv, Unpack};
use qk256_verify::{Arguments, Outcome, registers};

use crate::model::SIMD;
use crate::model::vector::{dequantize, unpack};
use crate::{Class, Mutant};

const CLASS: Class = Class::Contract;

/// A right gemv that does something the first time that it is called.
fn first_time(arguments: Arguments<'_>, once: &Once, deed: impl FnOnce()) -> Outcome {
    once.call_once(deed);
    SIMD.product(arguments)
}

/// A right gemv that does something in each call.
fn each_time(arguments: Arguments<'_>, deed: impl FnOnce()) -> Outcome {
    deed();
    SIMD.product(arguments)
}

/// Makes a signal do nothing.
fn ignore(signal: libc::c_int) {
    // SAFETY: no handler is installed that could be wrong.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// A set of one signal.
fn only(signal: libc::c_int) -> libc::sigset_t {
    // SAFETY: a set of zeros is empty.
    let mut set = unsafe { std::mem::zeroed() };
    // SAFETY: the set is live.
    unsafe { libc::sigaddset(&raw mut set, signal) };
    set
}

/// Blocks or unblocks a signal on this thread.
fn mask(how: libc::c_int, signal: libc::c_int) {
    let set = only(signal);
    // SAFETY: the set is live, and the old one is not asked for.
    unsafe { libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut()) };
}

/// Keeps `bytes` bytes for good.
fn lose(bytes: usize) {
    std::hint::black_box(vec![1_u8; bytes].leak());
}

/// Takes a thread that sleeps for longer than any check.
fn leave_a_thread() {
    let sleeper = std::thread::Builder::new().stack_size(1 << 16);
    sleeper.spawn(|| std::thread::sleep(Duration::from_secs(3600))).expect("the system gives a thread");
}

#[cfg(all(target_arch = "x86_64", unix))]
std::arch::global_asm!(
    ".pushsection .text.qk256_mutants, \"ax\", @progbits",
    ".globl qk256_mutant_rbx",
    ".hidden qk256_mutant_rbx",
    "qk256_mutant_rbx: mov rbx, 7",
    "ret",
    ".globl qk256_mutant_r12",
    ".hidden qk256_mutant_r12",
    "qk256_mutant_r12: xor r12, r12",
    "ret",
    ".globl qk256_mutant_direction",
    ".hidden qk256_mutant_direction",
    "qk256_mutant_direction: std",
    "ret",
    ".globl qk256_mutant_upper",
    ".hidden qk256_mutant_upper",
    "qk256_mutant_upper: vpcmpeqd ymm6, ymm6, ymm6",
    "ret",
    ".popsection",
);

/// Calls a function that breaks the calling convention, as one in assembly may.
#[cfg(all(target_arch = "x86_64", unix))]
macro_rules! call_in_assembly {
    ($name:ident) => {{
        unsafe extern "C" {
            fn $name();
        }
        // SAFETY: the function takes nothing, and the call puts right what it breaks.
        unsafe { registers::call($name as *const c_void, [0; registers::ARGUMENTS]) };
    }};
}

/// There are no such registers here: the kernel does not do this.
#[cfg(not(all(target_arch = "x86_64", unix)))]
macro_rules! call_in_assembly {
    ($name:ident) => {
        return Outcome::Unsupported
    };
}

static MAPPED: AtomicU32 = AtomicU32::new(0);

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::new(
        CLASS,
        Gemv,
        "a-signal-ignored-from-the-first-call-on",
        "an instruction is tried under a handler that is not put back (ruapu issue 189)",
        |arguments| {
            static ONCE: Once = Once::new();
            first_time(arguments, &ONCE, || ignore(libc::SIGUSR2))
        },
    ),
    Mutant::new(
        CLASS,
        Unpack,
        "a-signal-left-blocked",
        "a lock that signals respect is left early",
        |arguments| {
            mask(libc::SIG_BLOCK, libc::SIGUSR1);
            unpack(arguments, |vector, at| vector.code(at))
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "the-umask-left-changed",
        "a file for a tuned plan is made with a mask of its own",
        |arguments| {
            static ONCE: Once = Once::new();
            first_time(arguments, &ONCE, || {
                // SAFETY: umask has no preconditions.
                unsafe { libc::umask(0o137) };
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "a-variable-set",
        "a library reads from its variable how many threads to start",
        |arguments| {
            static ONCE: Once = Once::new();
            // SAFETY: in the first call, no other thread of this process reads or writes variables.
            first_time(arguments, &ONCE, || unsafe { std::env::set_var("OMP_NUM_THREADS", "1") })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "the-working-directory-left-changed",
        "a plan is looked for beside the library",
        |arguments| {
            static ONCE: Once = Once::new();
            first_time(arguments, &ONCE, || std::env::set_current_dir("/").expect("there is a root"))
        },
    ),
    Mutant::new(
        CLASS,
        Dequantize,
        "a-descriptor-left-open",
        "the CPU's features are read from a file that is never closed",
        |arguments| {
            static ONCE: Once = Once::new();
            ONCE.call_once(|| std::mem::forget(File::open("/proc/self/status")));
            dequantize(arguments, |vector, at| vector.weight(at) * vector.scale(at))
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "a-lower-priority-for-the-caller",
        "threads of a pool are to be nice, and the caller is taken for one",
        |arguments| {
            static ONCE: Once = Once::new();
            first_time(arguments, &ONCE, || {
                // SAFETY: getpriority has no preconditions.
                let niceness = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
                // SAFETY: nor has setpriority.
                unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, niceness + 5) };
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "a-thread-left-in-each-call",
        "a pool is made anew whenever it is asked for and never ended",
        |arguments| {
            static CALLS: AtomicU32 = AtomicU32::new(0);
            each_time(arguments, || {
                if CALLS.fetch_add(1, Ordering::Relaxed) < 200 {
                    leave_a_thread();
                }
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "scratch-of-each-call-kept",
        "an early return skips the release of a scratch of 16 KiB",
        |arguments| each_time(arguments, || lose(1 << 14)),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "48-bytes-of-each-call-kept",
        "a node of a list of buffers is not given back",
        |arguments| each_time(arguments, || lose(48)),
    ),
    Mutant::new(
        CLASS,
        Unpack,
        "a-copy-of-large-inputs-kept",
        "a copy is made where the input is large, and one path forgets it",
        |arguments| {
            let len = arguments.out_bytes.len();
            if len > 4000 {
                lose(len);
            }
            unpack(arguments, |vector, at| vector.code(at))
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "address-space-of-each-call-kept",
        "a region with guard pages is mapped for some calls and not unmapped",
        |arguments| {
            each_time(arguments, || {
                if MAPPED.fetch_add(1, Ordering::Relaxed).is_multiple_of(100) {
                    let (protection, flags) = (libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
                    // SAFETY: a new mapping that nobody uses.
                    unsafe { libc::mmap(std::ptr::null_mut(), 1 << 20, protection, flags, -1, 0) };
                }
            })
        },
    ),
    Mutant::new(CLASS, Gemv, "rbx-not-preserved", "assembly saves all registers but one", |arguments| {
        call_in_assembly!(qk256_mutant_rbx);
        SIMD.product(arguments)
    }),
    Mutant::new(
        CLASS,
        Gemv,
        "r12-not-preserved",
        "a register is taken for one of the caller's when a loop is unrolled once more",
        |arguments| {
            call_in_assembly!(qk256_mutant_r12);
            SIMD.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "direction-flag-left-set",
        "a copy from the end to the start lacks its CLD",
        |arguments| {
            call_in_assembly!(qk256_mutant_direction);
            SIMD.product(arguments)
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "upper-halves-left-in-use",
        "assembly lacks its VZEROUPPER, and SSE code of the caller runs slower from then on",
        |arguments| {
            #[cfg(target_arch = "x86_64")]
            if !std::arch::is_x86_feature_detected!("avx2") {
                return Outcome::Unsupported;
            }
            call_in_assembly!(qk256_mutant_upper);
            SIMD.product(arguments)
        },
    ),
];

pub(crate) const RIGHT: &[Mutant] = &[
    Mutant::new(
        CLASS,
        Gemv,
        "a-signal-blocked-for-the-time-of-a-call",
        "what a thread changes for itself and puts back is none of the caller's business",
        |arguments| {
            mask(libc::SIG_BLOCK, libc::SIGUSR1);
            let outcome = SIMD.product(arguments);
            mask(libc::SIG_UNBLOCK, libc::SIGUSR1);
            outcome
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "a-pool-of-threads-and-memory",
        "a pool is made by the first call and grows once",
        |arguments| {
            static ONCE: Once = Once::new();
            static CALLS: AtomicU32 = AtomicU32::new(0);
            if CALLS.fetch_add(1, Ordering::Relaxed) == 3000 {
                lose(4 << 20);
            }
            first_time(arguments, &ONCE, || {
                leave_a_thread();
                leave_a_thread();
                lose(1 << 20);
            })
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "a-file-read-in-each-call",
        "it is closed, and its contents are given back",
        |arguments| each_time(arguments, || drop(std::hint::black_box(std::fs::read("/proc/self/stat")))),
    ),
];
