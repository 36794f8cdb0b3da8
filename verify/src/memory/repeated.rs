//! Buffers of gigabytes that take a few megabytes: the same pages, mapped again and again.

use std::ops::Range;
use std::os::fd::AsRawFd;
use std::{io, ptr};

use super::GUARD_BYTES;
use super::pages::{file_in_memory, page_size};

/// A buffer whose bytes repeat with a period, between inaccessible guards, its end flush with the second one. Parts of it may have memory of
/// their own.
#[derive(Debug)]
pub(crate) struct Repeated {
    /// The start of the guard before the data.
    base: *mut u8,
    /// Bytes of the buffer, and of all pages that it lies in.
    len: usize,
    capacity: usize,
    /// One period, mapped apart to be filled and looked at.
    once: *mut u8,
    period: usize,
    /// Parts with memory of their own, as offsets into the buffer: whole pages, as far as the buffer goes.
    own: Vec<Range<usize>>,
}

impl Repeated {
    /// `len` bytes that repeat after `period` bytes, a multiple of the page size, but for the pages of the parts `own`. A kernel can only
    /// read them unless `is_output`.
    ///
    /// # Errors
    /// If the system has no address space, no file in memory, not that many mappings, or larger pages.
    pub(crate) fn new(len: usize, period: usize, own: &[Range<usize>], is_output: bool) -> io::Result<Self> {
        // What is no longer than its period does not repeat.
        let period = if len <= period { period.next_multiple_of(page_size()) } else { period };
        if !period.is_multiple_of(page_size()) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let file = file_in_memory(period)?;
        let capacity = len.next_multiple_of(page_size());
        let base = map(ptr::null_mut(), capacity + 2 * GUARD_BYTES, libc::PROT_NONE, ANONYMOUS, -1)?;
        let mut memory =
            Self { base, len, capacity, once: ptr::null_mut(), period, own: Vec::with_capacity(own.len()) };
        let both = libc::PROT_READ | libc::PROT_WRITE;
        memory.once = map(ptr::null_mut(), period, both, libc::MAP_SHARED, file.as_raw_fd())?;
        let protection = if is_output { both } else { libc::PROT_READ };
        let flags = libc::MAP_SHARED | libc::MAP_FIXED | POPULATE;
        for start in (0..capacity).step_by(period) {
            let bytes = period.min(capacity - start);
            map(memory.data().wrapping_add(start), bytes, protection, flags, file.as_raw_fd())?;
        }
        own.iter().try_for_each(|part| memory.give_own(part.clone(), protection))?;
        Ok(memory)
    }

    /// Puts memory of its own under the pages of a part.
    fn give_own(&mut self, part: Range<usize>, protection: i32) -> io::Result<()> {
        let (skip, page) = (self.capacity - self.len, page_size());
        let start = (skip + part.start) / page * page;
        let end = (skip + part.end.min(self.len)).next_multiple_of(page).min(self.capacity);
        let flags = ANONYMOUS | libc::MAP_FIXED;
        map(self.data().wrapping_add(start), end - start, protection, flags, -1)?;
        self.own.push(start.saturating_sub(skip)..end - skip);
        Ok(())
    }

    fn data(&self) -> *mut u8 {
        self.base.wrapping_add(GUARD_BYTES)
    }

    fn start(&self) -> *mut u8 {
        self.data().wrapping_add(self.capacity - self.len)
    }

    /// Where byte `at` of the buffer lies in the period.
    fn place(&self, at: usize) -> usize {
        (self.capacity - self.len + at) % self.period
    }

    /// Writes one period of bytes, or as many as the buffer has.
    pub(crate) fn fill(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.period, "no more than one period");
        let start = self.place(0);
        let (first, rest) = bytes.split_at(bytes.len().min(self.period - start));
        // SAFETY: the mapping has `period` bytes, which only `self` knows of.
        let once = unsafe { std::slice::from_raw_parts_mut(self.once, self.period) };
        once[start..start + first.len()].copy_from_slice(first);
        once[..rest.len()].copy_from_slice(rest);
        for part in &self.own {
            let own = self.start().wrapping_add(part.start);
            // SAFETY: the part lies within the buffer, is mapped, and a part of an output: it can be written.
            let own = unsafe { std::slice::from_raw_parts_mut(own, part.len()) };
            own.iter_mut().zip(part.clone()).for_each(|(byte, at)| *byte = bytes[at % bytes.len()]);
        }
    }

    /// The first period, as it was written last: bytes of parts with memory of their own are those of their like elsewhere.
    pub(crate) fn period(&self) -> Vec<u8> {
        // SAFETY: the mapping has `period` bytes, and no kernel is running that could write to them.
        let once = unsafe { std::slice::from_raw_parts(self.once, self.period) };
        let start = self.place(0);
        [&once[start..], &once[..start]].concat()
    }

    /// The parts with memory of their own, each with its place in the buffer.
    pub(crate) fn own(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.own.iter().map(|part| (part.start, &self.given()[part.clone()]))
    }

    /// The buffer, to be read.
    pub(crate) fn given(&self) -> &[u8] {
        // SAFETY: the buffer lies within the data, which are mapped for as long as `self` lives.
        unsafe { std::slice::from_raw_parts(self.start(), self.len) }
    }

    /// An output as a kernel is given it.
    pub(crate) fn given_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; those of an output can be written. That bytes far apart are the same memory is known to nobody who holds
        // the slice, and every byte is one at any time.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.len) }
    }
}

impl Drop for Repeated {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length, and no slice of it outlives `self`.
        unsafe { libc::munmap(self.base.cast(), self.capacity + 2 * GUARD_BYTES) };
        if !self.once.is_null() {
            // SAFETY: as above.
            unsafe { libc::munmap(self.once.cast(), self.period) };
        }
    }
}

// SAFETY: the mappings are owned alone; the pointers are not shared.
unsafe impl Send for Repeated {}

const ANONYMOUS: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;

/// To look pages up at once, where the system can, is faster than one by one when they are touched.
#[cfg(target_os = "linux")]
const POPULATE: i32 = libc::MAP_POPULATE;
#[cfg(not(target_os = "linux"))]
const POPULATE: i32 = 0;

/// Maps `len` bytes from the start of the file, or anonymous ones.
fn map(at: *mut u8, len: usize, protection: i32, flags: i32, file: i32) -> io::Result<*mut u8> {
    // SAFETY: with MAP_FIXED it replaces pages of a mapping that `Repeated` has made and nothing points to yet; otherwise it is fresh.
    let address = unsafe { libc::mmap(at.cast(), len, protection, flags, file, 0) };
    if address == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(address.cast()) }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn bytes_repeat_but_for_parts_with_memory_of_their_own() {
        let (page, period) = (page_size(), 3 * page_size());
        let len = 100 * page + 10;
        let mut memory =
            Repeated::new(len, period, &[0..1, len - 5..len], true).expect("the system has memory");
        let bytes: Vec<u8> = (0..period).map(|at| (at % 251) as u8).collect();
        memory.fill(&bytes);
        assert!(memory.given().iter().enumerate().all(|(at, &byte)| byte == bytes[at % period]));
        assert_eq!(memory.period(), bytes);
        // A byte of the middle is that of the next period; the first and the last byte stand alone.
        for (at, is_shared) in [(50 * page, true), (0, false), (len - 1, false)] {
            let old = memory.given()[at];
            memory.given_mut()[at] = 252;
            let others = (0..len).filter(|&other| other % period == at % period && other != at);
            assert_eq!(others.clone().any(|other| memory.given()[other] == 252), is_shared, "byte {at}");
            memory.given_mut()[at] = old;
        }
        let own: Vec<usize> = memory.own().map(|(start, bytes)| start + bytes.len()).collect();
        assert!(own[0] < page + 1 && own[1] == len, "{own:?}");
    }
}
