//! The cases of a run, in order: a number for each, so that a run can be cut into pieces and taken up again.

use std::time::Duration;

use super::{Budget, Plan, SweepReport};
use crate::case::{Case, Sweep};
use crate::data::Distribution;
use crate::domain::Domain;
use crate::fault_injection::FaultInjection;
use crate::operation::{DIGITS, Operation};
use crate::weights::{Tensor, TensorRows, Weights};

/// Elements of a tensor that one case takes: larger tensors are checked in bands of rows.
const BAND_ELEMENTS: usize = 1 << 21;

/// How much of a run is behind at most while edges are to be met, whatever the time.
const ALMOST: f64 = 0.99;

/// Every case of a plan: those of the tensors, the longest vectors, then one of each domain in turn.
pub(crate) struct Steps {
    plan: Plan,
    domains: Vec<Domain>,
    /// Parts of the seeded cases, in order.
    stages: Vec<Stage>,
    /// The first step before which every edge of each sweep was met, where the run goes on until then.
    edges_end: u64,
    /// Those that come before the others, whatever the budget.
    first: Vec<Case>,
    faults: &'static dyn FaultInjection,
}

impl Steps {
    pub(crate) fn new(
        plan: &Plan,
        domains: &[Domain],
        weights: Option<&Weights>,
        faults: &'static dyn FaultInjection,
    ) -> Self {
        let mut first = weights.map_or(Vec::new(), |weights| tensor_cases(weights, domains, plan.seed));
        first.extend(domains.iter().flat_map(|&domain| huge_cases(domain, plan)));
        let mut steps = Self {
            edges_end: 0,
            plan: Plan { seeds: plan.seeds.max(1), ..*plan },
            domains: domains.to_vec(),
            stages: stages(plan, domains),
            first,
            faults,
        };
        if plan.edges {
            steps.edges_end = steps.edges_end();
        }
        steps
    }

    /// The first step before which every edge of each sweep was met.
    fn edges_end(&self) -> u64 {
        let is_met = |domain: &Domain, step| self.done(*domain, step) >= Sweep::of(*domain).edges_len();
        let first = self.first.len() as u64;
        let all: u64 = self.domains.iter().map(|domain| Sweep::of(*domain).len()).sum();
        let (mut low, mut high) = (first, first + all);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.domains.iter().all(|domain| is_met(domain, middle)) {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        low
    }

    /// How many cases there are, where time does not decide.
    pub(crate) fn len(&self) -> Option<u64> {
        let each = |cases: u64| {
            cases.max(1).saturating_mul(self.plan.seeds).saturating_mul(self.domains.len() as u64)
        };
        match self.plan.budget {
            Budget::Cases(cases) => Some(self.first.len() as u64 + each(cases)),
            Budget::Time(_) => None,
        }
    }

    /// Case number `step`; `None` behind the last.
    pub(crate) fn case(&self, step: u64) -> Option<Case> {
        if let Some(case) = self.first.get(usize::try_from(step).ok()?) {
            return Some(case.clone());
        }
        if self.len().is_some_and(|len| step >= len) {
            return None;
        }
        let (index, domain) = self.place(step)?;
        let (nth, index) = self.seed_and_index(index);
        // The sweep is for the first seed alone.
        let behind = if nth > 0 { Sweep::of(domain).len() } else { 0 };
        Some(self.faults.case(domain, self.plan.seed.wrapping_add(nth), behind + index))
    }

    /// How much of the plan is behind when `step` is next, after so much time. At least one case of each domain is made.
    pub(crate) fn fraction(&self, step: u64, elapsed: Duration) -> f64 {
        let first = self.first.len() as u64;
        if step < first + self.domains.len() as u64 {
            return 0.0;
        }
        match (self.plan.budget, self.len()) {
            (Budget::Time(limit), _) => {
                let of_time = elapsed.as_secs_f64() / limit.as_secs_f64().max(1e-9);
                if step < self.edges_end {
                    of_time.min(ALMOST * step as f64 / self.edges_end as f64)
                } else {
                    of_time
                }
            }
            (Budget::Cases(_), len) => {
                (step - first) as f64 / (len.unwrap_or(step).max(first + 1) - first) as f64
            }
        }
    }

    /// What was met of each sweep by the first N cases.
    pub(crate) fn sweeps(&self, steps: u64) -> Vec<SweepReport> {
        let report = |&domain: &Domain| {
            let (sweep, done) = (Sweep::of(domain), self.done(domain, steps));
            let met = match self.plan.budget {
                Budget::Cases(cases) => done.min(cases.max(1)),
                Budget::Time(_) => done.div_ceil(self.plan.seeds),
            };
            SweepReport::new(domain, sweep.coverage(met), sweep.whole())
        };
        self.domains.iter().map(report).collect()
    }

    /// The number of a case among those of its domain, and the domain.
    fn place(&self, step: u64) -> Option<(u64, Domain)> {
        let step = step - self.first.len() as u64;
        let stage = self.stages.iter().rfind(|stage| stage.start <= step)?;
        let (turn, count) = (step - stage.start, stage.domains.len() as u64);
        let (domain, begun) = *stage.domains.get(usize::try_from(turn.checked_rem(count)?).ok()?)?;
        Some((begun + turn / count, domain))
    }

    /// How many of the first steps are cases of an domain.
    fn done(&self, domain: Domain, steps: u64) -> u64 {
        let steps = steps.saturating_sub(self.first.len() as u64);
        let ends = self.stages.iter().skip(1).map(|stage| stage.start).chain([u64::MAX]);
        let of_stage = |(stage, end): (&Stage, u64)| {
            let place = stage.domains.iter().position(|&(each, _)| each == domain)? as u64;
            let turns = steps.min(end).checked_sub(stage.start)?;
            Some((turns + stage.domains.len() as u64 - 1 - place) / stage.domains.len() as u64)
        };
        self.stages.iter().zip(ends).filter_map(of_stage).sum()
    }

    /// The seeds in turn where time decides, otherwise one after the other.
    fn seed_and_index(&self, index: u64) -> (u64, u64) {
        match self.plan.budget {
            Budget::Cases(cases) => (index / cases.max(1), index % cases.max(1)),
            Budget::Time(_) => (index % self.plan.seeds, index / self.plan.seeds),
        }
    }
}

/// A part of a plan in which some domains take turns.
#[derive(Debug)]
struct Stage {
    /// The first step of it, counted from the first seeded case.
    start: u64,
    /// Each domain with the number of its first case in this stage.
    domains: Vec<(Domain, u64)>,
}

/// All domains in turn; but where time decides, first those alone whose edges are not done, then those whose sweeps are not, so that no
/// edge waits for further shapes, and no sweep for cases that are drawn.
fn stages(plan: &Plan, domains: &[Domain]) -> Vec<Stage> {
    let mut begun: Vec<(Domain, u64)> = domains.iter().map(|&domain| (domain, 0)).collect();
    if matches!(plan.budget, Budget::Cases(_)) || plan.seeds > 1 {
        return vec![Stage { start: 0, domains: begun }];
    }
    let (mut stages, mut start) = (Vec::new(), 0);
    for end in [Sweep::edges_len, Sweep::len] {
        let left = |&(domain, begun): &(Domain, u64)| end(Sweep::of(domain)) - begun;
        while let Some(rounds) = begun.iter().map(left).filter(|&left| left > 0).min() {
            let domains: Vec<_> = begun.iter().copied().filter(|each| left(each) > 0).collect();
            begun.iter_mut().filter(|each| left(each) > 0).for_each(|(_, begun)| *begun += rounds);
            let turns = rounds * domains.len() as u64;
            stages.push(Stage { start, domains });
            start += turns;
        }
    }
    stages.push(Stage { start, domains: begun });
    stages
}

/// Vectors so long that offsets of 32 bits wrap in every unit.
fn huge_cases(domain: Domain, plan: &Plan) -> Vec<Case> {
    let lengths: &[u64] = if plan.huge && !domain.operation.is_matrix() { &[1 << 31, 1 << 32] } else { &[] };
    let long = |&len| {
        let len = usize::try_from(len).ok()? + BEYOND;
        Some(Case {
            seed: plan.seed,
            once: true,
            distribution: Distribution::Ten,
            ..Case::new(domain, 1, len)
        })
    };
    lengths.iter().filter_map(long).filter(Case::is_long).collect()
}

/// Elements behind the power of two: a few blocks, and a tail.
const BEYOND: usize = 70_001;

/// Every element of every tensor, for every operation; gemv with real scales and integer x, and without scales; gemv_fixed
/// with the fewest and the most digits.
fn tensor_cases(weights: &Weights, domains: &[Domain], seed: u64) -> Vec<Case> {
    let mut cases = Vec::new();
    for tensor in weights.tensors() {
        for (first_row, rows) in bands(&tensor) {
            for domain in domains.iter().filter(|domain| domain.is_plain()) {
                let part = TensorRows { name: tensor.name.clone(), first_row };
                cases.extend(band_cases(domain.operation, rows, tensor.cols, part, seed));
            }
        }
    }
    cases
}

/// Pairs of first row and row count that cover a tensor.
fn bands(tensor: &Tensor) -> impl Iterator<Item = (usize, usize)> + use<> {
    let step = (BAND_ELEMENTS / tensor.cols.max(1)).max(1);
    let rows = tensor.rows;
    (0..rows).step_by(step).map(move |first| (first, step.min(rows - first)))
}

fn band_cases(operation: Operation, rows: usize, cols: usize, part: TensorRows, seed: u64) -> Vec<Case> {
    let base = Case { seed, tensor: Some(part), ..Case::new(operation, 1, rows * cols) };
    if !operation.is_matrix() {
        return vec![base];
    }
    if operation.has_digits() {
        let fixed = |digits| Case { rows, cols, digits, distribution: Distribution::Ten, ..base.clone() };
        return vec![fixed(*DIGITS.start()), fixed(*DIGITS.end())];
    }
    let gemv = |scaled, distribution| Case { rows, cols, scaled, distribution, ..base.clone() };
    vec![
        gemv(true, Distribution::Ten),
        gemv(true, Distribution::Integer),
        gemv(false, Distribution::Ten),
        gemv(false, Distribution::Integer),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault_injection::Real;

    #[test]
    fn each_operation_has_its_cases_in_order_and_no_sweep_waits_for_drawn_cases() {
        let operations = [Operation::Lut, Operation::Gemv, Operation::Unpack].map(Domain::new);
        let plan = Plan::new(1, Budget::Time(Duration::from_secs(1)));
        let steps = Steps::new(&plan, &operations, None, &Real);
        let sweeps: u64 = operations.iter().map(|&each| Sweep::of(each).len()).sum();
        let mut next = [0; Operation::ALL.len()];
        for step in 0..sweeps + 30 {
            let (index, domain) = steps.place(step).expect("time sets no end");
            let operation = domain.operation;
            assert_eq!(index, next[operation as usize], "step {step} of {operation}");
            assert!(step >= sweeps || index < Sweep::of(domain).len(), "step {step} is drawn: {operation}");
            next[operation as usize] += 1;
            if step % 1009 == 0 || step >= sweeps {
                let done = operations.map(|each| steps.done(each, step + 1));
                assert_eq!(done, operations.map(|each| next[each.operation as usize]), "after step {step}");
            }
        }
        let [report, ..] = &steps.sweeps(sweeps)[..] else { panic!("there are three sweeps") };
        assert_eq!(
            [report.edges, report.pairs, report.shapes],
            [report.all_edges, report.all_pairs, report.all_shapes]
        );
    }
}
