//! Accesses that no right kernel makes.

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

/// Writes to memory that was given to be read.
pub(crate) fn overwrite<T>(input: &[T], at: usize, value: T) {
    write(input.as_ptr().cast_mut().wrapping_add(at), value);
}
