//! The fuzz targets: from any bytes to a case, and from the case to every kernel. A file in `fuzz/` is one call of [`Bench::run`] and
//! one of [`mutate`].

mod bench;
mod domains;
mod edges;

use std::cell::RefCell;

use arbitrary::Unstructured;

use crate::buffer::Buffer;
use crate::case::{Case, parse_file};
use crate::domain::Domain;
use crate::kernel::Kernel;
use crate::operation::Operation;
use crate::trial::Harness;
pub use bench::Bench;
pub use domains::{Domains, NoKernel};
pub use edges::mutate;

/// What bytes are turned into. Each target has seeds in `corpus/<name>/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Legal cases of an operation, with scales or without; an x that is not finite where it must be makes a case that is to be refused.
    Legal {
        /// The operation.
        operation: Operation,
        /// The place of the target among those of the operation.
        place: usize,
    },
    /// Wrong sizes of every operation: each must be refused before memory is touched.
    Arguments,
    /// Text that may be a case.
    CaseText,
}

impl Target {
    const COUNT: usize = {
        let (mut count, mut at) = (2, 0);
        while at < Operation::ALL.len() {
            count += Operation::ALL[at].spec().fuzz_targets.len();
            at += 1;
        }
        count
    };

    /// Every target.
    pub const ALL: [Self; Self::COUNT] = {
        let (mut all, mut next, mut at) = ([Self::CaseText; Self::COUNT], 0, 0);
        while at < Operation::ALL.len() {
            let (operation, mut place) = (Operation::ALL[at], 0);
            while place < operation.spec().fuzz_targets.len() {
                all[next] = Self::Legal { operation, place };
                (next, place) = (next + 1, place + 1);
            }
            at += 1;
        }
        all[next] = Self::Arguments;
        all
    };

    /// The name on the command line and in `corpus/`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Legal { operation, place } => operation.spec().fuzz_targets[place].0,
            Self::Arguments => "arguments",
            Self::CaseText => "case_text",
        }
    }

    /// The target of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.name() == name)
    }

    /// The target of the legal cases of an operation, with scales or without where there is a choice.
    pub fn of(operation: Operation, scaled: bool) -> Self {
        let place = operation.spec().fuzz_targets.iter().position(|target| target.1 == scaled);
        Self::Legal { operation, place: place.unwrap_or(0) }
    }

    /// The operation whose legal cases it draws, and whether they have scales.
    const fn legal(self) -> Option<(Operation, bool)> {
        match self {
            Self::Legal { operation, place } => Some((operation, operation.spec().fuzz_targets[place].1)),
            Self::Arguments | Self::CaseText => None,
        }
    }
}

/// Elements of the largest legal case that a fuzzer tries. A fuzzer that has found long rows tries little else, at a hundred
/// cases a second; `qk256 check` and the properties go on to the generator's own limit.
const MAX_ELEMENTS: usize = 1 << 14;

/// Feeds `data` to a custom kernel, as a legal case of its domain; whether a product has scales, the last byte says.
///
/// # Panics
/// With every finding, shrunk.
pub fn run_kernel(kernel: &dyn Kernel, data: &[u8]) {
    let scaled = data.last().is_some_and(|last| last % 2 == 1);
    legal(kernel.domain(), scaled, data).filter(is_small).into_iter().for_each(|case| examine(kernel, &case));
}

/// Examines one kernel by a case.
fn examine(kernel: &dyn Kernel, case: &Case) {
    OWN.with_borrow_mut(|harness| {
        let found = harness.findings(kernel, case).unwrap_or_else(|error| panic!("{case}: {error}"));
        let small: Vec<String> =
            found.iter().map(|finding| harness.minimize(kernel, finding).to_string()).collect();
        assert!(small.is_empty(), "drawn: {case}\n{}", small.join("\n"));
    });
}

/// Whether a legal case is one that a fuzzer tries.
fn is_small(case: &Case) -> bool {
    case.rows.saturating_mul(case.cols).saturating_mul(case.batch.max(1)) <= most_elements(case.domain())
}

/// Elements of the largest case of a domain that a fuzzer tries: of a kernel that takes large shapes only, a few of the smallest ones.
fn most_elements(domain: Domain) -> usize {
    let least = domain.cols_multiple().saturating_mul(domain.requirements.rows(1));
    MAX_ELEMENTS.max(least.saturating_mul(4))
}

/// Why a draw does not fail.
const RUN_OUT: &str = "bytes that have run out read as zero";

/// The legal case of some bytes: one at an edge, if they say so, or else a drawn one.
fn legal(domain: Domain, scaled: bool, data: &[u8]) -> Option<Case> {
    match edges::Edge::of(data) {
        Some(edge) => edge.case(domain, scaled),
        None => Some(Case::draw(domain, scaled, &mut Unstructured::new(data)).expect(RUN_OUT)),
    }
}

thread_local! {
    static OWN: RefCell<Harness> = RefCell::new(Harness::new(None));
}

/// Buffers of a parsed case that are made to see that it can be done.
const MAX_TEXT_ELEMENTS: u128 = 1 << 16;

/// No text makes the parsers panic. What parses prints, parses back to the same case, and has data or a reason why not.
fn check_text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let parsed = [
        text.parse().map_err(|error| format!("{error}")),
        parse_file(text).map_err(|error| format!("{error}")),
    ];
    for case in parsed.into_iter().filter_map(Result::<Case, String>::ok) {
        let line = case.to_string();
        assert_eq!(line.parse().as_ref(), Ok(&case), "`{line}` parses back to another case");
        let needed = |buffer: Buffer| case.operation.needed(case.shape(), buffer);
        let slack = |buffer: Buffer| u128::from(case.slack[buffer].unsigned_abs());
        if case.buffers().all(|buffer| needed(buffer) + slack(buffer) <= MAX_TEXT_ELEMENTS) {
            let _ = case.materialize(None).map_err(|error| format!("{error}"));
        }
    }
}
