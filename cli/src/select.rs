//! Which kernels a command is about.

use anyhow::{Result, bail};
use clap::Args;
use qk256_verify::kernel::{Kernel, missing_features};
use qk256_verify::{Operation, registry};

/// Options that choose kernels.
#[derive(Args, Debug, Default)]
pub(crate) struct Selection {
    /// Only this operation: unpack, lut, dequantize, gemv, gemv_fixed or quantize. May be given several times
    #[arg(long = "op", value_name = "OPERATION")]
    operations: Vec<Operation>,

    /// Only kernels of this name, as `qk256 list` shows them. May be given several times
    #[arg(long = "kernel", value_name = "NAME")]
    kernels: Vec<String>,
}

impl Selection {
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
        for name in &self.kernels {
            if all.iter().all(|kernel| kernel.name() != name) {
                bail!("there is no kernel `{name}`; there are {}", names(all).join(", "));
            }
        }
        let wanted = self.filter();
        let chosen: Vec<&dyn Kernel> = all.iter().map(Box::as_ref).filter(|kernel| wanted(*kernel)).collect();
        if chosen.is_empty() {
            bail!("no kernel has that name and that operation; `qk256 list` shows those that there are");
        }
        Ok(chosen)
    }
}

fn names(all: &[Box<dyn Kernel>]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for kernel in all {
        if !names.contains(&kernel.name()) {
            names.push(kernel.name());
        }
    }
    names
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
        let selection =
            Selection { operations: vec![operation], kernels: name.map(str::to_owned).into_iter().collect() };
        let all = registry::kernels();
        selection.of(&all)?;
        let (runnable, skipped): (Vec<_>, Vec<_>) = all
            .into_iter()
            .filter(|kernel| kernel.operation() == operation && name.is_none_or(|name| name == kernel.name()))
            .partition(|kernel| missing_features(kernel.required_features()).is_empty());
        if runnable.is_empty() {
            bail!("this CPU can run no kernel of this case; `qk256 list` shows what each needs");
        }
        Ok(Self { runnable, skipped })
    }
}
