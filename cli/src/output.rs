//! What commands write: tables, and files that are opened before the work begins and are complete or absent when it ends.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use comfy_table::{ContentArrangement, LineStyle, Row, Table, TableStyle};
use tempfile::NamedTempFile;

/// Columns of a terminal that output fits in, where the terminal is not narrower.
pub(crate) const MAX_WIDTH: u16 = 100;

/// A table with a line under its header and no other. Cells fold where it would be wider than the terminal or [`MAX_WIDTH`]. It has colours
/// on a terminal only, and none where `NO_COLOR` is set.
pub(crate) fn table(header: impl Into<Row>) -> Table {
    let mut table = Table::new();
    let line = LineStyle::none().fill('─').junction('─');
    table.load_style(TableStyle::new().header_separator(line)).set_header(header);
    let width = table.width().map_or(MAX_WIDTH, |width| width.min(MAX_WIDTH));
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    // https://no-color.org: set, and not empty.
    if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        table.force_no_tty();
    }
    table
}

/// `1 case`, `2 cases`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Writes words behind a label, folded at [`MAX_WIDTH`]; further lines are indented as deep as the label.
pub(crate) fn folded(text: &mut impl fmt::Write, label: &str, words: &str) -> fmt::Result {
    let indent = label.len();
    let mut column = indent;
    write!(text, "{label}")?;
    for word in words.split(' ') {
        let width = word.chars().count();
        if column > indent && column + 1 + width > MAX_WIDTH.into() {
            write!(text, "\n{:indent$}", "")?;
            column = indent;
        } else if column > indent {
            write!(text, " ")?;
            column += 1;
        }
        write!(text, "{word}")?;
        column += width;
    }
    writeln!(text)
}

/// What the name of a file begins with that is being written.
pub(crate) const TEMPORARY: &str = ".qk256-";

/// A file to be written in one piece.
#[derive(Debug)]
pub(crate) struct OutputFile {
    path: PathBuf,
    /// The folder that it is written in before it is renamed.
    way: PathBuf,
    /// An open pipe or device, which cannot be replaced.
    stream: Option<File>,
}

impl OutputFile {
    /// Makes sure that `path` can be written.
    ///
    /// # Errors
    /// If it is a directory, or the system refuses.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        Self::create_by_way_of(None, path)
    }

    /// The same, for a folder of which others read every file: it is written in another one, of the same file system.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub(crate) fn create_by_way_of(way: Option<&Path>, path: &Path) -> Result<Self> {
        let parent = || path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let way = way.or_else(parent).unwrap_or(Path::new("."));
        let cannot = || format!("cannot write {}", path.display());
        let stream = match path.metadata() {
            Ok(status) if status.is_dir() => bail!("{}: it is a directory; give a file", cannot()),
            Ok(status) if !status.is_file() => {
                Some(OpenOptions::new().write(true).open(path).with_context(cannot)?)
            }
            _ => {
                // Gone again at once: should a kernel end the process, nothing is left behind.
                drop(temporary(way, path)?);
                None
            }
        };
        Ok(Self { path: path.to_owned(), way: way.to_owned(), stream })
    }

    /// Writes the whole file. On an error an older file of that name is as it was.
    ///
    /// # Errors
    /// If the system refuses, as when the disk is full.
    pub(crate) fn write(self, bytes: &[u8]) -> Result<()> {
        let cannot = || format!("cannot write {}", self.path.display());
        if let Some(mut stream) = self.stream {
            return stream.write_all(bytes).with_context(cannot);
        }
        let mut file = temporary(&self.way, &self.path)?;
        file.write_all(bytes).with_context(cannot)?;
        file.as_file().sync_all().with_context(cannot)?;
        file.persist(&self.path).with_context(cannot)?;
        Ok(())
    }
}

/// A temporary file in `folder`, which a rename can put in the place of `path`.
fn temporary(folder: &Path, path: &Path) -> Result<NamedTempFile> {
    // As any new file: the umask takes away from this.
    let permissions = PermissionsExt::from_mode(0o666);
    let file = tempfile::Builder::new().prefix(TEMPORARY).permissions(permissions).tempfile_in(folder);
    file.map_err(|error| io::Error::from(error.kind()))
        .with_context(|| format!("cannot write {} into the folder {}", path.display(), folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_fold_under_their_label_before_the_last_column() {
        let mut text = String::new();
        folded(&mut text, "  what: ", "word ".repeat(40).trim_end()).expect("a string takes all");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("  what: word") && lines[1].starts_with("        word"), "{text}");
        assert!(lines.iter().all(|line| line.len() <= MAX_WIDTH.into()) && lines[0].len() > 95, "{text}");
        assert_eq!(text.matches("word").count(), 40);
    }

    #[test]
    fn one_is_singular() {
        assert_eq!([count(0, "case"), count(1, "case"), count(2, "case")], ["0 cases", "1 case", "2 cases"]);
    }
}
