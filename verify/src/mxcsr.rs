//! The floating-point mode of this thread: rounding, flush-to-zero and exception masks of SSE and of the x87, and whether the x87's
//! registers are left to MMX.

use std::fmt;

/// The mode bits of MXCSR. The low six bits are sticky exception flags, which any arithmetic may set.
#[cfg(target_arch = "x86_64")]
const MODE: u32 = !0x3f;

/// The x87's control word after FNINIT: round to nearest, 64 bits, all exceptions masked.
const PLAIN_CONTROL: u16 = 0x037f;

/// The mode bits now in force. Zeros on machines that have no such registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// MXCSR without its exception flags. Private, since not every number may be loaded.
    mxcsr: u32,
    /// The x87's control word.
    x87: u16,
    /// The x87's registers that are in use, as between calls none may be (System V ABI, AMD64 supplement, section 3.2.1).
    in_use: u16,
}

/// The x87's environment, as FNSTENV writes it.
#[cfg(target_arch = "x86_64")]
#[repr(C)]
#[derive(Default)]
struct Environment {
    control: u16,
    _1: u16,
    status: u16,
    _2: u16,
    tags: u16,
    _3: u16,
    pointers: [u32; 4],
}

impl Mode {
    /// The mode of this thread.
    #[cfg(target_arch = "x86_64")]
    pub fn now() -> Self {
        let mut environment = Environment::default();
        // SAFETY: fnstenv writes 28 bytes to `environment`, which has as many; it masks all exceptions, which fldenv undoes.
        unsafe {
            std::arch::asm!("fnstenv [{at}]", "fldenv [{at}]", at = in(reg) &raw mut environment, options(nostack, preserves_flags))
        };
        // Two bits a register, both set in an empty one.
        Self { mxcsr: mode(), x87: environment.control, in_use: !environment.tags }
    }

    /// The mode of this thread: there is none that can be seen here.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn now() -> Self {
        Self { mxcsr: 0, x87: 0, in_use: 0 }
    }

    /// Puts the mode back. Where the x87 is as it was, nothing is done about it.
    pub fn restore(self) {
        #[cfg(target_arch = "x86_64")]
        {
            // SAFETY: the bits are those that `now` read, the only way to a `Mode`: the mode that code then ran in.
            unsafe { set_mode(self.mxcsr) };
            if Self::now() != self {
                // SAFETY: empties the x87's registers, of which no compiled code relies on any between calls, and sets its control
                // word from a live u16.
                unsafe {
                    std::arch::asm!("fninit", "fldcw [{}]", in(reg) &raw const self.x87, options(nostack, preserves_flags))
                };
            }
        }
    }
}

/// Mode bits of MXCSR now in force; 0 on machines that have no MXCSR.
pub fn mode() -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        let mut bits = 0_u32;
        // SAFETY: stmxcsr writes four bytes to `bits`, which is a live u32, and has no other effect.
        unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut bits, options(nostack, preserves_flags)) };
        bits & MODE
    }
    #[cfg(not(target_arch = "x86_64"))]
    0
}

/// Sets mode bits of MXCSR; on machines that have none it does nothing.
///
/// # Safety
/// `bits` are what [`mode`] has returned, with bits changed that this CPU has (Intel 64 and IA-32 Architectures Software Developer's
/// Manual, volume 1, section 10.2.3): a reserved one ends the process. Compiled code takes the mode of the start of the process for
/// granted: another must not be in force in any of it that computes with floating-point numbers.
pub unsafe fn set_mode(bits: u32) {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: ldmxcsr reads four bytes from `bits`, a live u32, and the caller answers for the value.
        unsafe {
            std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const bits, options(nostack, preserves_flags, readonly))
        };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = bits;
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MXCSR {:#06x}", self.mxcsr)?;
        if self.x87 != PLAIN_CONTROL {
            write!(f, ", x87 control word {:#06x}", self.x87)?;
        }
        if self.in_use != 0 {
            f.write_str(", x87 registers in use (MMX without EMMS?)")?;
        }
        Ok(())
    }
}
