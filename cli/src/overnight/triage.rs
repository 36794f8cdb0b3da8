//! From a bad input to a finding: replayed in processes of their own, shrunk, classified, written down.

use std::fs;

use anyhow::{Context, Result};
use qk256_verify::child::{Child, Errors, Patience};
use qk256_verify::fuzz::Domains;
use serde::Deserialize;

use super::directory::{Artifact, CASE, Directory, INPUT};
use super::engine::itself;
use super::kernels::Kernels;
use super::one::TRIED;
use crate::output::OutputFile;

/// Processes in which an input is tried again.
const REPLAYS: usize = 5;

/// What libFuzzer calls an input that took more than ten seconds.
const SLOW: &str = "slow-unit";

/// What the name of a finding ends in that its case alone does not show; there is one for a target.
pub(super) const NOT_AGAIN: &str = "not-again";

/// Makes findings of an input, and puts it aside: the names of those that are new.
pub(super) fn triage(
    directory: &Directory,
    artifact: &Artifact,
    kernels: &Kernels,
    domains: &Domains,
) -> Result<Vec<String>> {
    let first = look(artifact, kernels)?;
    let is_new = |slug: &str| {
        [CASE, INPUT].into_iter().all(|kind| !directory.finding(&format!("{slug}.{kind}")).exists())
    };
    // What a kernel does wrong in one way it does wrong in many inputs, also where it takes earlier ones.
    if reported(artifact, &first, domains)?.iter().all(|(slug, ..)| !is_new(slug)) {
        directory.put_aside(artifact)?;
        return Ok(Vec::new());
    }
    let mut tries = vec![first];
    for _ in 1..REPLAYS {
        tries.push(look(artifact, kernels)?);
    }
    let bad = tries.iter().filter(|look| look.is_bad()).count();
    let seen = tries.iter().find(|look| look.is_bad()).unwrap_or(&tries[0]);
    let mut fresh = Vec::new();
    // The input of a process that somebody killed is no finding, nor is one that took long on a busy machine.
    let is_suspect = [TRIED, SLOW].iter().any(|kind| name(artifact).starts_with(kind));
    let is_innocent = bad == 0 && is_suspect;
    let reported = if is_innocent { Vec::new() } else { reported(artifact, seen, domains)? };
    for (slug, content, text) in reported.into_iter().filter(|(slug, ..)| is_new(slug)) {
        let rate = format!("{bad} of {REPLAYS} new processes repeat it");
        let report = format!("# {slug}\n\n{rate}.\n\n```text\n{text}\n```\n\nInput: `{}`\n", shown(artifact));
        OutputFile::create(&directory.finding(&format!("{slug}.md")))?.write(report.as_bytes())?;
        // Last, as it is what counts as a finding.
        let (kind, bytes) = match &content {
            Content::Case(text) => (CASE, text.as_bytes()),
            Content::Input(bytes) => (INPUT, bytes.as_slice()),
        };
        OutputFile::create(&directory.finding(&format!("{slug}.{kind}")))?.write(bytes)?;
        fresh.push(slug);
    }
    directory.put_aside(artifact)?;
    Ok(fresh)
}

/// What is kept of a finding of a process.
#[derive(Deserialize)]
struct Seen {
    kernel: String,
    operation: String,
    property: String,
    case: String,
    detail: String,
    replay: String,
}

/// What one process saw.
struct Look {
    findings: Vec<Seen>,
    /// What a process printed that ended without an answer.
    died: Option<String>,
}

impl Look {
    fn is_bad(&self) -> bool {
        self.died.is_some() || !self.findings.is_empty()
    }
}

/// Tries an input in a process of its own.
fn look(artifact: &Artifact, kernels: &Kernels) -> Result<Look> {
    let mut command = itself();
    command.args(["triage-one", "--target", artifact.target.name(), "--input"]).arg(&artifact.path);
    command.args(kernels.options());
    let child = Child::start(&mut command, Errors::Kept);
    let mut child = child.context("cannot start this program again")?;
    let (findings, end) = child.finish::<Vec<Seen>>(&Patience::ENDLESS);
    let status = end.status().map_or_else(String::new, |status| status.to_string());
    let died = findings.is_none().then(|| format!("{status}\n{}", child.errors().trim()));
    Ok(Look { findings: findings.unwrap_or_default(), died })
}

/// What a finding is kept as.
enum Content {
    /// A case file.
    Case(String),
    /// An input of the target that is no case: text.
    Input(Vec<u8>),
}

/// Name, content and words of each finding: by kernel, operation, property and the class of the smallest shape.
fn reported(artifact: &Artifact, look: &Look, domains: &Domains) -> Result<Vec<(String, Content, String)>> {
    if look.findings.is_empty() {
        return Ok(vec![without_findings(artifact, look, domains)?]);
    }
    let reported = |finding: &Seen| {
        let Seen { kernel, operation, property, case, detail, replay } = finding;
        let slug = format!("{kernel}-{operation}-{property}-{}", shape_class(case));
        let file = format!("# {kernel} {operation} violates `{property}`\n# {detail}\n{case}\n");
        (plain(&slug), Content::Case(file), format!("{detail}\n{case}\nagain: {replay}"))
    };
    Ok(look.findings.iter().map(reported).collect())
}

/// The same of an input that ended its process, or that no process of its own shows.
fn without_findings(
    artifact: &Artifact,
    look: &Look,
    domains: &Domains,
) -> Result<(String, Content, String)> {
    let bytes =
        fs::read(&artifact.path).with_context(|| format!("cannot read {}", artifact.path.display()))?;
    let target = artifact.target.name();
    let (slug, text) = match &look.died {
        Some(died) => (plain(&format!("{target}-crash-{}", name(artifact))), died.clone()),
        None => (
            format!("{target}-{NOT_AGAIN}"),
            "it does not repeat in a new process: it depends on earlier inputs or on timing".to_owned(),
        ),
    };
    let content = match domains.case(artifact.target, &bytes) {
        Some(case) => Content::Case(format!("# {slug}; the input is {}\n{case}\n", shown(artifact))),
        None => Content::Input(bytes),
    };
    Ok((slug, content, text))
}

fn name(artifact: &Artifact) -> String {
    artifact.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// Where the input will be.
fn shown(artifact: &Artifact) -> String {
    format!("artifacts.done/{}/{}", artifact.target.name(), name(artifact))
}

/// Rows and columns of a smallest case; those that are not small by their remainder.
fn shape_class(case: &str) -> String {
    let value = |key: &str| {
        let word = case.split_whitespace().find_map(|word| word.strip_prefix(key));
        word.and_then(|digits| digits.parse::<u64>().ok())
    };
    let class = |value: u64| if value <= 64 { value.to_string() } else { format!("{}mod64", value % 64) };
    match (value("rows="), value("cols=").or_else(|| value("len="))) {
        (Some(rows), Some(cols)) => format!("{}x{}", class(rows), class(cols)),
        (None, Some(cols)) => class(cols),
        _ => "any".to_owned(),
    }
}

/// A name that any file system takes.
fn plain(slug: &str) -> String {
    let sane = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    slug.chars().map(sane).take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_distinguished_by_their_smallest_shape() {
        assert_eq!(shape_class("gemv rows=2 cols=63 dist=unit seed=0"), "2x63");
        assert_eq!(shape_class("unpack len=257 dist=unit seed=0"), "1mod64");
        assert_eq!(plain("a/b gemv"), "a-b-gemv");
    }
}
