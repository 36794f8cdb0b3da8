//! The floating-point mode of this thread: rounding, flush-to-zero and exception masks.

/// The mode bits of MXCSR. The low six bits are sticky exception flags, which any arithmetic may set.
#[cfg(target_arch = "x86_64")]
const MODE: u32 = !0x3f;

/// Mode bits now in force; 0 on machines that have no MXCSR.
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

/// Puts back mode bits that [`mode`] returned.
pub fn restore(mode: u32) {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: ldmxcsr reads four bytes from `mode`, a live u32; its value came from stmxcsr with the exception
        // flags cleared, so no reserved bit is set.
        unsafe {
            std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const mode, options(nostack, preserves_flags, readonly))
        };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = mode;
}
