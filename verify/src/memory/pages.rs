//! Pages between guards: mapped once, or twice, so that the harness can write what a kernel can only read.

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::OnceLock;

use super::GUARD_BYTES;

/// Bytes from which data are mapped once only. Files in memory have no gaps that cost nothing to read, which matrices with rows far
/// apart need; and to change the protection of that many bytes takes no time beside filling them.
pub(crate) const LARGE_BYTES: usize = 1 << 26;

const READ: i32 = libc::PROT_READ;
const WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;

/// Data for a kernel, with inaccessible guards of [`GUARD_BYTES`] on both sides.
#[derive(Debug)]
pub(super) struct Pages {
    /// The start of the guard before the data.
    base: NonNull<u8>,
    /// Bytes of data.
    capacity: usize,
    /// The other mapping of the same memory, which can always be written; none where the one between the guards serves both.
    second: Option<NonNull<u8>>,
    /// The first byte of data that cannot be written by way of the mapping between the guards, while that is sealed.
    read_only_from: usize,
    sealed: bool,
}

impl Pages {
    /// `capacity` bytes of zeros, of which a kernel cannot write those from `read_only_from` on, a multiple of the page size. Where there
    /// are some, all are mapped twice, unless they are many or the system has no file in memory; then [`seal`](Self::seal) and
    /// [`all_mut`](Self::all_mut) change the protection of one mapping, which is slower and sees as much.
    ///
    /// # Panics
    /// If the system has no memory left.
    pub(super) fn new(capacity: usize, read_only_from: usize) -> Self {
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
        let mut pages = Self { base, capacity, second: None, read_only_from, sealed: false };
        let twice = read_only_from < capacity && capacity < LARGE_BYTES;
        pages.second = twice.then(|| pages.map_twice()).and_then(Result::ok);
        pages.sealed = pages.second.is_some();
        if !pages.sealed {
            pages.protect(0, WRITE);
        }
        pages
    }

    /// Puts a file in memory between the guards, and maps it a second time.
    fn map_twice(&self) -> io::Result<NonNull<u8>> {
        let file = file_in_memory(self.capacity)?;
        let map = |at: *mut c_void, protection, flags| {
            // SAFETY: with MAP_FIXED it replaces pages between the guards, to which nothing points yet; otherwise it is a fresh
            // mapping. Nobody else has the file.
            let address = unsafe { libc::mmap(at, self.capacity, protection, flags, file.as_raw_fd(), 0) };
            if address == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(address) }
        };
        let second = map(std::ptr::null_mut(), WRITE, libc::MAP_SHARED)?;
        let first = map(self.start().cast(), WRITE, libc::MAP_SHARED | libc::MAP_FIXED);
        if let Err(error) = first {
            // SAFETY: the mapping was made above, and nothing points to it.
            unsafe { libc::munmap(second, self.capacity) };
            return Err(error);
        }
        self.protect(self.read_only_from, READ);
        NonNull::new(second.cast()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// Bytes of data.
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// The start of the guard before the data.
    pub(super) fn base(&self) -> usize {
        self.base.as_ptr() as usize
    }

    /// The data as a kernel is given them.
    pub(super) fn start(&self) -> *mut u8 {
        self.base.as_ptr().wrapping_add(GUARD_BYTES)
    }

    /// The data.
    pub(super) fn all(&self) -> &[u8] {
        let data = self.second.map_or(self.start(), NonNull::as_ptr);
        // SAFETY: `capacity` bytes from `data` on are mapped and readable for as long as `self` lives.
        unsafe { std::slice::from_raw_parts(data, self.capacity) }
    }

    /// The data, to be written by the harness.
    pub(super) fn all_mut(&mut self) -> &mut [u8] {
        self.unseal();
        let data = self.second.map_or(self.start(), NonNull::as_ptr);
        // SAFETY: `capacity` bytes from `data` on are mapped, readable and writable for as long as `self` lives, and `self` is
        // borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(data, self.capacity) }
    }

    /// Makes what a kernel may only read unwritable for it, until [`all_mut`](Self::all_mut).
    pub(super) fn seal(&mut self) {
        if !self.sealed && self.read_only_from < self.capacity {
            self.protect(self.read_only_from, READ);
            self.sealed = true;
        }
    }

    /// Makes data writable that are mapped once only.
    fn unseal(&mut self) {
        if self.sealed && self.second.is_none() {
            self.protect(self.read_only_from, WRITE);
            self.sealed = false;
        }
    }

    /// Closes what the fault handler has opened.
    pub(super) fn close(&self) {
        for guard in [self.base.as_ptr(), self.start().wrapping_add(self.capacity)] {
            // SAFETY: the guards are whole pages of a mapping that `self` owns, and nothing is stored in them.
            unsafe { libc::mprotect(guard.cast(), GUARD_BYTES, libc::PROT_NONE) };
        }
        if self.sealed {
            self.protect(self.read_only_from, READ);
        }
    }

    /// Protects the data from byte `from` on.
    fn protect(&self, from: usize, protection: i32) {
        let (start, len) = (self.start().wrapping_add(from).cast(), self.capacity - from);
        // SAFETY: the range lies between the guards of a mapping that `self` owns. It stays readable, and is made read-only while
        // no slice to write to it is alive: all of those borrow `self`.
        let status = unsafe { libc::mprotect(start, len, protection) };
        assert_eq!(status, 0, "the system refused {len} bytes: {}", io::Error::last_os_error());
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length, and no slice of it outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.capacity + 2 * GUARD_BYTES) };
        if let Some(second) = self.second {
            // SAFETY: as above.
            unsafe { libc::munmap(second.as_ptr().cast(), self.capacity) };
        }
    }
}

// SAFETY: pages own their mappings alone; the pointers are not shared.
unsafe impl Send for Pages {}

/// What the largest region of sparse memory may take: the most that a case may ask for, and room to grow by doubling.
const SPARSE_TRIAL_BYTES: usize = 1 << 34;

/// Whether the system gives address space for matrices whose rows lie gigabytes apart, of which a few pages are ever used.
pub fn sparse_is_possible() -> bool {
    static POSSIBLE: OnceLock<bool> = OnceLock::new();
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

/// Bytes of a page.
pub(super) fn page_size() -> usize {
    static SIZE: OnceLock<usize> = OnceLock::new();
    *SIZE.get_or_init(|| {
        // SAFETY: sysconf has no preconditions.
        let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(size).expect("the page size is known")
    })
}

/// A file of `len` zeros that is in memory only.
#[cfg(target_os = "linux")]
pub(super) fn file_in_memory(len: usize) -> io::Result<File> {
    use std::os::fd::FromRawFd;

    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call writes to a live rlimit.
    unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) };
    // Beyond this limit the system would end the process, by SIGXFSZ.
    if (limit.rlim_cur as u128) < len as u128 {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    // SAFETY: the name is a string that ends in a zero.
    let file = unsafe { libc::memfd_create(c"qk256".as_ptr(), libc::MFD_CLOEXEC) };
    if file < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    let file = unsafe { File::from_raw_fd(file) };
    file.set_len(len as u64)?;
    Ok(file)
}

/// There is none here.
#[cfg(not(target_os = "linux"))]
pub(super) fn file_in_memory(_len: usize) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}
