//! Accesses and modes that no right kernel makes or leaves.

use qk256_verify::mxcsr;

/// Reads a byte, wherever it is.
pub(crate) fn read(from: *const u8) -> u8 {
    // SAFETY: deliberately none. The harness lays guard pages where kernels of this crate go astray.
    unsafe { from.read_volatile() }
}

/// Reads an f32, wherever it is.
pub(crate) fn read_float(from: *const f32) -> f32 {
    // SAFETY: deliberately none, as above.
    unsafe { from.read_volatile() }
}

/// Writes, wherever it is.
pub(crate) fn write<T>(to: *mut T, value: T) {
    // SAFETY: deliberately none, as above.
    unsafe { to.write_volatile(value) }
}

/// Reads, and writes the same again, wherever it is.
pub(crate) fn rewrite<T>(at: *mut T) {
    // SAFETY: deliberately none, as above.
    let value = unsafe { at.read_volatile() };
    write(at, value);
}

/// Writes something else to memory that was given to be read, then what was there.
pub(crate) fn overwrite_and_restore<T: Copy>(input: &[T], at: usize, other: impl FnOnce(T) -> T) {
    let value = std::hint::black_box(input[at]);
    overwrite(input, at, other(value));
    overwrite(input, at, value);
}

/// Writes to memory that was given to be read.
pub(crate) fn overwrite<T>(input: &[T], at: usize, value: T) {
    write(input.as_ptr().cast_mut().wrapping_add(at), value);
}

/// Changes the mode bits of MXCSR.
pub(crate) fn set_mode(change: impl FnOnce(u32) -> u32) {
    // SAFETY: the changes of this crate are of bits that every CPU has. Deliberately no promise about code that runs after it: that
    // is what these kernels get wrong.
    unsafe { mxcsr::set_mode(change(mxcsr::mode())) }
}
