//! The tables of a file like `gate/gates.toml`, and the rows that they make.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::{Against, Bar, DecodingRow, Row, positive};
use crate::cpu::Cpu;
use crate::limit::is_limit;
use crate::task::Task;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) rows: Vec<Spanned<Rows>>,
    #[serde(default)]
    pub(super) reached: Vec<Spanned<Reached>>,
    #[serde(default)]
    pub(super) decoding: Vec<Spanned<Decoding>>,
    #[serde(default)]
    pub(super) cpus: Vec<Spanned<CpuTable>>,
    pub(super) against: Spanned<AgainstTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rows {
    operation: String,
    sizes: Vec<String>,
    kernel: String,
    over: BTreeMap<String, f64>,
    why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reached {
    operation: String,
    sizes: Vec<String>,
    kernel: String,
    over: Vec<String>,
    why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Decoding {
    way: String,
    threads: Vec<usize>,
    why: String,
}

/// The bars of a CPU: candidate and task, then base.
pub(super) type Bars = BTreeMap<String, BTreeMap<String, f64>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CpuTable {
    vendor: String,
    family: u32,
    model: u32,
    pub(super) bars: Bars,
}

impl CpuTable {
    pub(super) fn cpu(&self) -> Cpu {
        Cpu { vendor: self.vendor.clone(), family: self.family, model: self.model }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AgainstTable {
    at_least: f64,
    kernels: Vec<String>,
    sizes: Vec<String>,
}

/// A row for each size and each base.
pub(super) fn promised(table: Spanned<Rows>, line: &dyn Fn(usize) -> usize) -> Result<Vec<Row>, String> {
    let line = line(table.span().start);
    let Rows { operation, sizes, kernel, over, why } = table.into_inner();
    let mut rows = Vec::new();
    for task in tasks(&operation, &sizes, line)? {
        for (base, &at_least) in &over {
            positive(at_least).map_err(|error| format!("line {line}: over {base}: {error}"))?;
            if base.split(' ').any(is_limit) {
                return Err(format!(
                    "line {line}: over {base}: a limit of the machine differs from CPU to CPU: name it in [[reached]], and the bar in \
                     [[cpus]] (`qk256 gate --calibrate` prints that table)"
                ));
            }
            let (kernel, base, why) = (kernel.clone(), base.clone(), why.clone());
            rows.push(Row { task, kernel, base, bar: Bar::Promised(at_least), why, line });
        }
    }
    Ok(rows)
}

/// The same of bars that each CPU has its own of.
pub(super) fn reached(table: Spanned<Reached>, line: &dyn Fn(usize) -> usize) -> Result<Vec<Row>, String> {
    let line = line(table.span().start);
    let Reached { operation, sizes, kernel, over, why } = table.into_inner();
    let row = |(task, base): (Task, &String)| {
        let (kernel, base, why) = (kernel.clone(), base.clone(), why.clone());
        Row { task, kernel, base, bar: Bar::Reached(None), why, line }
    };
    let tasks = tasks(&operation, &sizes, line)?;
    Ok(tasks.into_iter().flat_map(|task| over.iter().map(move |base| (task, base))).map(row).collect())
}

fn tasks(operation: &str, sizes: &[String], line: usize) -> Result<Vec<Task>, String> {
    let task = |size| format!("{operation} {size}").parse().map_err(|error| format!("line {line}: {error}"));
    sizes.iter().map(task).collect()
}

/// A row for each number of threads.
pub(super) fn decoding(table: Spanned<Decoding>, line: &dyn Fn(usize) -> usize) -> Vec<DecodingRow> {
    let line = line(table.span().start);
    let Decoding { way, threads, why } = table.into_inner();
    let bar = Bar::Reached(None);
    let row = |threads| DecodingRow { way: way.clone(), threads, bar, why: why.clone(), line };
    threads.into_iter().map(row).collect()
}

pub(super) fn against(
    table: Spanned<AgainstTable>,
    line: &dyn Fn(usize) -> usize,
) -> Result<Against, String> {
    let line = line(table.span().start);
    let AgainstTable { at_least, kernels, sizes } = table.into_inner();
    let at = |error| format!("line {line}: {error}");
    positive(at_least).map_err(at)?;
    let tasks = sizes.iter().map(|size| size.parse()).collect::<Result<_, String>>().map_err(at)?;
    Ok(Against { at_least, kernels, tasks, line })
}
