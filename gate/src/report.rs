//! What a gate has to say: rows with their verdicts, for people and for machines.

mod code_quality;
mod json;
mod junit;
mod machine;
mod open_metrics;
mod table;

use std::time::Duration;

use qk256_verify::registry;
use serde::{Deserialize, Serialize};

use super::GateError;
use super::canary::SANE;
use super::judge::{Estimate, Verdict};
use super::rows::{DecodingRow, Row};
pub use machine::Machine;

/// A row with what became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    /// The candidate.
    pub kernel: String,
    /// Operation and size.
    pub on: String,
    /// What the candidate is measured against.
    pub over: String,
    /// The fastest kernel that `over` stands for, where it is not one by itself.
    #[serde(default)]
    pub base: Option<String>,
    /// How many times as fast as the base the candidate is.
    pub estimate: Option<Estimate>,
    /// What is demanded; `None` if there is no figure of this CPU.
    pub at_least: Option<f64>,
    /// The base over itself.
    pub control: Option<Estimate>,
    /// What follows.
    pub verdict: Verdict,
    /// Features that this CPU would need.
    #[serde(default)]
    pub missing: Vec<String>,
    /// Why it is demanded.
    pub why: String,
    /// The line of the file that demands it.
    pub source_line: Option<usize>,
}

impl Default for Line {
    /// A row that was skipped.
    fn default() -> Self {
        Self {
            kernel: String::new(),
            on: String::new(),
            over: String::new(),
            base: None,
            estimate: None,
            at_least: None,
            control: None,
            verdict: Verdict::Skipped,
            missing: Vec::new(),
            why: String::new(),
            source_line: None,
        }
    }
}

impl Line {
    /// A row that nothing is known of yet.
    pub(super) fn of(row: &Row) -> Self {
        Self {
            kernel: row.kernel.clone(),
            on: row.task.to_string(),
            over: row.base.clone(),
            at_least: row.bar.at_least(),
            why: row.why.clone(),
            source_line: Some(row.line),
            ..Self::default()
        }
    }

    /// The same of a row about decoding.
    pub(super) fn of_decoding(row: &DecodingRow) -> Self {
        Self {
            kernel: row.way.clone(),
            on: row.on(),
            over: DecodingRow::BASE.to_owned(),
            at_least: row.bar.at_least(),
            why: row.why.clone(),
            source_line: Some(row.line),
            ..Self::default()
        }
    }

    /// What identifies the row: `avx2 dequantize 1024 over scalar`.
    pub fn name(&self) -> String {
        format!("{} {} over {}", self.kernel, self.on, self.over)
    }

    /// Nothing that was measured counts.
    pub(super) fn invalidate(&mut self) {
        if self.verdict.is_judged() {
            self.verdict = Verdict::Invalid;
        }
    }

    /// What to report of a row that was judged and is not met.
    pub fn complaint(&self) -> Option<String> {
        let (name, at_least, why) = (self.name(), self.at_least?, &self.why);
        let Some(Estimate { median, low, high, processes }) = self.estimate else {
            let is_open = self.verdict == Verdict::Inconclusive;
            return is_open.then(|| format!("inconclusive: {name}: the run ended before it was measured"));
        };
        let measured = format!("{median:.3} ({low:.3} to {high:.3}, {processes} processes)");
        match self.verdict {
            Verdict::Met | Verdict::NotJudged | Verdict::Skipped => None,
            Verdict::Missed => {
                Some(format!("missed: {name}: {measured}; at least {at_least} is demanded: {why}"))
            }
            Verdict::Inconclusive => Some(format!(
                "inconclusive: {name}: {measured}; at least {at_least} is demanded; more processes (--for, --processes) may decide"
            )),
            Verdict::Invalid => Some(format!(
                "invalid: {name}: the base over itself, or the canary, was off: this machine is too noisy to judge; repeat it when \
                 nothing else runs"
            )),
        }
    }
}

/// What a run comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Every row that is judged is met.
    Pass,
    /// A row is missed.
    Finding,
    /// No row is missed, and not all could be judged.
    Inconclusive,
    /// The machine was too noisy to judge some rows.
    Invalid,
}

impl Outcome {
    /// Of all rows: a miss outweighs what could not be judged.
    pub(super) fn of(lines: &[Line]) -> Self {
        let has = |verdict| lines.iter().any(|line| line.verdict == verdict);
        if has(Verdict::Missed) {
            Self::Finding
        } else if has(Verdict::Invalid) {
            Self::Invalid
        } else if has(Verdict::Inconclusive) {
            Self::Inconclusive
        } else {
            Self::Pass
        }
    }

    /// The exit code of the command: 3 says that nothing is known.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Finding => 1,
            Self::Inconclusive | Self::Invalid => 3,
        }
    }
}

/// A run of the gate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// `promises`, or what was compared.
    pub about: String,
    /// What it comes to.
    pub verdict: Outcome,
    /// The rows.
    pub rows: Vec<Line>,
    /// Elements of f32 that were filled in a cycle.
    pub canary: Option<Estimate>,
    /// Where.
    pub machine: Machine,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Features that were required, none of whose rows ran.
    pub unmet_requirements: Vec<String>,
    /// What limits the worth of the figures.
    pub remarks: Vec<String>,
    /// The signal that ended the run before all was measured, if one did.
    #[serde(default)]
    pub ended_by: Option<String>,
}

impl Report {
    /// A report on these rows.
    pub(super) fn new(about: &str, rows: Vec<Line>, canary: Option<Estimate>, time: Duration) -> Self {
        Self {
            about: about.to_owned(),
            verdict: Outcome::of(&rows),
            rows,
            canary,
            machine: Machine::this(),
            seconds: time.as_secs_f64(),
            unmet_requirements: Vec::new(),
            remarks: Vec::new(),
            ended_by: None,
        }
    }

    /// The run was ended by a signal: what fewer than `processes` processes have measured is inconclusive.
    pub fn cut_short(&mut self, signal: &str, processes: usize) {
        let is_whole = |line: &Line| line.estimate.is_some_and(|estimate| estimate.processes >= processes);
        for line in self.rows.iter_mut().filter(|line| line.verdict.is_judged() && !is_whole(line)) {
            line.verdict = Verdict::Inconclusive;
        }
        self.ended_by = Some(signal.to_owned());
        self.verdict = Outcome::of(&self.rows);
    }

    /// Adds rows of another kind, and what they took.
    pub fn extend(&mut self, other: Report) {
        self.rows.extend(other.rows);
        self.seconds += other.seconds;
        self.verdict = Outcome::of(&self.rows);
    }

    /// Fails the run if no row of a kernel that needs `feature` ran.
    ///
    /// # Errors
    /// If no row is about such a kernel of the registry.
    pub fn require(&mut self, feature: &str) -> Result<(), GateError> {
        let kernels = registry::kernels();
        let needs = |line: &&Line| {
            let mut of_name = kernels.iter().filter(|kernel| kernel.name() == line.kernel);
            of_name.any(|kernel| kernel.required_features().contains(&feature))
        };
        let of_feature: Vec<&Line> = self.rows.iter().filter(needs).collect();
        if of_feature.is_empty() {
            return Err(GateError::Nothing(format!(
                "--require {feature}: no chosen row is about a kernel that needs this feature; `qk256 list` shows the features of each kernel"
            )));
        }
        if of_feature.iter().all(|line| line.verdict == Verdict::Skipped) {
            self.unmet_requirements.push(feature.to_owned());
            self.verdict = Outcome::Finding;
        }
        Ok(())
    }

    /// Rows with this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.rows.iter().filter(|line| line.verdict == verdict).count()
    }

    /// The last word, a line.
    pub fn summary(&self) -> String {
        let counted = Verdict::ALL
            .map(|verdict| (self.count(verdict), verdict.word().to_lowercase()))
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"));
        let word = match self.verdict {
            Outcome::Pass => "passed",
            Outcome::Finding => "FAILED",
            Outcome::Inconclusive => "INCONCLUSIVE",
            Outcome::Invalid => "INVALID",
        };
        let rows = counted.collect::<Vec<_>>().join(", ");
        format!("gate ({}) {word}: of {} rows {rows}; {:.0} s", self.about, self.rows.len(), self.seconds)
    }

    /// What is wrong, a line each.
    pub fn complaints(&self) -> Vec<String> {
        let canary = self.canary.filter(|canary| !SANE.contains(&canary.median)).map(|canary| {
            format!(
                "invalid: the canary fills {:.1} elements in a cycle, where a machine fills {} to {}: no figure of this \
                 moment counts; wait, or look for what else is running",
                canary.median,
                SANE.start(),
                SANE.end()
            )
        });
        let required = self.unmet_requirements.iter().map(|feature| {
            format!("required: no row of a kernel that needs {feature} ran: this CPU lacks a feature that they need")
        });
        // After a signal the table shows what was not decided.
        let is_told = |line: &&Line| self.ended_by.is_none() || line.verdict != Verdict::Inconclusive;
        let rows = self.rows.iter().filter(is_told).filter_map(Line::complaint);
        canary.into_iter().chain(rows).chain(required).collect()
    }

    /// What a reader should know, and is no fault: a line each.
    pub fn notes(&self) -> Vec<String> {
        self.remarks.iter().cloned().chain(self.not_judged()).collect()
    }

    /// What to do about rows that were not judged, if there are some.
    fn not_judged(&self) -> Option<String> {
        let count = self.count(Verdict::NotJudged);
        let rows = if count == 1 { "row was" } else { "rows were" };
        let cpu = self.machine.model.as_ref().map_or("this CPU".to_owned(), ToString::to_string);
        (count > 0).then(|| {
            format!(
                "{count} {rows} not judged: their limits depend on the CPU, and gate/gates.toml has none for {cpu}; `qk256 gate --calibrate` \
                 measures them"
            )
        })
    }

    /// For people.
    pub fn table(&self) -> String {
        table::plain(self)
    }

    /// For a comment on a merge request.
    pub fn markdown(&self) -> String {
        table::markdown(self)
    }

    /// For programs.
    pub fn json(&self) -> String {
        json::render(self)
    }

    /// As JUnit XML: a suite for each operation, a test case for each row.
    ///
    /// # Errors
    /// If it cannot be written as XML.
    pub fn junit(&self) -> Result<String, String> {
        junit::render(self)
    }

    /// As OpenMetrics text, which GitLab's metrics reports are.
    pub fn open_metrics(&self) -> String {
        open_metrics::render(self)
    }

    /// As GitLab's code-quality report: an entry for each row that is not met. `demands` is the file with the rows.
    pub fn code_quality(&self, demands: &str) -> String {
        code_quality::render(self, demands)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A row with this verdict.
    pub(in super::super) fn line(kernel: &str, on: &str, median: f64, verdict: Verdict) -> Line {
        let estimate = Estimate { median, low: median * 0.98, high: median * 1.02, processes: 5 };
        let estimate = (verdict != Verdict::Skipped).then_some(estimate);
        let at_least = (verdict != Verdict::NotJudged).then_some(3.0);
        let missing = if estimate.is_none() { vec!["avxvnni".to_owned()] } else { Vec::new() };
        Line {
            kernel: kernel.to_owned(),
            on: on.to_owned(),
            over: "scalar".to_owned(),
            base: None,
            estimate,
            at_least,
            control: estimate.map(|_| Estimate::exact(1.0)),
            verdict,
            missing,
            why: "it was <promised> & so".to_owned(),
            source_line: Some(7),
        }
    }

    /// A report with a row of each verdict.
    pub(in super::super) fn of_every_kind() -> Report {
        let rows = vec![
            line("avx2", "dequantize 1024", 8.0, Verdict::Met),
            line("avx2", "dequantize 4096", 2.0, Verdict::Missed),
            line("avx2", "gemv 1x1024", 3.0, Verdict::Inconclusive),
            line("avx2", "gemv 2560x2560", 4.0, Verdict::Invalid),
            line("avx_vnni", "gemv_fixed 64x2560-1", 0.0, Verdict::Skipped),
            line("avx2", "unpack 1024", 0.5, Verdict::NotJudged),
        ];
        Report::new("promises", rows, Some(Estimate::exact(14.8)), Duration::from_secs(40))
    }

    #[test]
    fn a_miss_outweighs_doubt_and_doubt_outweighs_what_is_met() {
        let mut rows = of_every_kind().rows;
        for (expected, code) in
            [(Outcome::Finding, 1), (Outcome::Invalid, 3), (Outcome::Inconclusive, 3), (Outcome::Pass, 0)]
        {
            assert_eq!((Outcome::of(&rows), Outcome::of(&rows).exit_code()), (expected, code), "{rows:?}");
            let dropped = match expected {
                Outcome::Finding => Verdict::Missed,
                Outcome::Invalid => Verdict::Invalid,
                _ => Verdict::Inconclusive,
            };
            rows.retain(|line| line.verdict != dropped);
        }
    }

    #[test]
    fn a_row_that_is_not_judged_is_counted_and_explained_and_fails_nothing() {
        let mut report = of_every_kind();
        assert!(report.summary().contains("1 not judged"), "{}", report.summary());
        report.rows.retain(|line| [Verdict::Met, Verdict::NotJudged].contains(&line.verdict));
        assert_eq!(Outcome::of(&report.rows), Outcome::Pass);
        report.rows.iter_mut().for_each(Line::invalidate);
        assert_eq!(report.count(Verdict::NotJudged), 1);
        let notes = report.notes();
        assert!(
            notes[0].starts_with("1 row was not judged") && notes[0].contains("--calibrate"),
            "{notes:?}"
        );
        report.rows.retain(|line| line.verdict != Verdict::NotJudged);
        assert_eq!(report.notes(), Vec::<String>::new());
    }

    #[test]
    fn every_row_that_is_judged_and_not_met_is_named_with_its_figures() {
        let complaints = of_every_kind().complaints();
        assert_eq!(complaints.len(), 3, "{complaints:?}");
        assert!(
            complaints[0]
                .starts_with("missed: avx2 dequantize 4096 over scalar: 2.000 (1.960 to 2.040, 5 processes)"),
            "{}",
            complaints[0]
        );
        assert!(complaints[1].starts_with("inconclusive: avx2 gemv 1x1024"), "{}", complaints[1]);
        assert!(complaints[2].starts_with("invalid: avx2 gemv 2560x2560"), "{}", complaints[2]);
    }

    #[test]
    fn what_too_few_processes_have_measured_before_a_signal_is_inconclusive() {
        let mut report = of_every_kind();
        report.rows[0].estimate = Some(Estimate { processes: 4, ..Estimate::exact(8.0) });
        report.rows[2].estimate = None;
        report.cut_short("SIGINT", 5);
        let verdicts: Vec<Verdict> = report.rows.iter().map(|line| line.verdict).collect();
        assert_eq!(verdicts[..3], [Verdict::Inconclusive, Verdict::Missed, Verdict::Inconclusive]);
        assert_eq!(verdicts[4..], [Verdict::Skipped, Verdict::NotJudged]);
        assert_eq!((report.verdict, report.ended_by.as_deref()), (Outcome::Finding, Some("SIGINT")));
        assert!(report.complaints()[0].starts_with("missed: "), "{:?}", report.complaints());
        let junit = report.junit().expect("it renders");
        assert!(junit.contains("the run ended before it was measured"), "{junit}");
        report.rows.remove(1);
        report.rows.remove(2);
        report.cut_short("SIGINT", 5);
        assert_eq!((report.verdict, report.complaints()), (Outcome::Inconclusive, Vec::new()));
    }

    #[test]
    fn a_canary_that_is_off_is_named() {
        let mut report = of_every_kind();
        report.rows.clear();
        for (rate, is_named) in [(2.9, true), (3.0, false), (17.6, false), (40.0, true), (f64::NAN, true)] {
            report.canary = Some(Estimate::exact(rate));
            assert_eq!(report.complaints().len(), usize::from(is_named), "{rate}");
        }
    }

    #[test]
    fn a_required_feature_needs_a_row_that_ran() {
        let mut report = of_every_kind();
        report.rows.retain(|line| [Verdict::Met, Verdict::Skipped].contains(&line.verdict));
        report.verdict = Outcome::of(&report.rows);
        report.require("avx2").expect("a row is about such a kernel");
        assert_eq!(report.verdict, Outcome::Pass);
        report.require("avxvnni").expect("a row is about such a kernel");
        assert_eq!((report.verdict, report.complaints().len()), (Outcome::Finding, 1));
        assert!(report.require("avx512f").is_err(), "no kernel needs it");
    }
}
