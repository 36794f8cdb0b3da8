//! State of the machine that a call must leave as it was, and leaves otherwise.

use qk256_verify::Operation::{Dequantize, Gemv, Unpack};
use qk256_verify::{Arguments, Outcome};

use crate::model::SIMD;
use crate::model::stray;
use crate::model::vector::{dequantize, unpack};
use crate::{Class, Mutant};

const CLASS: Class = Class::Contract;

/// Flush-to-zero, denormals-are-zero, rounding upwards and the mask of divisions by zero, as bits of MXCSR.
const FTZ: u32 = 0x8000;
const DAZ: u32 = 0x40;
const UPWARDS: u32 = 0x4000;
const DIVISION_MASKED: u32 = 0x200;

/// A gemv that leaves these mode bits set.
fn leaving_mode(arguments: Arguments<'_>, bits: u32) -> Outcome {
    let outcome = SIMD.product(arguments);
    stray::set_mode(|mode| mode | bits);
    outcome
}

/// Marks the registers of the x87 unit as in use, as every instruction of MMX but EMMS does.
fn leave_mmx_state() {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: deliberately against the calling convention, which wants the x87 stack empty; Rust does not use it.
        unsafe {
            std::arch::asm!("movd mm0, {0:e}", in(reg) 0, out("mm0") _, options(nomem, nostack, preserves_flags))
        };
    }
}

/// Makes the x87 unit round upwards.
fn leave_x87_rounding_upwards() {
    #[cfg(target_arch = "x86_64")]
    {
        let mut control = 0_u16;
        // SAFETY: fnstcw writes two bytes to `control`, a live u16.
        unsafe {
            std::arch::asm!("fnstcw [{0}]", in(reg) &raw mut control, options(nostack, preserves_flags))
        };
        control = control & !0xc00 | 0x800;
        // SAFETY: fldcw reads these two bytes. Deliberately against the calling convention; Rust does not use that unit.
        unsafe {
            std::arch::asm!("fldcw [{0}]", in(reg) &raw const control, options(nostack, preserves_flags, readonly))
        };
    }
}

pub(crate) const WRONG: &[Mutant] = &[
    Mutant::new(
        CLASS,
        Gemv,
        "flush-to-zero-left-on",
        "a library built with -ffast-math turns it on for the whole thread (llvm-project issue 57589)",
        |arguments| leaving_mode(arguments, FTZ),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "denormals-are-zero-left-on",
        "the same for what is read rather than written",
        |arguments| leaving_mode(arguments, DAZ),
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "rounding-left-upwards",
        "a conversion wanted another mode, and an early return forgot to put it back",
        |arguments| leaving_mode(arguments, UPWARDS),
    ),
    Mutant::new(CLASS, Gemv, "three-rows-panic", "a tile of four asks its rows to be there", |arguments| {
        SIMD.product_after(arguments, |product| assert_ne!(product.rows, 3, "three rows"))
    }),
    Mutant::new(
        CLASS,
        Dequantize,
        "mode-left-by-a-flushed-product",
        "flush-to-zero is wanted for one product and left on",
        |arguments| {
            let outcome = dequantize(arguments, |vector, at| vector.weight(at) * vector.scale(at));
            stray::set_mode(|mode| mode | FTZ | DAZ);
            outcome
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "division-by-zero-left-unmasked",
        "exceptions are unmasked to find out about a division, and the next division by zero of somebody else ends the process",
        |arguments| {
            let outcome = SIMD.product(arguments);
            stray::set_mode(|mode| mode & !DIVISION_MASKED);
            outcome
        },
    ),
    Mutant::new(
        CLASS,
        Unpack,
        "mmx-state-left",
        "EMMS is forgotten, and the caller's long double is NaN (oneDNN pull 467; checkasm looks for it)",
        |arguments| {
            leave_mmx_state();
            unpack(arguments, |vector, at| vector.code(at))
        },
    ),
    Mutant::new(
        CLASS,
        Gemv,
        "x87-rounding-left-upwards",
        "the x87 unit has a control word of its own, which whoever saves MXCSR may forget",
        |arguments| {
            leave_x87_rounding_upwards();
            SIMD.product(arguments)
        },
    ),
];
