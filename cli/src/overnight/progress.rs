//! What is seen of a night while it runs: one line a target.

use std::io::{IsTerminal, Write, stderr};

use anyhow::Result;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use qk256_verify::fuzz::Target;

use crate::output::stdout;

/// Where the lines go.
pub(super) enum Progress {
    /// To nobody.
    Quiet,
    /// To standard output, one after the other.
    Lines,
    /// To a terminal, each in its place.
    Terminal { screen: MultiProgress, bars: Vec<(Target, ProgressBar)> },
}

impl Progress {
    pub(super) fn new(quiet: bool, targets: &[Target]) -> Self {
        if quiet {
            return Self::Quiet;
        }
        if !stderr().is_terminal() {
            return Self::Lines;
        }
        let screen = MultiProgress::new();
        let style = ProgressStyle::with_template("{msg}").expect("the template is well-formed");
        let bar = |&target: &Target| {
            let bar = screen.add(ProgressBar::new_spinner().with_style(style.clone()));
            bar.set_message(format!("{:12} waits", target.name()));
            (target, bar)
        };
        Self::Terminal { bars: targets.iter().map(bar).collect(), screen }
    }

    /// The line of a target that is being fuzzed.
    pub(super) fn show(&self, target: Target, line: &str) {
        if let Self::Terminal { bars, .. } = self
            && let Some((_, bar)) = bars.iter().find(|(other, _)| *other == target)
        {
            bar.set_message(line.to_owned());
        }
    }

    /// The line of a target whose slice is over.
    pub(super) fn settle(&self, target: Target, line: &str) -> Result<()> {
        if let Self::Lines = self {
            // A reader that has gone does not end the night.
            let _ = writeln!(stdout(), "{line}");
        }
        self.show(target, line);
        Ok(())
    }

    /// A line that stays, also where nothing else is printed.
    pub(super) fn warn(&self, line: &str) -> Result<()> {
        match self {
            Self::Terminal { screen, .. } => drop(screen.println(line)),
            Self::Lines | Self::Quiet => drop(writeln!(stderr(), "{line}")),
        }
        Ok(())
    }

    /// Leaves what is on the screen for what comes after it.
    pub(super) fn end(&self) {
        if let Self::Terminal { bars, .. } = self {
            bars.iter().for_each(|(_, bar)| bar.abandon());
        }
    }
}
