//! Which kernels a command is about.

use anyhow::{Result, bail};
use clap::Args;
use qk256_verify::kernel::{Kernel, missing_features};
use qk256_verify::{Operation, registry};

use crate::usage::KERNELS;

/// Options that choose kernels.
#[derive(Args, Debug, Default)]
pub(crate) struct Selection {
    /// Only kernels of this operation: unpack, lut, dequantize, gemv, gemv_fixed or quantize. Can be repeated
    #[arg(long = "op", value_name = "OPERATION", help_heading = KERNELS)]
    operations: Vec<Operation>,

    /// Only kernels with this name, such as avx2 (`qk256 list` shows the names). Can be repeated
    #[arg(long = "kernel", value_name = "NAME", help_heading = KERNELS)]
    kernels: Vec<String>,
}

impl Selection {
    /// The kernels of `operation`, or the one of them named `name`.
    pub(crate) fn new(operation: Operation, name: Option<&str>) -> Self {
        Self { operations: vec![operation], kernels: name.map(str::to_owned).into_iter().collect() }
    }

    /// Whether a kernel is meant.
    pub(crate) fn filter(&self) -> impl Fn(&dyn Kernel) -> bool {
        |kernel| {
            (self.operations.is_empty() || self.operations.contains(&kernel.operation()))
                && (self.kernels.is_empty() || self.kernels.iter().any(|name| name == kernel.name()))
        }
    }

    /// The kernels of `all` that are meant.
    ///
    /// # Errors
    /// If a name is not that of a kernel, or nothing is left.
    pub(crate) fn of<'a>(&self, all: &'a [Box<dyn Kernel>]) -> Result<Vec<&'a dyn Kernel>> {
        self.among(&all.iter().map(Box::as_ref).collect::<Vec<_>>())
    }

    /// The same of kernels wherever they come from.
    ///
    /// # Errors
    /// If a name is not that of a kernel, or nothing is left.
    pub(crate) fn among<'a>(&self, all: &[&'a dyn Kernel]) -> Result<Vec<&'a dyn Kernel>> {
        let is_there = |name: &String| all.iter().any(|kernel| kernel.name() == name);
        if let Some(name) = self.kernels.iter().find(|name| !is_there(name)) {
            let names = distinct(all.iter().map(|kernel| kernel.name()));
            bail!("there is no kernel `{name}`; the kernels are {}", names.join(", "));
        }
        let wanted = self.filter();
        let chosen: Vec<&dyn Kernel> = all.iter().copied().filter(|kernel| wanted(*kernel)).collect();
        if chosen.is_empty() {
            let operations = distinct(self.operations.iter().map(|operation| operation.name())).join(", ");
            match &self.kernels[..] {
                [] => bail!("there is no kernel of {operations}"),
                names => {
                    let own = all.iter().filter(|kernel| names.iter().any(|name| name == kernel.name()));
                    let has = distinct(own.map(|kernel| kernel.operation().name()));
                    bail!("`{}` has no {operations}; it has {}", names.join("`, `"), has.join(", "))
                }
            }
        }
        Ok(chosen)
    }
}

/// Each word once, in the order of first appearance.
fn distinct<'a>(words: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    words.for_each(|word| {
        if !seen.contains(&word) {
            seen.push(word);
        }
    });
    seen
}

/// The kernels that a case is for.
pub(crate) struct CaseKernels {
    /// Those that this CPU can run.
    pub(crate) runnable: Vec<Box<dyn Kernel>>,
    /// Those that it cannot.
    pub(crate) skipped: Vec<Box<dyn Kernel>>,
}

impl CaseKernels {
    /// The kernels of `operation`, or the one of them named `name`.
    ///
    /// # Errors
    /// If there are none, or this CPU can run none of them.
    pub(crate) fn of(operation: Operation, name: Option<&str>) -> Result<Self> {
        let all = registry::kernels();
        Selection::new(operation, name).of(&all)?;
        let (runnable, skipped): (Vec<_>, Vec<_>) = all
            .into_iter()
            .filter(|kernel| kernel.operation() == operation && name.is_none_or(|name| name == kernel.name()))
            .partition(|kernel| missing_features(kernel.required_features()).is_empty());
        if runnable.is_empty() {
            let missing = skipped.iter().flat_map(|kernel| missing_features(kernel.required_features()));
            let missing = distinct(missing).join(", ");
            bail!(
                "this CPU can run no kernel of this case: it lacks {missing}; `qk256 list` shows what each kernel needs"
            );
        }
        Ok(Self { runnable, skipped })
    }
}
