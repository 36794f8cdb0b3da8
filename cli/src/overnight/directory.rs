//! The working directory of a night: what is in it is whole at any moment, whoever is killed.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use qk256_verify::fuzz::Target;
use serde::de::DeserializeOwned;

use crate::output::{OutputFile, TEMPORARY};

/// What the files of findings end in: a case, or an input that is none.
pub(super) const CASE: &str = "case";
pub(super) const INPUT: &str = "input";

/// Bytes of the disk without which nothing is tried: what is found must have a place.
const RESERVE: u64 = 16 << 20;

/// A directory that this process alone works in.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
    /// Held for as long as the process lives, whatever ends it.
    _lock: File,
}

/// An input that an engine says is bad.
#[derive(Debug)]
pub(super) struct Artifact {
    pub(super) target: Target,
    pub(super) path: PathBuf,
}

impl Directory {
    /// Makes the directory if there is none, and takes it.
    pub(super) fn open(root: &Path) -> Result<Self> {
        let cannot = || format!("cannot use the directory {}", root.display());
        fs::create_dir_all(root).with_context(cannot)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(root.join("lock"));
        let lock = lock.with_context(cannot)?;
        if lock.try_lock().is_err() {
            bail!("another run works in {}: wait for it, or give another --dir", root.display());
        }
        let directory = Self { root: root.to_owned(), _lock: lock };
        for target in Target::ALL {
            let places =
                [directory.corpus(target), directory.of_artifacts(target), directory.scratch(target)];
            for place in places.into_iter().chain([directory.done(target)]) {
                fs::create_dir_all(&place).with_context(cannot)?;
                sweep(&place);
            }
        }
        fs::create_dir_all(directory.root.join("findings")).with_context(cannot)?;
        [directory.root.join("findings"), directory.root.clone()].iter().for_each(|place| sweep(place));
        Ok(directory)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.root
    }

    /// Whether the disk has room for what may be found.
    ///
    /// # Errors
    /// `StorageFull` if it has not.
    pub(super) fn room(&self) -> io::Result<()> {
        let Ok(path) = CString::new(self.root.as_os_str().as_bytes()) else { return Ok(()) };
        // SAFETY: the struct is integers alone.
        let mut status: libc::statvfs = unsafe { std::mem::zeroed() };
        // SAFETY: the path ends in a zero byte, and the struct is ours; both outlive the call.
        let result = unsafe { libc::statvfs(path.as_ptr(), &raw mut status) };
        // Where the system does not say, a write will.
        let is_full = result == 0 && status.f_bavail.saturating_mul(status.f_frsize) < RESERVE;
        if is_full { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// Where an engine keeps inputs of a target.
    pub(super) fn corpus(&self, target: Target) -> PathBuf {
        self.root.join("corpus").join(target.name())
    }

    /// Where an engine puts bad inputs of a target.
    pub(super) fn of_artifacts(&self, target: Target) -> PathBuf {
        self.root.join("artifacts").join(target.name())
    }

    /// Where an engine puts what it needs while it works on a target.
    pub(super) fn scratch(&self, target: Target) -> PathBuf {
        self.root.join("scratch").join(target.name())
    }

    /// Where bad inputs are kept that have been looked at.
    fn done(&self, target: Target) -> PathBuf {
        self.root.join("artifacts.done").join(target.name())
    }

    /// A file of a finding.
    pub(super) fn finding(&self, name: &str) -> PathBuf {
        self.root.join("findings").join(name)
    }

    /// The report that people read.
    pub(super) fn report(&self) -> PathBuf {
        self.root.join("report.md")
    }

    /// The cases of all findings, or their inputs where these are none, sorted.
    pub(super) fn findings(&self) -> Result<Vec<PathBuf>> {
        let mut cases = files(&self.root.join("findings"))?;
        cases
            .retain(|path| path.extension().is_some_and(|extension| extension == CASE || extension == INPUT));
        Ok(cases)
    }

    /// Bad inputs that nobody has looked at.
    pub(super) fn artifacts(&self) -> Result<Vec<Artifact>> {
        let mut artifacts = Vec::new();
        for target in Target::ALL {
            let inputs = files(&self.of_artifacts(target))?;
            artifacts.extend(inputs.into_iter().map(|path| Artifact { target, path }));
        }
        Ok(artifacts)
    }

    /// Puts an input aside that has been looked at: it stays for good.
    pub(super) fn put_aside(&self, artifact: &Artifact) -> Result<()> {
        let name = artifact.path.file_name().expect("a file has a name");
        let aside = self.done(artifact.target).join(name);
        fs::rename(&artifact.path, &aside).with_context(|| format!("cannot move {}", artifact.path.display()))
    }

    /// Writes a file of the directory, whole or not at all.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        OutputFile::create(&self.root.join(name))?.write(bytes)
    }

    /// What this program has written to a file of the directory; `None` if there is none.
    pub(super) fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let path = self.root.join(name);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .with_context(|| format!("{} is not what this program writes: move it away", path.display())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// Adds a line to the log, with the time.
    pub(super) fn log(&self, line: &str) -> Result<()> {
        let path = self.root.join("log");
        let mut log = OpenOptions::new().create(true).append(true).open(&path);
        let now = humantime::format_rfc3339_seconds(SystemTime::now());
        let written = log.as_mut().map(|log| writeln!(log, "{now} {line}"));
        written
            .map_err(|error| io::Error::from(error.kind()))?
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Removes what processes that were killed were writing.
fn sweep(directory: &Path) {
    let is_temporary =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY));
    // One that stays does no harm.
    entries(directory).into_iter().filter(is_temporary).for_each(|path| drop(fs::remove_file(path)));
}

/// All that is in a directory; nothing where it cannot be read.
pub(super) fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Whether a disk is why something failed: it is full, or gives no more to this user or this process.
pub(super) fn is_full(error: &anyhow::Error) -> bool {
    use ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    let kinds = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    kinds.into_iter().any(|kind| [StorageFull, QuotaExceeded, FileTooLarge].contains(&kind))
}

/// The files of a directory, sorted, without those that are being written.
pub(super) fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let cannot = || format!("cannot read {}", directory.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_file() && !hidden {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
