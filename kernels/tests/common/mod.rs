//! What the tests of several files need: the kernels, and numbers.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each file of tests is a crate of its own, and needs a part of this"
)]

use qk256_kernels::{Kernels, Level};

/// The kernels of every level that this CPU supports; the others are named on standard error.
pub fn supported() -> Vec<Kernels> {
    let kernels = Level::ALL.iter().map(|&level| Kernels::new(level));
    kernels
        .filter_map(|kernels| kernels.inspect_err(|refusal| eprintln!("skipped: {refusal}")).ok())
        .collect()
}

/// SplitMix64: numbers without a pattern, the same in every run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    pub fn floats(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
    }

    pub fn integers(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| (self.next() % 201) as f32 - 100.0).collect()
    }
}

pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
