//! Asking for bytes before they are needed.

use std::arch::x86_64::*;

/// Bytes between the codes that a kernel works on and those that it asks for.
///
/// Two rows at a time defeat the hardware's own prefetcher, and 8 KB are far enough ahead to hide the way to DRAM: measured,
/// in docs/kernels.md.
pub const AHEAD: usize = 8 * 1024;

/// Asks for the cache line of `bytes[index]`, or of the last byte if `index` is past it, to all levels of cache.
#[inline]
pub fn prefetch(bytes: &[u8], index: usize) {
    // No branch in a loop over many indices: that there are bytes at all is seen before it.
    let Some(last) = bytes.len().checked_sub(1) else { return };
    let byte = &bytes[index.min(last)];
    // SAFETY: a prefetch never faults, and this one names a byte within a slice.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(byte).cast()) }
}
