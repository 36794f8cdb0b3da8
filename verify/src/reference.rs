//! Plain scalar kernels of every format: what others are compared with, and what `check` examines where nobody brings a kernel.
//!
//! They are derived from the description of a format, as a careful person would write them: byte by byte, a block at a time, integers where
//! activations are integers. For each format of [`format::ALL`] the compiler makes its own, so that the description costs nothing. They
//! share no code with the oracle, which decodes for itself.

mod block;
mod custom;
mod dot;
mod gemm;
mod sizes;
mod vector;

use crate::domain::Domain;
use crate::format::{self, Format};
use crate::kernel::{Arguments, Kernel, Outcome};
use crate::operation::Operation;

/// The name of the normative kernels.
pub const SCALAR: &str = "scalar";

/// The reference kernel of one domain.
#[derive(Clone, Copy)]
struct Reference {
    domain: Domain,
    run: fn(Arguments<'_>) -> Outcome,
    /// The kernel of a format that is not known when this is compiled; its description is read in each call.
    of_file: Option<fn(&Format, Arguments<'_>) -> Outcome>,
}

/// The operations that every format has.
const OPERATIONS: [Operation; 4] =
    [Operation::Unpack, Operation::Dequantize, Operation::Gemm, Operation::Dot];

/// The reference kernels of the formats of this crate, but for those of qk256, which are kernels of their own.
pub(crate) fn kernels() -> Vec<Box<dyn Kernel>> {
    let formats = (0..).zip(format::ALL).skip(1);
    formats
        .flat_map(|(at, format)| {
            OPERATIONS.into_iter().filter_map(move |operation| known(at, format, operation))
        })
        .map(boxed)
        .collect()
}

/// Those of a format that a file describes.
pub fn kernels_of_file(format: &'static Format) -> Vec<Box<dyn Kernel>> {
    let kernel = |operation| {
        let run: fn(&Format, Arguments<'_>) -> Outcome = match operation {
            Operation::Unpack => vector::unpack,
            Operation::Dequantize => vector::dequantize,
            _ => gemm::gemm,
        };
        Reference { domain: Domain::of(operation, format), run: |_| Outcome::Unsupported, of_file: Some(run) }
    };
    OPERATIONS[..3].iter().copied().map(kernel).map(boxed).collect()
}

fn boxed(reference: Reference) -> Box<dyn Kernel> {
    Box::new(reference)
}

/// The kernel of format number `at` of [`format::ALL`].
fn known(at: usize, format: &'static Format, operation: Operation) -> Option<Reference> {
    let domain = match operation {
        Operation::Dot => Domain::dot(format)?,
        _ => Domain::of(operation, format),
    };
    Some(Reference { domain, run: TABLE[at].of(operation), of_file: None })
}

/// The functions of a format.
#[derive(Clone, Copy)]
struct Functions {
    unpack: fn(Arguments<'_>) -> Outcome,
    dequantize: fn(Arguments<'_>) -> Outcome,
    gemm: fn(Arguments<'_>) -> Outcome,
    dot: fn(Arguments<'_>) -> Outcome,
}

impl Functions {
    fn of(self, operation: Operation) -> fn(Arguments<'_>) -> Outcome {
        match operation {
            Operation::Unpack => self.unpack,
            Operation::Dequantize => self.dequantize,
            Operation::Gemm => self.gemm,
            Operation::Dot => self.dot,
            _ => unreachable!("no other operation has a reference for every format"),
        }
    }
}

/// A format as a type, for which functions are compiled.
struct Known<const AT: usize>;

impl<const AT: usize> Known<AT> {
    // Behind the last one comes the first again.
    const FORMAT: &'static Format = format::ALL[AT % format::ALL.len()];

    const FUNCTIONS: Functions = Functions {
        unpack: |arguments| vector::unpack(Self::FORMAT, arguments),
        dequantize: |arguments| vector::dequantize(Self::FORMAT, arguments),
        gemm: |arguments| gemm::gemm(Self::FORMAT, arguments),
        dot: |arguments| dot::dot(Self::FORMAT, arguments),
    };
}

macro_rules! table {
    ($($at:literal)*) => {
        [$(Known::<$at>::FUNCTIONS),*]
    };
}

/// The functions of all formats, and room for more.
const TABLE: &[Functions] = &table!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);

const _: () = assert!(TABLE.len() >= format::ALL.len(), "every format has its functions");

impl Kernel for Reference {
    fn name(&self) -> &str {
        SCALAR
    }

    fn domain(&self) -> Domain {
        self.domain
    }

    fn call(&self, arguments: Arguments<'_>) -> Outcome {
        if !sizes::are_right(&self.domain, &arguments) {
            return Outcome::Refused;
        }
        match self.of_file {
            Some(run) => run(self.domain.format, arguments),
            None => (self.run)(arguments),
        }
    }
}
