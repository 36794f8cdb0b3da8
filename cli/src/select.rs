//! Which kernels a command is about.

use anyhow::{Context, Result, bail};
use clap::Args;
use qk256_verify::kernel::{Kernel, missing_features};
use qk256_verify::{Examiner, Operation};

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
    /// The kernels of `all` that are meant.
    ///
    /// # Errors
    /// If a name is not that of a kernel, or nothing is left.
    pub(crate) fn among<'a>(&self, all: &[&'a dyn Kernel]) -> Result<Vec<&'a dyn Kernel>> {
        let chosen = self.chosen(all);
        let is_of_library = all.iter().any(|kernel| kernel.library().is_some());
        if is_of_library { chosen.context("no kernel of --lib is chosen") } else { chosen }
    }

    fn chosen<'a>(&self, all: &[&'a dyn Kernel]) -> Result<Vec<&'a dyn Kernel>> {
        let is_there = |name: &String| all.iter().any(|kernel| kernel.name() == name);
        if let Some(name) = self.kernels.iter().find(|name| !is_there(name)) {
            let names = distinct(all.iter().map(|kernel| kernel.name()));
            bail!("there is no kernel `{name}`; the kernels are {}", names.join(", "));
        }
        let is_meant = |kernel: &&dyn Kernel| {
            (self.operations.is_empty() || self.operations.contains(&kernel.operation()))
                && (self.kernels.is_empty() || self.kernels.iter().any(|name| name == kernel.name()))
        };
        let chosen: Vec<&dyn Kernel> = all.iter().copied().filter(is_meant).collect();
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

/// The kernels of an operation, or the one of them that is named; those that this CPU cannot run come first.
///
/// # Errors
/// If there are none, or this CPU can run none of them.
pub(crate) fn for_operation<'a>(
    examiner: &'a dyn Examiner,
    operation: Operation,
    name: Option<&str>,
) -> Result<Vec<&'a dyn Kernel>> {
    let kernels = name.map(str::to_owned).into_iter().collect();
    let selection = Selection { operations: vec![operation], kernels };
    let mut chosen = selection.among(&examiner.kernels())?;
    let missing = |kernel: &&'a dyn Kernel| missing_features(kernel.required_features());
    chosen.sort_by_key(|kernel| missing(kernel).is_empty());
    if chosen.iter().all(|kernel| !missing(kernel).is_empty()) {
        let missing = distinct(chosen.iter().flat_map(missing)).join(", ");
        bail!(
            "this CPU can run no kernel of this case: it lacks {missing}; `qk256 list` shows what each kernel needs"
        );
    }
    Ok(chosen)
}

/// The kernel of an operation: the one of this name, or the only one that the libraries export.
///
/// # Errors
/// As [`for_operation`], or if no name is given and there are several.
pub(crate) fn only<'a>(
    examiner: &'a dyn Examiner,
    operation: Operation,
    name: Option<&str>,
) -> Result<&'a dyn Kernel> {
    let mut kernels = for_operation(examiner, operation, name)?;
    kernels.retain(|kernel| examiner.has(*kernel));
    match kernels[..] {
        [] => bail!("no library exports qk256_{operation}"),
        [kernel] => Ok(kernel),
        [kernel, ..] if name.is_some() => Ok(kernel),
        _ => {
            let names: Vec<&str> = kernels.iter().map(|kernel| kernel.name()).collect();
            bail!(
                "the libraries have several kernels of {operation}: give the name of one: {}",
                names.join(", ")
            )
        }
    }
}
