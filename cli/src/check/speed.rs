//! How fast the kernels of a run are, beside the scalar ones.

use std::time::Duration;

use anyhow::Result;
use qk256_verify::check::Report;
use qk256_verify::kernel::{Kernel, missing_features};
use qk256_verify::plugin::{self, PluginError, Plugins};
use qk256_verify::timing::{Ratio, Workload, race};
use qk256_verify::{Harness, Operation, interrupt, registry};

use super::Speeds;

/// One kernel's speed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Speed {
    /// What was timed.
    pub(crate) shape: (usize, usize),
    /// Median time of a call, in nanoseconds.
    pub(crate) nanoseconds: f64,
    /// Over the in-order scalar kernel, if it could be timed.
    pub(crate) over_scalar: Option<Ratio>,
    /// Over the fastest of the honest scalar kernels, if one could be timed.
    pub(crate) over_fast_scalar: Option<Ratio>,
}

const fn budget(operation: Operation) -> Duration {
    Duration::from_millis(if operation.is_matrix() { 1200 } else { 300 })
}

/// A kernel of our own that was timed beside plugins.
#[derive(Clone, Debug)]
pub(crate) struct Beside {
    pub(crate) operation: Operation,
    pub(crate) name: String,
    pub(crate) speed: Speed,
}

/// Times the plugins of the report that nothing was found in, each beside our own kernels; and these, once for each operation.
/// What goes wrong is a fault of the harness in the report.
pub(crate) fn of_plugins(plugins: &Plugins, report: &mut Report<'_>) -> (Speeds, Vec<Beside>) {
    let mut speeds = vec![None; report.kernels.len()];
    let mut beside: Vec<Beside> = Vec::new();
    for (place, row) in report.kernels.iter().enumerate() {
        let operation = row.kernel.operation();
        if row.failed > 0 || row.cases == 0 || interrupt::is_requested() {
            continue;
        }
        let timed = match plugins.time(row.kernel, budget(operation)) {
            Ok(Some(timed)) => timed,
            Ok(None) | Err(PluginError::Interrupted) => continue,
            Err(error) => {
                report.harness_faults.push(error.to_string());
                continue;
            }
        };
        let [plugin, own @ ..] = &timed[..] else { continue };
        let usual = Workload::usual(operation);
        let speed = |timed: &plugin::Speed| Speed {
            shape: (usual.case().rows, usual.case().cols),
            nanoseconds: timed.nanoseconds,
            over_scalar: Some(timed.over_scalar),
            over_fast_scalar: Some(timed.over_fast_scalar),
        };
        speeds[place] = Some(speed(plugin));
        if beside.iter().all(|known| known.operation != operation) {
            let known = |own: &plugin::Speed| Beside { operation, name: own.name.clone(), speed: speed(own) };
            beside.extend(own.iter().map(known));
        }
    }
    (speeds, beside)
}

/// Times the kernels of the report, each against the scalar ones of its operation in turn. A kernel with a finding, before
/// or on the very input that is timed, is not timed; such findings are added to the report.
pub(crate) fn measure(
    harness: &mut Harness,
    all: &[Box<dyn Kernel>],
    report: &mut Report<'_>,
) -> Result<Speeds> {
    let mut speeds = vec![None; report.kernels.len()];
    for operation in Operation::ALL {
        let places: Vec<usize> = (0..speeds.len())
            .filter(|&place| report.kernels[place].kernel.operation() == operation)
            .collect();
        if places.is_empty() || interrupt::is_requested() {
            continue;
        }
        let mut workload = Workload::usual(operation);
        let shape = (workload.case().rows, workload.case().cols);
        let racers = racers(harness, all, report, &workload)?;
        if racers.is_empty() {
            continue;
        }
        let race = race(&racers, &mut workload, budget(operation));
        let over = |racer: usize, base: Option<usize>| base.map(|base| race.speedup(racer, base));
        let scalar = racers.iter().position(|racer| racer.name() == registry::SCALAR);
        let fast_scalar = (0..racers.len())
            .filter(|&racer| racers[racer].name().starts_with(registry::FAST_SCALAR))
            .min_by(|&a, &b| race.nanoseconds(a).total_cmp(&race.nanoseconds(b)));
        for place in places {
            let name = report.kernels[place].kernel.name();
            speeds[place] = racers.iter().position(|racer| racer.name() == name).map(|racer| Speed {
                shape,
                nanoseconds: race.nanoseconds(racer),
                over_scalar: over(racer, scalar),
                over_fast_scalar: over(racer, fast_scalar),
            });
        }
    }
    Ok(speeds)
}

/// The kernels of the workload's operation that may be timed: those of the report and the scalar ones, if they are right.
fn racers<'a>(
    harness: &mut Harness,
    all: &'a [Box<dyn Kernel>],
    report: &mut Report<'_>,
    workload: &Workload,
) -> Result<Vec<&'a dyn Kernel>> {
    let case = workload.case();
    let mut racers = Vec::new();
    let timed = |kernel: &&dyn Kernel| kernel.operation() == case.operation && !kernel.shares_work();
    for kernel in all.iter().map(Box::as_ref).filter(timed) {
        let name = kernel.name();
        let chosen = report.kernels.iter().any(|row| row.kernel.name() == name);
        let is_base = name == registry::SCALAR || name.starts_with(registry::FAST_SCALAR);
        let wrong = report
            .findings
            .iter()
            .any(|finding| finding.kernel == name && finding.operation() == case.operation);
        if wrong || !(chosen || is_base) || !missing_features(kernel.required_features()).is_empty() {
            continue;
        }
        let findings = harness.findings(kernel, case)?;
        if findings.is_empty() {
            racers.push(kernel);
        }
        report.findings.extend(findings);
    }
    Ok(racers)
}
