//! Files of `corpus/regressions`: one case, and what it is there for.
//!
//! ```text
//! # Dropped the last column where cols % 8 == 7.
//! gemv rows=1 cols=7 dist=unit seed=0
//! ```

use super::{Case, ParseError};

/// Why a text is not a case file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// Comments and blank lines only.
    #[error("the file has no case: one line must be neither blank nor start with `#`")]
    NoCase,
    /// More than one case.
    #[error("line {line}: a file holds one case, this is its second")]
    SecondCase {
        /// The line at fault, counted from 1.
        line: usize,
    },
    /// The line is not a case.
    #[error("line {line}: {error}")]
    Parse {
        /// The line at fault, counted from 1.
        line: usize,
        /// What is wrong with it.
        error: ParseError,
    },
}

/// Reads the one case of a file. Blank lines and those that start with `#` say something to people only.
///
/// # Errors
/// If there is no case, or more than one, or the line is not one.
pub fn parse_file(text: &str) -> Result<Case, FileError> {
    let lines = text.lines().map(str::trim).zip(1..);
    let mut cases = lines.filter(|(text, _)| !text.is_empty() && !text.starts_with('#'));
    let (text, line) = cases.next().ok_or(FileError::NoCase)?;
    let case = text.parse().map_err(|error| FileError::Parse { line, error })?;
    match cases.next() {
        Some((_, line)) => Err(FileError::SecondCase { line }),
        None => Ok(case),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASE: &str = "gemv rows=1 cols=7 dist=unit seed=0";

    #[test]
    fn a_file_is_one_case_among_comments_and_blank_lines() {
        let case: Case = CASE.parse().unwrap();
        for text in [CASE.to_owned(), format!("# why\n\n#\n  {CASE}  \r\n\n# more\n")] {
            assert_eq!(parse_file(&text), Ok(case.clone()), "{text:?}");
        }
        let empty = ParseError::Word("oops".to_owned(), case.operation);
        for (text, error) in [
            (String::new(), FileError::NoCase),
            ("# only\n\n".to_owned(), FileError::NoCase),
            (format!("{CASE}\n#\n{CASE}\n"), FileError::SecondCase { line: 3 }),
            (format!("# why\n{CASE} oops\n"), FileError::Parse { line: 2, error: empty }),
        ] {
            assert_eq!(parse_file(&text), Err(error), "{text:?}");
        }
    }
}
