//! Formats from TOML files, and formats by name.

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::{fs, io};

use super::description::{Description, Problem};
use super::integers::INTEGERS;
use super::{ALL, Format, ggml};

/// The formats of files that were loaded.
static LOADED: RwLock<Vec<&'static Format>> = RwLock::new(Vec::new());

/// Why a file describes no format.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The file cannot be read.
    #[error("cannot read the format of {path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system reported.
        error: io::Error,
    },
    /// The file is not TOML, or has not the fields of a format.
    #[error("{path} describes no format: {error}")]
    Toml {
        /// The file.
        path: PathBuf,
        /// What is wrong, with the line.
        error: Box<toml::de::Error>,
    },
    /// A field does not fit the others.
    #[error("{path}: `{field}`: {problem}")]
    Field {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// What is wrong, and what to write in its place.
        problem: String,
    },
    /// It is neither a file nor the name of a format.
    #[error(
        "`{name}` is not a format; the formats are {}, and a file that describes another ends in .toml",
        ALL.iter().map(|format| format.name).collect::<Vec<_>>().join(", ")
    )]
    Unknown {
        /// What was given.
        name: String,
    },
}

/// The format of this name: one of [`ALL`], of 8-bit integers, or one that was loaded.
pub fn find(name: &str) -> Option<&'static Format> {
    let loaded = LOADED.read().unwrap_or_else(PoisonError::into_inner);
    named(name, &loaded)
}

/// Reads the format that a TOML file describes, as docs/formats.md says. It is kept for good, and [`find`] finds it. A description that was
/// loaded before gives the format that it gave then.
///
/// # Errors
/// The file cannot be read, a field is missing, unknown or of the wrong type, fields contradict each other, or the name is that of another
/// format.
pub fn load(path: &Path) -> Result<&'static Format, FormatError> {
    let text =
        fs::read_to_string(path).map_err(|error| FormatError::Read { path: path.to_owned(), error })?;
    let description: Description = toml::from_str(&text)
        .map_err(|error| FormatError::Toml { path: path.to_owned(), error: Box::new(error) })?;
    let in_file =
        |Problem { field, what }| FormatError::Field { path: path.to_owned(), field, problem: what };
    let format = description.format(&path.display().to_string()).map_err(in_file)?;
    keep(format).map_err(in_file)
}

/// What `--format` takes: a format of [`ALL`] by its name, or one that a file describes, whose name ends in `.toml`.
///
/// # Errors
/// As [`load`], or if it is neither.
pub fn named_or_loaded(text: &str) -> Result<&'static Format, FormatError> {
    match ALL.iter().find(|format| format.name == text) {
        Some(format) => Ok(format),
        None if is_file(text) => load(Path::new(text)),
        None => Err(FormatError::Unknown { name: text.to_owned() }),
    }
}

/// Whether a text names a file that describes a format.
fn is_file(text: &str) -> bool {
    Path::new(text).extension().is_some_and(|ending| ending == "toml")
}

/// Whether a file describes the format.
pub fn is_of_file(format: &Format) -> bool {
    !ALL.contains(&format) && format.plain().is_some()
}

/// Adds the formats of ggml without a description to those that [`find`] finds.
///
/// # Errors
/// If a file has taken one of the names.
pub fn know_ggml() -> Result<(), FormatError> {
    let mut loaded = LOADED.write().unwrap_or_else(PoisonError::into_inner);
    for format in ggml::own_formats() {
        match named(format.name, &loaded) {
            None => loaded.push(format),
            Some(known) if std::ptr::eq(known, format) => {}
            Some(known) => {
                let problem = format!("`{}` is the name of a format of ggml: choose another", known.name);
                return Err(FormatError::Field { path: known.origin.into(), field: "name", problem });
            }
        }
    }
    Ok(())
}

/// Adds a format to those that [`find`] finds, unless it is there.
fn keep(format: Format) -> Result<&'static Format, Problem> {
    let mut loaded = LOADED.write().unwrap_or_else(PoisonError::into_inner);
    match named(format.name, &loaded) {
        None => {
            loaded.push(Box::leak(Box::new(format)));
            Ok(loaded[loaded.len() - 1])
        }
        Some(known) if is_same(known, &format) => Ok(known),
        Some(known) => {
            let what =
                format!("`{}` is the name of a format from {}: choose another", known.name, known.origin);
            Err(Problem { field: "name", what })
        }
    }
}

/// The format of this name, of ours or of these.
fn named(name: &str, loaded: &[&'static Format]) -> Option<&'static Format> {
    ALL.iter().chain(&INTEGERS).chain(loaded).find(|format| format.name == name).copied()
}

/// Whether two formats of one name differ in nothing but where they come from.
fn is_same(one: &Format, other: &Format) -> bool {
    let sizes = |format: &Format| (format.block_len, format.block_bytes);
    sizes(one) == sizes(other) && one.coding == other.coding
}
