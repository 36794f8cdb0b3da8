//! The fuzz targets: from any bytes to a case, and from the case to every kernel. A file in `fuzz/` is one call of [`run`] and
//! one of [`mutate`].

mod edges;

use std::cell::RefCell;

use arbitrary::Unstructured;

use crate::buffer::Buffer;
use crate::case::{Case, parse_file};
use crate::domain::Domain;
use crate::finding::Finding;
use crate::kernel::{Kernel, can_run};
use crate::operation::Operation;
use crate::registry;
use crate::trial::Harness;
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

/// Feeds `data` to `target`. The guarded memory stays for the next call on this thread.
///
/// # Panics
/// With every finding, shrunk; each ends in its `qk256 replay` line.
pub fn run(target: Target, data: &[u8]) {
    if target == Target::CaseText {
        return check_text(data);
    }
    if let Some(case) = case_of(target, data) {
        BENCH.with_borrow_mut(|bench| bench.check(&case));
    }
}

/// Feeds `data` to a custom kernel, as a legal case of its domain; whether a product has scales, the last byte says.
///
/// # Panics
/// With every finding, shrunk.
pub fn run_kernel(kernel: &dyn Kernel, data: &[u8]) {
    let scaled = data.last().is_some_and(|last| last % 2 == 1);
    legal(kernel.domain(), scaled, data).filter(is_small).into_iter().for_each(|case| examine(kernel, &case));
}

/// Feeds `data` to one kernel, as the case that [`run`] makes of it; nothing happens where that is of another domain.
///
/// # Panics
/// With every finding, shrunk.
pub fn run_on(target: Target, kernel: &dyn Kernel, data: &[u8]) {
    let case = case_of(target, data).filter(|case| case.domain() == kernel.domain());
    case.into_iter().for_each(|case| examine(kernel, &case));
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

/// The case that `run` makes of `data`, if it makes one of it.
pub fn case_of(target: Target, data: &[u8]) -> Option<Case> {
    let case = match target.legal() {
        // The last byte chooses the format, where there is a choice.
        Some((operation, scaled)) => {
            let domain = Domain::nth_drawn(operation, data.last().copied().unwrap_or(0).into());
            legal(domain, scaled, data)?
        }
        None if target == Target::Arguments => wrong_sizes(&mut Unstructured::new(data)).expect(RUN_OUT),
        None => return None,
    };
    (target == Target::Arguments || is_small(&case)).then_some(case)
}

/// Whether a legal case is one that a fuzzer tries.
fn is_small(case: &Case) -> bool {
    case.rows * case.cols * case.batch.max(1) <= MAX_ELEMENTS
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

/// The operations of [`Target::Arguments`], as many as when its seeds were made. Of the others the targets of legal cases draw wrong sizes.
const WITH_WRONG_SIZES: [Operation; 6] = [
    Operation::Unpack,
    Operation::Lut,
    Operation::Dequantize,
    Operation::Gemv,
    Operation::GemvFixed,
    Operation::Quantize,
];

fn wrong_sizes(u: &mut Unstructured<'_>) -> arbitrary::Result<Case> {
    let operation = *u.choose(&WITH_WRONG_SIZES)?;
    let scaled = operation.is_always_scaled() || (operation.may_be_scaled() && u.arbitrary()?);
    Case::draw_wrong_sizes(operation, scaled, u)
}

thread_local! {
    static BENCH: RefCell<Bench> = RefCell::new(Bench::new());
    static OWN: RefCell<Harness> = RefCell::new(Harness::new(None));
}

/// What is kept from one input to the next.
struct Bench {
    harness: Harness,
    kernels: Vec<Box<dyn Kernel>>,
}

impl Bench {
    fn new() -> Self {
        let mut kernels = registry::kernels();
        kernels.retain(|kernel| can_run(kernel.as_ref()));
        Self { harness: Harness::new(None), kernels }
    }

    /// Examines every kernel of the case's operation.
    fn check(&mut self, case: &Case) {
        let Self { harness, kernels } = self;
        let prepared = match harness.prepare(case) {
            Ok(prepared) => prepared,
            Err(error) => panic!("a drawn case has no data: {error}\n  case:    {case}"),
        };
        let mut findings = Vec::new();
        for kernel in kernels.iter().filter(|kernel| kernel.domain() == case.domain()) {
            for failure in harness.examine(kernel.as_ref(), &prepared).failures {
                let finding = Finding::new(kernel.as_ref(), case, None, failure);
                findings.push(harness.minimize(kernel.as_ref(), &finding).to_string());
            }
        }
        assert!(findings.is_empty(), "drawn: {case}\n{}", findings.join("\n"));
    }
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
