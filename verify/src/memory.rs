//! Guarded memory: each buffer of a call lies against inaccessible pages, what surrounds it is watched, and what the kernel may only
//! read cannot be written.
//!
//! A forbidden access does not end the process. The fault handler notes where it was, opens the page for the rest
//! of the call and lets the kernel go on; the call then reports the [`Violation`] (see [`fault`]).

pub mod fault;
mod pages;
mod repeated;
mod stack;
mod violation;
mod watch;

use std::ops::Range;

use crate::buffer::{Buffer, OFFSET_BYTES};
pub(crate) use pages::LARGE_BYTES;
pub use pages::sparse_is_possible;
use pages::{Pages, page_size};
pub(crate) use repeated::Repeated;
pub(crate) use stack::with_stack;
pub use violation::Violation;
pub(crate) use violation::beside;
use watch::{Layout, Watch, distance};

/// Bytes up to which a region is kept, however small the next buffer is.
const WASTE_BYTES: usize = 1 << 20;

/// Inaccessible bytes on either side of a region. A stray access further off than this ends the process, with the case
/// on standard error.
const GUARD_BYTES: usize = 1 << 20;

/// Bytes before and behind a buffer that are filled with a known pattern and compared after the call.
const CANARY_BYTES: usize = 256;

/// The pattern: odd, a NaN as f32, and no small code.
const CANARY: u8 = 0xff;

/// Where a buffer lies in its region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// The last byte lies right before a guard page.
    EndFlush,
    /// The last byte lies so near to a guard page as the start is aligned, with readable bytes between.
    NearEnd {
        /// Bytes that the start is a multiple of: a power of two, at most a page.
        alignment: usize,
        /// Bytes behind the buffer that may be read.
        over_read: usize,
    },
    /// The first byte lies right behind a guard page, or `offset` bytes further.
    StartFlush {
        /// Bytes past the page boundary, below [`OFFSET_BYTES`].
        offset: usize,
    },
    /// The first bytes end where a page ends, and what follows lies in pages that a kernel can only read. It is for
    /// [outputs with slack](Region::for_output_with_slack), and they know no other.
    BeforeSlack {
        /// Bytes of the buffer that a kernel writes.
        written: usize,
    },
}

/// Pages for one buffer, with guards on both sides. Reused for call after call; it grows when a buffer does not fit.
///
/// A kernel is given [`given`](Self::given), or [`given_mut`](Self::given_mut) of an output. Those of an input cannot be written: the
/// harness fills it through [`bytes_mut`](Self::bytes_mut), which is another mapping of the same memory.
#[derive(Debug)]
pub struct Region {
    buffer: Buffer,
    pages: Pages,
    watch: Watch,
    /// The buffer of the present call, as offsets into the data.
    span: Range<usize>,
    access: Access,
}

/// What a kernel may do with the data of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read,
    Write,
    /// Write to the first half, and read the other.
    Half,
}

impl Access {
    /// The first of `capacity` bytes that can only be read.
    const fn read_only_from(self, capacity: usize) -> usize {
        match self {
            Self::Read => 0,
            Self::Write => capacity,
            Self::Half => capacity / 2,
        }
    }
}

impl Region {
    /// A region for `buffer`, one page long.
    ///
    /// # Panics
    /// If the system has no address space left.
    pub fn new(buffer: Buffer) -> Self {
        let access = if buffer.is_output() { Access::Write } else { Access::Read };
        Self::with_capacity(buffer, access, page_size())
    }

    /// A region for an output of which only the first bytes may be written.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn for_output_with_slack(buffer: Buffer) -> Self {
        Self::with_capacity(buffer, Access::Half, 2 * page_size())
    }

    /// A region in which a kernel can write to inputs too: for calls of which nobody asks what they write, since it is made faster.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn unprotected(buffer: Buffer) -> Self {
        Self::with_capacity(buffer, Access::Write, page_size())
    }

    fn with_capacity(buffer: Buffer, access: Access, capacity: usize) -> Self {
        fault::install();
        let pages = Pages::new(capacity, access.read_only_from(capacity));
        let watch = Watch::new(Layout { buffer, base: pages.base(), capacity });
        Self { buffer, pages, watch, span: 0..0, access }
    }

    /// Makes room for `len` bytes and the canaries around them, lays the canaries, and returns the bytes to be filled.
    ///
    /// # Panics
    /// If the placement is not one of this region.
    pub fn place(&mut self, len: usize, placement: Placement) -> &mut [u8] {
        let is_before_slack = matches!(placement, Placement::BeforeSlack { .. });
        assert_eq!(is_before_slack, self.access == Access::Half, "{placement:?} is for other regions");
        let around = match placement {
            Placement::NearEnd { alignment, over_read } => alignment + over_read,
            _ => OFFSET_BYTES,
        };
        let wanted = (len + around + CANARY_BYTES) << usize::from(is_before_slack);
        // What is sealed in every call costs as much as it has pages: after a large buffer not for small ones.
        let is_wasteful = self.capacity() > WASTE_BYTES && wanted < self.capacity() / 16;
        if wanted > self.capacity() || is_wasteful {
            let capacity = wanted.next_power_of_two().max(WASTE_BYTES / 16);
            *self = Self::with_capacity(self.buffer, self.access, capacity);
        }
        let start = match placement {
            Placement::EndFlush => self.capacity() - len,
            Placement::NearEnd { alignment, over_read } => {
                (self.capacity() - len - over_read) / alignment * alignment
            }
            Placement::StartFlush { offset } => offset,
            Placement::BeforeSlack { written } => self.access.read_only_from(self.capacity()) - written,
        };
        self.span = start..start + len;
        let data = self.pages.start() as usize;
        self.watch.lies_at(data + start..data + start + len);
        for canary in self.canaries() {
            self.pages.all_mut()[canary].fill(CANARY);
        }
        self.bytes_mut()
    }

    /// Makes what a kernel may only read unwritable for it, until the harness writes again.
    pub fn seal(&mut self) {
        self.pages.seal();
    }

    /// Bytes between the guards.
    pub fn capacity(&self) -> usize {
        self.pages.capacity()
    }

    /// The bytes of the buffer.
    pub fn bytes(&self) -> &[u8] {
        &self.pages.all()[self.span.clone()]
    }

    /// The bytes of the buffer, to be written by the harness.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let span = self.span.clone();
        &mut self.pages.all_mut()[span]
    }

    /// The buffer as a kernel is given it, to be read.
    pub fn given(&self) -> &[u8] {
        let start = self.pages.start().wrapping_add(self.span.start);
        // SAFETY: the span lies within the data, which are mapped and readable for as long as `self` lives.
        unsafe { std::slice::from_raw_parts(start, self.span.len()) }
    }

    /// An output as a kernel is given it. A write to slack that is sealed is noted by the fault handler and goes on.
    ///
    /// # Panics
    /// If it is an input.
    pub fn given_mut(&mut self) -> &mut [u8] {
        assert!(self.buffer.is_output(), "kernels write to outputs only");
        let start = self.pages.start().wrapping_add(self.span.start);
        // SAFETY: the span lies within the data, which are mapped for as long as `self` lives, and `self` is borrowed mutably.
        // Those of an output are writable, or become so on the first write.
        unsafe { std::slice::from_raw_parts_mut(start, self.span.len()) }
    }

    /// The first access since the last [`place`](Self::place) that no kernel may make, if there was one. Closes pages that it opened.
    pub fn violation(&mut self) -> Option<Violation> {
        if let Some(hit) = self.watch.take() {
            self.pages.close();
            return Some(
                self.locate(hit.address.wrapping_sub(self.pages.start() as usize) as isize, hit.write),
            );
        }
        let broken = self.canaries().into_iter().find_map(|canary| {
            let bytes = &self.pages.all()[canary.clone()];
            // Comparing slices first is what makes this cheap.
            if *bytes == [CANARY; CANARY_BYTES][..bytes.len()] {
                return None;
            }
            let at = bytes.iter().position(|&byte| byte != CANARY)?;
            Some(canary.start + at)
        })?;
        Some(self.locate(broken as isize, true))
    }

    fn locate(&self, at: isize, write: bool) -> Violation {
        let span = self.span.start as isize..self.span.end as isize;
        match span.contains(&at) {
            true => Violation::ReadOnly { buffer: self.buffer, byte: (at - span.start) as usize },
            false => Violation::OutOfBounds { buffer: self.buffer, write, distance: distance(at, span) },
        }
    }

    fn canaries(&self) -> [Range<usize>; 2] {
        let before = self.span.start.saturating_sub(CANARY_BYTES)..self.span.start;
        let behind = self.span.end..self.capacity().min(self.span.end + CANARY_BYTES);
        [before, behind]
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // Before the pages go, which fields do after this.
        self.watch.forget();
    }
}

/// The bytes of `buffer` as f32.
///
/// # Panics
/// If they do not start and end at a multiple of four bytes.
pub(crate) fn floats(bytes: &[u8]) -> &[f32] {
    // SAFETY: every bit pattern is an f32; `align_to` sees to alignment.
    let (before, floats, behind) = unsafe { bytes.align_to() };
    assert!(before.is_empty() && behind.is_empty(), "a buffer of f32 is aligned for them");
    floats
}

/// The bytes of a buffer as f32, to be written.
///
/// # Panics
/// As [`floats`].
pub(crate) fn floats_mut(bytes: &mut [u8]) -> &mut [f32] {
    // SAFETY: every bit pattern is an f32 and every f32 is four bytes; `align_to_mut` sees to alignment.
    let (before, floats, behind) = unsafe { bytes.align_to_mut() };
    assert!(before.is_empty() && behind.is_empty(), "a buffer of f32 is aligned for them");
    floats
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(region: &mut Region, index: isize, write: bool) -> Option<Violation> {
        let stray = std::hint::black_box(region.given().as_ptr().cast_mut().wrapping_offset(index));
        if write {
            // SAFETY: deliberately not the harness's to write: within the region, where the fault handler lets it go on.
            unsafe { std::ptr::write_volatile(stray, 1) };
        } else {
            // SAFETY: as above.
            unsafe { std::ptr::read_volatile(stray) };
        }
        region.violation()
    }

    #[test]
    fn a_read_or_write_one_byte_outside_of_either_end_is_located() {
        let start = Placement::StartFlush { offset: 0 };
        let slack = Placement::BeforeSlack { written: 24 };
        for (placement, index, write, distance) in [
            (Placement::EndFlush, 40, false, 1),
            (Placement::EndFlush, 40, true, 1),
            (Placement::EndFlush, 55, false, 16),
            (Placement::EndFlush, -1, true, -1),
            (start, -1, false, -1),
            (start, -8, true, -8),
            (start, 40, true, 1),
            (Placement::StartFlush { offset: 5 }, -2, true, -2),
            (Placement::NearEnd { alignment: 32, over_read: 16 }, 40, true, 1),
            (Placement::NearEnd { alignment: 8, over_read: 16 }, 56, false, 17),
            (slack, -2, true, -2),
            (slack, 40, true, 1),
        ] {
            let regions = match placement == slack {
                true => vec![Region::for_output_with_slack(Buffer::Out)],
                false => vec![Region::new(Buffer::X), Region::new(Buffer::Out)],
            };
            for mut region in regions {
                let buffer = region.buffer;
                region.place(40, placement);
                region.seal();
                let expected = Some(Violation::OutOfBounds { buffer, write, distance });
                assert_eq!(touch(&mut region, index, write), expected, "{placement:?} {index} {write}");
                region.place(40, placement);
                region.seal();
                assert_eq!(region.violation(), None, "the region stays clean afterwards");
            }
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
        let expected = Violation::OutOfBounds { buffer: Buffer::Packed, write: false, distance: 1 };
        assert_eq!(touch(&mut region, 1_000_000, false), Some(expected));
        assert!(region.given().iter().all(|&byte| byte == 7));
    }

    /// Of either size: large data are mapped once, all others twice.
    #[test]
    fn a_write_to_an_input_is_seen_each_time_and_what_the_harness_writes_is_what_a_kernel_reads() {
        for len in [100, LARGE_BYTES] {
            let mut region = Region::new(Buffer::X);
            for (round, placement) in
                [Placement::EndFlush, Placement::StartFlush { offset: 4 }].into_iter().enumerate()
            {
                let last = region.place(len, placement).last_mut().expect("the buffer has bytes");
                *last = 40 + round as u8;
                for byte in [len - 1, 0] {
                    region.seal();
                    assert_eq!(
                        region.given()[len - 1],
                        if byte > 0 { 40 + round as u8 } else { 1 },
                        "{len} bytes"
                    );
                    assert_eq!(touch(&mut region, byte as isize, false), None, "it may be read");
                    let expected = Violation::ReadOnly { buffer: Buffer::X, byte };
                    assert_eq!(
                        touch(&mut region, byte as isize, true),
                        Some(expected),
                        "{len} bytes, {placement:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_write_to_sealed_slack_is_seen_and_one_to_the_outputs_before_it_is_not() {
        for (written, len) in [(0, 6000), (4, 8), (5000, 6000), (100, LARGE_BYTES)] {
            let mut region = Region::for_output_with_slack(Buffer::Out);
            region.place(len, Placement::BeforeSlack { written }).fill(9);
            region.seal();
            if let Some(last) = written.checked_sub(1) {
                assert_eq!(touch(&mut region, last as isize, true), None, "{written} of {len}");
            }
            assert_eq!(touch(&mut region, written as isize, false), None, "slack may be read");
            for byte in [written, len - 1, written] {
                let expected = Violation::ReadOnly { buffer: Buffer::Out, byte };
                assert_eq!(touch(&mut region, byte as isize, true), Some(expected), "{written} of {len}");
            }
        }
    }

    /// A slot of the table that is freed must not claim addresses of others, not for a moment, nor one that is taken anew.
    #[test]
    fn no_touch_is_lost_while_other_regions_come_and_go() {
        use std::sync::atomic::{AtomicBool, Ordering};
        static OVER: AtomicBool = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !OVER.load(Ordering::Relaxed) {
                        drop(Region::new(Buffer::Packed));
                    }
                });
            }
            let lost = || {
                let mut region = Region::new(Buffer::X);
                let is_lost = |_: &u32| {
                    region.place(40, Placement::EndFlush);
                    touch(&mut region, 40, false).is_none()
                };
                (0..5_000).filter(is_lost).count()
            };
            let touching: Vec<_> = (0..2).map(|_| scope.spawn(lost)).collect();
            let lost: usize =
                touching.into_iter().map(|thread| thread.join().expect("it does not panic")).sum();
            OVER.store(true, Ordering::Relaxed);
            assert_eq!(lost, 0, "touches were credited to the regions of others");
        });
    }
}
