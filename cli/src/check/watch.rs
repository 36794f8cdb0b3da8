//! What a run shows while it goes on, and how it ended.

use std::io::{Write, stderr};
use std::ops::ControlFlow;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use qk256_verify::check::Progress;
use qk256_verify::words::count;
use qk256_verify::{Finding, interrupt};

use crate::signals;

/// What is printed of a finding at once whose case is made smaller when the run is over.
fn notice(finding: &Finding) -> String {
    let Finding { kernel, failure, case, seconds, .. } = finding;
    format!(
        "found after {:.1} s: {kernel} {} violates `{}`; a smaller case follows at the end\n  case:    {case}",
        seconds.unwrap_or_default(),
        finding.operation(),
        failure.property
    )
}

/// What a run shows while it goes on, and when it ends.
pub(super) struct Watch {
    pub(super) bar: ProgressBar,
    start: Instant,
    fail_fast: bool,
    /// Findings that were printed, and whether as they are in the report.
    announced: Vec<(Finding, bool)>,
}

/// When a run ended, and what ended it before its time.
pub(super) struct End {
    pub(super) seconds: f64,
    pub(super) signal: Option<&'static str>,
}

impl Watch {
    pub(super) fn new(fail_fast: bool) -> Self {
        Self { bar: progress_bar(), start: Instant::now(), fail_fast, announced: Vec::new() }
    }

    /// Shows progress, prints what was found, and decides whether the run goes on.
    pub(super) fn see(&mut self, progress: Progress<'_>) -> ControlFlow<()> {
        self.announce(progress.found, progress.is_final);
        self.bar.set_position((progress.fraction * 1000.0) as u64);
        self.bar.set_message(format!(
            "{}, {}",
            count(progress.cases, "case"),
            count(progress.findings as u64, "finding")
        ));
        if self.is_over(progress.findings) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Prints the findings that were not printed before; where they are not final, that a smaller case follows.
    pub(super) fn announce(&mut self, findings: &[Finding], is_final: bool) {
        for finding in findings {
            if self.announced.iter().all(|(known, how)| known != finding || *how != is_final) {
                let text = if is_final { finding.to_string() } else { notice(finding) };
                // The reports have it as well: they are written also where standard error is gone.
                self.bar.suspend(|| drop(writeln!(stderr(), "{text}\n")));
                self.announced.push((finding.clone(), is_final));
            }
        }
    }

    /// Whether nothing more is to be done after N findings.
    pub(super) fn is_over(&self, findings: usize) -> bool {
        interrupt::is_requested() || self.fail_fast && findings > 0
    }

    pub(super) fn end(&self) -> End {
        self.bar.finish_and_clear();
        let signal = signals::received().map(|(_, name)| name);
        End { seconds: self.start.elapsed().as_secs_f64(), signal }
    }
}

fn progress_bar() -> ProgressBar {
    let style =
        ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}").expect("the template is well-formed");
    ProgressBar::new(1000).with_style(style)
}

impl End {
    pub(super) fn shown(&self, signal: &str) -> String {
        format!(
            "{signal} ended the run after {:.1} s: the reports cover what was done until then",
            self.seconds
        )
    }
}
