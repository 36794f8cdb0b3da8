//! One call, instruction by instruction, with the registers before each.
//!
//! The trap flag stops the thread after each instruction (`trace` has the source), and a handler writes down what has changed since: where
//! the call is, its general registers and its vector registers. The handler allocates nothing.

use std::ffi::{c_int, c_void};
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError};

use memmap2::{MmapMut, MmapOptions};

use crate::kernel::{Arguments, Kernel, Outcome};
use crate::quiet::quiet;
use crate::trace::{TRAP, start, with_handler};

/// Bytes for what is written down: some forty an instruction, so that calls of ten million instructions fit.
const CAPACITY: usize = 1 << 29;

/// Words of an instruction at most: where, what has changed, and all registers.
const MOST_WORDS: usize = 2 + GENERAL.len() + 16 * VECTOR_WORDS;

/// Words of a vector register of 256 bits.
pub(super) const VECTOR_WORDS: usize = 4;

/// The registers of x86-64 that a kernel for AVX2 knows, by the numbers that instructions give them.
#[derive(Clone, Debug, Default)]
pub(super) struct Registers {
    /// The address of the next instruction.
    pub(super) rip: u64,
    /// The general registers, and the flags behind them.
    pub(super) general: [u64; GENERAL.len()],
    pub(super) vectors: [[u64; VECTOR_WORDS]; 16],
}

/// What a call did.
pub(super) struct Recording {
    words: MmapMut,
    len: usize,
    /// What it answered; `None` after a panic.
    pub(super) outcome: Option<Outcome>,
    /// The registers before the first instruction of the call.
    pub(super) entry: Registers,
    /// Whether there was no room for the end.
    pub(super) is_cut: bool,
}

/// What the handler knows.
struct Recorder {
    words: *mut u64,
    capacity: usize,
    len: usize,
    phase: Phase,
    last: Registers,
    entry: Registers,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The call has not begun.
    Before,
    During,
    /// It has come to its end.
    Ended,
    /// There is no room left.
    Full,
}

static RECORDER: AtomicPtr<Recorder> = AtomicPtr::new(std::ptr::null_mut());

/// Makes the call that lies in `slot`, and takes it out. What is recorded is this function.
#[inline(never)]
fn enter(kernel: &dyn Kernel, slot: &mut Arguments<'_>) -> Outcome {
    kernel.call(std::mem::take(slot))
}

impl Recording {
    /// Records the call of `kernel` with the arguments in `slot`.
    ///
    /// # Errors
    /// If the system gives no memory.
    ///
    /// # Panics
    /// If the system refuses a handler.
    pub(super) fn of(kernel: &dyn Kernel, slot: &mut Arguments<'_>) -> std::io::Result<Self> {
        // One at a time: there is one handler.
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut words = MmapOptions::new().len(CAPACITY).no_reserve_swap().map_anon()?;
        let mut recorder = Recorder {
            words: words.as_mut_ptr().cast(),
            capacity: CAPACITY / size_of::<u64>(),
            len: 0,
            phase: Phase::Before,
            last: Registers::default(),
            entry: Registers::default(),
        };
        RECORDER.store(&raw mut recorder, Ordering::SeqCst);
        let call = AssertUnwindSafe(|| {
            start();
            black_box(enter)(kernel, slot)
        });
        let outcome = with_handler(handler, || quiet(|| catch_unwind(call))).ok();
        RECORDER.store(std::ptr::null_mut(), Ordering::SeqCst);
        let is_cut = recorder.phase != Phase::Ended;
        Ok(Self { words, len: recorder.len, outcome, entry: recorder.entry, is_cut })
    }

    /// Calls `each` with the registers before and after each instruction, in order, until it fails.
    pub(super) fn each<E>(
        &self,
        mut each: impl FnMut(&Registers, &Registers) -> Result<(), E>,
    ) -> Result<(), E> {
        // SAFETY: the mapping is aligned to pages and has more words than were written.
        let words = unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast::<u64>(), self.len) };
        let mut rest = words;
        let mut before = Registers::default();
        let mut is_first = true;
        while !rest.is_empty() {
            let mut after = before.clone();
            rest = after.take_changes(rest);
            if !is_first {
                each(&before, &after)?;
            }
            (before, is_first) = (after, false);
        }
        Ok(())
    }
}

impl Recorder {
    /// Writes down what is not as it was; whether there was room.
    fn record(&mut self, now: &Registers) -> bool {
        if self.len + MOST_WORDS > self.capacity {
            return false;
        }
        let first = self.len;
        self.len += 2;
        let mut changed = 0_u64;
        for (number, (now, last)) in now.general.iter().zip(self.last.general).enumerate() {
            if *now != last {
                changed |= 1 << number;
                self.write(self.len, *now);
                self.len += 1;
            }
        }
        for (number, (now, last)) in now.vectors.iter().zip(self.last.vectors).enumerate() {
            if *now != last {
                changed |= 1 << (GENERAL.len() + number);
                now.iter().enumerate().for_each(|(at, word)| self.write(self.len + at, *word));
                self.len += VECTOR_WORDS;
            }
        }
        self.write(first, now.rip);
        self.write(first + 1, changed);
        self.last = now.clone();
        true
    }

    fn write(&self, at: usize, word: u64) {
        debug_assert!(at < self.capacity, "there is room for a whole instruction");
        let place = self.words.wrapping_add(at);
        // SAFETY: the place is within the mapping, which lives as long as the recorder.
        unsafe { place.write(word) };
    }

    /// Notes where the call is; whether it goes on.
    fn step(&mut self, now: &Registers) -> bool {
        match self.phase {
            Phase::Before if now.rip != enter as *const () as u64 => return true,
            Phase::Before => {
                self.entry = now.clone();
                self.phase = Phase::During;
            }
            Phase::During if now.stack() > self.entry.stack() => self.phase = Phase::Ended,
            Phase::During => {}
            Phase::Ended | Phase::Full => return false,
        }
        if !self.record(now) {
            self.phase = Phase::Full;
        }
        self.phase == Phase::During
    }
}

extern "C" fn handler(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: the system passes a live ucontext to a handler installed with SA_SIGINFO.
    let context = unsafe { &mut *context };
    // SAFETY: it is null or that of the recorder of the call that this handler is installed for.
    let recorder = unsafe { RECORDER.load(Ordering::SeqCst).as_mut() };
    let goes_on = recorder.is_some_and(|recorder| recorder.step(&Registers::of(context)));
    if !goes_on {
        context.uc_mcontext.gregs[libc::REG_EFL as usize] &= !TRAP;
    }
}

/// Where the system leaves general registers, by their numbers.
const GENERAL: [c_int; 17] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
    libc::REG_EFL,
];

/// The number of the stack pointer.
pub(super) const RSP: usize = 4;

impl Registers {
    pub(super) fn flags(&self) -> u64 {
        self.general[16]
    }

    pub(super) fn stack(&self) -> u64 {
        self.general[RSP]
    }

    fn of(context: &libc::ucontext_t) -> Self {
        let registers = &context.uc_mcontext.gregs;
        Self {
            rip: registers[libc::REG_RIP as usize] as u64,
            general: GENERAL.map(|number| registers[number as usize] as u64),
            vectors: vectors(context.uc_mcontext.fpregs.cast()),
        }
    }

    /// Takes up the changes of one instruction; what is behind them.
    fn take_changes<'a>(&mut self, words: &'a [u64]) -> &'a [u64] {
        let [rip, changed, rest @ ..] = words else { unreachable!("an instruction is two words at least") };
        self.rip = *rip;
        let mut rest = rest;
        for number in (0..GENERAL.len()).filter(|number| changed >> number & 1 == 1) {
            self.general[number] = rest[0];
            rest = &rest[1..];
        }
        for number in (0..16).filter(|number| changed >> (GENERAL.len() + number) & 1 == 1) {
            self.vectors[number].copy_from_slice(&rest[..VECTOR_WORDS]);
            rest = &rest[VECTOR_WORDS..];
        }
        rest
    }
}

/// The vector registers in what the system saves: the area of `FXSAVE`, and behind it that of `XSAVE` (the manual of `trace`, volume 1,
/// chapter 13). Registers in their initial state are marked as such, and are zero.
fn vectors(area: *const u8) -> [[u64; VECTOR_WORDS]; 16] {
    /// Where low halves, a magic number, the marks and high halves stand.
    const LOW: usize = 160;
    const MAGIC_AT: usize = 464;
    const MARKS: usize = 512;
    const HIGH: usize = 576;
    const MAGIC: u32 = 0x4650_5853;
    let word = |at: usize| {
        // SAFETY: the area is that of the system, which has what the magic number says.
        unsafe { area.wrapping_add(at).cast::<u64>().read_unaligned() }
    };
    let is_extended = word(MAGIC_AT) as u32 == MAGIC;
    let marks = if is_extended { word(MARKS) } else { 0b10 };
    std::array::from_fn(|number| {
        let half = |at: usize, is_set: bool| {
            [0, 8].map(|byte| if is_set { word(at + 16 * number + byte) } else { 0 })
        };
        let [[a, b], [c, d]] = [half(LOW, marks & 0b10 != 0), half(HIGH, marks & 0b100 != 0)];
        [a, b, c, d]
    })
}
