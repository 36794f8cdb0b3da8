//! Shared libraries as the host knows them: what they have, and what can be asked of it.

use std::ops::ControlFlow;
use std::time::Instant;

use super::confirm::Confirm;
use super::ggml;
use super::host::{Answer, Host, PluginError};
use super::loaded::{KernelHandle, Plugin};
use super::message::{Beside, Request, Response};
use super::run::Run;
use crate::case::Case;
use crate::check::{Plan, Progress, Report};
use crate::examiner::{ExamineError, Examined, Examiner, Reference, Timing, time_for};
use crate::finding::Finding;
use crate::interrupt;
use crate::kernel::Kernel;
use crate::order::{Revealed, Subject};
use crate::timing::Speed;
use crate::weights::Weights;

/// Kernels of shared libraries, and how to call them.
#[derive(Debug)]
pub struct Plugins {
    plugins: Vec<Plugin>,
    weights: Option<Weights>,
}

impl Plugins {
    /// Loads each library in a worker of its own, to see what it has.
    ///
    /// # Errors
    /// If one is no plugin, or the system gives no process.
    pub fn open(hosts: Vec<Host>, weights: Option<Weights>) -> Result<Self, PluginError> {
        let plugins = hosts.into_iter().map(Plugin::open).collect::<Result<_, _>>()?;
        Ok(Self { plugins, weights })
    }

    /// Times a kernel beside our own; the plugin comes first. Nothing if it does not survive that.
    fn time_one(&self, kernel: &dyn Kernel) -> Result<Vec<(String, Speed)>, PluginError> {
        let (plugin, &KernelHandle { place, .. }) = self.handle(kernel)?;
        let milliseconds = time_for(kernel.operation()).as_millis() as u64;
        let (_, mut worker) = plugin.host.start()?;
        Ok(match worker.ask(&Request::Time { kernel: place, milliseconds }, &mut |_| {})? {
            Answer::Response(Response::Timed(timed)) => timed,
            _ => Vec::new(),
        })
    }

    /// The library of a kernel, and the kernel there.
    fn handle(&self, kernel: &dyn Kernel) -> Result<(&Plugin, &KernelHandle), PluginError> {
        let place = self.plugins.iter().find_map(|plugin| {
            let handle = plugin.kernels.iter().find(|handle| {
                (handle.name(), handle.domain) == (kernel.name(), kernel.domain())
                    && Some(&handle.library) == kernel.library()
            })?;
            Some((plugin, handle))
        });
        place.ok_or_else(|| PluginError::Load(format!("{kernel:?} is in none of the libraries")))
    }
}

impl From<PluginError> for ExamineError {
    fn from(error: PluginError) -> Self {
        match error {
            PluginError::Interrupted => Self::Interrupted,
            error => Self::Failed(error.into()),
        }
    }
}

/// Each case is examined in a new process, and so is each step of a minimisation. What ends a check early is a fault of the harness in
/// its report.
impl Examiner for Plugins {
    fn kernels(&self) -> Vec<&dyn Kernel> {
        let kernels = self.plugins.iter().flat_map(|plugin| &plugin.kernels);
        kernels.map(|handle| handle as &dyn Kernel).collect()
    }

    fn weights(&self) -> Option<&Weights> {
        self.weights.as_ref()
    }

    fn check<'a>(
        &'a self,
        kernels: &[&'a dyn Kernel],
        plan: &Plan,
        jobs: usize,
        watch: &mut (dyn FnMut(Progress<'_>) -> ControlFlow<()> + Send),
    ) -> Result<Report<'a>, ExamineError> {
        let (mut report, began, mut flow) =
            (Report::blank(plan.seed), Instant::now(), ControlFlow::Continue(()));
        for plugin in &self.plugins {
            let is_wanted =
                |handle: &&KernelHandle| kernels.iter().any(|&kernel| std::ptr::addr_eq(kernel, *handle));
            let wanted: Vec<&KernelHandle> = plugin.kernels.iter().filter(is_wanted).collect();
            let run = Run::new(plugin, wanted, *plan, self.weights.as_ref(), began);
            if flow.is_continue() {
                flow = run.whole(jobs.max(1), watch);
            }
            run.finish(&mut report)?;
            let domains = plugin.kernels.iter().filter(is_wanted).map(|handle| handle.domain);
            report.notes.extend(ggml::notes(&plugin.host.library, &domains.collect::<Vec<_>>()));
        }
        Ok(report)
    }

    fn examine(
        &self,
        kernel: &dyn Kernel,
        earlier: &[(u64, Case)],
        case: &Case,
    ) -> Result<Examined, ExamineError> {
        let (plugin, handle) = self.handle(kernel)?;
        if let Some(why) = handle.why_not() {
            return Ok(Examined::skipped(why));
        }
        Ok(plugin.examine(handle.place, earlier, case, Beside::ALL)?)
    }

    fn minimize(&self, kernel: &dyn Kernel, finding: &Finding) -> Result<Finding, ExamineError> {
        let (plugin, &KernelHandle { place, .. }) = self.handle(kernel)?;
        Ok(Confirm { plugin, kernel, place, weights: self.weights.as_ref() }.minimize(finding))
    }

    fn reveal(
        &self,
        kernel: &dyn Kernel,
        subject: Subject,
    ) -> Result<Result<Revealed, String>, ExamineError> {
        let (plugin, &KernelHandle { place, .. }) = self.handle(kernel)?;
        let Subject { rows, cols, row, scaled, .. } = subject;
        let (_, mut worker) = plugin.host.start()?;
        Ok(match worker.ask(&Request::Reveal { kernel: place, rows, cols, row, scaled }, &mut |_| {})? {
            Answer::Response(Response::Revealed(revealed)) => revealed,
            Answer::Response(Response::Failed(why)) => return Err(PluginError::Load(why).into()),
            Answer::Response(other) => return Err(worker.unexpected(&other).into()),
            Answer::Death(death) => return Err(plugin.broken_off(death).into()),
        })
    }

    /// Each kernel beside our own; and these, once for each operation.
    fn time(&self, report: &mut Report<'_>) -> Result<Timing, ExamineError> {
        let mut timing = Timing::none(report.kernels.len());
        for (row, speed) in report.kernels.iter().zip(&mut timing.speeds) {
            let domain = row.kernel.domain();
            if row.counts.failed > 0 || row.counts.cases == 0 || interrupt::is_requested() {
                continue;
            }
            let mut timed = match self.time_one(row.kernel) {
                Ok(timed) => timed.into_iter(),
                Err(PluginError::Interrupted) => continue,
                Err(error) => {
                    report.harness_faults.push(error.to_string());
                    continue;
                }
            };
            *speed = timed.next().map(|(_, speed)| speed);
            if timing.references.iter().all(|known| known.domain != domain) {
                timing.references.extend(timed.map(|(name, speed)| Reference { domain, name, speed }));
            }
        }
        Ok(timing)
    }
}
