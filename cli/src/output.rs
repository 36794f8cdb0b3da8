//! What commands write: tables, and files that are opened before the work begins and are complete or absent when it ends.

use std::error::Error;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use comfy_table::{ContentArrangement, LineStyle, Row, Table, TableStyle};
use qk256_verify::words::MAX_WIDTH;
use tempfile::NamedTempFile;

use crate::{Verdict, is_closed_pipe};

/// A table with a line under its header and no other.
pub(crate) fn table(header: impl Into<Row>) -> Table {
    let mut table = Table::new();
    let line = LineStyle::none().fill('─').junction('─');
    table.load_style(TableStyle::new().header_separator(line)).set_header(header);
    table
}

/// The same, whose cells fold where it would be wider than the terminal or [`MAX_WIDTH`]. It has colours on a terminal only, and none where
/// `NO_COLOR` is set.
pub(crate) fn fitted_table(header: impl Into<Row>) -> Table {
    let mut table = table(header);
    let width = table.width().map_or(MAX_WIDTH as u16, |width| width.min(MAX_WIDTH as u16));
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    // https://no-color.org: set, and not empty.
    if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        table.force_no_tty();
    }
    table
}

/// Whether a report goes to standard output, so that tables and messages must not.
static STDOUT_IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Where tables and messages go: standard output, or standard error where a report goes to standard output. Its errors say what could not
/// be written.
pub(crate) fn stdout() -> Screen {
    Screen { is_stderr: STDOUT_IS_TAKEN.load(Ordering::SeqCst) }
}

/// Standard output, or standard error in its place.
pub(crate) struct Screen {
    is_stderr: bool,
}

impl Screen {
    fn named<T>(&self, result: io::Result<T>) -> io::Result<T> {
        let name = if self.is_stderr { "standard error" } else { "standard output" };
        result.map_err(|error| io::Error::new(error.kind(), format!("cannot write to {name}: {error}")))
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.named(if self.is_stderr { io::stderr().write(bytes) } else { io::stdout().write(bytes) })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.named(if self.is_stderr { io::stderr().flush() } else { io::stdout().flush() })
    }
}

/// The verdict of a command whose outputs were written, or not. What could not be written is reported; where there is a finding, it decides.
///
/// # Errors
/// The first of the errors, where there is no finding.
pub(crate) fn all_written(written: impl Iterator<Item = Result<()>>, verdict: Verdict) -> Result<Verdict> {
    let mut errors: Vec<anyhow::Error> = written.filter_map(Result::err).collect();
    let first = if verdict == Verdict::Finding || errors.is_empty() { None } else { Some(errors.remove(0)) };
    for error in errors.iter().filter(|error| !is_closed_pipe(error)) {
        // Nothing more can be done if standard error is gone.
        let _ = writeln!(io::stderr(), "qk256: {error:#}");
    }
    first.map_or(Ok(verdict), Err)
}

/// What the name of a file begins with that is being written.
pub(crate) const TEMPORARY: &str = ".qk256-";

/// Links that are followed before a path counts as a circle of links.
const MOST_LINKS: usize = 40;

/// Something to be written in one piece: a file, what a link leads to, a pipe or device, or standard output.
#[derive(Debug)]
pub(crate) struct OutputFile {
    path: PathBuf,
    target: Target,
}

#[derive(Debug)]
enum Target {
    /// `-`, or another name of standard output.
    Stdout,
    /// What cannot be replaced: a pipe, a device, or a file that another process has open by descriptor.
    Stream(File),
    /// A plain file, or none yet. It is written in the folder `way` and renamed to `real`, which is no link.
    Plain { real: PathBuf, way: PathBuf },
    /// A plain file, with its name without links, that is appended to.
    Appended(File, PathBuf),
}

impl OutputFile {
    /// Makes sure that `path` can be written.
    ///
    /// # Errors
    /// If it is a directory, its folder is missing, or the system refuses.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        Self::create_by_way_of(None, path)
    }

    /// The same, for a folder of which others read every file: it is written in another one, of the same file system.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub(crate) fn create_by_way_of(way: Option<&Path>, path: &Path) -> Result<Self> {
        let target = Target::of(way, path)?;
        if let Target::Plain { way, .. } = &target {
            // Gone again at once: should a kernel end the process, nothing is left behind.
            drop(temporary(way, path)?);
        }
        Ok(Self::of(path, target))
    }

    /// Makes sure that each of the paths of these options can be written, if it is given, and that no two are the same.
    ///
    /// # Errors
    /// As [`create`](Self::create), or if two options name one place.
    pub(crate) fn create_each<const N: usize>(
        outputs: [(&str, &Option<PathBuf>); N],
    ) -> Result<[Option<Self>; N]> {
        let mut files: [Option<Self>; N] = std::array::from_fn(|_| None);
        for (at, (_, path)) in outputs.iter().enumerate() {
            files[at] = path.as_deref().map(Self::create).transpose()?;
        }
        let named: Vec<_> =
            outputs.iter().map(|(option, _)| *option).zip(files.iter().map(Option::as_ref)).collect();
        distinct(&named)?;
        Ok(files)
    }

    /// Something that is appended to, since others write it too.
    ///
    /// # Errors
    /// If it is a directory, its folder is missing, or the system refuses.
    pub(crate) fn append_to(path: &Path) -> Result<Self> {
        let target = match Target::of(None, path)? {
            Target::Plain { real, .. } => {
                let file = OpenOptions::new().append(true).create(true).open(&real);
                Target::Appended(file.with_context(|| format!("cannot write {}", path.display()))?, real)
            }
            target => target,
        };
        Ok(Self::of(path, target))
    }

    fn of(path: &Path, target: Target) -> Self {
        if let Target::Stdout = target {
            STDOUT_IS_TAKEN.store(true, Ordering::SeqCst);
        }
        Self { path: path.to_owned(), target }
    }

    /// Whether both write to one place. A character device, such as /dev/null, takes any number.
    fn is_same(&self, other: &Self) -> bool {
        match (&self.target, &other.target) {
            (Target::Stdout, Target::Stdout) => true,
            (
                Target::Plain { real, .. } | Target::Appended(_, real),
                Target::Plain { real: other, .. } | Target::Appended(_, other),
            ) => real == other,
            (Target::Stream(one), Target::Stream(other)) => {
                let place = |file: &File| {
                    let status = file.metadata().ok()?;
                    (!status.file_type().is_char_device()).then(|| (status.dev(), status.ino()))
                };
                place(one).is_some_and(|one| place(other) == Some(one))
            }
            _ => false,
        }
    }

    /// Writes it whole. On an error a plain file is as it was.
    ///
    /// # Errors
    /// If the system refuses, as when the disk is full.
    pub(crate) fn write(self, bytes: &[u8]) -> Result<()> {
        let cannot = || format!("cannot write {}", self.path.display());
        match self.target {
            Target::Stdout => {
                let mut stdout = io::stdout().lock();
                let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
                written.context("cannot write to standard output")
            }
            Target::Stream(mut stream) => {
                if stream.metadata().is_ok_and(|status| status.is_file()) {
                    stream.set_len(0).with_context(cannot)?;
                }
                stream.write_all(bytes).with_context(cannot)
            }
            Target::Appended(mut file, _) => file.write_all(bytes).with_context(cannot),
            Target::Plain { ref real, ref way } => {
                let file = temporary(way, &self.path)?;
                file.as_file().write_all(bytes).with_context(cannot)?;
                file.as_file().sync_all().with_context(cannot)?;
                file.persist(real).map_err(|error| error.error).with_context(cannot)?;
                Ok(())
            }
        }
    }
}

/// Makes sure that no two outputs, each with its option, go to one place.
///
/// # Errors
/// If two do.
pub(crate) fn distinct(outputs: &[(&str, Option<&OutputFile>)]) -> Result<()> {
    let given: Vec<_> = outputs.iter().filter_map(|(option, file)| Some((option, (*file)?))).collect();
    for (at, (option, file)) in given.iter().enumerate() {
        if let Some((other, _)) = given[..at].iter().find(|(_, other)| other.is_same(file)) {
            bail!("{other} and {option} both write to {}: give each a file of its own", file.path.display());
        }
    }
    Ok(())
}

impl Target {
    fn of(way: Option<&Path>, path: &Path) -> Result<Self> {
        let cannot = || format!("cannot write {}", path.display());
        let status = path.metadata().ok();
        if path == Path::new("-") || status.as_ref().is_some_and(is_stdout) {
            return Ok(Self::Stdout);
        }
        if status.as_ref().is_some_and(Metadata::is_dir) {
            bail!("{}: it is a directory; give a file", cannot());
        }
        let (real, is_descriptor) = resolve(path)?;
        if is_descriptor || status.is_some_and(|status| !status.is_file()) {
            let stream = OpenOptions::new().write(true).open(path);
            return Ok(Self::Stream(stream.with_context(cannot)?));
        }
        let folder = real.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Self::Plain { way: way.map_or(folder, Path::to_owned), real })
    }
}

/// Whether this is what standard output writes to, which only a plain file, a pipe or a terminal can be recognised by.
fn is_stdout(status: &Metadata) -> bool {
    let own = io::stdout().as_fd().try_clone_to_owned().map(File::from).and_then(|file| file.metadata());
    own.is_ok_and(|own| (own.dev(), own.ino()) == (status.dev(), status.ino()) && own.rdev() != NULL_DEVICE)
}

/// The number of /dev/null, which any number of outputs share.
const NULL_DEVICE: u64 = 1 << 8 | 3;

/// The file that a path leads to through links, which need not be there, and whether it is named by a descriptor of a process.
fn resolve(path: &Path) -> Result<(PathBuf, bool)> {
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let parent = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let Some(name) = path.file_name() else {
            bail!("cannot write {}: it names no file", path.display());
        };
        let folder = match parent.canonicalize() {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
                "cannot write {}: there is no folder {}; make it, or give another path",
                path.display(),
                parent.display()
            ),
            Err(error) => return Err(error).with_context(|| format!("cannot write {}", path.display())),
        };
        let real = folder.join(name);
        if folder.starts_with("/proc") {
            return Ok((real, true));
        }
        match real.read_link() {
            Ok(link) => path = folder.join(link),
            Err(_) => return Ok((real, false)),
        }
    }
    bail!("cannot write {}: its links lead in a circle", path.display())
}

/// A temporary file in `folder`, which a rename can put in the place of `path`.
fn temporary(folder: &Path, path: &Path) -> Result<NamedTempFile> {
    // As any new file: the umask takes away from this.
    let permissions = PermissionsExt::from_mode(0o666);
    let file = tempfile::Builder::new().prefix(TEMPORARY).permissions(permissions).tempfile_in(folder);
    file.map_err(|error| {
        // The words of the system, without the name that nobody has chosen.
        let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        io::Error::new(error.kind(), why)
    })
    .with_context(|| format!("cannot write {} into the folder {}", path.display(), folder.display()))
}
