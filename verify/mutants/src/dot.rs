//! Products with quantised activations: wrong ones by what goes wrong, and right ones.

pub(crate) mod calls;
pub(crate) mod codes;
pub(crate) mod integers;
pub(crate) mod right;
pub(crate) mod scales;

use qk256_verify::activations::{Activations, I8, Q8_0, Q8_K};
use qk256_verify::format::{self, Format};
use qk256_verify::{Domain, Operation};

const fn of(format: &'static Format, activations: &'static Activations) -> Domain {
    Domain::of(Operation::Dot, format).with(activations)
}

pub(crate) const Q4_0: Domain = of(&format::Q4_0, &Q8_0);
const Q2_0: Domain = of(&format::Q2_0, &Q8_0);
const Q1_0: Domain = of(&format::Q1_0, &Q8_0);
const TQ2_0: Domain = of(&format::TQ2_0, &Q8_K);
pub(crate) const Q2_K: Domain = of(&format::Q2_K, &Q8_K);
pub(crate) const I2_S: Domain = of(&format::I2_S, &I8);
pub(crate) const IQ2_BN: Domain = of(&format::IQ2_BN, &I8);
