//! Decoding: how many tokens a second the matrices of a whole model allow, beside the rate at which memory can be read at all.
//!
//! A token multiplies every matrix of the model once. Their codes are distinct in each layer, so that they come from DRAM each
//! time, as they do in inference. Attention, norms and the rest of a model are not here: the products are what this project
//! is about, and nearly all of the time.

#[cfg(target_arch = "x86_64")]
mod contender;
#[cfg(target_arch = "x86_64")]
mod decoder;
#[cfg(target_arch = "x86_64")]
mod model;
#[cfg(target_arch = "x86_64")]
mod race;

use std::time::Duration;

/// Which contenders decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every product, with prefetches and without.
    All,
    /// Some products, with prefetches at several distances, on one thread.
    Distances,
    /// Every product with the prefetches that a plain call makes.
    AsCalled,
}

/// Why nothing was decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A kernel is wrong, or two ways to the same product differ in a bit.
    #[error("{0}")]
    Wrong(String),
    /// There is no memory for the codes, or no such way on this CPU.
    #[error("{0}")]
    Impossible(String),
}

/// One way to compute a token, and what it took.
#[derive(Clone, Debug)]
pub struct Way {
    /// The instructions and the product, such as `avx2 gemv_fixed, 1 digit`; `read` for the limit.
    pub name: String,
    /// Threads that share a token.
    pub threads: usize,
    /// Bytes by which prefetches are ahead; 0 without any.
    pub ahead: usize,
    /// Wall time of a token in each round.
    pub times: Vec<Duration>,
    /// The part of the rate of reading, with as many threads, in each round.
    pub parts: Vec<f64>,
}

/// All ways of a scope.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The ways.
    pub ways: Vec<Way>,
    /// Bytes of codes that a token reads.
    pub bytes: usize,
}

/// Checks the kernels on the shapes of the model, and decodes. `None` if this CPU has no kernels that are timed.
///
/// # Errors
/// If a kernel is wrong, or there is no memory.
#[cfg(target_arch = "x86_64")]
pub fn run(scope: Scope) -> Result<Option<Decoded>, DecodeError> {
    race::run(scope)
}

/// For each of these ways, a name and a number of threads, and each of N rounds: the part of the rate of reading, with as
/// many threads, that it reaches.
///
/// # Errors
/// As [`run`], and if this CPU has no such way.
#[cfg(target_arch = "x86_64")]
pub(crate) fn parts_of_reading(
    ways: &[(String, usize)],
    rounds: usize,
) -> Result<Vec<Vec<f64>>, DecodeError> {
    race::parts_of_reading(ways, rounds)
}

/// There is nothing to decode with.
///
/// # Errors
/// None.
#[cfg(not(target_arch = "x86_64"))]
pub fn run(_: Scope) -> Result<Option<Decoded>, DecodeError> {
    Ok(None)
}

/// There is nothing to decode with.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn parts_of_reading(_: &[(String, usize)], _: usize) -> Result<Vec<Vec<f64>>, DecodeError> {
    Err(DecodeError::Impossible("the kernels that decode are those of x86-64".to_owned()))
}
