//! Calls that see which registers a function leaves changed that it must preserve: those of the System V ABI for AMD64 (section 3.2.1),
//! the direction flag, and the upper halves of the vector registers, which slow down whatever follows (Intel 64 and IA-32 Architectures
//! Optimization Reference Manual, section 15.3). The stack of every second call is aligned to 16 bytes and not to 32.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;

/// Arguments of a call, all of them in registers.
pub const ARGUMENTS: usize = 2;

thread_local! {
    /// Of the calls of this thread since the last [`take`]: what was left changed, if anything; `None` where there were none.
    static SEEN: RefCell<Option<Option<String>>> = const { RefCell::new(None) };
    /// Calls of this thread: the stack of each second one is moved by 16 bytes.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

/// What calls of this thread have left changed since the last time, in words, if anything; `None` where there were no calls.
pub(crate) fn take() -> Option<Option<String>> {
    SEEN.take()
}

/// Calls `function` with as many of `arguments` as it takes, all of them integers or pointers, and notes what registers it changes. The
/// harness makes a finding of that, of the property `registers`.
///
/// # Safety
/// `function` is a C function of at most as many arguments, each an integer or a pointer, and these are arguments that it may be called
/// with. It must not unwind.
pub unsafe fn call(function: *const c_void, arguments: [u64; ARGUMENTS]) -> i32 {
    #[cfg(all(target_arch = "x86_64", unix))]
    {
        let call = CALLS.get();
        CALLS.set(call + 1);
        let mut block = x86_64::Block::new(function, arguments, call % 2 == 1);
        // SAFETY: the caller answers for function and arguments, and the block is a live one.
        unsafe { x86_64::qk256_call(&raw mut block) };
        let changed = block.changed();
        SEEN.with_borrow_mut(|seen| *seen = seen.take().flatten().or(changed).into());
        block.result as i32
    }
    #[cfg(not(all(target_arch = "x86_64", unix)))]
    {
        type Function = unsafe extern "C" fn(u64, u64) -> i32;
        // SAFETY: the caller says that it is such a function; further arguments than it takes do no harm where the caller removes them.
        let function = unsafe { std::mem::transmute::<*const c_void, Function>(function) };
        let [first, second] = arguments;
        // SAFETY: the caller answers for the arguments.
        unsafe { function(first, second) }
    }
}

#[cfg(all(target_arch = "x86_64", unix))]
mod x86_64 {
    use std::ffi::c_void;
    use std::mem::offset_of;

    use super::ARGUMENTS;

    /// Registers that a function preserves, beside that of the stack.
    const PRESERVED: [&str; 6] = ["rbx", "rbp", "r12", "r13", "r14", "r15"];

    /// What is in them before the call.
    const PATTERN: u64 = 0x9e37_79b9_7f4a_7c15;

    /// The direction flag of RFLAGS.
    const DIRECTION: u64 = 1 << 10;

    /// A call, and what was in the registers behind it.
    #[repr(C)]
    pub(super) struct Block {
        function: *const c_void,
        arguments: [u64; ARGUMENTS],
        moves_stack: u64,
        has_vectors: u64,
        pub(super) result: u64,
        preserved: [u64; PRESERVED.len()],
        flags: u64,
        upper: [[u64; 2]; 16],
    }

    unsafe extern "C" {
        /// Makes the call of a block.
        pub(super) fn qk256_call(block: *mut Block);
    }

    impl Block {
        pub(super) fn new(function: *const c_void, arguments: [u64; ARGUMENTS], moves_stack: bool) -> Self {
            let has_vectors = std::arch::is_x86_feature_detected!("avx").into();
            let preserved = std::array::from_fn(|at| PATTERN.wrapping_mul(at as u64 + 1));
            let moves_stack = moves_stack.into();
            Self {
                function,
                arguments,
                moves_stack,
                has_vectors,
                result: 0,
                preserved,
                flags: 0,
                upper: [[0; 2]; 16],
            }
        }

        /// What the call left changed, in words.
        pub(super) fn changed(&self) -> Option<String> {
            let is_changed =
                |&(at, _): &(usize, &&str)| self.preserved[at] != PATTERN.wrapping_mul(at as u64 + 1);
            let names: Vec<&str> =
                PRESERVED.iter().enumerate().filter(is_changed).map(|(_, name)| *name).collect();
            let mut changes = Vec::new();
            if !names.is_empty() {
                changes.push(format!("changes {}, which a function preserves", names.join(", ")));
            }
            if self.flags & DIRECTION != 0 {
                changes.push("leaves the direction flag set (STD without CLD)".to_owned());
            }
            if let Some(at) = self.upper.iter().position(|upper| *upper != [0; 2]) {
                changes.push(format!("leaves the upper half of ymm{at} in use (no VZEROUPPER)"));
            }
            (!changes.is_empty()).then(|| changes.join("; "))
        }
    }

    /// The call with a stack that is moved by `bytes`: moves in what is passed, calls, and finds the block again.
    macro_rules! call_with_stack {
        ($bytes:literal, $cfa:literal) => {
            concat!(
                "sub rsp, ",
                $bytes,
                "\n.cfi_def_cfa_offset ",
                $cfa,
                "
                mov rdi, [rax + {arguments}]
                mov rsi, [rax + {arguments} + 8]
                mov rbx, [rax + {preserved}]
                mov rbp, [rax + {preserved} + 8]
                mov r12, [rax + {preserved} + 16]
                mov r13, [rax + {preserved} + 24]
                mov r14, [rax + {preserved} + 32]
                mov r15, [rax + {preserved} + 40]
                mov r10, [rax + {function}]
                xor eax, eax
                call r10
                mov r11, [rsp + ",
                $bytes,
                "]
                add rsp, ",
                $bytes,
                "\n.cfi_def_cfa_offset 64\n"
            )
        };
    }

    std::arch::global_asm!(
        ".pushsection .text.qk256_call, \"ax\", @progbits
        .hidden qk256_call
        .globl qk256_call
        .type qk256_call, @function
        .p2align 4
        qk256_call:
        .cfi_startproc
        push rbx
        .cfi_def_cfa_offset 16
        .cfi_offset rbx, -16
        push rbp
        .cfi_def_cfa_offset 24
        .cfi_offset rbp, -24
        push r12
        .cfi_def_cfa_offset 32
        .cfi_offset r12, -32
        push r13
        .cfi_def_cfa_offset 40
        .cfi_offset r13, -40
        push r14
        .cfi_def_cfa_offset 48
        .cfi_offset r14, -48
        push r15
        .cfi_def_cfa_offset 56
        .cfi_offset r15, -56
        push rdi
        .cfi_def_cfa_offset 64
        mov rax, rdi
        cmp qword ptr [rax + {has_vectors}], 0
        je 2f
        vzeroupper
        2:
        cmp qword ptr [rax + {moves_stack}], 0
        jne 3f",
        call_with_stack!("16", "80"),
        "jmp 4f
        3:",
        call_with_stack!("32", "96"),
        "4:
        mov [r11 + {result}], rax
        mov [r11 + {preserved}], rbx
        mov [r11 + {preserved} + 8], rbp
        mov [r11 + {preserved} + 16], r12
        mov [r11 + {preserved} + 24], r13
        mov [r11 + {preserved} + 32], r14
        mov [r11 + {preserved} + 40], r15
        pushfq
        .cfi_def_cfa_offset 72
        pop qword ptr [r11 + {flags}]
        .cfi_def_cfa_offset 64
        cld
        cmp qword ptr [r11 + {has_vectors}], 0
        je 5f
        vextractf128 [r11 + {upper}], ymm0, 1
        vextractf128 [r11 + {upper} + 16], ymm1, 1
        vextractf128 [r11 + {upper} + 32], ymm2, 1
        vextractf128 [r11 + {upper} + 48], ymm3, 1
        vextractf128 [r11 + {upper} + 64], ymm4, 1
        vextractf128 [r11 + {upper} + 80], ymm5, 1
        vextractf128 [r11 + {upper} + 96], ymm6, 1
        vextractf128 [r11 + {upper} + 112], ymm7, 1
        vextractf128 [r11 + {upper} + 128], ymm8, 1
        vextractf128 [r11 + {upper} + 144], ymm9, 1
        vextractf128 [r11 + {upper} + 160], ymm10, 1
        vextractf128 [r11 + {upper} + 176], ymm11, 1
        vextractf128 [r11 + {upper} + 192], ymm12, 1
        vextractf128 [r11 + {upper} + 208], ymm13, 1
        vextractf128 [r11 + {upper} + 224], ymm14, 1
        vextractf128 [r11 + {upper} + 240], ymm15, 1
        vzeroupper
        5:
        pop rdi
        .cfi_def_cfa_offset 56
        pop r15
        .cfi_def_cfa_offset 48
        pop r14
        .cfi_def_cfa_offset 40
        pop r13
        .cfi_def_cfa_offset 32
        pop r12
        .cfi_def_cfa_offset 24
        pop rbp
        .cfi_def_cfa_offset 16
        pop rbx
        .cfi_def_cfa_offset 8
        ret
        .cfi_endproc
        .size qk256_call, . - qk256_call
        .popsection",
        function = const offset_of!(Block, function),
        arguments = const offset_of!(Block, arguments),
        moves_stack = const offset_of!(Block, moves_stack),
        has_vectors = const offset_of!(Block, has_vectors),
        result = const offset_of!(Block, result),
        preserved = const offset_of!(Block, preserved),
        flags = const offset_of!(Block, flags),
        upper = const offset_of!(Block, upper),
    );
}

#[cfg(all(test, target_arch = "x86_64", unix))]
mod tests {
    use super::*;

    extern "C" fn weighted(first: u64, second: u64) -> i32 {
        (first + 2 * second) as i32
    }

    #[test]
    fn every_argument_arrives_and_a_function_that_preserves_registers_is_not_blamed() {
        let arguments = std::array::from_fn(|at| at as u64 * 3 + 1);
        let expected: u64 = arguments.iter().zip(1..).map(|(argument, place)| argument * place).sum();
        for _ in 0..2 {
            // SAFETY: the function takes two integers.
            let result = unsafe { call(weighted as *const c_void, arguments) };
            assert_eq!(result, expected as i32);
            assert_eq!(take(), Some(None), "a call was seen, and nothing is changed");
        }
        assert_eq!(take(), None);
    }
}
