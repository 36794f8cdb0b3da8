//! Which mutants a check finds, by what and how soon: `survey [--cases N] [--seed N] [--seconds N] [--right] [NAME ..]`.
//!
//! Each runs in a process of its own, as some crash and some never return.

use std::io::Read;
use std::ops::ControlFlow;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use qk256_mutants::{Mutant, right, wrong};
use qk256_verify::Harness;
use qk256_verify::check::{Budget, Plan, check};

/// Marks the process that examines a single mutant.
const ALONE: &str = "--alone";

struct Options {
    cases: u64,
    seed: u64,
    limit: Duration,
    mutants: Vec<Mutant>,
    alone: bool,
}

fn main() {
    let options = Options::of(std::env::args().skip(1));
    if options.alone {
        return options.mutants.iter().for_each(|mutant| println!("{}", options.verdict(mutant)));
    }
    for mutant in &options.mutants {
        let start = Instant::now();
        let verdict = options.in_a_process(mutant);
        let (class, name) = (mutant.class.name(), mutant.name);
        println!("{class:16}{name:58}{verdict:40}{:7} ms", start.elapsed().as_millis());
    }
}

impl Options {
    fn of(mut words: impl Iterator<Item = String>) -> Self {
        let mut options =
            Self { cases: 20_000, seed: 1, limit: Duration::from_secs(15), mutants: wrong(), alone: false };
        let mut names: Vec<String> = Vec::new();
        while let Some(word) = words.next() {
            let mut number = || words.next().and_then(|word| word.parse().ok()).expect("a number follows");
            match word.as_str() {
                "--cases" => options.cases = number(),
                "--seed" => options.seed = number(),
                "--seconds" => options.limit = Duration::from_secs(number()),
                "--right" => options.mutants = right(),
                ALONE => options.alone = true,
                _ => names.push(word),
            }
        }
        if !names.is_empty() {
            options.mutants = wrong().into_iter().chain(right()).collect();
            options.mutants.retain(|mutant| names.iter().any(|name| name == mutant.name));
        }
        options
    }

    /// The first finding, in this process.
    fn verdict(&self, mutant: &Mutant) -> String {
        let plan = Plan { minimize: false, ..Plan::new(self.seed, Budget::Cases(self.cases)) };
        let mut until_found = |progress: qk256_verify::check::Progress<'_>| match progress.findings {
            0 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        };
        let report = check(&mut Harness::new(None), &[&mutant.kernel], &plan, &mut until_found);
        let report = report.expect("seeded cases have data");
        match report.findings.first() {
            Some(finding) => format!("{} at case {}", finding.rung, report.cases),
            None => format!("SURVIVED {} cases", report.cases),
        }
    }

    /// The same in a process of its own, or how that ended.
    fn in_a_process(&self, mutant: &Mutant) -> String {
        let itself = std::env::current_exe().expect("a process knows its own path");
        let numbers =
            ["--cases", &self.cases.to_string(), "--seed", &self.seed.to_string()].map(str::to_owned);
        let mut child = Command::new(itself)
            .args(numbers)
            .args([ALONE, mutant.name])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a process can start itself");
        match self.wait(&mut child) {
            None => format!("TIME: still running after {} s", self.limit.as_secs()),
            Some(status) if status.success() => said(&mut child),
            Some(status) => format!("CRASH: {status}"),
        }
    }

    /// `None`, and an end to the process, once its time is over.
    fn wait(&self, child: &mut Child) -> Option<std::process::ExitStatus> {
        let start = Instant::now();
        while start.elapsed() < self.limit {
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().and_then(|()| child.wait()).expect("a child can be ended");
        None
    }
}

fn said(child: &mut Child) -> String {
    let mut text = String::new();
    let output = child.stdout.as_mut().expect("standard output is piped");
    output.read_to_string(&mut text).expect("a verdict is text");
    text.trim_end().to_owned()
}
