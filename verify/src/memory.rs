//! Guarded memory: each buffer of a call lies against inaccessible pages, and whatever surrounds it is watched.
//!
//! A touch of a guard page does not end the process. The fault handler notes where it was, opens the page for the rest
//! of the call and lets the kernel go on; the call then reports the [`Trespass`] (see [`fault`]).

pub mod fault;

use std::ptr::NonNull;

use crate::operation::{Buffer, OFFSET_BYTES};
use fault::Watch;

/// Inaccessible bytes on either side of a region. A stray access further off than this ends the process, with the case
/// on standard error.
const GUARD_BYTES: usize = 1 << 20;

/// What the largest region of sparse memory may take: the most that a case may ask for, and room to grow by doubling.
const SPARSE_TRIAL_BYTES: usize = 1 << 34;

/// Whether the system gives address space for matrices whose rows lie gigabytes apart, of which a few pages are ever used.
pub fn sparse_is_possible() -> bool {
    static POSSIBLE: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *POSSIBLE.get_or_init(|| {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches no existing memory.
        let address =
            unsafe { libc::mmap(std::ptr::null_mut(), SPARSE_TRIAL_BYTES, protection, flags, -1, 0) };
        if address == libc::MAP_FAILED {
            return false;
        }
        // SAFETY: the mapping was made above and nothing points into it.
        unsafe { libc::munmap(address, SPARSE_TRIAL_BYTES) };
        true
    })
}

/// Bytes before and behind a buffer that are filled with a known pattern and compared after the call.
const CANARY_BYTES: usize = 256;

/// The pattern: odd, a NaN as f32, and no small code.
const CANARY: u8 = 0xff;

/// Where a buffer lies in its region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// The last byte lies right before a guard page.
    EndFlush,
    /// The first byte lies right behind a guard page, or `offset` bytes further.
    StartFlush {
        /// Bytes past the page boundary, below [`OFFSET_BYTES`].
        offset: usize,
    },
}

/// An access outside of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trespass {
    /// The buffer next to the access.
    pub buffer: Buffer,
    /// Whether it was a write. Reads are seen only where they hit a guard page.
    pub write: bool,
    /// Bytes from the nearer end of the buffer: 1 is the byte right behind the last, -1 the one right before the first.
    pub distance: isize,
}

impl std::fmt::Display for Trespass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let deed = if self.write { "writes" } else { "reads" };
        write!(f, "{deed} {}", beside(self.buffer, self.distance))
    }
}

/// The place so many bytes from the nearer end of `buffer`, as [`Trespass::distance`] counts them, in words.
pub(crate) fn beside(buffer: Buffer, distance: isize) -> String {
    let side = if distance > 0 { "past the end" } else { "before the start" };
    format!("{} byte(s) {side} of `{}`", distance.unsigned_abs(), buffer.name())
}

/// Pages for one buffer, with guards on both sides. Reused for call after call; it grows when a buffer does not fit.
#[derive(Debug)]
pub struct Region {
    buffer: Buffer,
    base: NonNull<u8>,
    /// Accessible bytes, a multiple of the page size.
    capacity: usize,
    watch: Watch,
    /// The buffer of the present call, as offsets into the accessible bytes.
    span: std::ops::Range<usize>,
}

impl Region {
    /// A region for `buffer`, one page long.
    ///
    /// # Panics
    /// If the system has no address space left.
    pub fn new(buffer: Buffer) -> Self {
        Self::with_capacity(buffer, fault::page_size())
    }

    fn with_capacity(buffer: Buffer, capacity: usize) -> Self {
        let len = capacity + 2 * GUARD_BYTES;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches no existing memory.
        let address = unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
        assert_ne!(
            address,
            libc::MAP_FAILED,
            "no memory for a region of {len} bytes: raise the limit (ulimit -v)"
        );
        let base = NonNull::new(address.cast::<u8>()).expect("mmap never returns null without MAP_FIXED");
        let data = base.as_ptr().wrapping_add(GUARD_BYTES).cast();
        // SAFETY: the range is the inner part of the mapping made above.
        let status = unsafe { libc::mprotect(data, capacity, libc::PROT_READ | libc::PROT_WRITE) };
        assert_eq!(
            status,
            0,
            "the system refused to open {capacity} bytes: {}",
            std::io::Error::last_os_error()
        );
        let start = base.as_ptr() as usize;
        let watch = Watch::new(start..start + GUARD_BYTES, start + GUARD_BYTES + capacity..start + len);
        Self { buffer, base, capacity, watch, span: 0..0 }
    }

    /// Makes room for `len` bytes and the canaries around them, lays the canaries, and returns the bytes to be filled.
    pub fn place(&mut self, len: usize, placement: Placement) -> &mut [u8] {
        let wanted = len + OFFSET_BYTES + CANARY_BYTES;
        if wanted > self.capacity {
            *self = Self::with_capacity(self.buffer, wanted.next_power_of_two());
        }
        let start = match placement {
            Placement::EndFlush => self.capacity - len,
            Placement::StartFlush { offset } => offset,
        };
        self.span = start..start + len;
        let data = self.base.as_ptr() as usize + GUARD_BYTES;
        self.watch.lies_at(self.buffer, data + start..data + start + len);
        for canary in self.canaries() {
            self.accessible()[canary].fill(CANARY);
        }
        let span = self.span.clone();
        &mut self.accessible()[span]
    }

    /// Accessible bytes.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The bytes of the buffer.
    pub fn bytes(&self) -> &[u8] {
        let data = self.base.as_ptr().wrapping_add(GUARD_BYTES);
        // SAFETY: `capacity` bytes from `data` on are mapped and readable for as long as `self` lives.
        let all = unsafe { std::slice::from_raw_parts(data, self.capacity) };
        &all[self.span.clone()]
    }

    /// The bytes of the buffer, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let span = self.span.clone();
        &mut self.accessible()[span]
    }

    /// The buffer as f32.
    ///
    /// # Panics
    /// If it does not start and end at a multiple of four bytes.
    pub fn floats(&self) -> &[f32] {
        // SAFETY: every bit pattern is an f32; `align_to` sees to alignment.
        let (before, floats, behind) = unsafe { self.bytes().align_to() };
        assert!(before.is_empty() && behind.is_empty(), "`{}` is not aligned for f32", self.buffer.name());
        floats
    }

    /// The buffer as f32, to be written.
    ///
    /// # Panics
    /// As [`floats`](Self::floats).
    pub fn floats_mut(&mut self) -> &mut [f32] {
        let buffer = self.buffer;
        // SAFETY: every bit pattern is an f32 and every f32 is four bytes; `align_to_mut` sees to alignment.
        let (before, floats, behind) = unsafe { self.bytes_mut().align_to_mut() };
        assert!(before.is_empty() && behind.is_empty(), "`{}` is not aligned for f32", buffer.name());
        floats
    }

    /// The first access outside of the buffer since the last [`place`](Self::place), if there was one. Closes guard
    /// pages that it opened.
    pub fn trespass(&mut self) -> Option<Trespass> {
        let data = self.base.as_ptr() as usize + GUARD_BYTES;
        if let Some(hit) = self.watch.take() {
            return Some(self.locate(hit.address as isize - data as isize, hit.write));
        }
        let broken = self.canaries().into_iter().find_map(|canary| {
            let bytes = &self.accessible()[canary.clone()];
            // Comparing slices first is what makes this cheap.
            if *bytes == [CANARY; CANARY_BYTES][..bytes.len()] {
                return None;
            }
            let at = bytes.iter().position(|&byte| byte != CANARY)?;
            Some(canary.start + at)
        })?;
        Some(self.locate(broken as isize, true))
    }

    fn locate(&self, at: isize, write: bool) -> Trespass {
        let (start, end) = (self.span.start as isize, self.span.end as isize);
        let distance = if at < start { at - start } else { at - end + 1 };
        Trespass { buffer: self.buffer, write, distance }
    }

    fn canaries(&self) -> [std::ops::Range<usize>; 2] {
        let before = self.span.start.saturating_sub(CANARY_BYTES)..self.span.start;
        let behind = self.span.end..self.capacity.min(self.span.end + CANARY_BYTES);
        [before, behind]
    }

    fn accessible(&mut self) -> &mut [u8] {
        let data = self.base.as_ptr().wrapping_add(GUARD_BYTES);
        // SAFETY: `capacity` bytes from `data` on are mapped, readable and writable for as long as `self` lives, and
        // `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(data, self.capacity) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.watch.forget();
        // SAFETY: the mapping was made by `with_capacity` with this length, and no slice of it outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.capacity + 2 * GUARD_BYTES) };
    }
}

// SAFETY: a region owns its mapping alone; the pointer is not shared.
unsafe impl Send for Region {}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(region: &mut Region, index: isize, write: bool) -> Option<Trespass> {
        let start = region.bytes_mut().as_mut_ptr();
        let stray = std::hint::black_box(start.wrapping_offset(index));
        if write {
            // SAFETY: deliberately outside of the buffer: within its mapping, where the fault handler opens the page.
            unsafe { std::ptr::write_volatile(stray, 1) };
        } else {
            // SAFETY: as above.
            unsafe { std::ptr::read_volatile(stray) };
        }
        region.trespass()
    }

    #[test]
    fn a_read_or_write_one_byte_outside_of_either_end_is_located() {
        let mut region = Region::new(Buffer::X);
        let start = Placement::StartFlush { offset: 0 };
        for (placement, index, write, distance) in [
            (Placement::EndFlush, 40, false, 1),
            (Placement::EndFlush, 40, true, 1),
            (Placement::EndFlush, 55, false, 16),
            (Placement::EndFlush, -1, true, -1),
            (start, -1, false, -1),
            (start, -8, true, -8),
            (start, 40, true, 1),
            (Placement::StartFlush { offset: 5 }, -2, true, -2),
        ] {
            region.place(40, placement);
            let expected = Some(Trespass { buffer: Buffer::X, write, distance });
            assert_eq!(touch(&mut region, index, write), expected, "{placement:?} {index} {write}");
            region.place(40, placement);
            assert_eq!(region.trespass(), None, "the region stays clean afterwards");
        }
    }

    #[test]
    fn a_second_touch_of_a_page_that_was_opened_once_is_seen_again() {
        let mut region = Region::new(Buffer::Packed);
        for _ in 0..2 {
            region.place(64, Placement::EndFlush);
            assert!(touch(&mut region, 64, false).is_some());
        }
    }

    #[test]
    fn a_buffer_larger_than_the_region_gets_a_larger_region() {
        let mut region = Region::new(Buffer::Packed);
        region.place(1_000_000, Placement::EndFlush).fill(7);
        assert_eq!(touch(&mut region, 1_000_000, false).map(|t| t.distance), Some(1));
        assert!(region.bytes().iter().all(|&byte| byte == 7));
    }
}
