//! The files that a gate writes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use qk256_gate::{Report, history, rows};

use super::Args;
use crate::output::{self, OutputFile};

/// The files of the report.
pub(super) struct Files {
    json: Option<OutputFile>,
    junit: Option<OutputFile>,
    metrics: Option<OutputFile>,
    code_quality: Option<OutputFile>,
    markdown: Option<OutputFile>,
}

impl Files {
    /// Makes sure that they can be written.
    pub(super) fn create(args: &Args) -> Result<Self> {
        let [json, junit, metrics, code_quality] = OutputFile::create_each([
            ("--json", &args.json),
            ("--junit", &args.junit),
            ("--metrics", &args.metrics),
            ("--code-quality", &args.code_quality),
        ])?;
        let appended = |path: &Option<PathBuf>| path.as_deref().map(OutputFile::append_to).transpose();
        let (markdown, record) = (appended(&args.markdown)?, appended(&args.record)?);
        output::distinct(&[
            ("--json", json.as_ref()),
            ("--junit", junit.as_ref()),
            ("--metrics", metrics.as_ref()),
            ("--code-quality", code_quality.as_ref()),
            ("--markdown", markdown.as_ref()),
            ("--record", record.as_ref()),
        ])?;
        Ok(Self { json, junit, metrics, code_quality, markdown })
    }

    /// Writes each; what cannot be written keeps no other from being written.
    pub(super) fn write(self, args: &Args, report: &Report) -> Vec<Result<()>> {
        let demands = args.rows.as_deref().unwrap_or(Path::new(rows::OWN_PATH));
        let write = |file: Option<OutputFile>, text: String| match file {
            Some(file) => file.write(text.as_bytes()),
            None => Ok(()),
        };
        // A run that was cut short would bend the trend.
        let whole = args.record.as_ref().filter(|_| report.ended_by.is_none());
        let record = |path: &PathBuf| {
            history::record(report, path).with_context(|| format!("cannot write {}", path.display()))
        };
        vec![
            write(self.json, report.json()),
            report.junit().map_err(anyhow::Error::msg).and_then(|text| write(self.junit, text)),
            write(self.metrics, report.open_metrics()),
            write(self.code_quality, report.code_quality(&demands.display().to_string())),
            write(self.markdown, report.markdown()),
            whole.map_or(Ok(()), record),
        ]
    }
}
