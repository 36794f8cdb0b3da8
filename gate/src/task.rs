//! What a row is about: an operation on data of one size.

use std::fmt;
use std::str::FromStr;

use qk256_verify::timing::USUAL_BATCH;
use qk256_verify::{Case, Operation};

/// An operation on data of one size. Its text is `dequantize 1024`, `gemv 64x2560`, `gemv 64x2560-scaled` or `gemv_fixed 64x2560-4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Task {
    /// What is computed.
    pub operation: Operation,
    rows: usize,
    cols: usize,
    /// Of `gemv_fixed`.
    digits: Option<u8>,
    /// Of `gemv`: whether blocks have scales.
    scaled: bool,
}

/// What the size of a product with scales ends in.
const SCALED: &str = "-scaled";

impl Task {
    /// The plainest case of the size.
    pub fn case(&self) -> Case {
        let mut case = Case::new(self.operation, self.rows, self.cols);
        case.digits = self.digits.unwrap_or(case.digits);
        case.scaled |= self.scaled;
        if self.operation.is_batched() {
            case.batch = USUAL_BATCH;
        }
        case
    }

    /// What a kernel is called beside others on this task: its name, after its operation where that is not the task's.
    /// `None` if it cannot be timed on the data.
    pub fn label(&self, operation: &str, name: &str) -> Option<String> {
        if operation == self.operation.name() {
            Some(name.to_owned())
        } else if self.operation == Operation::GemvFixed && operation == Operation::Gemv.name() {
            Some(format!("{operation} {name}"))
        } else {
            None
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, rows, cols, digits, scaled } = self;
        match digits {
            Some(digits) => write!(f, "{operation} {rows}x{cols}-{digits}"),
            None if *scaled => write!(f, "{operation} {rows}x{cols}{SCALED}"),
            None if operation.is_matrix() => write!(f, "{operation} {rows}x{cols}"),
            None => write!(f, "{operation} {cols}"),
        }
    }
}

impl FromStr for Task {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (operation, size) = text.split_once(' ').unwrap_or((text, ""));
        let known = Operation::ALL.into_iter().find(|known| known.name() == operation);
        let operation = known.ok_or_else(|| format!("`{operation}` is not an operation"))?;
        let form = match operation {
            _ if operation.has_digits() => "rows and columns and digits, such as 64x2560-4",
            _ if operation.is_matrix() => "rows and columns, such as 64x2560",
            _ => "a number of elements, such as 1024",
        };
        parse_size(operation, size)
            .ok_or_else(|| format!("`{size}` is not a size of {operation}: give {form}"))
    }
}

fn parse_size(operation: Operation, size: &str) -> Option<Task> {
    let plain = size.strip_suffix(SCALED).filter(|_| operation == Operation::Gemv);
    let (scaled, size) = (plain.is_some(), plain.unwrap_or(size));
    let (size, digits) = match size.split_once('-') {
        Some((size, digits)) if operation.has_digits() => (size, Some(digits.parse().ok()?)),
        None if !operation.has_digits() => (size, None),
        _ => return None,
    };
    let (rows, cols) = if operation.is_matrix() { size.split_once('x')? } else { ("1", size) };
    let number = |text: &str| text.parse().ok().filter(|&number: &usize| number > 0);
    Some(Task { operation, rows: number(rows)?, cols: number(cols)?, digits, scaled })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_its_text() {
        for text in ["unpack 7", "lut 1024", "gemv 64x2560", "gemv 64x2560-scaled", "gemv_fixed 64x2560-4"] {
            let task: Task = text.parse().expect(text);
            assert_eq!(task.to_string(), text);
            assert_eq!(
                task.case().rows * task.case().cols,
                if text.contains('x') { 64 * 2560 } else { task.cols }
            );
        }
        for text in ["gemv_fixed 64x2560", "gemv_fixed 64x2560-scaled", "unpack 7-scaled"] {
            assert!(text.parse::<Task>().is_err(), "{text}");
        }
    }

    #[test]
    fn kernels_of_gemv_stand_beside_those_of_gemv_fixed() {
        let task: Task = "gemv_fixed 2x8-1".parse().expect("a task");
        assert_eq!(task.label("gemv_fixed", "avx2").as_deref(), Some("avx2"));
        assert_eq!(task.label("gemv", "avx2").as_deref(), Some("gemv avx2"));
        assert_eq!(task.label("unpack", "avx2"), None);
    }
}
