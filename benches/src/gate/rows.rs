//! What the gate demands: the tables of `benches/gates.toml`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use qk256_verify::{Case, Operation};
use serde::Deserialize;
use toml::Spanned;

/// The file that holds unless another is named.
const OWN: &str = include_str!("../../gates.toml");

/// Where `OWN` lies in the repository.
pub const OWN_PATH: &str = "benches/gates.toml";

/// All that is demanded.
#[derive(Clone, Debug)]
pub struct Demands {
    /// Speed-ups.
    pub rows: Vec<Row>,
    /// Parts of the rate of reading memory.
    pub decoding: Vec<DecodingRow>,
    /// What two builds, or two libraries, are compared by.
    pub against: Against,
}

/// A speed-up that must be met.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// On what.
    pub task: Task,
    /// The candidate.
    pub kernel: String,
    /// What the labels of the kernels start with, the fastest of which is the base.
    pub base: String,
    /// The smallest speed-up.
    pub at_least: f64,
    /// Why it is demanded.
    pub why: String,
    /// The line of the file that demands it.
    pub line: usize,
}

/// A part of the rate at which the codes of a model can be read that must be met by one way to decode.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodingRow {
    /// What [`decode`](crate::decode) calls the way.
    pub way: String,
    /// Threads that share a token.
    pub threads: usize,
    /// The smallest part.
    pub at_least: f64,
    /// Why it is demanded.
    pub why: String,
    /// The line of the file that demands it.
    pub line: usize,
}

/// What two builds, or two libraries, are compared by.
#[derive(Clone, Debug, PartialEq)]
pub struct Against {
    /// The smallest ratio of the old time to the new.
    pub at_least: f64,
    /// Kernels of ours that are compared. Those of libraries all are.
    pub kernels: Vec<String>,
    /// On what.
    pub tasks: Vec<Task>,
    /// The line of the file.
    pub line: usize,
}

/// An operation on data of one size. Its text is `dequantize 1024`, `gemv 64x2560` or `gemv_fixed 64x2560-4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Task {
    /// What is computed.
    pub operation: Operation,
    rows: usize,
    cols: usize,
    /// Of `gemv_fixed`.
    digits: Option<u8>,
}

impl Task {
    /// The plainest case of the size.
    pub fn case(&self) -> Case {
        let mut case = Case::new(self.operation, self.rows, self.cols);
        case.digits = self.digits.unwrap_or(case.digits);
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
        let Self { operation, rows, cols, digits } = self;
        match digits {
            Some(digits) => write!(f, "{operation} {rows}x{cols}-{digits}"),
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
        let operation = known.ok_or_else(|| format!("`{operation}` is no operation"))?;
        let form = match operation {
            _ if operation.has_digits() => "rows and columns and digits, such as 64x2560-4",
            _ if operation.is_matrix() => "rows and columns, such as 64x2560",
            _ => "a number of elements, such as 1024",
        };
        parse_size(operation, size)
            .ok_or_else(|| format!("`{size}` is no size of {operation}, which is {form}"))
    }
}

fn parse_size(operation: Operation, size: &str) -> Option<Task> {
    let (size, digits) = match size.split_once('-') {
        Some((size, digits)) if operation.has_digits() => (size, Some(digits.parse().ok()?)),
        None if !operation.has_digits() => (size, None),
        _ => return None,
    };
    let (rows, cols) = if operation.is_matrix() { size.split_once('x')? } else { ("1", size) };
    let number = |text: &str| text.parse().ok().filter(|&number: &usize| number > 0);
    Some(Task { operation, rows: number(rows)?, cols: number(cols)?, digits })
}

impl Demands {
    /// Those of the repository.
    pub fn own() -> Self {
        Self::parse(OWN).expect("a test reads the file of the repository")
    }

    /// Reads the text of a file like `benches/gates.toml`.
    ///
    /// # Errors
    /// What is wrong with it, with the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        let line = |at: usize| 1 + text[..at].matches('\n').count();
        let mut demands =
            Self { rows: Vec::new(), decoding: Vec::new(), against: read_against(file.against, &line)? };
        for table in file.rows {
            demands.rows.extend(read_rows(table, &line)?);
        }
        for table in file.decoding {
            demands.decoding.extend(read_decoding(table, &line)?);
        }
        Ok(demands)
    }

    /// Keeps the rows in whose text, `KERNEL OPERATION SIZE over BASE`, `wanted` occurs.
    pub fn retain(&mut self, wanted: &str) {
        self.rows.retain(|row| format!("{} {} over {}", row.kernel, row.task, row.base).contains(wanted));
        self.decoding.retain(|row| format!("{} decoding over read", row.way).contains(wanted));
        self.against.tasks.retain(|task| task.to_string().contains(wanted));
    }
}

fn positive(ratio: f64) -> Result<(), String> {
    if ratio.is_finite() && ratio > 0.0 {
        Ok(())
    } else {
        Err(format!("{ratio} is no ratio: it must be above 0"))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rows: Vec<Spanned<Rows>>,
    #[serde(default)]
    decoding: Vec<Spanned<Decoding>>,
    against: Spanned<AgainstTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rows {
    operation: String,
    sizes: Vec<String>,
    kernel: String,
    over: BTreeMap<String, f64>,
    why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decoding {
    way: String,
    threads: Vec<usize>,
    of_reading: f64,
    why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AgainstTable {
    at_least: f64,
    kernels: Vec<String>,
    sizes: Vec<String>,
}

/// A row for each size and each base.
fn read_rows(table: Spanned<Rows>, line: &dyn Fn(usize) -> usize) -> Result<Vec<Row>, String> {
    let line = line(table.span().start);
    let Rows { operation, sizes, kernel, over, why } = table.into_inner();
    let mut rows = Vec::new();
    for size in &sizes {
        let task: Task =
            format!("{operation} {size}").parse().map_err(|error| format!("line {line}: {error}"))?;
        for (base, &at_least) in &over {
            positive(at_least).map_err(|error| format!("line {line}: over {base}: {error}"))?;
            let (kernel, base, why) = (kernel.clone(), base.clone(), why.clone());
            rows.push(Row { task, kernel, base, at_least, why, line });
        }
    }
    Ok(rows)
}

/// A row for each number of threads.
fn read_decoding(
    table: Spanned<Decoding>,
    line: &dyn Fn(usize) -> usize,
) -> Result<Vec<DecodingRow>, String> {
    let line = line(table.span().start);
    let Decoding { way, threads, of_reading, why } = table.into_inner();
    positive(of_reading).map_err(|error| format!("line {line}: {error}"))?;
    let row =
        |threads| DecodingRow { way: way.clone(), threads, at_least: of_reading, why: why.clone(), line };
    Ok(threads.into_iter().map(row).collect())
}

fn read_against(table: Spanned<AgainstTable>, line: &dyn Fn(usize) -> usize) -> Result<Against, String> {
    let line = line(table.span().start);
    let AgainstTable { at_least, kernels, sizes } = table.into_inner();
    let at = |error| format!("line {line}: {error}");
    positive(at_least).map_err(at)?;
    let tasks = sizes.iter().map(|size| size.parse()).collect::<Result<_, String>>().map_err(at)?;
    Ok(Against { at_least, kernels, tasks, line })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGAINST: &str = "[against]\nat_least = 0.97\nkernels = [\"avx2\"]\nsizes = [\"unpack 1024\"]\n";

    fn rows(line: &str, with: &str) -> Result<Demands, String> {
        let table = "[[rows]]\noperation = \"gemv\"\nsizes = [\"1x4\", \"2x8\"]\nkernel = \"avx2\"\n\
                     over = { scalar = 3.0, fast_scalar = 2 }\nwhy = \"so\"\n";
        assert!(table.contains(line), "{line}");
        Demands::parse(&format!("{}\n{AGAINST}", table.replace(line, with)))
    }

    #[test]
    fn a_table_makes_a_row_for_each_size_and_each_base() {
        let demands = rows("2", "2").expect("it is well-formed");
        let found: Vec<_> = demands
            .rows
            .iter()
            .map(|row| (row.task.to_string(), row.base.as_str(), row.at_least, row.line))
            .collect();
        let row = |task: &str, base, at_least| (task.to_owned(), base, at_least, 1);
        assert_eq!(
            found,
            [
                row("gemv 1x4", "fast_scalar", 2.0),
                row("gemv 1x4", "scalar", 3.0),
                row("gemv 2x8", "fast_scalar", 2.0),
                row("gemv 2x8", "scalar", 3.0),
            ]
        );
        assert_eq!(demands.against.line, 8);
    }

    #[test]
    fn what_is_wrong_with_a_table_is_said_with_its_line() {
        for (line, with, expected) in [
            ("\"gemv\"", "\"gemm\"", "line 1: `gemm` is no operation"),
            (
                "\"2x8\"",
                "\"8\"",
                "line 1: `8` is no size of gemv, which is rows and columns, such as 64x2560",
            ),
            ("\"2x8\"", "\"0x8\"", "line 1: `0x8` is no size of gemv"),
            ("\"2x8\"", "\"2x8-4\"", "line 1: `2x8-4` is no size of gemv"),
            ("3.0", "0.0", "line 1: over scalar: 0 is no ratio: it must be above 0"),
            ("3.0", "nan", "line 1: over scalar: NaN is no ratio"),
            ("3.0", "\"fast\"", "line 5"),
            ("why =", "because =", "unknown field `because`"),
        ] {
            let said = rows(line, with).expect_err(with);
            assert!(said.contains(expected), "{with}: {said}");
        }
    }

    #[test]
    fn a_task_is_its_text() {
        for text in ["unpack 7", "lut 1024", "gemv 64x2560", "gemv_fixed 64x2560-4"] {
            let task: Task = text.parse().expect(text);
            assert_eq!(task.to_string(), text);
            assert_eq!(
                task.case().rows * task.case().cols,
                if text.contains('x') { 64 * 2560 } else { task.cols }
            );
        }
        assert!("gemv_fixed 64x2560".parse::<Task>().is_err());
    }

    #[test]
    fn kernels_of_gemv_stand_beside_those_of_gemv_fixed() {
        let task: Task = "gemv_fixed 2x8-1".parse().expect("a task");
        assert_eq!(task.label("gemv_fixed", "avx2").as_deref(), Some("avx2"));
        assert_eq!(task.label("gemv", "avx2").as_deref(), Some("gemv avx2"));
        assert_eq!(task.label("unpack", "avx2"), None);
    }

    /// What the project promises to everybody: candidate `avx2`, operation and sizes, bases and the smallest speed-up.
    const PROMISED: [(&str, &[&str], &[&str], f64); 9] = [
        ("dequantize", &["1024"], &["scalar", "fast_scalar"], 3.0),
        ("dequantize", &["256", "512", "2048", "4096"], &["scalar", "fast_scalar"], 2.5),
        ("dequantize", &["16384"], &["scalar", "fast_scalar"], 2.0),
        ("gemv", &["1x1024"], &["scalar", "fast_scalar"], 3.0),
        ("gemv", &["2560x2560", "6912x2560", "2560x6912"], &["scalar", "fast_scalar"], 3.0),
        ("unpack", &SMALL, &["scalar"], 0.9),
        ("lut", &SMALL, &["scalar"], 0.9),
        ("dequantize", &SMALL, &["scalar"], 0.9),
        ("gemv", &SMALL_ROWS, &["scalar"], 0.9),
    ];

    /// Below a register, where setting anything up costs more than it gains, and around the widths of a packed dword and of an
    /// unrolled step.
    const SMALL: [&str; 9] = ["1", "4", "7", "8", "15", "16", "31", "33", "64"];
    const SMALL_ROWS: [&str; 9] = ["1x1", "1x4", "1x7", "1x8", "1x15", "1x16", "1x31", "1x33", "1x64"];

    #[test]
    fn what_is_promised_is_demanded() {
        let demands = Demands::own();
        for (operation, sizes, bases, at_least) in PROMISED {
            for (size, base) in sizes.iter().flat_map(|size| bases.iter().map(move |base| (size, base))) {
                let task = format!("{operation} {size}");
                let found = demands.rows.iter().any(|row| {
                    (row.kernel.as_str(), &row.task.to_string(), &row.base.as_str()) == ("avx2", &task, base)
                        && row.at_least >= at_least
                });
                assert!(found, "avx2 {task} over {base}: at least {at_least} is promised");
            }
        }
    }
}
