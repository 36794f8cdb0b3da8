//! The seed of a run, and the seed that each property makes of it.

/// The seed where `QK256_SEED` says nothing.
const DEFAULT: u64 = 256;

/// The seed of this run.
///
/// # Panics
/// If `QK256_SEED` is not a number.
pub(crate) fn of_run() -> u64 {
    match std::env::var("QK256_SEED") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("QK256_SEED={text}: a seed is a 64-bit number")),
        Err(_) => DEFAULT,
    }
}

/// The seed of one property: FNV-1a over its name (Fowler, Noll and Vo; RFC 9923), from the run's seed on.
pub(crate) fn mixed(seed: u64, name: &str) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    seed.to_le_bytes()
        .iter()
        .chain(name.as_bytes())
        .fold(OFFSET, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_another_name_nor_another_run_gives_the_same_cases() {
        // The empty input and `a` are among the test vectors of RFC 9923.
        let seeds =
            [(0, ""), (0, "a"), (1, ""), (1, "a"), (1, "b"), (97, "")].map(|(seed, name)| mixed(seed, name));
        for (at, seed) in seeds.iter().enumerate() {
            assert!(!seeds[..at].contains(seed));
        }
    }
}
