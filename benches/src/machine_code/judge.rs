//! What is in the loops, and what is wrong with it.

use std::fmt;

use super::decode::{Function, Spill, Step};
use super::expectations::Expectation;
use super::loops::innermost;

/// An innermost loop that has vectors in it.
#[derive(Debug)]
pub(super) struct Loop<'a> {
    pub(super) function: &'a Function,
    /// In the order of their addresses.
    pub(super) steps: Vec<&'a Step>,
}

/// A loop that was judged.
#[derive(Debug)]
pub(super) struct Judged<'a> {
    pub(super) own: Loop<'a>,
    /// What is claimed of it; nothing, if it has no mark of its kernel.
    pub(super) expected: Option<&'a Expectation>,
    /// What is wrong with it.
    pub(super) faults: Vec<Fault>,
}

/// All that was judged, and what is wrong with the functions as a whole.
#[derive(Debug)]
pub(super) struct Judgement<'a> {
    pub(super) loops: Vec<Judged<'a>>,
    pub(super) faults: Vec<Fault>,
}

/// A claim that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) wrong: Wrong,
    /// The path of the function.
    pub(super) function: String,
    /// An address and what stands there.
    pub(super) at: Option<(u64, String)>,
}

/// What does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// This intrinsic is called.
    Intrinsic(String),
    /// This function is called from an innermost loop.
    Call(String),
    /// A vector goes to or from the stack, and more often than is allowed.
    Spill(Spill, usize, usize),
    /// A loop of this kind has other marks than expected.
    Marks(&'static str, usize, usize),
    /// A hot loop is of no kind that the table has.
    Unknown(&'static str),
    /// There is another number of loops of this kind.
    Loops(&'static str, usize, usize),
    /// There is no such function.
    Missing,
}

/// Judges kernels by the table and by the rules that need none.
pub(super) fn judge<'a>(functions: &'a [Function], table: &'a [Expectation]) -> Judgement<'a> {
    let loops: Vec<Judged<'a>> =
        functions.iter().flat_map(loops_of).map(|own| judge_loop(own, table)).collect();
    let mut faults: Vec<Fault> = functions.iter().flat_map(intrinsics).collect();
    faults.extend(table.iter().filter_map(|expected| absent(expected, functions, &loops)));
    faults.dedup();
    Judgement { loops, faults }
}

/// The innermost loops of a function that have vectors in them.
pub(super) fn loops_of(function: &Function) -> impl Iterator<Item = Loop<'_>> {
    let loops = innermost(&function.steps).into_iter();
    let loops = loops.map(|steps| steps.into_iter().map(|at| &function.steps[at]).collect());
    loops
        .map(move |steps| Loop { function, steps })
        .filter(|own| own.steps.iter().any(|step| step.has_vector))
}

impl Judgement<'_> {
    /// Everything that is wrong.
    pub(super) fn all_faults(&self) -> impl Iterator<Item = &Fault> {
        self.faults.iter().chain(self.loops.iter().flat_map(|judged| &judged.faults))
    }
}

impl Loop<'_> {
    /// Instructions whose mnemonic starts like this.
    pub(super) fn count(&self, mnemonic: &str) -> usize {
        self.steps.iter().filter(|step| step.text.starts_with(mnemonic)).count()
    }

    /// Whether there is one.
    pub(super) fn has(&self, mnemonic: &str) -> bool {
        self.count(mnemonic) > 0
    }

    /// Digits that each shuffled vector of weights is multiplied by, 0 if not all by as many.
    pub(super) fn digits(&self) -> usize {
        let (products, shuffles) = (self.count("vpmaddubsw") + self.count("vpdpbusd"), self.count("vpshufb"));
        if shuffles > 0 && products.is_multiple_of(shuffles) { products / shuffles } else { 0 }
    }

    /// Calls, with what is called.
    pub(super) fn calls(&self) -> impl Iterator<Item = (&Step, &str)> {
        self.steps.iter().filter_map(|step| step.called().map(|name| (*step, name)))
    }

    /// Vectors that go this way.
    pub(super) fn spills(&self, way: Spill) -> Vec<&Step> {
        self.steps.iter().copied().filter(|step| step.spill == Some(way)).collect()
    }

    fn fault(&self, wrong: Wrong, step: &Step) -> Fault {
        Fault::new(wrong, self.function, step)
    }
}

fn judge_loop<'a>(own: Loop<'a>, table: &'a [Expectation]) -> Judged<'a> {
    let rows = || table.iter().filter(|row| row.function == own.function.path && own.has(row.mark));
    let expected = rows().find(|row| (row.is)(&own));
    let mut faults: Vec<Fault> =
        own.calls().map(|(step, name)| own.fault(Wrong::Call(name.to_owned()), step)).collect();
    match (expected, rows().next()) {
        (Some(expected), _) => faults.extend(unmet(&own, expected)),
        (None, Some(row)) => faults.push(own.fault(Wrong::Unknown(row.mark), own.steps[0])),
        (None, None) => {}
    }
    Judged { own, expected, faults }
}

/// What a loop has more or less of than its kind may.
fn unmet(own: &Loop<'_>, expected: &Expectation) -> Vec<Fault> {
    let mut faults = Vec::new();
    let marks = own.count(expected.mark);
    if marks < expected.marks {
        faults.push(own.fault(Wrong::Marks(expected.kind, marks, expected.marks), own.steps[0]));
    }
    for (way, allowed) in [(Spill::Load, expected.loads), (Spill::Store, expected.stores)] {
        let spills = own.spills(way);
        if spills.len() > allowed {
            let fault = |step: &&Step| own.fault(Wrong::Spill(way, spills.len(), allowed), step);
            faults.extend(spills.iter().map(fault));
        }
    }
    faults
}

/// What a function calls that should be an instruction.
fn intrinsics(function: &Function) -> impl Iterator<Item = Fault> {
    let is_intrinsic = |name: &str| name.starts_with("core::core_arch::");
    let calls = function.steps.iter().filter_map(|step| Some((step, step.left_for()?)));
    let calls = calls.filter(move |(_, name)| is_intrinsic(name));
    calls.map(|(step, name)| Fault::new(Wrong::Intrinsic(name.to_owned()), function, step))
}

/// That a function, or a number of loops of one, are not there.
fn absent(expected: &Expectation, functions: &[Function], loops: &[Judged<'_>]) -> Option<Fault> {
    let is_this = |judged: &&Judged<'_>| judged.expected.is_some_and(|row| std::ptr::eq(row, expected));
    let found = loops.iter().filter(is_this).count();
    let wrong = if !functions.iter().any(|function| function.path == expected.function) {
        Wrong::Missing
    } else if found < expected.loops {
        Wrong::Loops(expected.kind, found, expected.loops)
    } else {
        return None;
    };
    Some(Fault { wrong, function: expected.function.to_owned(), at: None })
}

impl Fault {
    fn new(wrong: Wrong, function: &Function, step: &Step) -> Self {
        Self { wrong, function: function.path.clone(), at: Some((step.address, step.text.clone())) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.function)?;
        if let Some((address, text)) = &self.at {
            write!(f, " at {address:#x}, `{text}`")?;
        }
        write!(f, ": {}\n  remedy: {}", self.wrong, self.wrong.remedy())
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Intrinsic(name) => write!(f, "the intrinsic {name} is a call, not an instruction"),
            Self::Call(name) => write!(f, "an innermost loop calls {name}"),
            Self::Spill(way, found, allowed) => {
                let verb = if *way == Spill::Load { "reads from" } else { "writes to" };
                write!(f, "a hot loop {verb} the stack {found} vectors, {allowed} at most are allowed")
            }
            Self::Marks(kind, found, wanted) => {
                write!(f, "the loop `{kind}` does its work {found} times, {wanted} at least are expected")
            }
            Self::Unknown(mark) => write!(f, "a loop with `{mark}` that the table has no kind for"),
            Self::Loops(kind, found, wanted) => {
                write!(f, "{found} hot loops `{kind}`, {wanted} at least are expected")
            }
            Self::Missing => write!(f, "no function of this path is in the executable"),
        }
    }
}

impl Wrong {
    /// What to do about it.
    fn remedy(&self) -> &'static str {
        match self {
            Self::Intrinsic(_) => {
                "enable the features of the intrinsic on the function that uses it, and detect them in its token"
            }
            Self::Call(_) => {
                "#[inline] on what is called, with the same target features; or call it outside the loop"
            }
            Self::Spill(..) => {
                "fewer values that live at once: a smaller tile, fewer sums, constants from memory; if it pays \
                 nevertheless, measure, and document it in the table of expectations and docs/kernels.md"
            }
            Self::Marks(..) | Self::Unknown(_) | Self::Loops(..) => {
                "look at the loop: is it unrolled, inlined and vectorised as it was? If it should be so, change the \
                 table of expectations (benches/src/machine_code/expectations.rs)"
            }
            Self::Missing => {
                "was it renamed, or inlined into its caller? Then change the table of expectations \
                 (benches/src/machine_code/expectations.rs)"
            }
        }
    }
}
