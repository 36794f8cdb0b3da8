//! The client requests of valgrind that are needed here, as its `valgrind.h` and `memcheck.h` define them.
//!
//! A request is up to six words in memory, whose address is in `rax`, and four rotations of `rdi` by 128 bits in all followed by an
//! exchange of `rbx` with itself: nothing to a CPU, and known to valgrind, which leaves its answer in `rdx`. (The crates
//! for this want valgrind's headers and libclang where they are built.)

/// Whether valgrind runs this program.
pub(super) fn is_watching() -> bool {
    request([0x1001, 0, 0, 0]) != 0
}

/// Errors that it has seen so far, each time counted.
pub(super) fn errors() -> usize {
    request([0x1201, 0, 0, 0])
}

/// Requests of memcheck: its letters, then a number.
const MEMCHECK: usize = (b'M' as usize) << 24 | (b'C' as usize) << 16;

/// From now on nobody knows what `data` hold, as if they had never been written.
pub(super) fn make_undefined<T>(data: &mut [T]) {
    request([MEMCHECK + 1, data.as_mut_ptr().expose_provenance(), size_of_val(data), 0]);
}

/// What `data` hold is known.
pub(super) fn make_defined<T>(data: &mut [T]) {
    request([MEMCHECK + 2, data.as_mut_ptr().expose_provenance(), size_of_val(data), 0]);
}

/// Whether a bit of `datum` is undefined. Asking is no error.
pub(super) fn is_undefined<T>(datum: &T) -> bool {
    let mut bits = [0_u8; 8];
    let bits = &mut bits[..size_of::<T>()];
    let answer = request([
        MEMCHECK + 8,
        (&raw const *datum).expose_provenance(),
        bits.as_mut_ptr().expose_provenance(),
        bits.len(),
    ]);
    assert_eq!(answer, 1, "memcheck reports what it knows of memory that it knows");
    bits.iter().any(|&byte| byte != 0)
}

/// The answer to a request of a code and three arguments; 0 where there is no valgrind.
fn request([code, a, b, c]: [usize; 4]) -> usize {
    let words = [code, a, b, c, 0, 0];
    let mut answer = 0_usize;
    // SAFETY: a CPU rotates rdi by 128 bits, which changes nothing but flags. Valgrind reads six words, and what it reads or writes
    // beside them is what the arguments name: live data of the callers above.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") &raw const words,
            inout("rdx") answer,
            options(nostack),
        );
    }
    answer
}
