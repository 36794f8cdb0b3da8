//! Functions of the C library that kernels call: memory, and copies of it. They are taken for what their documentation says.

use std::collections::HashMap;

/// A function of the C library that is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Allocate,
    AllocateZeros,
    AllocateAligned,
    /// As before, but for where the address goes.
    AllocateAlignedTo,
    Reallocate,
    Free,
    Copy,
    Fill,
}

/// By their names.
const FUNCTIONS: [(&std::ffi::CStr, Function); 9] = [
    (c"malloc", Function::Allocate),
    (c"calloc", Function::AllocateZeros),
    (c"aligned_alloc", Function::AllocateAligned),
    (c"posix_memalign", Function::AllocateAlignedTo),
    (c"realloc", Function::Reallocate),
    (c"free", Function::Free),
    (c"memcpy", Function::Copy),
    (c"memmove", Function::Copy),
    (c"memset", Function::Fill),
];

impl Function {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Allocate => "malloc",
            Self::AllocateZeros => "calloc",
            Self::AllocateAligned => "aligned_alloc",
            Self::AllocateAlignedTo => "posix_memalign",
            Self::Reallocate => "realloc",
            Self::Free => "free",
            Self::Copy => "memcpy",
            Self::Fill => "memset",
        }
    }
}

/// Where they are in this process.
pub(super) fn functions() -> HashMap<u64, Function> {
    FUNCTIONS
        .iter()
        .map(|&(name, function)| {
            // SAFETY: the name is a string that lives on.
            let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
            (address.expose_provenance() as u64, function)
        })
        .collect()
}

/// A call of such a function.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    pub(super) function: Function,
    /// The stack pointer at its first instruction. It returns when the stack pointer is above.
    pub(super) stack: u64,
    pub(super) arguments: [u64; 3],
    /// The address that it has written for its caller.
    pub(super) written: Option<u64>,
}
