//! The table of watched regions. Their owners write it, and the fault handler reads it on any thread, without a lock.

use std::ffi::c_void;
use std::iter::successors;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::GUARD_BYTES;
use super::pages::page_size;
use crate::buffer::Buffer;

/// Slots that are added to the table at a time.
const CHUNK_SLOTS: usize = 256;

/// A part of the table, and the next part where there is one. Parts are never freed: the handler may be reading them.
struct Chunk {
    slots: [Slot; CHUNK_SLOTS],
    next: OnceLock<Box<Chunk>>,
}

impl Chunk {
    const fn new() -> Self {
        Self { slots: [const { Slot::new() }; CHUNK_SLOTS], next: OnceLock::new() }
    }
}

static TABLE: Chunk = Chunk::new();

fn slots() -> impl Iterator<Item = &'static Slot> {
    successors(Some(&TABLE), |chunk| chunk.next.get().map(Box::as_ref)).flat_map(|chunk| &chunk.slots)
}

/// One watched region.
struct Slot {
    /// The [`Layout`] of the region as one word, so that no reader sees half of one region and half of the next; 0 if the slot is free.
    layout: AtomicUsize,
    /// Where the buffer of the present call starts and ends. The end is 0 while they change.
    span: [AtomicUsize; 2],
    /// The first [`Hit`] as one word; 0 if there was none.
    hit: AtomicUsize,
}

impl Slot {
    const fn new() -> Self {
        Self {
            layout: AtomicUsize::new(0),
            span: [AtomicUsize::new(0), AtomicUsize::new(0)],
            hit: AtomicUsize::new(0),
        }
    }

    fn layout(&self) -> Option<Layout> {
        Layout::from_word(self.layout.load(Ordering::Acquire))
    }

    fn set_span(&self, span: Range<usize>) {
        let [start, end] = &self.span;
        end.store(0, Ordering::Relaxed);
        start.store(span.start, Ordering::Release);
        end.store(span.end, Ordering::Release);
    }

    /// Where the buffer lies; `None` if there is none, or while it is being moved.
    fn span(&self) -> Option<Range<usize>> {
        let [start, end] = &self.span;
        let before = end.load(Ordering::Acquire);
        let start = start.load(Ordering::Acquire);
        (before != 0 && before == end.load(Ordering::Acquire)).then_some(start..before)
    }
}

/// A region: its buffer, and where it lies. One word holds all of it: `base` is a multiple of the page size, so that its low bits
/// are free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) buffer: Buffer,
    /// The first byte of the guard before the data.
    pub(super) base: usize,
    /// Bytes of data between the guards: a power of two.
    pub(super) capacity: usize,
}

/// Low bits of a word that hold the logarithm of the capacity; the buffer stands above them.
const CAPACITY_BITS: u32 = 6;

/// Low bits of a word that are not of the address. A page has 4096 bytes at least.
const FREE_BITS: u32 = 12;

impl Layout {
    fn word(self) -> usize {
        assert!(self.base.trailing_zeros() >= FREE_BITS, "a region starts with a page");
        assert!(self.capacity.is_power_of_two(), "the data of a region are a power of two");
        self.base | (self.buffer as usize) << CAPACITY_BITS | self.capacity.ilog2() as usize
    }

    fn from_word(word: usize) -> Option<Self> {
        let buffer = (word & ((1 << FREE_BITS) - 1)) >> CAPACITY_BITS;
        (word != 0).then(|| Self {
            buffer: Buffer::ALL[buffer],
            base: word & !((1 << FREE_BITS) - 1),
            capacity: 1 << (word & ((1 << CAPACITY_BITS) - 1)),
        })
    }

    fn data(&self) -> Range<usize> {
        let start = self.base + GUARD_BYTES;
        start..start + self.capacity
    }

    fn guards(&self) -> [Range<usize>; 2] {
        let data = self.data();
        [self.base..data.start, data.end..data.end + GUARD_BYTES]
    }
}

/// What the processor reports of a forbidden access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
    /// A jump to an address that holds no code.
    #[cfg_attr(
        not(all(target_arch = "x86_64", target_os = "linux")),
        expect(dead_code, reason = "only the error code of x86-64 says so")
    )]
    Fetch,
    /// This machine does not say.
    #[cfg_attr(
        all(target_arch = "x86_64", target_os = "linux"),
        expect(dead_code, reason = "the error code of x86-64 says which it is")
    )]
    Unknown,
}

/// The first forbidden access to a region since it was last asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) address: usize,
    pub(super) write: bool,
}

/// The bit of a word that says that the access was a write. No address of a process has it.
const WRITE_BIT: usize = 1 << (usize::BITS - 1);

/// A region that the handler knows.
#[derive(Debug)]
pub(super) struct Watch {
    slot: &'static Slot,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.layout())
    }
}

impl Watch {
    /// Makes the handler watch the guards and the data of a region.
    pub(super) fn new(layout: Layout) -> Self {
        let word = layout.word();
        let claim =
            |slot: &&Slot| slot.layout.compare_exchange(0, word, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        loop {
            if let Some(slot) = slots().find(claim) {
                return Self { slot };
            }
            let last = successors(Some(&TABLE), |chunk| chunk.next.get().map(Box::as_ref)).last();
            let last = last.expect("the table has one part at least");
            // Where another thread has added a part meanwhile, that one will do.
            let _ = last.next.set(Box::new(Chunk::new()));
        }
    }

    /// Says where the buffer of the present call lies.
    pub(super) fn lies_at(&self, span: Range<usize>) {
        self.slot.set_span(span);
    }

    /// The first forbidden access since the last call. The pages that it opened are open still.
    pub(super) fn take(&self) -> Option<Hit> {
        // Nearly always there was none, and a load is cheaper than an exchange.
        if self.slot.hit.load(Ordering::Acquire) == 0 {
            return None;
        }
        let word = self.slot.hit.swap(0, Ordering::AcqRel);
        Some(Hit { address: word & !WRITE_BIT, write: word & WRITE_BIT != 0 })
    }

    /// Ends the watch, before the mapping goes.
    pub(super) fn forget(&self) {
        self.slot.set_span(0..0);
        self.slot.hit.store(0, Ordering::Relaxed);
        // Last of all, since it frees the slot for the next region.
        self.slot.layout.store(0, Ordering::Release);
    }
}

/// Opens what was touched at `address` and notes the touch, so that the access may go on; false if it is in no guard and is no write
/// to data of a region.
///
/// The region cannot go meanwhile: it belongs to the call that made the access.
pub(super) fn let_go_on(address: usize, access: Access) -> bool {
    let found = slots().find_map(|slot| Some((slot, opening(slot.layout()?, address, access)?)));
    let Some((slot, (opening, write))) = found else { return false };
    let open = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the pages are those of a guard, which holds no data, or the data that a kernel was given, of which opening them
    // changes nothing; their mapping is alive while it is watched.
    let status = unsafe { libc::mprotect(opening.start as *mut c_void, opening.len(), open) };
    if status != 0 {
        return false;
    }
    let word = if write { address | WRITE_BIT } else { address };
    // After the page was opened: whoever takes the note closes the page. A note that is there already stays, as the first one.
    let _ = slot.hit.compare_exchange(0, word, Ordering::AcqRel, Ordering::Relaxed);
    true
}

/// What must be opened for an access to go on, and whether the access is a write; `None` where the region has nothing to do with it.
fn opening(layout: Layout, address: usize, access: Access) -> Option<(Range<usize>, bool)> {
    if layout.guards().iter().any(|guard| guard.contains(&address)) && access != Access::Fetch {
        let (page, size) = (address & !(page_size() - 1), page_size());
        return Some((page..page + size, access == Access::Write));
    }
    // Data can always be read. They are opened whole: a kernel that writes to one page of them writes to others.
    let is_write = matches!(access, Access::Write | Access::Unknown);
    (layout.data().contains(&address) && is_write).then(|| (layout.data(), true))
}

/// How far an address is from the nearest buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Near {
    pub(crate) buffer: Buffer,
    /// Bytes from the nearer end of the buffer: as that of [`Violation::OutOfBounds`](super::Violation::OutOfBounds).
    pub(crate) distance: isize,
}

/// Bytes up to which an address is near a buffer: what an offset of 32 bits reaches.
const NEAR_BYTES: usize = 1 << 32;

/// The buffer that is nearest to an address, of those that lie in memory now.
pub(super) fn nearest(address: usize) -> Option<Near> {
    let near = |slot: &Slot| {
        let (buffer, span) = (slot.layout()?.buffer, slot.span()?);
        Some(Near { buffer, distance: distance(address as isize, span.start as isize..span.end as isize) })
    };
    let nearest = slots().filter_map(near).min_by_key(|near| near.distance.unsigned_abs())?;
    (nearest.distance.unsigned_abs() <= NEAR_BYTES).then_some(nearest)
}

/// Bytes from the nearer end of `span` to `at`: 1 is the byte right behind the last, -1 the one right before the first.
pub(super) fn distance(at: isize, span: Range<isize>) -> isize {
    if at < span.start { at - span.start } else { at - span.end + 1 }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn a_layout_comes_back_from_its_word() {
        for buffer in Buffer::ALL {
            for capacity in [1 << 12, 1 << 35] {
                let layout = Layout { buffer, base: 0x7fff_dead_b000, capacity };
                assert_eq!(Layout::from_word(layout.word()), Some(layout));
            }
        }
        assert_eq!(Layout::from_word(0), None);
    }

    #[test]
    fn more_regions_than_the_table_begins_with_are_watched() {
        let size = 2 * GUARD_BYTES + page_size();
        let layout =
            |at: usize| Layout { buffer: Buffer::X, base: (1 << 60) + at * size, capacity: page_size() };
        let watches: Vec<Watch> = (0..5 * CHUNK_SLOTS).map(|at| Watch::new(layout(at))).collect();
        for (at, watch) in watches.iter().enumerate() {
            let address = layout(at).data().start;
            watch.lies_at(address..address + 8);
            let near = nearest(address - 3).expect("the buffer is near");
            assert_eq!((near.buffer, near.distance), (Buffer::X, -3), "region {at}");
        }
        watches.iter().for_each(Watch::forget);
    }

    /// A slot that is freed, or taken anew, must not claim addresses of other regions meanwhile: not for a moment.
    #[test]
    fn no_address_outside_of_all_regions_is_ever_claimed() {
        const THREADS: usize = 5;
        const NEAR: usize = 1 << 50;
        const FAR: usize = 1 << 55;
        let (over, start) = (AtomicUsize::new(0), Barrier::new(THREADS + 1));
        // The first slots are those that are taken again and again.
        let claims = |address| {
            slots()
                .take(8)
                .filter_map(Slot::layout)
                .any(|layout| opening(layout, address, Access::Write).is_some())
        };
        let claimed = std::thread::scope(|scope| {
            let come_and_go = || {
                start.wait();
                for _ in 0..500_000 {
                    for (base, capacity) in [(NEAR, 1 << 12), (FAR, 1 << 20)] {
                        Watch::new(Layout { buffer: Buffer::X, base, capacity }).forget();
                    }
                }
                over.fetch_add(1, Ordering::Relaxed);
            };
            (0..THREADS).for_each(|_| drop(scope.spawn(come_and_go)));
            let mut claimed = 0;
            start.wait();
            while over.load(Ordering::Relaxed) < THREADS {
                claimed +=
                    [NEAR / 2, FAR / 2, 2 * FAR].into_iter().filter(|&address| claims(address)).count();
            }
            claimed
        });
        assert_eq!(claimed, 0, "times that an address was credited to a region far from it");
    }

    /// Whoever reads where a buffer lies while its owner moves it must not see the start of one place with the end of another.
    #[test]
    fn the_span_of_a_buffer_is_seen_whole_or_not_at_all() {
        let slot = Slot::new();
        let (over, start) = (AtomicBool::new(false), Barrier::new(2));
        let torn = std::thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                for at in 1..1_000_000 {
                    slot.set_span(2 * at..2 * at + at % 2 + 1);
                }
                over.store(true, Ordering::Relaxed);
            });
            let mut torn = 0;
            start.wait();
            while !over.load(Ordering::Relaxed) {
                torn += slot.span().filter(|span| span.len() != span.start / 2 % 2 + 1).iter().count();
            }
            torn
        });
        assert_eq!(torn, 0, "times that a span was seen that never was");
    }
}
