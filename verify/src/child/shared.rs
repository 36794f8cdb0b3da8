//! Memory that a child shares with its parent: what it notes there outlives it.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Bytes of the shared file.
const BYTES: u64 = 4096;

/// What can lie in shared memory.
///
/// # Safety
/// The type is made of atomic integers, for which every bit pattern is valid, with `repr(C)`, and has 4096 bytes at most.
pub unsafe trait Record: Sync + 'static {}

/// A record in memory that several processes may map. It is zeros at first.
#[derive(Debug)]
pub struct SharedMemory<T> {
    map: memmap2::MmapRaw,
    record: PhantomData<T>,
}

impl<T: Record> SharedMemory<T> {
    /// New memory, and its file for [`pass`].
    ///
    /// # Errors
    /// If the system gives no file, or no memory.
    pub fn new() -> io::Result<(Self, File)> {
        let file = anonymous_file()?;
        file.set_len(BYTES)
            .map_err(|error| io::Error::other(format!("no file of {BYTES} bytes: {error}; see ulimit -f")))?;
        Ok((Self::of(&file)?, file))
    }

    /// The memory that the parent has passed by this descriptor, which is closed.
    ///
    /// # Safety
    /// The descriptor is open, and nothing else owns it.
    ///
    /// # Errors
    /// If it cannot be mapped.
    pub unsafe fn inherited(descriptor: RawFd) -> io::Result<Self> {
        // SAFETY: as the caller says.
        Self::of(&unsafe { File::from_raw_fd(descriptor) })
    }

    fn of(file: &File) -> io::Result<Self> {
        let map = memmap2::MmapRaw::map_raw(file)?;
        assert!(map.len() >= size_of::<T>(), "the file has as many bytes as it must");
        Ok(Self { map, record: PhantomData })
    }

    /// The record for as long as this process lives.
    pub fn leak(self) -> &'static T {
        Box::leak(Box::new(self))
    }
}

impl<T: Record> Deref for SharedMemory<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the mapping lives as long as this, is aligned to a page and long enough, and every bit pattern is a record.
        unsafe { &*self.map.as_ptr().cast() }
    }
}

/// Leaves `file` open in the process that `command` starts, under the number that is returned.
pub fn pass(command: &mut Command, file: &File) -> String {
    let descriptor = file.as_raw_fd();
    let keep = move || {
        // SAFETY: fcntl with F_SETFD has no preconditions.
        match unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: all that is done between fork and exec is a call that signal handlers may make.
    unsafe { command.pre_exec(keep) };
    descriptor.to_string()
}

/// A file in memory, without a name: nothing is left of it, and no folder is needed.
///
/// # Errors
/// If the system has no memory or no descriptor for it.
#[cfg(target_os = "linux")]
pub fn anonymous_file() -> io::Result<File> {
    // SAFETY: the name is a string that ends in a zero.
    let fd = unsafe { libc::memfd_create(c"qk256".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// The same on disk.
///
/// # Errors
/// If the folder for temporary files, which is named, cannot be written.
#[cfg(not(target_os = "linux"))]
pub fn anonymous_file() -> io::Result<File> {
    tempfile::tempfile().map_err(|error| {
        let folder = std::env::temp_dir();
        io::Error::other(format!("no temporary file in {} (TMPDIR): {}", folder.display(), error.kind()))
    })
}
