//! Seeded properties: proptest draws the cases, the harness judges every kernel, and its shrinker shrinks what fails.
//!
//! `QK256_SEED` seeds a run; the name of each property is mixed in, so that no two see the same cases. A property counts how
//! often its properties were applied to each kernel and fails if that was too seldom: none holds because cases are missing.

mod draw;
mod seed;

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Once;

use proptest::prelude::any;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use qk256_skip::skip_part;
use qk256_verify::kernel::missing_features;
use qk256_verify::property::PropertyCounts;
use qk256_verify::{Case, Domain, Finding, Harness, Kernel, Property, registry};

pub use draw::{drawn, drawn_from, finite, wrong_sizes};

/// What must be true of every kernel of the registry.
#[derive(Clone, Copy, Debug)]
pub struct PropertyTest {
    /// The name of the test.
    pub name: &'static str,
    /// Seeds drawn.
    pub rounds: u32,
    /// What is held: findings of other properties belong to other properties, but for panics and refusals, which leave nothing to
    /// judge.
    pub properties: &'static [Property],
    /// How often each of `properties` must have been applied to each kernel that was called at all.
    pub at_least: u64,
}

/// Declares a test of a [`Property`]: name, rounds, properties, how often each must be applied, and cases by seed.
#[macro_export]
macro_rules! property {
    ($name:ident, $rounds:expr, $properties:expr, $at_least:expr, $draw:expr) => {
        #[test]
        fn $name() {
            let property = $crate::PropertyTest {
                name: stringify!($name),
                rounds: $rounds,
                properties: &$properties,
                at_least: $at_least,
            };
            property.hold(qk256_verify::Harness::new(None), $draw);
        }
    };
}

impl PropertyTest {
    /// Examines every kernel that this CPU has by the cases that `draw` makes of each seed.
    ///
    /// # Panics
    /// With every violation, shrunk, and every property that was applied too seldom.
    pub fn hold(&self, harness: Harness, draw: impl Fn(u64) -> Vec<Case>) {
        let seed = seed::of_run();
        let config = Config {
            cases: self.rounds,
            rng_seed: RngSeed::Fixed(seed::mixed(seed, self.name)),
            failure_persistence: None,
            max_shrink_iters: 0,
            ..Config::default()
        };
        let run = RefCell::new(Run::new(self, harness));
        let outcome = TestRunner::new(config).run(&any::<u64>(), |seed| {
            draw(seed).iter().for_each(|case| run.borrow_mut().case(case));
            Ok(())
        });
        let mut complaints = run.into_inner().complaints();
        complaints.extend(outcome.err().map(|error| error.to_string()));
        assert!(
            complaints.is_empty(),
            "{}\n\nagain: QK256_SEED={seed} cargo test -p qk256-proptests {}",
            complaints.join("\n"),
            self.name
        );
    }

    fn is_about(&self, property: Property) -> bool {
        self.properties.contains(&property) || matches!(property, Property::Panic | Property::Sizes)
    }
}

/// A property under way.
struct Run<'a> {
    property: &'a PropertyTest,
    harness: Harness,
    tallies: Vec<Tally>,
}

/// What became of one kernel.
struct Tally {
    kernel: Box<dyn Kernel>,
    cases: u64,
    properties: PropertyCounts,
    /// The first violation of each property by each kind of failure.
    findings: Vec<Finding>,
}

impl<'a> Run<'a> {
    fn new(property: &'a PropertyTest, harness: Harness) -> Self {
        let blank =
            |kernel| Tally { kernel, cases: 0, properties: PropertyCounts::default(), findings: Vec::new() };
        Self { property, harness, tallies: kernels().into_iter().map(blank).collect() }
    }

    fn case(&mut self, case: &Case) {
        let prepared = match self.harness.prepare(case) {
            Ok(prepared) => prepared,
            Err(error) => panic!("a drawn case has no data: {error}\n  case:    {case}"),
        };
        for tally in self.tallies.iter_mut().filter(|tally| tally.kernel.domain() == case.domain()) {
            let trial = self.harness.examine(tally.kernel.as_ref(), &prepared);
            tally.cases += 1;
            tally.properties.merge(&trial.properties);
            for failure in trial.failures {
                let known =
                    tally.findings.iter().any(|finding| finding.shows(failure.property, failure.cause));
                if !known && failure.all().any(|each| self.property.is_about(each.property)) {
                    let weights = self.harness.weights();
                    tally.findings.push(Finding::new(tally.kernel.as_ref(), case, weights, failure));
                }
            }
        }
    }

    fn complaints(mut self) -> Vec<String> {
        let mut complaints = Vec::new();
        for Tally { kernel, cases, properties, findings } in &self.tallies {
            for finding in findings {
                complaints.push(self.harness.minimize(kernel.as_ref(), finding).to_string());
            }
            for &property in self.property.properties.iter().filter(|_| *cases > 0) {
                let (times, needed) = (properties.of(property), needed(self.property, kernel.as_ref()));
                if times < needed {
                    complaints.push(format!(
                        "vacuous: `{property}` was applied to {kernel:?} {times} times in {cases} cases, {needed} are needed"
                    ));
                }
            }
        }
        if self.tallies.iter().all(|tally| tally.cases == 0) {
            complaints.push("vacuous: no kernel was called".to_owned());
        }
        complaints
    }
}

/// How often a property must have been applied to a kernel: of an operation whose cases are drawn in several formats to its share of
/// them, less what chance takes.
fn needed(property: &PropertyTest, kernel: &dyn Kernel) -> u64 {
    match Domain::drawn(kernel.operation()).len() as u64 {
        1 => property.at_least,
        domains => property.at_least / (4 * domains),
    }
}

/// The kernels of the registry that this CPU can run. For the others a skip is reported, once a process.
pub fn kernels() -> Vec<Box<dyn Kernel>> {
    static REPORTED: Once = Once::new();
    let (present, absent): (Vec<_>, Vec<_>) = registry::kernels()
        .into_iter()
        .partition(|kernel| missing_features(kernel.required_features()).is_empty());
    REPORTED.call_once(|| {
        for kernel in absent {
            skip_part(&format!("{kernel:?}"), &missing_features(kernel.required_features()));
        }
    });
    present
}

/// The directory of seeds, regressions and real weights.
pub fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../corpus")
}

/// The real weights of the repository.
pub fn weights_file() -> PathBuf {
    corpus().join("weights/all-MiniLM-L6-v2.safetensors")
}
