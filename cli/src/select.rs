//! Which kernels a command is about.

use anyhow::{Context, Result, bail};
use clap::Args;
use qk256_verify::kernel::{Kernel, missing_features};
use qk256_verify::{Case, Examiner, Operation};

use crate::format_option::Formats;
use crate::usage::KERNELS;

/// Options that choose kernels.
#[derive(Args, Debug, Default)]
pub(crate) struct Selection {
    /// Only kernels of this operation: unpack, lut, dequantize, gemv, gemv_fixed, quantize, gemm or dot. Can be repeated
    #[arg(long = "op", value_name = "OPERATION", help_heading = KERNELS)]
    operations: Vec<Operation>,

    /// Only kernels with this name, such as avx2 (`qk256 list` shows the names). Can be repeated
    #[arg(long = "kernel", value_name = "NAME", help_heading = KERNELS)]
    kernels: Vec<String>,
}

impl Selection {
    /// The kernels of `all` that are meant, of these formats.
    ///
    /// # Errors
    /// If a name is not that of a kernel, or nothing is left.
    pub(crate) fn among<'a>(&self, all: &[&'a dyn Kernel], formats: &Formats) -> Result<Vec<&'a dyn Kernel>> {
        let of_formats: Vec<&dyn Kernel> =
            all.iter().copied().filter(|&kernel| formats.have(kernel)).collect();
        let chosen = match of_formats[..] {
            [] => Err(no_format(all, formats)),
            _ => self.chosen(&of_formats),
        };
        let is_of_library = all.iter().any(|kernel| kernel.library().is_some());
        if is_of_library { chosen.context("no kernel of the libraries is chosen") } else { chosen }
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

/// Each text once, in the order of first appearance.
fn distinct_texts(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = Vec::new();
    texts.for_each(|text| {
        if !seen.contains(&text) {
            seen.push(text);
        }
    });
    seen
}

/// The same of words that live on.
fn distinct<'a>(words: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    words.for_each(|word| {
        if !seen.contains(&word) {
            seen.push(word);
        }
    });
    seen
}

/// That no kernel has one of these formats.
fn no_format(all: &[&dyn Kernel], formats: &Formats) -> anyhow::Error {
    let has = distinct(all.iter().map(|kernel| kernel.domain().format.name)).join(", ");
    anyhow::anyhow!("there is no kernel of {}; there are kernels of {has}", formats.names().join(" or "))
}

/// The kernels that take a case, or the one of them that is named; those that this CPU cannot run come first.
///
/// # Errors
/// If there are none, or this CPU can run none of them.
pub(crate) fn for_case<'a>(
    examiner: &'a dyn Examiner,
    formats: &Formats,
    case: &Case,
    name: Option<&str>,
) -> Result<Vec<&'a dyn Kernel>> {
    let chosen = of_operation(examiner, formats, case.operation, name)?;
    let (taking, others): (Vec<&dyn Kernel>, Vec<&dyn Kernel>) =
        chosen.into_iter().partition(|kernel| kernel.domain() == case.domain());
    if taking.is_empty() {
        bail!("{}", why_none_takes(case, &others));
    }
    runnable(taking)
}

/// Why none of the kernels of its operation takes a case.
fn why_none_takes(case: &Case, kernels: &[&dyn Kernel]) -> String {
    let is_like = |kernel: &&&dyn Kernel| kernel.domain().requiring(case.requirements) == case.domain();
    let like: Vec<String> = kernels
        .iter()
        .filter(is_like)
        .map(|kernel| match kernel.domain().requirements {
            none if none.is_none() => format!("`{}` has no `requires=`", kernel.name()),
            requirements => format!("`{}` has `requires={requirements}`", kernel.name()),
        })
        .collect();
    if !like.is_empty() {
        return format!("no kernel takes a case with these requirements: {}", like.join(", "));
    }
    let has = distinct_texts(kernels.iter().map(|kernel| kernel.domain().to_string()));
    format!("there is no kernel of {}; there are kernels of {}", case.domain(), has.join(", "))
}

/// Kernels of an operation, or the one of them that is named; those that this CPU cannot run come first.
fn of_operation<'a>(
    examiner: &'a dyn Examiner,
    formats: &Formats,
    operation: Operation,
    name: Option<&str>,
) -> Result<Vec<&'a dyn Kernel>> {
    let kernels = name.map(str::to_owned).into_iter().collect();
    Selection { operations: vec![operation], kernels }.among(&examiner.kernels(), formats)
}

/// These kernels; those that this CPU cannot run come first.
fn runnable(mut chosen: Vec<&dyn Kernel>) -> Result<Vec<&dyn Kernel>> {
    chosen.sort_by_key(|kernel| missing(*kernel).is_empty());
    if chosen.iter().all(|kernel| !missing(*kernel).is_empty()) {
        let missing = distinct(chosen.iter().flat_map(|kernel| missing(*kernel))).join(", ");
        bail!(
            "this CPU can run no kernel of this case: it lacks {missing}; `qk256 list` shows what each kernel needs"
        );
    }
    Ok(chosen)
}

fn missing(kernel: &dyn Kernel) -> Vec<&str> {
    missing_features(kernel.required_features())
}

/// The kernel of an operation that this CPU can run: the one of this name, or the only one of the libraries.
///
/// # Errors
/// If there is none, or no name is given and there are several.
pub(crate) fn only<'a>(
    examiner: &'a dyn Examiner,
    formats: &Formats,
    operation: Operation,
    name: Option<&str>,
) -> Result<&'a dyn Kernel> {
    let mut kernels = runnable(of_operation(examiner, formats, operation, name)?)?;
    kernels.retain(|kernel| missing(*kernel).is_empty());
    match kernels[..] {
        [kernel] => Ok(kernel),
        [kernel, ..] if name.is_some() && kernels.iter().all(|other| other.domain() == kernel.domain()) => {
            Ok(kernel)
        }
        _ if name.is_some() => {
            let domains = distinct_texts(kernels.iter().map(|kernel| kernel.domain().to_string()));
            bail!(
                "there are several such kernels: give the format of one by --format: {}",
                domains.join(", ")
            )
        }
        _ => {
            let names = distinct(kernels.iter().map(|kernel| kernel.name()));
            bail!(
                "the libraries have several kernels of {operation}: give the name of one: {}",
                names.join(", ")
            )
        }
    }
}
