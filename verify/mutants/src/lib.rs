//! Kernels that are wrong on purpose, each in one way, and right ones that are unusual: what a harness is held to.
//!
//! They are written from how such kernels fail elsewhere, not from what the harness sees. Each is wrong for calls that a user
//! may make, or breaks the contract; none is wrong by chance. They live in a crate of their own, so that `qk256 check` can
//! never reach them.

mod contract;
mod dispatch;
mod dot;
mod exact;
mod faults;
mod first_call;
mod fixed;
mod gemm;
mod invariance;
mod long;
mod machine;
mod memory;
mod model;
pub mod museum;
mod narrow;
mod order;
pub mod peers;
mod precision;
mod process;
mod quantize;
mod rare;
mod reduction;
mod reported;
mod rewritten;
mod right;
mod rows;
mod scales;
mod shapes;
mod special;
mod stack;
mod state;
mod tails;
mod techniques;
mod threads;
mod unpack;

pub use faults::{Fault, ask_for_the_truth, faults};
use qk256_verify::{Arguments, Domain, KernelFn, Operation, Outcome};

/// What a wrong kernel gets wrong; of a right one, what is unusual about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// From bytes to codes and weights.
    Unpack,
    /// Partial sums, and how they come together.
    Reduction,
    /// The columns that do not fill a vector, a byte or a block.
    Tails,
    /// Rows, strides, and rows that do not fill a tile.
    RowsAndTiles,
    /// Which scale, and where it goes.
    Scales,
    /// Reads and writes where there is no business.
    Memory,
    /// NaN, infinities, zeros, subnormals.
    SpecialValues,
    /// Paths for some sizes or addresses only.
    Dispatch,
    /// Fewer bits than there must be.
    Precision,
    /// What is left of earlier calls.
    State,
    /// What goes wrong where several threads call.
    Threads,
    /// Refusals, modes, panics, calls that never return.
    Contract,
}

impl Class {
    /// Every class, in the order of reports.
    pub const ALL: [Self; 12] = [
        Self::Unpack,
        Self::Reduction,
        Self::Tails,
        Self::RowsAndTiles,
        Self::Scales,
        Self::Memory,
        Self::SpecialValues,
        Self::Dispatch,
        Self::Precision,
        Self::State,
        Self::Threads,
        Self::Contract,
    ];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unpack => "unpack",
            Self::Reduction => "reduction",
            Self::Tails => "tails",
            Self::RowsAndTiles => "rows and tiles",
            Self::Scales => "scales",
            Self::Memory => "memory",
            Self::SpecialValues => "special values",
            Self::Dispatch => "dispatch",
            Self::Precision => "precision",
            Self::State => "state",
            Self::Threads => "threads",
            Self::Contract => "contract",
        }
    }
}

/// A kernel that was made to be found, or to be left alone.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    /// What is wrong, in a few words joined by hyphens. No two are the same.
    pub name: &'static str,
    /// What kind of thing that is.
    pub class: Class,
    /// The kernel; it has the name of the mutant.
    pub kernel: KernelFn,
    /// Whether it takes vectors that only `check --huge` makes.
    pub huge: bool,
    /// How such kernels come to fail, in a sentence; of a right one, why it is right.
    pub history: &'static str,
}

impl Mutant {
    const fn new(
        class: Class,
        operation: Operation,
        name: &'static str,
        history: &'static str,
        call: fn(Arguments<'_>) -> Outcome,
    ) -> Self {
        Self::of(class, Domain::new(operation), name, history, call)
    }

    const fn of(
        class: Class,
        domain: Domain,
        name: &'static str,
        history: &'static str,
        call: fn(Arguments<'_>) -> Outcome,
    ) -> Self {
        let kernel = KernelFn { name, domain, required_features: &[], refuses_wrong_sizes: true, call };
        Self { name, class, kernel, huge: false, history }
    }

    /// The mutant, to be examined as `check --huge` does.
    const fn for_huge(self) -> Self {
        Self { huge: true, ..self }
    }
}

/// The kernels that are wrong.
pub fn wrong() -> Vec<Mutant> {
    [
        unpack::WRONG,
        reduction::WRONG,
        tails::WRONG,
        rows::WRONG,
        scales::WRONG,
        memory::WRONG,
        rewritten::WRONG,
        special::WRONG,
        dispatch::WRONG,
        precision::WRONG,
        exact::WRONG,
        state::WRONG,
        threads::WRONG,
        contract::WRONG,
        machine::WRONG,
        fixed::WRONG,
        order::WRONG,
        invariance::WRONG,
        process::WRONG,
        first_call::WRONG,
        narrow::WRONG,
        shapes::WRONG,
        stack::WRONG,
        long::WRONG,
        quantize::values::WRONG,
        quantize::calls::WRONG,
        quantize::packed::WRONG,
        gemm::vectors::WRONG,
        gemm::rows::WRONG,
        gemm::calls::WRONG,
        dot::codes::WRONG,
        dot::integers::WRONG,
        dot::scales::WRONG,
        dot::calls::WRONG,
        reported::WRONG,
    ]
    .concat()
}

/// The kernels that are wrong and that no test finds, and a right one in their manner. None is among the others.
pub fn rare() -> (Vec<Mutant>, Mutant) {
    (rare::WRONG.to_vec(), rare::PLAIN)
}

/// The kernels that are right and unusual: whoever finds something in them is wrong.
pub fn right() -> Vec<Mutant> {
    [
        right::RIGHT,
        techniques::RIGHT,
        exact::RIGHT,
        invariance::RIGHT,
        process::RIGHT,
        first_call::RIGHT,
        fixed::RIGHT,
        narrow::RIGHT,
        shapes::RIGHT,
        stack::RIGHT,
        long::RIGHT,
        quantize::right::RIGHT,
        quantize::packed::RIGHT,
        gemm::right::RIGHT,
        dot::right::RIGHT,
    ]
    .concat()
}
