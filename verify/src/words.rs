//! Printed text: numbers with their nouns, and lines that fit a terminal.

use std::fmt;

use serde::Serializer;

/// `1 case`, `2 cases`.
pub fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Serialises a value as it is printed.
///
/// # Errors
/// If the writer fails.
pub fn shown<T: fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Columns that printed text fits in.
pub const MAX_WIDTH: usize = 100;

/// Writes text behind a label, folded at [`MAX_WIDTH`]; further lines are indented as deep as the label. A longer word stands alone.
///
/// # Errors
/// If `f` cannot be written to.
pub fn folded(f: &mut impl fmt::Write, label: &str, text: &str) -> fmt::Result {
    let indent = label.len();
    write!(f, "{label}")?;
    for (at, line) in text.lines().enumerate() {
        if at > 0 {
            write!(f, "\n{:indent$}", "")?;
        }
        let mut column = indent;
        for word in line.split(' ') {
            let width = word.chars().count();
            if column > indent && column + 1 + width > MAX_WIDTH {
                write!(f, "\n{:indent$}", "")?;
                column = indent;
            } else if column > indent {
                write!(f, " ")?;
                column += 1;
            }
            write!(f, "{word}")?;
            column += width;
        }
    }
    writeln!(f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_folds_under_its_label_before_the_last_column() {
        let mut text = String::new();
        folded(&mut text, "  what: ", "word ".repeat(40).trim_end()).expect("a string takes all");
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("  what: word") && lines[1].starts_with("        word"), "{text}");
        assert!(lines.iter().all(|line| line.len() <= MAX_WIDTH) && lines[0].len() > 95, "{text}");
        assert_eq!(text.matches("word").count(), 40);
        let mut text = String::new();
        folded(&mut text, "  what: ", "one\ntwo").expect("a string takes all");
        assert_eq!(text, "  what: one\n        two\n");
    }

    #[test]
    fn one_is_singular() {
        assert_eq!([count(0, "case"), count(1, "case"), count(2, "case")], ["0 cases", "1 case", "2 cases"]);
    }
}
