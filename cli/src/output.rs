//! What commands write: tables, and files that are opened before the work begins and are complete or absent when it ends.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use comfy_table::{LineStyle, Row, Table, TableStyle};
use tempfile::NamedTempFile;

/// A table with a line under its header and no other.
pub(crate) fn table(header: impl Into<Row>) -> Table {
    let mut table = Table::new();
    let line = LineStyle::none().fill('─').junction('─');
    table.load_style(TableStyle::new().header_separator(line)).set_header(header);
    table
}

/// A file to be written in one piece.
#[derive(Debug)]
pub(crate) struct OutputFile {
    path: PathBuf,
    target: Target,
}

#[derive(Debug)]
enum Target {
    /// A file beside the one that it will replace.
    Beside(NamedTempFile),
    /// A pipe or a device, which cannot be replaced.
    Direct(File),
}

impl OutputFile {
    /// Makes sure that `path` can be written.
    ///
    /// # Errors
    /// If it is a directory, or the system refuses.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let cannot = || format!("cannot write {}", path.display());
        let target = match path.metadata() {
            Ok(status) if status.is_dir() => bail!("{}: it is a directory; give a file", cannot()),
            Ok(status) if !status.is_file() => {
                Target::Direct(OpenOptions::new().write(true).open(path).with_context(cannot)?)
            }
            _ => {
                let folder =
                    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let refused = |error: io::Error| io::Error::from(error.kind());
                let in_folder =
                    || format!("cannot write {} into the folder {}", path.display(), folder.display());
                let mut builder = tempfile::Builder::new();
                // As any new file: the umask takes away from this.
                builder.prefix(".qk256-").permissions(PermissionsExt::from_mode(0o666));
                Target::Beside(builder.tempfile_in(folder).map_err(refused).with_context(in_folder)?)
            }
        };
        Ok(Self { path: path.to_owned(), target })
    }

    /// Writes the whole file. On an error an older file of that name is as it was.
    ///
    /// # Errors
    /// If the system refuses, as when the disk is full.
    pub(crate) fn write(self, bytes: &[u8]) -> Result<()> {
        let cannot = || format!("cannot write {}", self.path.display());
        match self.target {
            Target::Direct(mut file) => file.write_all(bytes).with_context(cannot),
            Target::Beside(mut file) => {
                file.write_all(bytes).with_context(cannot)?;
                file.as_file().sync_all().with_context(cannot)?;
                file.persist(&self.path).with_context(cannot)?;
                Ok(())
            }
        }
    }
}
