//! The rows of `gate/gates.toml`, measured: each in several processes, beside a base and a control.

use std::time::Instant;

use qk256_verify::interrupt;
use qk256_verify::timing::Ratio;

use super::canary;
use super::host::{Process, Program};
use super::judge::{Estimate, Verdict};
use super::message::{Offered, Request, Response};
use super::report::{Line, Report};
use super::rows::{DecodingRow, Demands, Row, Task};
use super::{Effort, GateError, Watch};

/// Wall time of a race within one process. The slowest kernels take longer: five rounds are run whatever they take.
const RACE_MILLISECONDS: u64 = 40;

/// Tokens that each way decodes in a process.
const TOKENS: usize = 3;

/// How far from 1 a base may race against itself.
const CONTROL_TOLERANCE: f64 = 0.03;

/// Measures all rows of `demands` in processes of `program`.
///
/// # Errors
/// If a kernel is wrong on what it was to be timed on, a row names a kernel that is not there, or a process fails.
pub fn run(
    program: &Program,
    demands: &Demands,
    effort: Effort,
    watch: &mut Watch<'_>,
) -> Result<Report, GateError> {
    let start = Instant::now();
    watch(0.0, "starting");
    let mut process = Process::start(program)?;
    let mut contests = contests(&demands.rows, process.offered())?;
    let mut decoding = Decoding::new(&demands.decoding, process.offered());
    let mut canaries = Vec::new();
    for at in 0.. {
        let first = at < effort.processes;
        let open: Vec<_> = contests.iter_mut().filter(|contest| first || contest.is_open()).collect();
        let decodes = first || decoding.is_open();
        if interrupt::is_requested() || !effort.goes_on(at, !open.is_empty() || decodes, start.elapsed()) {
            break;
        }
        if at > 0 {
            process = Process::start(program)?;
        }
        let mut report = |part: f64, what: &str| {
            watch(
                (at as f64 + part) / effort.processes.max(at + 1) as f64,
                &format!("process {}: {what}", at + 1),
            );
        };
        canaries.push(canary(&mut process)?);
        let count = open.len();
        for (place, contest) in open.into_iter().enumerate() {
            if interrupt::is_requested() {
                break;
            }
            report(place as f64 / (count + 1) as f64, &contest.task.to_string());
            contest.measure(&mut process, place, at == 0)?;
        }
        if decodes && !interrupt::is_requested() {
            report(count as f64 / (count + 1) as f64, "decoding");
            decoding.measure(&mut process)?;
        }
    }
    let canary = measured(&canaries);
    let mut lines: Vec<Line> = contests.iter().flat_map(Contest::lines).collect();
    lines.extend(decoding.lines());
    if canary.is_some_and(|canary| !is_valid_canary(&canary)) {
        lines.iter_mut().for_each(Line::invalidate);
    }
    Ok(Report::new("promises", lines, canary, start.elapsed()))
}

/// What the values of several processes come to; `None` if an early end left none.
pub(super) fn measured(processes: &[f64]) -> Option<Estimate> {
    (!processes.is_empty()).then(|| Estimate::of(processes))
}

/// Whether a kernel that was raced against itself shows that a ratio can be trusted.
pub(super) fn is_steady(control: &Estimate) -> bool {
    (1.0 - CONTROL_TOLERANCE..=1.0 + CONTROL_TOLERANCE).contains(&control.median)
}

/// Whether the machine did what machines do.
pub(super) fn is_valid_canary(canary: &Estimate) -> bool {
    canary::SANE.contains(&canary.median)
}

/// How many elements a process fills in a cycle.
pub(super) fn canary(process: &mut Process) -> Result<f64, GateError> {
    match process.ask(&Request::Canary)? {
        Response::Canary(rate) => Ok(rate),
        _ => Err(process.foreign()),
    }
}

/// Rows on one task: all that one race decides.
struct Contest<'d> {
    task: Task,
    rows: Vec<&'d Row>,
    /// What stands in the race, by label.
    labels: Vec<String>,
    /// The same, by operation and name.
    kernels: Vec<(String, String)>,
    /// What is raced twice.
    control: usize,
    /// Rows whose candidate this CPU cannot run, and what it lacks.
    skipped: Vec<(&'d Row, Vec<String>)>,
    /// Of each process, the control over itself.
    controls: Vec<f64>,
    /// For each row, of each process, the speed-up and the base that was the fastest.
    speedups: Vec<Vec<(f64, String)>>,
}

/// The rows by the races that decide them.
fn contests<'d>(rows: &'d [Row], offered: &[Offered]) -> Result<Vec<Contest<'d>>, GateError> {
    let mut tasks: Vec<Task> = Vec::new();
    for row in rows {
        if !tasks.contains(&row.task) {
            tasks.push(row.task);
        }
    }
    let of = |task: Task| Contest::new(task, rows.iter().filter(|row| row.task == task).collect(), offered);
    tasks.into_iter().map(of).collect()
}

impl<'d> Contest<'d> {
    fn new(task: Task, rows: Vec<&'d Row>, offered: &[Offered]) -> Result<Self, GateError> {
        let labelled: Vec<(String, &Offered)> = offered
            .iter()
            .filter_map(|kernel| Some((task.label(&kernel.operation, &kernel.name)?, kernel)))
            .collect();
        let candidate = |row: &&'d Row| labelled.iter().find(|(label, _)| *label == row.kernel);
        if let Some(row) = rows.iter().find(|row| candidate(row).is_none()) {
            let there: Vec<&str> = labelled.iter().map(|(label, _)| label.as_str()).collect();
            let why = format!(
                "line {}: {task} has no kernel `{}`: there are {}",
                row.line,
                row.kernel,
                there.join(", ")
            );
            return Err(GateError::Rows { file: "the rows".to_owned(), why });
        }
        let missing = |row: &&'d Row| candidate(row).map_or(Vec::new(), |(_, kernel)| kernel.missing.clone());
        let (ready, skipped): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| missing(row).is_empty());
        let skipped = skipped.into_iter().map(|row| (row, missing(&row))).collect();
        let raced: Vec<_> = labelled
            .iter()
            .filter(|(label, kernel)| {
                let named = |row: &&Row| *label == row.kernel || label.starts_with(&row.base);
                kernel.missing.is_empty() && ready.iter().any(named)
            })
            .collect();
        let labels: Vec<String> = raced.iter().map(|(label, _)| label.clone()).collect();
        if let Some(row) = ready.iter().find(|row| !labels.iter().any(|label| label.starts_with(&row.base))) {
            let why = format!("line {}: {task} has no kernel `{}` to measure against", row.line, row.base);
            return Err(GateError::Rows { file: "the rows".to_owned(), why });
        }
        let first = |row: &&Row| labels.iter().position(|label| label.starts_with(&row.base));
        let control = ready.first().and_then(first).unwrap_or_default();
        let kernels =
            raced.iter().map(|(_, kernel)| (kernel.operation.clone(), kernel.name.clone())).collect();
        let speedups = vec![Vec::new(); ready.len()];
        Ok(Self { task, rows: ready, labels, kernels, control, skipped, controls: Vec::new(), speedups })
    }

    /// One race, in a process in which `place` tasks were prepared before.
    fn measure(&mut self, process: &mut Process, place: usize, check: bool) -> Result<(), GateError> {
        let prepare = Request::Prepare { task: self.task.to_string(), kernels: self.kernels.clone(), check };
        process.ask(&prepare)?;
        if self.rows.is_empty() {
            return Ok(());
        }
        let again = self.labels.len();
        let places = (0..again).chain([self.control]).collect();
        let race = Request::Race { task: place, places, milliseconds: RACE_MILLISECONDS };
        let Response::Raced(rounds) = process.ask(&race)? else { return Err(process.foreign()) };
        let speedup = |of: usize, over: usize| {
            Ratio::of(rounds[over].iter().zip(&rounds[of]).map(|(over, of)| over / of)).median
        };
        self.controls.push(speedup(self.control, again));
        for (row, speedups) in self.rows.iter().zip(&mut self.speedups) {
            let candidate = self.labels.iter().position(|label| *label == row.kernel);
            let candidate = candidate.expect("a row without its candidate is skipped");
            let bases = (0..again).filter(|&base| self.labels[base].starts_with(&row.base));
            let slowest = bases
                .map(|base| (speedup(candidate, base), self.labels[base].clone()))
                .min_by(|(a, _), (b, _)| a.total_cmp(b));
            speedups.push(slowest.expect("a row without a base is refused"));
        }
        Ok(())
    }

    fn control(&self) -> Estimate {
        Estimate::of(&self.controls)
    }

    fn estimate(&self, row: usize) -> Option<Estimate> {
        measured(&self.speedups[row].iter().map(|(speedup, _)| *speedup).collect::<Vec<_>>())
    }

    fn verdict(&self, row: usize) -> Verdict {
        match self.rows[row].bar.at_least() {
            None => Verdict::NotJudged,
            Some(_) if self.controls.is_empty() => Verdict::Inconclusive,
            Some(_) if !is_steady(&self.control()) => Verdict::Invalid,
            Some(at_least) => self.estimate(row).map_or(Verdict::Inconclusive, |seen| seen.judge(at_least)),
        }
    }

    /// Whether another process might show more.
    fn is_open(&self) -> bool {
        (0..self.rows.len()).any(|row| self.verdict(row).is_open())
    }

    fn lines(&self) -> Vec<Line> {
        let judged = |(at, row): (usize, &&Row)| Line {
            estimate: self.estimate(at),
            base: self.speedups[at].last().map(|(_, base)| base.clone()),
            control: measured(&self.controls),
            verdict: self.verdict(at),
            ..Line::of(row)
        };
        let skipped =
            |(row, missing): &(&Row, Vec<String>)| Line { missing: missing.clone(), ..Line::of(row) };
        let judged = self.rows.iter().enumerate().map(judged);
        judged.chain(self.skipped.iter().map(skipped)).collect()
    }
}

/// The rows about decoding.
struct Decoding<'d> {
    rows: Vec<&'d DecodingRow>,
    /// Rows that this CPU has no kernels for, and what it lacks.
    skipped: Vec<(&'d DecodingRow, Vec<String>)>,
    /// For each row, of each process, the part of the rate of reading.
    parts: Vec<Vec<f64>>,
}

impl<'d> Decoding<'d> {
    fn new(rows: &'d [DecodingRow], offered: &[Offered]) -> Self {
        // A way is called by its kernel, then by what it computes.
        let missing = |row: &DecodingRow| {
            let name = row.way.split(' ').next().unwrap_or_default();
            let kernel = offered.iter().find(|kernel| kernel.name == name && !kernel.missing.is_empty());
            kernel.map_or(Vec::new(), |kernel| kernel.missing.clone())
        };
        let (ready, skipped): (Vec<_>, Vec<_>) = rows.iter().partition(|row| missing(row).is_empty());
        let skipped = skipped.into_iter().map(|row| (row, missing(row))).collect();
        Self { parts: vec![Vec::new(); ready.len()], rows: ready, skipped }
    }

    fn measure(&mut self, process: &mut Process) -> Result<(), GateError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let ways = self.rows.iter().map(|row| (row.way.clone(), row.threads)).collect();
        let request = Request::Decode { ways, rounds: TOKENS };
        let Response::Decoded(parts) = process.ask(&request)? else { return Err(process.foreign()) };
        for (of_row, rounds) in self.parts.iter_mut().zip(parts) {
            of_row.push(Ratio::of(rounds).median);
        }
        Ok(())
    }

    fn verdict(&self, row: usize) -> Verdict {
        match self.rows[row].bar.at_least() {
            None => Verdict::NotJudged,
            Some(at_least) => Estimate::of(&self.parts[row]).judge(at_least),
        }
    }

    fn is_open(&self) -> bool {
        (0..self.rows.len()).any(|row| self.verdict(row).is_open())
    }

    fn lines(&self) -> Vec<Line> {
        let judged = self.rows.iter().enumerate().map(|(at, row)| Line {
            estimate: measured(&self.parts[at]),
            verdict: self.verdict(at),
            ..Line::of_decoding(row)
        });
        let skipped = |(row, missing): &(&DecodingRow, Vec<String>)| Line {
            missing: missing.clone(),
            ..Line::of_decoding(row)
        };
        judged.chain(self.skipped.iter().map(skipped)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use qk256_verify::Kernel;

    use super::*;
    use crate::Outcome;
    use crate::cpu::Cpu;
    use crate::rows::Bar;

    fn offered(kernels: &[(&str, &str, &[&str])]) -> Vec<Offered> {
        let offer = |&(operation, name, missing): &(&str, &str, &[&str])| Offered {
            operation: operation.to_owned(),
            name: name.to_owned(),
            missing: missing.iter().map(|&feature| feature.to_owned()).collect(),
        };
        kernels.iter().map(offer).collect()
    }

    fn row(task: &str, kernel: &str, base: &str) -> Row {
        let task = task.parse().expect("a task");
        Row {
            task,
            kernel: kernel.to_owned(),
            base: base.to_owned(),
            bar: Bar::Promised(3.0),
            why: String::new(),
            line: 5,
        }
    }

    const KERNELS: &[(&str, &str, &[&str])] = &[
        ("gemv", "scalar", &[]),
        ("gemv", "fast_scalar", &[]),
        ("gemv", "fast_scalar_avx2", &[]),
        ("gemv", "avx2", &[]),
        ("gemv_fixed", "scalar", &[]),
        ("gemv_fixed", "avx2", &[]),
        ("gemv_fixed", "avx_vnni", &["avxvnni"]),
    ];

    #[test]
    fn one_race_decides_all_rows_of_a_task_and_holds_only_what_they_name() {
        let rows = [
            row("gemv 1x8", "avx2", "fast_scalar"),
            row("gemv_fixed 1x8-1", "avx2", "gemv scalar"),
            row("gemv 1x8", "avx2", "scalar"),
        ];
        let contests = contests(&rows, &offered(KERNELS)).expect("all are there");
        let races: Vec<_> =
            contests.iter().map(|contest| (contest.rows.len(), &contest.labels[..])).collect();
        let labels = |labels: &[&str]| labels.iter().map(|&label| label.to_owned()).collect::<Vec<_>>();
        assert_eq!(
            races,
            [
                (2, &labels(&["scalar", "fast_scalar", "fast_scalar_avx2", "avx2"])[..]),
                (1, &labels(&["gemv scalar", "avx2"])[..]),
            ]
        );
        assert_eq!(contests[0].labels[contests[0].control], "fast_scalar");
    }

    #[test]
    fn a_row_whose_candidate_the_cpu_lacks_is_a_line_that_says_so() {
        let rows = [row("gemv_fixed 1x8-1", "avx_vnni", "avx2"), row("gemv_fixed 1x8-1", "avx2", "scalar")];
        let contests = contests(&rows, &offered(KERNELS)).expect("all are there");
        assert_eq!(contests[0].labels, ["scalar", "avx2"]);
        let skipped: Vec<Line> =
            contests[0].lines().into_iter().filter(|line| line.verdict == Verdict::Skipped).collect();
        assert_eq!((skipped.len(), skipped[0].missing.as_slice()), (1, &["avxvnni".to_owned()][..]));
        assert_eq!(skipped[0].name(), "avx_vnni gemv_fixed 1x8-1 over avx2");
    }

    #[test]
    fn a_row_about_what_nobody_knows_is_refused() {
        for (kernel, base, expected) in [
            ("avx3", "scalar", "line 5: gemv 1x8 has no kernel `avx3`: there are scalar"),
            ("avx2", "slow", "line 5: gemv 1x8 has no kernel `slow` to measure against"),
        ] {
            let rows = [row("gemv 1x8", kernel, base)];
            let printed = contests(&rows, &offered(KERNELS)).err().expect("it is refused").to_string();
            assert!(printed.contains(expected), "{printed}");
        }
    }

    /// What the rows of the repository come to on `cpu` if every ratio is 0.1, which no bar allows.
    fn all_slow_on(cpu: &Cpu) -> Report {
        let kernels = crate::worker::own_kernels();
        let offer = |kernel: &dyn Kernel| Offered {
            operation: kernel.operation().name().to_owned(),
            name: kernel.name().to_owned(),
            missing: Vec::new(),
        };
        let offered: Vec<Offered> = kernels.iter().map(|kernel| offer(kernel.as_ref())).collect();
        let demands = Demands::own(Some(cpu));
        let mut contests = contests(&demands.rows, &offered).expect("all are there");
        for contest in &mut contests {
            contest.controls = vec![1.0; 5];
            contest.speedups.iter_mut().for_each(|speedups| *speedups = vec![(0.1, "scalar".to_owned()); 5]);
        }
        let mut decoding = Decoding::new(&demands.decoding, &offered);
        decoding.parts.iter_mut().for_each(|parts| *parts = vec![0.1; 5]);
        let lines = contests.iter().flat_map(Contest::lines).chain(decoding.lines()).collect();
        Report::new("promises", lines, None, Duration::ZERO)
    }

    #[test]
    fn a_cpu_that_the_table_lacks_fails_promised_rows_and_no_row_against_a_limit() {
        let unknown = Cpu { vendor: "GenuineUnknown".to_owned(), family: 6, model: 1 };
        let report = all_slow_on(&unknown);
        let is_limit = |line: &Line| line.over == "read" || line.over.split(' ').any(crate::limit::is_limit);
        let of_limits: Vec<&Line> = report.rows.iter().filter(|line| is_limit(line)).collect();
        assert!(of_limits.len() > 20, "{of_limits:?}");
        for line in of_limits {
            assert_eq!((line.verdict, line.complaint()), (Verdict::NotJudged, None), "{line:?}");
        }
        let promised = report.rows.iter().filter(|line| line.verdict != Verdict::NotJudged);
        assert!(
            promised.clone().count() > 50 && promised.clone().all(|line| line.verdict == Verdict::Missed)
        );
        assert_eq!(report.verdict, Outcome::Finding);
    }

    #[test]
    fn a_cpu_of_the_table_is_held_to_its_bars() {
        let zen4 = Cpu { vendor: "AuthenticAMD".to_owned(), family: 25, model: 17 };
        let report = all_slow_on(&zen4);
        let verdict = |name: &str| {
            let line = report.rows.iter().rfind(|line| line.name() == name);
            line.unwrap_or_else(|| panic!("no row {name}")).verdict
        };
        assert_eq!(verdict("avx2 gemv 2560x2560 over fma_peak"), Verdict::Missed);
        assert_eq!(verdict("avx2 gemv decoding, threads: 1 over read"), Verdict::Missed);
        // Zen 4 has no AVX-VNNI, so that nobody knows what such a CPU would reach.
        assert_eq!(verdict("avx_vnni gemv_fixed 2560x2560-1 over avx2"), Verdict::NotJudged);
    }

    #[test]
    fn a_base_that_is_not_as_fast_as_itself_makes_its_race_invalid() {
        let rows = [row("gemv 1x8", "avx2", "scalar")];
        let mut contests = contests(&rows, &offered(KERNELS)).expect("all are there");
        let contest = &mut contests[0];
        contest.speedups[0] = vec![(8.0, "scalar".to_owned()); 5];
        for (control, expected) in [(1.0, Verdict::Met), (1.04, Verdict::Invalid), (0.96, Verdict::Invalid)] {
            contest.controls = vec![control; 5];
            assert_eq!(contest.verdict(0), expected, "{control}");
            assert_eq!(contest.is_open(), expected == Verdict::Invalid, "{control}");
        }
    }
}
