//! Decoding: how many tokens a second the matrices of a whole model allow, beside the rate at which memory can be read at all.
//!
//! A token multiplies every matrix of the model once. Their codes are distinct in each layer, so that they come from DRAM each
//! time, as they do in inference. Attention, norms and the rest of a model are not here: the products are what this project
//! is about, and nearly all of the time.

#[cfg(target_arch = "x86_64")]
mod contender;
#[cfg(target_arch = "x86_64")]
mod model;
#[cfg(target_arch = "x86_64")]
mod race;
#[cfg(target_arch = "x86_64")]
mod report;

/// Which contenders decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every product, with prefetches and without.
    All,
    /// Some products, with prefetches at several distances, on one thread.
    Distances,
    /// Those that have a bar to meet, and the limit.
    Barred,
}

/// Checks the kernels on the shapes of the model, decodes, and prints the table. `false` if a bar is missed; it says which on
/// standard error.
///
/// # Errors
/// If a kernel is wrong, two ways to the same product differ in a bit, or there is no memory for the codes.
#[cfg(target_arch = "x86_64")]
pub fn run(scope: Scope) -> Result<bool, String> {
    race::run(scope)
}

/// Says that there is nothing to decode with.
///
/// # Errors
/// None.
#[cfg(not(target_arch = "x86_64"))]
pub fn run(_: Scope) -> Result<bool, String> {
    println!("decode: skipped: the kernels that are timed are those of x86-64");
    Ok(true)
}
