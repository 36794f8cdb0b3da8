//! One kernel under one harness, in this process or in one of its own.

use std::ops::ControlFlow;
use std::os::fd::RawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use qk256_mutants::peers::Peer;
use qk256_mutants::{Fault, Mutant, ask_for_the_truth};
use qk256_verify::case::Sweep;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use qk256_verify::certificate::certify;
use qk256_verify::check::{Budget, Plan, Report, check};
use qk256_verify::child::{Answer, Child, Errors, Patience, Record, SharedMemory, pass};
use qk256_verify::memory::fault::exit_after_crash;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use qk256_verify::{Case, Kernel};
use qk256_verify::{Harness, KernelFn};
use serde::{Deserialize, Serialize};

use super::LIMIT;

/// Further shapes, the smallest, by which right kernels and faults of the harness are examined unless all are asked for: what is examined to
/// the end takes long.
const SHAPES: u64 = 3000;

/// Drawn cases behind the sweep. `check` makes about as many of gemv, and more of the others, in its default time.
const DRAWN_CASES: u64 = 1000;

/// How long a call may take. The longest of a right kernel takes milliseconds.
const HANG: Duration = Duration::from_secs(2);

/// What is reported in the place of a property where a check shows nothing.
pub(super) const VACUOUS: &str = "vacuous";

/// What is examined.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    pub(super) kind: Kind,
    pub(super) mutant: Mutant,
}

/// What the sound harness must say of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A finding.
    Wrong,
    /// Nothing.
    Right,
    /// A finding, which a harness with this fault does not make.
    Fault(Fault),
    /// Whatever it is: the test of another project examines the kernel.
    Peer(&'static Peer),
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// The property that was violated, or what became of the process; `None` if nothing was found.
    pub(crate) caught_by: Option<String>,
    /// Cases until then.
    pub(crate) cases: u64,
    /// Milliseconds until then, from when the first case was made.
    pub(crate) milliseconds: f64,
    /// The finding.
    pub(crate) finding: String,
    /// Whether a certificate is given for the shape of the finding, if that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<Attempt>,
}

/// How long the smallest case of a kernel is looked for. Cases of very long vectors take longer.
const SHRINKING: Duration = Duration::from_secs(60);

impl Verdict {
    /// Of a kernel whose smallest case takes too long to find: no certificate was tried.
    fn too_slow() -> Self {
        Self {
            caught_by: Some("no smallest case in time".to_owned()),
            cases: 0,
            milliseconds: SHRINKING.as_secs_f64() * 1e3,
            finding: String::new(),
            certificate: None,
        }
    }
}

/// How long the test of another project may take with a kernel.
const PEER_LIMIT: Duration = Duration::from_secs(60);

impl Verdict {
    /// Of the test of another project.
    fn of_peer(peer: &Peer, kernel: &KernelFn) -> Self {
        let start = Instant::now();
        let finding = peer.finding(kernel);
        Self {
            caught_by: finding.is_some().then(|| "limit".to_owned()),
            cases: 1,
            milliseconds: start.elapsed().as_secs_f64() * 1e3,
            finding: finding.unwrap_or_default(),
            certificate: None,
        }
    }

    /// Of such a test whose process did not live to say.
    fn of_ended_peer(how: String) -> Self {
        Self { caught_by: Some(how), cases: 1, milliseconds: 0.0, finding: String::new(), certificate: None }
    }
}

/// The attempt to certify a wrong kernel on the shape of a case on which it is wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Attempt {
    /// The case.
    pub(crate) case: String,
    /// Why it was refused; `None` of one that was certified.
    pub(crate) refusal: Option<String>,
}

/// Elements up to which shapes are followed: millions of instructions.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
const MOST_ELEMENTS: usize = 1 << 15;

impl Attempt {
    /// The attempt; `None` where the shape is so large that it takes minutes.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    fn of(kernel: &dyn Kernel, case: &Case) -> Option<Self> {
        if case.rows.saturating_mul(case.cols.max(1)).saturating_mul(case.batch) > MOST_ELEMENTS {
            return None;
        }
        let has_gaps = (0..1 << 12).contains(&case.stride) && case.x_gap >= 0 && case.out_gap >= 0;
        let [stride, x_gap, out_gap] =
            if has_gaps { [case.stride, case.x_gap, case.out_gap] } else { [0; 3] };
        let plain = Case::new(kernel.domain(), case.rows, case.cols);
        let shape = Case { stride, x_gap, out_gap, batch: case.batch, scaled: case.scaled, ..plain };
        let refusal = certify(kernel, &shape).err().map(|refusal| refusal.to_string());
        Some(Self { case: case.to_string(), refusal })
    }
}

/// How far a process came, which it may not live to say.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Progress {
    cases: AtomicU64,
    nanoseconds: AtomicU64,
}

// SAFETY: atomic integers in the order of C, far less than a page.
unsafe impl Record for Progress {}

impl Subject {
    /// The name of the kernel, or of the fault.
    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Fault(fault) => fault.name,
            Kind::Wrong | Kind::Right | Kind::Peer(_) => self.mutant.name,
        }
    }

    /// Whether what was seen is what a sound harness, or one with this very fault, sees.
    pub(super) fn is_as_it_must_be(&self, seen: &Verdict) -> bool {
        match self.kind {
            Kind::Wrong => seen.caught_by.is_some(),
            Kind::Right => seen.caught_by.is_none(),
            // A run that shows nothing says so by itself.
            Kind::Fault(_) => seen.caught_by.as_ref().is_none_or(|by| by == VACUOUS),
            Kind::Peer(_) => true,
        }
    }

    /// Checks the kernel up to the first finding.
    pub(super) fn examine(
        &self,
        seed: u64,
        whole: bool,
        certifies: bool,
        progress: Option<RawFd>,
    ) -> Result<Verdict> {
        if let Kind::Peer(peer) = self.kind {
            return Ok(Verdict::of_peer(peer, &self.mutant.kernel));
        }
        exit_after_crash(1, HANG);
        let mut harness = match self.kind {
            Kind::Fault(fault) => {
                ask_for_the_truth(self.mutant.kernel);
                Harness::with_faults(None, fault.harness)
            }
            Kind::Wrong | Kind::Right | Kind::Peer(_) => Harness::new(None),
        };
        harness.watch_process(true);
        // SAFETY: the process was started with this descriptor, for this alone.
        let progress = progress.map(|fd| unsafe { SharedMemory::<Progress>::inherited(fd) }).transpose()?;
        // Made before the clock starts: it is the same for every kernel.
        let sweep = Sweep::of(self.mutant.kernel.domain);
        let cases = match self.kind {
            Kind::Right | Kind::Fault(_) if !whole => sweep.len().min(sweep.edges_len() + SHAPES),
            _ => sweep.len() + DRAWN_CASES,
        };
        let plan =
            Plan { minimize: certifies, huge: self.mutant.huge, ..Plan::new(seed, Budget::Cases(cases)) };
        let start = Instant::now();
        let mut until = None;
        let report = check(&mut harness, &[&self.mutant.kernel], &plan, &mut |at| {
            let seen = (at.cases, start.elapsed());
            if let Some(progress) = &progress {
                progress.cases.store(seen.0, Ordering::Relaxed);
                progress.nanoseconds.store(seen.1.as_nanos() as u64, Ordering::Relaxed);
            }
            if at.findings == 0 {
                return ControlFlow::Continue(());
            }
            until = Some(seen);
            ControlFlow::Break(())
        })?;
        let (cases, time) = until.unwrap_or((report.cases, start.elapsed()));
        let (caught_by, finding) = seen(&report);
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        let certificate = report
            .findings
            .first()
            .filter(|_| certifies)
            .and_then(|finding| Attempt::of(&self.mutant.kernel, &finding.case));
        #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
        let certificate = None;
        Ok(Verdict { caught_by, cases, milliseconds: time.as_secs_f64() * 1e3, finding, certificate })
    }

    /// The same in a process of its own, which the kernel may crash; `None` if an early end is requested before it is done.
    pub(super) fn in_a_process(&self, seed: u64, whole: bool, certifies: bool) -> Result<Option<Verdict>> {
        let (progress, file) =
            SharedMemory::<Progress>::new().context("cannot share memory with a process")?;
        let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
        command.args(["selftest", "--alone", &self.to_string(), "--seed", &seed.to_string()]);
        command.args(whole.then_some("--whole"));
        command.args(certifies.then_some("--certify"));
        let descriptor = pass(&mut command, &file);
        command.args(["--progress", &descriptor]);
        let child = Child::start(&mut command, Errors::Kept);
        let mut child = child.context("cannot start this program again")?;
        let is_peer = matches!(self.kind, Kind::Peer(_));
        let limit = match self.kind {
            Kind::Peer(_) => PEER_LIMIT,
            _ if certifies => SHRINKING,
            _ => LIMIT,
        };
        let patience = Patience { is_interruptible: true, ..Patience::of(limit) };
        let (verdict, end) = child.finish(&patience);
        if verdict.is_some() || end == Answer::Interrupted {
            return Ok(verdict);
        }
        if is_peer {
            let signal = end.status().map(|status| ended_by(status, "").unwrap_or_else(|| "exit".to_owned()));
            return Ok(Some(Verdict::of_ended_peer(signal.unwrap_or_else(|| "hang".to_owned()))));
        }
        let Some(status) = end.status() else {
            if certifies {
                return Ok(Some(Verdict::too_slow()));
            }
            bail!(
                "{self} has not ended within {} s: the machine is too slow, or a limit of the harness fails",
                LIMIT.as_secs()
            )
        };
        let complained = child.errors();
        let Some(caught_by) = ended_by(status, &complained) else {
            bail!("the process of {self} ended without a result or a reason: {complained}")
        };
        let time = Duration::from_nanos(progress.nanoseconds.load(Ordering::Relaxed));
        let hung = if caught_by == "hang" { HANG } else { Duration::ZERO };
        let milliseconds = (time + hung).as_secs_f64() * 1e3;
        Ok(Some(Verdict {
            caught_by: Some(caught_by),
            cases: progress.cases.load(Ordering::Relaxed) + 1,
            milliseconds,
            finding: complained.trim().to_owned(),
            certificate: None,
        }))
    }
}

/// What a report comes to: a finding, or that the check was one in name only.
fn seen(report: &Report<'_>) -> (Option<String>, String) {
    match (report.findings.first(), report.vacuous()) {
        (Some(finding), _) => (Some(finding.failure.property.name().to_owned()), finding.to_string()),
        (None, Some(vacuous)) => (Some(VACUOUS.to_owned()), vacuous.to_string()),
        (None, None) => (None, String::new()),
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.kind.name(), self.name())
    }
}

impl Kind {
    /// In reports, and in what the command calls itself with.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Wrong => "wrong",
            Self::Right => "right",
            Self::Fault(_) => "fault",
            Self::Peer(peer) => peer.name,
        }
    }
}

/// What ended a process without a result: what it reported last, or the signal.
fn ended_by(status: ExitStatus, complained: &str) -> Option<String> {
    let reported = |how: &&str| complained.contains(&format!("finding: {how}"));
    let how = ["hang", "crash", "exit"].into_iter().find(reported);
    let signal = || status.signal().map(|signal| format!("signal {signal}"));
    how.map(str::to_owned).or_else(signal)
}
