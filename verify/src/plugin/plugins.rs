//! Shared libraries as the host knows them: what they have, and what can be asked of it.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::confirm::Confirm;
use super::host::{Answer, Host, PluginError};
use super::loaded::{Examined, KernelHandle, Plugin};
use super::message::{Beside, Request, Response};
use super::run::Run;
use crate::case::Case;
use crate::check::{Plan, Progress, Report};
use crate::finding::Finding;
use crate::kernel::Kernel;
use crate::order::{Revealed, Subject};
use crate::timing::Ratio;
use crate::weights::Weights;

/// Kernels of shared libraries, and how to call them.
#[derive(Debug)]
pub struct Plugins {
    plugins: Vec<Plugin>,
    weights: Option<Weights>,
}

/// The speed of a kernel beside scalar ones.
#[derive(Clone, Debug)]
pub struct Speed {
    /// The kernel.
    pub name: String,
    /// Median time of a call, in nanoseconds.
    pub nanoseconds: f64,
    /// Over the in-order scalar kernel.
    pub over_scalar: Ratio,
    /// Over the fastest of the honest scalar kernels.
    pub over_fast_scalar: Ratio,
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

    /// The kernels, those that libraries do not export included.
    pub fn kernels(&self) -> impl Iterator<Item = &dyn Kernel> {
        self.plugins.iter().flat_map(|plugin| plugin.kernels.iter().map(|handle| handle as &dyn Kernel))
    }

    /// Whether one of the libraries exports the kernel.
    pub fn has(&self, kernel: &dyn Kernel) -> bool {
        self.place(kernel).is_some()
    }

    /// Examines the kernels for which `wanted` holds as [`check`](crate::check::check) does, with N workers a library. What ends the
    /// run early is a fault of the harness in the report.
    ///
    /// # Errors
    /// If nothing was examined, because the system gives no process or a case has no data.
    pub fn check(
        &self,
        plan: &Plan,
        wanted: &dyn Fn(&dyn Kernel) -> bool,
        jobs: usize,
        watch: &mut (dyn FnMut(Progress<'_>) -> ControlFlow<()> + Send),
    ) -> Result<Report<'_>, PluginError> {
        let (mut report, began, mut flow) =
            (Report::blank(plan.seed), Instant::now(), ControlFlow::Continue(()));
        for plugin in &self.plugins {
            let kernels: Vec<&KernelHandle> =
                plugin.kernels.iter().filter(|handle| wanted(*handle)).collect();
            let run = Run::new(plugin, kernels, *plan, self.weights.as_ref(), began);
            if flow.is_continue() {
                flow = run.whole(jobs.max(1), watch);
            }
            run.finish(&mut report)?;
        }
        Ok(report)
    }

    /// Examines one kernel by one case in a new process, in which each of `earlier` was called N times before.
    ///
    /// # Errors
    /// If the system gives no process, or a case has no data.
    pub fn examine(
        &self,
        kernel: &dyn Kernel,
        earlier: &[(u64, Case)],
        case: &Case,
    ) -> Result<Examined, PluginError> {
        let (plugin, place) = self.place(kernel).ok_or_else(|| unknown(kernel))?;
        plugin.examine(place, earlier, case, Beside::ALL)
    }

    /// The finding for the smallest case on which `kernel` still violates the property of `finding`, each seen in a process of its own.
    ///
    /// # Errors
    /// If the system gives no process.
    pub fn minimize(&self, kernel: &dyn Kernel, finding: &Finding) -> Result<Finding, PluginError> {
        let (plugin, place) = self.place(kernel).ok_or_else(|| unknown(kernel))?;
        Ok(Confirm { plugin, kernel, place, weights: self.weights.as_ref() }.minimize(finding))
    }

    /// How a gemv adds up a row, or in words why no tree explains it.
    ///
    /// # Errors
    /// If the system gives no process, the row is none, or the kernel crashes its process.
    pub fn reveal(
        &self,
        kernel: &dyn Kernel,
        subject: Subject,
    ) -> Result<Result<Revealed, String>, PluginError> {
        let (plugin, place) = self.place(kernel).ok_or_else(|| unknown(kernel))?;
        let Subject { rows, cols, row, scaled, .. } = subject;
        let (_, mut worker) = plugin.host.start()?;
        match worker.ask(&Request::Reveal { kernel: place, rows, cols, row, scaled }, &mut |_| {})? {
            Answer::Response(Response::Revealed(revealed)) => Ok(revealed),
            Answer::Response(Response::Failed(why)) => Err(PluginError::Load(why)),
            Answer::Response(other) => Err(worker.unexpected(&other)),
            Answer::Death(death) => Err(plugin.broken_off(death)),
        }
    }

    /// Times a kernel beside our own; the plugin comes first. `None` if it does not survive that.
    ///
    /// # Errors
    /// If the system gives no process, or the worker's answer cannot be read.
    pub fn time(&self, kernel: &dyn Kernel, budget: Duration) -> Result<Option<Vec<Speed>>, PluginError> {
        let Some((plugin, place)) = self.place(kernel) else { return Ok(None) };
        let request = Request::Time { kernel: place, milliseconds: budget.as_millis() as u64 };
        let (_, mut worker) = plugin.host.start()?;
        Ok(match worker.ask(&request, &mut |_| {})? {
            Answer::Response(Response::Timed(timed)) => {
                let speed = |timed: super::message::Timed| Speed {
                    name: timed.name,
                    nanoseconds: timed.nanoseconds,
                    over_scalar: timed.over_scalar,
                    over_fast_scalar: timed.over_fast_scalar,
                };
                Some(timed.into_iter().map(speed).collect())
            }
            _ => None,
        })
    }

    fn place(&self, kernel: &dyn Kernel) -> Option<(&Plugin, usize)> {
        self.plugins.iter().find_map(|plugin| {
            let handle = plugin.kernels.iter().find(|handle| {
                handle.operation == kernel.operation() && Some(handle.library.as_path()) == kernel.library()
            })?;
            Some((plugin, handle.place?))
        })
    }
}

fn unknown(kernel: &dyn Kernel) -> PluginError {
    PluginError::Load(format!("{kernel:?} is exported by none of the libraries"))
}
