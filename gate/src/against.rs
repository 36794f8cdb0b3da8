//! Two builds of this project, or two libraries, measured in turn: is anything slower than it was?

use std::time::{Duration, Instant};

use qk256_verify::interrupt;
use qk256_verify::timing::{Ratio, quantile};

use super::host::{Process, Program};
use super::judge::{Estimate, Verdict};
use super::message::{Offered, Request, Response};
use super::promises::{canary, is_steady, is_valid_canary, measured};
use super::report::{Line, Report};
use super::rows::{Against, Task};
use super::{Effort, GateError, Watch};
use crate::limit;

/// Wall time of a comparison within a pair of processes.
const TIME: Duration = Duration::from_millis(40);

/// Rounds of a comparison, however long they take.
const MIN_ROUNDS: usize = 6;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sides {
    /// Two builds of this project: kernels are compared that have one name, if they are listed.
    Builds,
    /// Two libraries: each operation on a format that both have is compared, by kernels of one name if there are, or else whatever they are
    /// called.
    Libraries,
}

/// Measures `new` against `old`, kernel by kernel. A ratio is the old time over the new: 0.95 is a kernel that takes 5 % longer.
///
/// The programs of a side differ only in where their code lies. A side is as fast as the fastest of them.
///
/// # Errors
/// If a kernel of either is wrong on what it was to be timed on, a process fails, or there is nothing to compare.
///
/// # Panics
/// If a side has no program.
pub fn run(
    new: &[Program],
    old: &[Program],
    demands: &Against,
    sides: Sides,
    effort: Effort,
    watch: &mut Watch<'_>,
) -> Result<Report, GateError> {
    let start = Instant::now();
    watch(0.0, "starting");
    let mut pair = Pair::start(new, old)?;
    let names = [&new[0].name, &old[0].name];
    let (mut comparisons, mut lines) =
        comparisons(pair.new[0].offered(), pair.old[0].offered(), demands, sides, names[1]);
    if comparisons.is_empty() {
        return Err(GateError::Nothing(format!(
            "there is nothing to compare: {} and {} have no kernel in common that this CPU can run",
            names[0], names[1]
        )));
    }
    let mut canaries = Vec::new();
    for at in 0.. {
        let first = at < effort.processes;
        let mut open: Vec<_> = comparisons.iter_mut().filter(|own| first || own.is_open()).collect();
        if interrupt::is_requested() || !effort.goes_on(at, !open.is_empty(), start.elapsed()) {
            break;
        }
        if at > 0 {
            pair = Pair::start(new, old)?;
        }
        canaries.push(canary(&mut pair.new[0])?);
        let count = open.len();
        for (place, comparison) in open.iter_mut().enumerate() {
            if interrupt::is_requested() {
                break;
            }
            let part = (at as f64 + place as f64 / count as f64) / effort.processes.max(at + 1) as f64;
            watch(part, &format!("process {}: {}", at + 1, comparison.line.name()));
            comparison.measure(&mut pair, place, at == 0)?;
        }
    }
    let canary = measured(&canaries);
    lines.splice(0..0, comparisons.iter().map(Comparison::judged));
    if canary.is_some_and(|canary| !is_valid_canary(&canary)) {
        lines.iter_mut().for_each(Line::invalidate);
    }
    Ok(Report::new(&format!("against {}", names[1]), lines, canary, start.elapsed()))
}

/// What there is to compare, and lines for what there would be. `over` is what the old side is called.
fn comparisons(
    new: &[Offered],
    old: &[Offered],
    demands: &Against,
    sides: Sides,
    over: &str,
) -> (Vec<Comparison>, Vec<Line>) {
    let (mut comparisons, mut skipped) = (Vec::new(), Vec::new());
    for task in &demands.tasks {
        let is_own = |kernel: &&Offered| kernel.does(task.operation.name()) && !limit::is_limit(&kernel.name);
        // Kernels of other formats are here to compare others with: nothing is promised of them.
        let is_listed = |kernel: &&Offered| {
            sides == Sides::Libraries
                || (kernel.operation == task.operation.name() && demands.kernels.contains(&kernel.name))
        };
        for kernel in new.iter().filter(is_own).filter(is_listed) {
            let line = Line {
                kernel: kernel.name.clone(),
                on: task.to_string().replacen(task.operation.name(), &kernel.operation, 1),
                over: over.to_owned(),
                at_least: Some(demands.at_least),
                why: "a merge must not make a kernel slower".to_owned(),
                source_line: Some(demands.line),
                ..Line::default()
            };
            match counterpart(kernel, new, old, sides) {
                None => {
                    let missing = vec!["such kernel on the other side".to_owned()];
                    skipped.push(Line { missing, ..line });
                }
                Some(_) if !kernel.missing.is_empty() => {
                    skipped.push(Line { missing: kernel.missing.clone(), ..line });
                }
                Some(other) => {
                    let names = [kernel.name.clone(), other.name.clone()];
                    let operation = kernel.operation.clone();
                    comparisons.push(Comparison::new(*task, operation, names, line, demands.at_least));
                }
            }
        }
    }
    (comparisons, skipped)
}

/// What a kernel is compared with: the one of its name, or of libraries else the first that has none of the other side's names.
fn counterpart<'o>(
    kernel: &Offered,
    new: &[Offered],
    old: &'o [Offered],
    sides: Sides,
) -> Option<&'o Offered> {
    let of = |all: &'o [Offered]| all.iter().filter(|other| other.operation == kernel.operation);
    let is_known = |name: &str| new.iter().any(|own| own.operation == kernel.operation && own.name == name);
    let other = || of(old).find(|other| sides == Sides::Libraries && !is_known(&other.name));
    of(old).find(|other| other.name == kernel.name).or_else(other)
}

/// The processes of each side, one of each program.
struct Pair {
    new: Vec<Process>,
    old: Vec<Process>,
    /// Whether all stay on one CPU: two CPUs have different neighbours.
    is_pinned: bool,
}

impl Pair {
    fn start(new: &[Program], old: &[Program]) -> Result<Self, GateError> {
        let start = |side: &[Program]| side.iter().map(Process::start).collect::<Result<Vec<_>, _>>();
        Ok(Self { new: start(new)?, old: start(old)?, is_pinned: false })
    }

    /// Keeps all where the scheduler has put the first.
    fn pin(&mut self, cpu: usize) -> Result<(), GateError> {
        if !self.is_pinned {
            for process in self.new.iter_mut().chain(&mut self.old) {
                process.ask(&Request::Pin { cpu })?;
            }
            self.is_pinned = true;
        }
        Ok(())
    }

    /// A slice of each process, new and then old, and again in the opposite order; all of it the other way round if `is_reversed`.
    fn round(&mut self, task: usize, is_reversed: bool) -> Result<Round, GateError> {
        let (new, count) = (self.new.len(), self.new.len() + self.old.len());
        let mut times = vec![Vec::new(); count];
        let forth: Vec<usize> = if is_reversed { (0..count).rev().collect() } else { (0..count).collect() };
        for &at in forth.iter().chain(forth.iter().rev()) {
            let process = if at < new { &mut self.new[at] } else { &mut self.old[at - new] };
            times[at].push(slice(process, task)?);
        }
        let old = times.split_off(new);
        Ok(Round { new: times, old })
    }
}

/// Nanoseconds of a call in the slices of a round, of each program of a side.
struct Round {
    new: Vec<Vec<f64>>,
    old: Vec<Vec<f64>>,
}

/// The place of the fastest program of a side.
fn fastest<'r>(rounds: &'r [Round], side: impl Fn(&'r Round) -> &'r Vec<Vec<f64>>) -> usize {
    let programs = rounds.first().map_or(0, |round| side(round).len());
    let time = |at: &usize| {
        let times: Vec<f64> = rounds.iter().map(|round| side(round)[*at].iter().sum()).collect();
        quantile(&times, 0.5)
    };
    (0..programs).min_by(|a, b| time(a).total_cmp(&time(b))).expect("a side has a program")
}

/// One kernel, new and old.
struct Comparison {
    task: Task,
    /// With the formats that are not plain.
    operation: String,
    /// What the new one is called, and the old one.
    names: [String; 2],
    line: Line,
    at_least: f64,
    /// Of each pair of processes, the old time over the new.
    ratios: Vec<f64>,
    /// The same of the old one over itself.
    controls: Vec<f64>,
}

impl Comparison {
    fn new(task: Task, operation: String, names: [String; 2], line: Line, at_least: f64) -> Self {
        Self { task, operation, names, line, at_least, ratios: Vec::new(), controls: Vec::new() }
    }

    /// Rounds of a pair in which `place` tasks were prepared before.
    fn measure(&mut self, pair: &mut Pair, place: usize, check: bool) -> Result<(), GateError> {
        let prepare = |name: &String| Request::Prepare {
            task: self.task.to_string(),
            kernels: vec![(self.operation.clone(), name.clone())],
            check,
        };
        let [new, old] = [prepare(&self.names[0]), prepare(&self.names[1])];
        let mut cpu = 0;
        for process in &mut pair.new {
            let Response::Prepared { cpu: own } = process.ask(&new)? else { return Err(process.foreign()) };
            cpu = own;
        }
        for process in &mut pair.old {
            process.ask(&old)?;
        }
        pair.pin(cpu)?;
        // The first slices find out how many calls they have room for.
        pair.round(place, false)?;
        let (mut rounds, start) = (Vec::new(), Instant::now());
        let time = TIME * pair.new.len().max(pair.old.len()) as u32;
        while rounds.len() < MIN_ROUNDS || start.elapsed() < time {
            rounds.push(pair.round(place, rounds.len() % 2 == 1)?);
        }
        let (new, old) = (fastest(&rounds, |round| &round.new), fastest(&rounds, |round| &round.old));
        let sum = |slices: &[f64]| slices.iter().sum::<f64>();
        self.ratios
            .push(Ratio::of(rounds.iter().map(|round| sum(&round.old[old]) / sum(&round.new[new]))).median);
        let controls: Vec<f64> = rounds.iter().map(|round| round.old[old][0] / round.old[old][1]).collect();
        self.controls.push(quantile(&controls, 0.5));
        Ok(())
    }

    fn verdict(&self) -> Verdict {
        if self.controls.is_empty() {
            Verdict::Inconclusive
        } else if is_steady(&Estimate::of(&self.controls)) {
            Estimate::of(&self.ratios).judge(self.at_least)
        } else {
            Verdict::Invalid
        }
    }

    /// Whether another pair of processes might show more.
    fn is_open(&self) -> bool {
        self.verdict().is_open()
    }

    fn judged(&self) -> Line {
        Line {
            estimate: measured(&self.ratios),
            control: measured(&self.controls),
            verdict: self.verdict(),
            ..self.line.clone()
        }
    }
}

/// Nanoseconds of a call.
fn slice(process: &mut Process, task: usize) -> Result<f64, GateError> {
    match process.ask(&Request::Slice { task, place: 0 })? {
        Response::Sliced(nanoseconds) => Ok(nanoseconds),
        _ => Err(process.foreign()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(operation: &str, name: &str, missing: &[&str]) -> Offered {
        let missing = missing.iter().map(|&feature| feature.to_owned()).collect();
        Offered { operation: operation.to_owned(), name: name.to_owned(), missing }
    }

    fn compared(new: &[Offered], old: &[Offered], sides: Sides) -> (Vec<[String; 2]>, Vec<String>) {
        let demands = Against {
            at_least: 0.97,
            kernels: vec!["avx2".to_owned(), "avx_vnni".to_owned()],
            tasks: vec!["unpack 64".parse().expect("a task"), "gemv_fixed 2x8-1".parse().expect("a task")],
            line: 1,
        };
        let (comparisons, skipped) = comparisons(new, old, &demands, sides, "old");
        let reason = |line: &Line| format!("{}: {}", line.name(), line.missing.join(", "));
        (comparisons.into_iter().map(|own| own.names).collect(), skipped.iter().map(reason).collect())
    }

    #[test]
    fn builds_are_compared_by_name_and_what_has_no_counterpart_is_told() {
        let new = [
            offer("unpack", "scalar", &[]),
            offer("unpack", "avx2", &[]),
            offer("unpack", limit::STORE_FILL, &[]),
            offer("gemv_fixed", "avx2", &[]),
            offer("gemv_fixed", "avx_vnni", &["avxvnni"]),
        ];
        let old = [new[0].clone(), new[1].clone(), new[2].clone(), new[4].clone()];
        let (names, skipped) = compared(&new, &old, Sides::Builds);
        assert_eq!(names, [["avx2", "avx2"]]);
        assert_eq!(
            skipped,
            [
                "avx2 gemv_fixed 2x8-1 over old: such kernel on the other side",
                "avx_vnni gemv_fixed 2x8-1 over old: avxvnni",
            ]
        );
    }

    #[test]
    fn a_side_is_as_fast_as_its_fastest_program() {
        let round = |new: [f64; 3], old: f64| Round {
            new: new.iter().map(|&time| vec![time, time]).collect(),
            old: vec![vec![old, old]],
        };
        // The second is the slowest once: the median counts.
        let rounds = [round([9.0, 7.0, 8.0], 9.0), round([9.0, 20.0, 8.0], 9.0), round([9.0, 7.0, 8.0], 9.0)];
        assert_eq!(fastest(&rounds, |round| &round.new), 1);
        assert_eq!(fastest(&rounds, |round| &round.old), 0);
    }

    #[test]
    fn libraries_are_compared_by_operation_whatever_they_call_themselves() {
        let (names, skipped) =
            compared(&[offer("unpack", "mine 2", &[])], &[offer("unpack", "mine 1", &[])], Sides::Libraries);
        assert_eq!((names, skipped.len()), (vec![["mine 2".to_owned(), "mine 1".to_owned()]], 0));
    }

    #[test]
    fn kernels_of_libraries_are_compared_with_those_of_their_format_and_name() {
        let new = [offer("unpack", "b", &[]), offer("unpack q4_0", "a", &[]), offer("unpack q4_0", "b", &[])];
        let old = [offer("unpack q4_0", "b", &[]), offer("unpack q4_0", "old", &[])];
        let (names, skipped) = compared(&new, &old, Sides::Libraries);
        assert_eq!(names, [["a", "old"], ["b", "b"]]);
        assert_eq!(skipped, ["b unpack 64 over old: such kernel on the other side"]);
    }
}
