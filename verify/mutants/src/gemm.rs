//! Products of a matrix and a batch of vectors: wrong ones by what goes wrong, and right ones.

pub(crate) mod calls;
pub(crate) mod right;
pub(crate) mod rows;
pub(crate) mod vectors;

use qk256_verify::format::{self, Format};
use qk256_verify::{Domain, Operation};

const fn of(format: &'static Format) -> Domain {
    Domain::of(Operation::Gemm, format)
}

pub(crate) const QK256: Domain = of(&format::QK256);
pub(crate) const Q4_0: Domain = of(&format::Q4_0);
const Q2_0: Domain = of(&format::Q2_0);
const TQ2_0: Domain = of(&format::TQ2_0);
const I2_S: Domain = of(&format::I2_S);
const IQ2_BN: Domain = of(&format::IQ2_BN);
