//! What a run comes to: its findings, confirmed and made small, and what is known of each kernel.

use std::collections::BTreeMap;

use super::{ENOUGH_DEATHS, Run, Sighting, State};
use crate::case::Case;
use crate::check::domains;
use crate::check::{Budget, Causes, KernelReport, Plan, Report};
use crate::finding::{Finding, anywhere, option_of_format, program, shell_word};
use crate::interrupt;
use crate::kernel::Kernel;
use crate::plugin::confirm::{Confirm, MOST_EARLIER};
use crate::plugin::host::{Answer, PluginError};
use crate::plugin::loaded::{KernelHandle, Plugin};
use crate::plugin::message::{Beside, Request, Response};
use crate::property::{Cause, Property};
use crate::trace::{Trace, Width};
use crate::trial::Harness;

impl<'g> Run<'g> {
    /// Adds what was seen to the report: counts, findings made small, what is executed.
    ///
    /// # Errors
    /// If the run ended before anything was seen.
    pub(in crate::plugin) fn finish(self, report: &mut Report<'g>) -> Result<(), PluginError> {
        let mut state = std::mem::take(&mut *self.lock());
        match state.error.take() {
            Some(error) if state.done == 0 && state.found.is_empty() => return Err(error),
            Some(error) => state.faults.push(format!("the run ended early: {error}")),
            None => {}
        }
        report.cases += state.done;
        report.without_memory += state.without_memory;
        report.sweeps.extend(self.steps.sweeps(state.next));
        for handle in &self.kernels {
            let kernel = self.of_kernel(handle, &mut state, &mut report.findings);
            report.kernels.push(kernel);
        }
        report.notes.extend(counted(state.notes.into_iter().chain(state.once.into_values())));
        report.harness_faults.extend(state.faults);
        Ok(())
    }

    /// The report of a kernel, and the findings of what was seen of it.
    fn of_kernel(
        &self,
        handle: &'g KernelHandle,
        state: &mut State,
        findings: &mut Vec<Finding>,
    ) -> KernelReport<'g> {
        let mut kernel = KernelReport::blank(handle);
        if kernel.is_skipped() {
            return kernel;
        }
        let place = handle.place;
        state.count(place, &mut kernel);
        let confirm = Confirm { plugin: self.plugin, kernel: handle, place, weights: self.weights };
        findings.extend(self.findings_of(confirm, state, &mut kernel));
        let is_right = |kernel: &KernelReport<'_>| kernel.counts.failed == 0 && kernel.counts.cases > 0;
        if is_right(&kernel) && !interrupt::is_requested() {
            findings.extend(self.first_calls(confirm, &mut kernel));
        }
        if is_right(&kernel) && !interrupt::is_requested() {
            match trace(self.plugin, place) {
                Ok(trace) => kernel.trace = trace,
                Err(error) => state.faults.push(error.to_string()),
            }
        }
        kernel
    }

    /// One finding for each cause of the failures that were seen.
    fn findings_of(
        &self,
        confirm: Confirm<'_>,
        state: &State,
        kernel: &mut KernelReport<'g>,
    ) -> Vec<Finding> {
        let (mut causes, mut findings) = (Causes::default(), Vec::new());
        for sightings in state.found_of(confirm.place) {
            let first = &sightings[0];
            kernel.counts.properties.add(first.failure.property, 1);
            let mut examine = |case: &Case| {
                let examined = self.plugin.examine(confirm.place, &[], case, Beside::default());
                examined.map_or(Vec::new(), |examined| examined.failures)
            };
            let case = self.case(first.step);
            let news = causes.news(confirm.place, &case, first.failure.clone(), &mut examine);
            let Some(news) = news else { continue };
            let finding = self.confirmed(confirm, (news.property, news.cause), sightings);
            causes.made(confirm.place, &finding);
            let seconds = sightings.iter().map(|seen| seen.seconds).reduce(f64::min);
            findings.push(Finding { seconds, ..finding });
        }
        findings
    }

    /// What first calls of processes violate, if anything.
    fn first_calls(&self, confirm: Confirm<'_>, kernel: &mut KernelReport<'_>) -> Option<Finding> {
        let case = Harness::first_case(kernel.kernel.domain());
        let beside = Beside { first_calls: true, ..Beside::default() };
        let examined = self.plugin.examine(confirm.place, &[], &case, beside).ok()?;
        kernel
            .counts
            .properties
            .add(Property::FirstCall, examined.properties.contains(&Property::FirstCall).into());
        let failure =
            examined.failures.into_iter().find(|failure| failure.property == Property::FirstCall)?;
        kernel.counts.failed += 1;
        let seconds = Some(self.began.elapsed().as_secs_f64());
        Some(Finding { seconds, ..confirm.finding(&case, failure) })
    }

    /// The finding that violations of a property are, which shows by its command alone if any does.
    fn confirmed(&self, confirm: Confirm<'_>, what: (Property, Cause), sightings: &[Sighting]) -> Finding {
        let first = &sightings[0];
        let as_seen = || confirm.finding(&self.case(first.step), first.failure.clone());
        if interrupt::is_requested() {
            return as_seen();
        }
        let alone = |seen: &Sighting| confirm.alone(&self.case(seen.step), what);
        if let Some(finding) = sightings.iter().find_map(alone) {
            return if self.plan.minimize { confirm.minimize(&finding) } else { finding };
        }
        let after = confirm.after(&self.before(first), &self.case(first.step), what);
        after.unwrap_or_else(|| match interrupt::is_requested() {
            true => as_seen(),
            false => as_seen().seen_once(self.command(confirm.kernel)),
        })
    }

    /// The last cases that a worker had done before a violation.
    fn before(&self, sighting: &Sighting) -> Vec<Case> {
        let steps = sighting.before.iter().rev().flat_map(|piece| (piece.start..piece.end).rev());
        let mut cases: Vec<Case> =
            steps.take(MOST_EARLIER).filter_map(|step| self.steps.case(step)).collect();
        cases.reverse();
        cases
    }

    /// The command that makes the cases of this run once more, by one worker.
    fn command(&self, kernel: &dyn Kernel) -> String {
        let Plan { seed, budget, seeds, .. } = self.plan;
        let words: Vec<String> =
            self.plugin.host.library.options().iter().map(|word| shell_word(word)).collect();
        let library = words.join(" ");
        let budget = match budget {
            Budget::Cases(cases) => format!("--cases {cases}"),
            Budget::Time(time) => format!("--for {}s", time.as_secs().max(1)),
        };
        let weights =
            self.weights.map_or(String::new(), |weights| format!(" --weights {}", anywhere(weights.path())));
        let wanted =
            domains(self.kernels.iter().filter(|handle| handle.can_run()).map(|handle| handle.domain));
        let mut options: Vec<String> = Vec::new();
        for domain in wanted {
            let own = [format!(" --op {}", domain.operation), option_of_format(domain.format)];
            options.extend(
                own.into_iter()
                    .filter(|option| !option.is_empty() && !options.contains(option))
                    .collect::<Vec<_>>(),
            );
        }
        format!(
            "{} check {library} --kernel {}{}{weights} --seed {seed} --seeds {seeds} {budget} --jobs 1 --no-speed",
            program(),
            shell_word(kernel.name()),
            options.concat()
        )
    }
}

impl State {
    /// The violations by the kernel at `place`, each kind with its earliest cases; those of the earliest case and the strictest property
    /// first.
    fn found_of(&self, place: usize) -> Vec<&Vec<Sighting>> {
        let found = self.found.iter().filter(|((at, ..), _)| *at == place).map(|(_, found)| found);
        let mut found: Vec<_> = found.collect();
        found.sort_by_key(|sightings| {
            let Sighting { step, failure, .. } = &sightings[0];
            (*step, failure.property.strictness(), failure.cause)
        });
        found
    }

    /// Adds what is known of the kernel at `place` to its report.
    fn count(&self, place: usize, kernel: &mut KernelReport<'_>) {
        kernel.counts = self.counts.get(&place).cloned().unwrap_or_default();
        let deaths = || self.deaths.iter().filter(|((at, _), _)| *at == place);
        let enough = deaths().find(|(_, deaths)| **deaths >= ENOUGH_DEATHS);
        kernel.given_up = enough.map(|((_, property), deaths)| format!("{deaths} times `{property}`"));
        let dead = deaths().map(|(_, &deaths)| deaths as u64).sum::<u64>();
        kernel.counts.cases += dead;
        kernel.counts.failed += dead;
        // The counts of a worker that was at work when the run was ended are lost, its findings are not.
        let found = self.found.keys().filter(|(at, ..)| *at == place).count();
        kernel.counts.failed = kernel.counts.failed.max(u64::from(found > 0));
        kernel.counts.cases = kernel.counts.cases.max(kernel.counts.failed);
    }
}

/// Each note once, with how often it was made.
fn counted(notes: impl Iterator<Item = String>) -> impl Iterator<Item = String> {
    let mut counts = BTreeMap::<String, u64>::new();
    notes.for_each(|note| *counts.entry(note).or_default() += 1);
    let shown =
        |(note, times): (String, u64)| if times > 1 { format!("{times} times: {note}") } else { note };
    counts.into_iter().map(shown)
}

/// How wide the registers are that a kernel uses, as far as that is seen.
fn trace(plugin: &Plugin, place: usize) -> Result<Trace, PluginError> {
    let (_, mut worker) = plugin.host.start()?;
    Ok(match worker.ask(&Request::Trace { kernel: place }, &mut |_| {})? {
        Answer::Response(Response::Traced(width)) => Trace::of_width(width),
        // Step by step the call takes longer than the time limit.
        Answer::Death(_) => Trace::of_width(Some(Width::NotReached)),
        _ => Trace::default(),
    })
}
