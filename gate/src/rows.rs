//! What the gate demands: the tables of `gate/gates.toml`.

mod file;

use std::collections::BTreeSet;

use super::cpu::Cpu;
pub use super::task::Task;
use file::{Bars, File};

/// The file that holds unless another is named.
const OWN: &str = include_str!("../gates.toml");

/// Where `OWN` lies in the repository.
pub const OWN_PATH: &str = "gate/gates.toml";

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

/// A bar: the smallest ratio that is well.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bar {
    /// Holds on every CPU.
    Promised(f64),
    /// Was reached on the CPU that the demands are read for; `None` if the file has no figure of that CPU.
    Reached(Option<f64>),
}

impl Bar {
    /// The ratio; `None` if there is none to judge by on this CPU.
    pub fn at_least(self) -> Option<f64> {
        match self {
            Self::Promised(at_least) => Some(at_least),
            Self::Reached(at_least) => at_least,
        }
    }
}

/// A speed-up that is measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// On what.
    pub task: Task,
    /// The candidate.
    pub kernel: String,
    /// What the labels of the kernels start with, the fastest of which is the base.
    pub base: String,
    /// The smallest speed-up.
    pub bar: Bar,
    /// Why it is demanded.
    pub why: String,
    /// The line of the file that demands it.
    pub line: usize,
}

impl Row {
    /// `avx2 dequantize 1024`, which the bars of a CPU are found by.
    pub(super) fn candidate(&self) -> String {
        format!("{} {}", self.kernel, self.task)
    }
}

/// A part of the rate at which the codes of a model can be read that is measured of one way to decode.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodingRow {
    /// What [`decode`](crate::decode) calls the way.
    pub way: String,
    /// Threads that share a token.
    pub threads: usize,
    /// The smallest part.
    pub bar: Bar,
    /// Why it is demanded.
    pub why: String,
    /// The line of the file that demands it.
    pub line: usize,
}

impl DecodingRow {
    /// What a part is taken of.
    pub(super) const BASE: &str = "read";

    /// On what, in tables.
    pub(super) fn on(&self) -> String {
        format!("decoding, threads: {}", self.threads)
    }

    /// What the bars of a CPU are found by.
    pub(super) fn candidate(&self) -> String {
        format!("{} {}", self.way, self.on())
    }
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

impl Demands {
    /// Those of the repository on `cpu`.
    pub fn own(cpu: Option<&Cpu>) -> Self {
        Self::parse(OWN, cpu).expect("a test reads the file of the repository")
    }

    /// Reads the text of a file like `gate/gates.toml`, with the bars that were reached on `cpu`.
    ///
    /// # Errors
    /// What is wrong with it, with the line.
    pub fn parse(text: &str, cpu: Option<&Cpu>) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        let line = |at: usize| 1 + text[..at].matches('\n').count();
        let mut demands =
            Self { rows: Vec::new(), decoding: Vec::new(), against: file::against(file.against, &line)? };
        for table in file.rows {
            demands.rows.extend(file::promised(table, &line)?);
        }
        for table in file.reached {
            demands.rows.extend(file::reached(table, &line)?);
        }
        for table in file.decoding {
            demands.decoding.extend(file::decoding(table, &line));
        }
        let mut seen = Vec::new();
        for table in file.cpus {
            let line = line(table.span().start);
            let table = table.into_inner();
            let of = table.cpu();
            demands.check(&table.bars).map_err(|why| format!("line {line}: {of}: {why}"))?;
            if seen.contains(&of) {
                return Err(format!("line {line}: {of} has two tables: keep one"));
            }
            if cpu == Some(&of) {
                demands.set(&table.bars);
            }
            seen.push(of);
        }
        Ok(demands)
    }

    /// Whether each bar is a ratio of a row.
    fn check(&self, bars: &Bars) -> Result<(), String> {
        let is_reached = |bar: &Bar| matches!(bar, Bar::Reached(_));
        let rows = self.rows.iter().filter(|row| is_reached(&row.bar));
        let decoding = self.decoding.iter().map(|row| (row.candidate(), DecodingRow::BASE.to_owned()));
        let known: BTreeSet<_> =
            rows.map(|row| (row.candidate(), row.base.clone())).chain(decoding).collect();
        for (candidate, bases) in bars {
            for (base, &at_least) in bases {
                positive(at_least).map_err(|error| format!("{candidate} over {base}: {error}"))?;
                if !known.contains(&(candidate.clone(), base.clone())) {
                    return Err(format!(
                        "{candidate} over {base} is in no [[reached]] or [[decoding]] table"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Takes the bars of a CPU.
    fn set(&mut self, bars: &Bars) {
        let find = |candidate: &str, base: &str| bars.get(candidate)?.get(base).copied();
        for row in &mut self.rows {
            if let Bar::Reached(_) = row.bar {
                row.bar = Bar::Reached(find(&row.candidate(), &row.base));
            }
        }
        for row in &mut self.decoding {
            row.bar = Bar::Reached(find(&row.candidate(), DecodingRow::BASE));
        }
    }

    /// Keeps the rows in whose text, `KERNEL OPERATION SIZE over BASE`, `wanted` occurs.
    pub fn retain(&mut self, wanted: &str) {
        self.rows.retain(|row| format!("{} over {}", row.candidate(), row.base).contains(wanted));
        let is_wanted =
            |row: &DecodingRow| format!("{} over {}", row.candidate(), DecodingRow::BASE).contains(wanted);
        self.decoding.retain(is_wanted);
        self.against.tasks.retain(|task| task.to_string().contains(wanted));
    }

    /// Keeps the rows whose bars are reached ones, and forgets these.
    pub fn retain_reached(&mut self) {
        self.rows.retain(|row| matches!(row.bar, Bar::Reached(_)));
        self.rows.iter_mut().for_each(|row| row.bar = Bar::Reached(None));
        self.decoding.iter_mut().for_each(|row| row.bar = Bar::Reached(None));
    }
}

fn positive(ratio: f64) -> Result<(), String> {
    if ratio.is_finite() && ratio > 0.0 {
        Ok(())
    } else {
        Err(format!("{ratio} is not a ratio: it must be above 0"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGAINST: &str = "[against]\nat_least = 0.97\nkernels = [\"avx2\"]\nsizes = [\"unpack 1024\"]\n";

    fn rows(line: &str, with: &str) -> Result<Demands, String> {
        let table = "[[rows]]\noperation = \"gemv\"\nsizes = [\"1x4\", \"2x8\"]\nkernel = \"avx2\"\n\
                     over = { scalar = 3.0, fast_scalar = 2 }\nwhy = \"so\"\n";
        assert!(table.contains(line), "{line}");
        Demands::parse(&format!("{}\n{AGAINST}", table.replace(line, with)), None)
    }

    fn cpu(model: u32) -> Cpu {
        Cpu { vendor: "GenuineAvx".to_owned(), family: 6, model }
    }

    /// A promised row, two rows that each CPU has its own bars of, and those of model 1. `line` is replaced.
    fn reached(line: &str, with: &str, cpu: &Cpu) -> Result<Demands, String> {
        let table = "[[rows]]\noperation = \"gemv\"\nsizes = [\"1x4\"]\nkernel = \"avx2\"\nover = { scalar = 3.0 }\nwhy = \"so\"\n\
                     [[reached]]\noperation = \"gemv\"\nsizes = [\"1x4\"]\nkernel = \"avx2\"\nover = [\"fma_peak\"]\nwhy = \"so\"\n\
                     [[decoding]]\nway = \"avx2 gemv\"\nthreads = [1]\nwhy = \"so\"\n\
                     [[cpus]]\nvendor = \"GenuineAvx\"\nfamily = 6\nmodel = 1\n[cpus.bars]\n\
                     \"avx2 gemv 1x4\" = { fma_peak = 0.4 }\n\"avx2 gemv decoding, threads: 1\" = { read = 0.2 }\n";
        assert!(table.contains(line), "{line}");
        Demands::parse(&format!("{}\n{AGAINST}", table.replace(line, with)), Some(cpu))
    }

    fn bars(demands: &Demands) -> Vec<Option<f64>> {
        let rows = demands.rows.iter().map(|row| row.bar);
        rows.chain(demands.decoding.iter().map(|row| row.bar)).map(Bar::at_least).collect()
    }

    #[test]
    fn a_bar_against_a_limit_holds_on_the_cpu_it_was_measured_on_and_a_promise_on_every_cpu() {
        let of = |cpu| bars(&reached("0.4", "0.4", &cpu).expect("it is well-formed"));
        assert_eq!(of(cpu(1)), [Some(3.0), Some(0.4), Some(0.2)]);
        assert_eq!(of(cpu(2)), [Some(3.0), None, None]);
        assert_eq!(of(Cpu { family: 7, ..cpu(1) }), [Some(3.0), None, None]);
        assert_eq!(of(Cpu { vendor: "Another".to_owned(), ..cpu(1) }), [Some(3.0), None, None]);
    }

    #[test]
    fn what_is_wrong_with_the_bars_of_a_cpu_is_said_with_its_line() {
        let again = "[[cpus]]\nvendor = \"GenuineAvx\"\nfamily = 6\nmodel = 1\nbars = {}\n[[cpus]]\nvendor";
        for (line, with, expected) in [
            (
                "avx2 gemv 1x4",
                "avx2 gemv 1x8",
                "line 17: GenuineAvx family 6 model 1: avx2 gemv 1x8 over fma_peak is in no",
            ),
            ("fma_peak = 0.4", "scalar = 0.4", "avx2 gemv 1x4 over scalar is in no"),
            ("0.4", "-0.4", "avx2 gemv 1x4 over fma_peak: -0.4 is not a ratio"),
            (
                "scalar = 3.0",
                "fma_peak = 3.0",
                "line 1: over fma_peak: a limit of the machine differs from CPU to CPU",
            ),
            ("[[cpus]]\nvendor", again, "line 22: GenuineAvx family 6 model 1 has two tables"),
        ] {
            let printed = reached(line, with, &cpu(2)).expect_err(with);
            assert!(printed.contains(expected), "{with}: {printed}");
        }
    }

    #[test]
    fn a_table_makes_a_row_for_each_size_and_each_base() {
        let demands = rows("2", "2").expect("it is well-formed");
        let found: Vec<_> = demands
            .rows
            .iter()
            .map(|row| (row.task.to_string(), row.base.as_str(), row.bar, row.line))
            .collect();
        let row = |task: &str, base, at_least| (task.to_owned(), base, Bar::Promised(at_least), 1);
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
            ("\"gemv\"", "\"gemx\"", "line 1: `gemx` is not an operation"),
            ("\"2x8\"", "\"8\"", "line 1: `8` is not a size of gemv: give rows and columns, such as 64x2560"),
            ("\"2x8\"", "\"0x8\"", "line 1: `0x8` is not a size of gemv"),
            ("\"2x8\"", "\"2x8-4\"", "line 1: `2x8-4` is not a size of gemv"),
            ("3.0", "0.0", "line 1: over scalar: 0 is not a ratio: it must be above 0"),
            ("3.0", "nan", "line 1: over scalar: NaN is not a ratio"),
            ("3.0", "\"fast\"", "line 5"),
            ("why =", "because =", "unknown field `because`"),
        ] {
            let printed = rows(line, with).expect_err(with);
            assert!(printed.contains(expected), "{with}: {printed}");
        }
    }

    /// What the project promises to everybody: candidate `avx2`, operation and sizes, bases and the smallest speed-up.
    const PROMISED: [(&str, &[&str], &[&str], f64); 10] = [
        ("dequantize", &["1024"], &["scalar", "fast_scalar"], 3.0),
        ("dequantize", &["256", "512", "2048", "4096"], &["scalar", "fast_scalar"], 2.5),
        ("dequantize", &["16384"], &["scalar", "fast_scalar"], 2.0),
        ("gemv", &["1x1024"], &["scalar", "fast_scalar"], 3.0),
        ("gemv", &["2560x2560", "6912x2560", "2560x6912"], &["scalar", "fast_scalar"], 3.0),
        ("gemm", &["2560x2560"], &["scalar", "fast_scalar"], 3.0),
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
    fn what_is_promised_is_demanded_on_every_cpu() {
        let demands = Demands::own(Some(&cpu(1)));
        for (operation, sizes, bases, at_least) in PROMISED {
            for (size, base) in sizes.iter().flat_map(|size| bases.iter().map(move |base| (size, base))) {
                let task = format!("{operation} {size}");
                let found = demands.rows.iter().any(|row| {
                    (row.kernel.as_str(), &row.task.to_string(), &row.base.as_str()) == ("avx2", &task, base)
                        && matches!(row.bar, Bar::Promised(bar) if bar >= at_least)
                });
                assert!(found, "avx2 {task} over {base}: at least {at_least} is promised");
            }
        }
    }

    #[test]
    fn the_file_promises_nothing_but_speed_over_scalar_code() {
        let demands = Demands::own(None);
        let promised = demands.rows.iter().filter(|row| matches!(row.bar, Bar::Promised(_)));
        for row in promised {
            assert!(
                ["scalar", "fast_scalar"].contains(&row.base.as_str()),
                "{} over {}",
                row.candidate(),
                row.base
            );
        }
    }
}
