//! What a run has seen: of all cases, of each kernel, of each sweep.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::case::{Case, Coverage};
use crate::domain::Domain;
use crate::finding::Finding;
use crate::judge::WorstError;
use crate::kernel::{Kernel, missing_features};
use crate::property::{Cause, Failure, Property, PropertyCounts};
use crate::trace::Trace;
use crate::trial::{Harness, Trial};
use crate::words::shown;

/// What a run found.
#[derive(Debug)]
pub struct Report<'a> {
    /// The seed of the run.
    pub seed: u64,
    /// Cases made.
    pub cases: u64,
    /// What was met of the sweep of each operation.
    pub sweeps: Vec<SweepReport>,
    /// Cases left out because the system gives no sparse memory.
    pub without_memory: u64,
    /// One for each kernel of the run, in its order.
    pub kernels: Vec<KernelReport<'a>>,
    /// One for each cause of failure of each kernel, minimised where the plan says so.
    pub findings: Vec<Finding>,
    /// What happened to processes of plugins that was not the kernels' doing, each with how often.
    pub notes: Vec<String>,
    /// Faults of the harness itself: what they concern was not checked.
    pub harness_faults: Vec<String>,
}

impl Report<'_> {
    /// A report of nothing yet, of no kernels.
    pub(crate) fn blank(seed: u64) -> Self {
        Self {
            seed,
            cases: 0,
            sweeps: Vec::new(),
            without_memory: 0,
            kernels: Vec::new(),
            findings: Vec::new(),
            notes: Vec::new(),
            harness_faults: Vec::new(),
        }
    }
}

/// How much of a sweep was run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SweepReport {
    /// The operation whose sweep it is, with the formats that are not plain.
    #[serde(serialize_with = "shown", rename = "operation")]
    pub domain: Domain,
    /// Edges in the cases that were run.
    pub edges: usize,
    /// Edges of the whole sweep.
    pub all_edges: usize,
    /// Pairs of edges in the cases that were run.
    pub pairs: usize,
    /// Pairs of edges of the whole sweep.
    pub all_pairs: usize,
    /// Further shapes that were run.
    pub shapes: usize,
    /// Further shapes of the whole sweep.
    pub all_shapes: usize,
}

impl SweepReport {
    /// That of these cases of a whole sweep.
    pub(crate) fn new(domain: Domain, met: Coverage, whole: Coverage) -> Self {
        let Coverage { edges, pairs, shapes } = met;
        let (all_edges, all_pairs, all_shapes) = (whole.edges, whole.pairs, whole.shapes);
        Self { domain, edges, all_edges, pairs, all_pairs, shapes, all_shapes }
    }
}

/// What became of one kernel.
#[derive(Debug)]
pub struct KernelReport<'a> {
    /// The kernel.
    pub kernel: &'a dyn Kernel,
    /// Features that this CPU lacks: with any, the kernel was not called.
    pub missing: Vec<String>,
    /// What was counted of its cases.
    pub counts: Counts,
    /// Why a plugin was not called any more, if so: it crashed its process too often.
    pub given_up: Option<String>,
    /// Whether all that can be tried whole was, and is right.
    pub exhausted: bool,
    /// What the kernel was seen to execute on a small call; nothing of kernels that failed or share their work.
    pub trace: Trace,
}

impl<'a> KernelReport<'a> {
    /// A report of nothing yet.
    pub(crate) fn blank(kernel: &'a dyn Kernel) -> Self {
        Self {
            kernel,
            missing: missing_features(kernel.required_features()).into_iter().map(str::to_owned).collect(),
            counts: Counts::default(),
            given_up: None,
            exhausted: false,
            trace: Trace::default(),
        }
    }

    /// Why the kernel was not called, if so: what this CPU lacks.
    pub fn why_skipped(&self) -> Option<String> {
        self.is_skipped().then(|| format!("this CPU lacks {}", self.missing.join(", ")))
    }

    /// Whether the kernel was not called because this CPU cannot run it.
    pub fn is_skipped(&self) -> bool {
        !self.missing.is_empty()
    }
}

/// What was counted of the cases of a kernel. Workers send it to their host.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Cases that the kernel was called with.
    pub cases: u64,
    /// Those of them that had to be refused.
    pub wrong_sizes: u64,
    /// Cases that the kernel says it does not support, or was not asked.
    pub unsupported: u64,
    /// What the kernel supports, of legal cases with elements.
    #[serde(with = "pairs")]
    pub support: BTreeMap<Kind, Support>,
    /// Legal cases that the kernel must do and refuses, or does not support.
    pub refused: u64,
    /// The smallest of them.
    pub smallest_refused: Option<Refusal>,
    /// How often each property was applied.
    pub properties: PropertyCounts,
    /// Whether rows were met whose order of summation no model explains, so that oracle 3 did not apply to them.
    pub unexplained: bool,
    /// Whether rows were met whose exact sum the kernel rounds once, to which oracle 3 held it.
    pub rounds_once: bool,
    /// The largest part of its bound that an error on oracle 5 came to.
    #[serde(with = "crate::number")]
    pub share: f64,
    /// Of the longest rows without scales whose order of summation is known: columns, and the most additions of a term.
    pub depth: Option<(usize, usize)>,
    /// The largest error on the data of oracle 4.
    pub worst: Option<Worst>,
    /// Cases that violated something.
    pub failed: u64,
}

/// A legal case that was refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    /// The case.
    pub case: Case,
    /// Why it is legal.
    pub why: String,
}

/// An error and its case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Worst {
    /// The error.
    #[serde(flatten)]
    pub error: WorstError,
    /// The case.
    pub case: Case,
}

impl Counts {
    /// Counts what became of a case.
    pub(crate) fn take(&mut self, case: &Case, is_legal: bool, trial: &Trial) {
        if let Some(kind) = Kind::of(case).filter(|_| is_legal) {
            let support = self.support.entry(kind).or_default();
            support.done += u64::from(trial.is_done());
            support.unsupported += u64::from(trial.skipped.is_some());
        }
        let mut failures = trial.failures.iter().filter(|_| is_legal).flat_map(Failure::all);
        let refusal = failures.find(|failure| matches!(failure.cause, Cause::Refused | Cause::Unsupported));
        if let Some(refusal) = refusal {
            self.refused += 1;
            self.take_refused(Refusal { case: case.clone(), why: refusal.detail() });
        }
        if trial.skipped.is_some() {
            self.unsupported += 1;
            return;
        }
        self.cases += 1;
        self.wrong_sizes += u64::from(!is_legal);
        self.properties.merge(&trial.properties);
        self.failed += u64::from(!trial.passed());
        self.share = self.share.max(trial.share);
        if trial.properties.of(Property::Flat) > 0 && self.is_worse(&trial.worst) {
            self.worst = Some(Worst { error: trial.worst, case: case.clone() });
        }
    }

    /// Notes what is known of the order in which the kernel adds.
    pub(crate) fn take_order(&mut self, harness: &Harness, kernel: &dyn Kernel) {
        self.unexplained = harness.has_unexplained_order(kernel);
        self.rounds_once = harness.rounds_once(kernel);
        self.depth = harness.known_depth(kernel);
    }

    /// Adds what was counted elsewhere.
    pub(crate) fn merge(&mut self, other: Self) {
        self.cases += other.cases;
        self.wrong_sizes += other.wrong_sizes;
        self.unsupported += other.unsupported;
        for (kind, support) in other.support {
            let all = self.support.entry(kind).or_default();
            all.done += support.done;
            all.unsupported += support.unsupported;
        }
        self.refused += other.refused;
        other.smallest_refused.into_iter().for_each(|refusal| self.take_refused(refusal));
        self.properties.merge(&other.properties);
        self.unexplained |= other.unexplained;
        self.rounds_once |= other.rounds_once;
        self.share = self.share.max(other.share);
        self.depth = self.depth.max(other.depth);
        if let Some(worst) = other.worst.filter(|worst| self.is_worse(&worst.error)) {
            self.worst = Some(worst);
        }
        self.failed += other.failed;
    }

    /// Keeps the smaller case.
    fn take_refused(&mut self, refusal: Refusal) {
        let size = |case: &Case| (case.rows * case.cols, case.cols, case.to_string().len());
        if self.smallest_refused.as_ref().is_none_or(|known| size(&refusal.case) < size(&known.case)) {
            self.smallest_refused = Some(refusal);
        }
    }

    /// Whether an error is larger than those that were counted.
    fn is_worse(&self, error: &WorstError) -> bool {
        self.worst.as_ref().is_none_or(|known| error.absolute > known.error.absolute)
    }
}

/// A map in JSON whose keys are no texts: a list of pairs.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(super) fn deserialize<'de, K: Deserialize<'de> + Ord, V: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<K, V>, D::Error> {
        Ok(Vec::<(K, V)>::deserialize(deserializer)?.into_iter().collect())
    }
}

/// Calls that a kernel supports all or none of, whatever their sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Kind {
    /// Whether there are block scales.
    pub scaled: bool,
    /// Digits of a `gemv_fixed`; 0 for others.
    pub digits: u8,
}

impl Kind {
    /// The kind of a case with at least one element; others say nothing of what a kernel supports.
    pub fn of(case: &Case) -> Option<Self> {
        let digits = if case.operation.has_digits() { case.digits } else { 0 };
        (case.rows > 0 && case.cols > 0).then_some(Self { scaled: case.scaled, digits })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.digits {
            0 if self.scaled => f.write_str("calls with scales"),
            0 => f.write_str("calls without scales"),
            digits => write!(f, "calls with {digits} digits"),
        }
    }
}

/// What a kernel did with the legal cases of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Support {
    /// Cases that it did.
    pub done: u64,
    /// Cases that it says it does not support.
    pub unsupported: u64,
}
