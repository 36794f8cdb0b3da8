//! What the tests of several files need: the kernels, and numbers.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each file of tests is a crate of its own, and needs a part of this"
)]

use std::sync::Once;

#[cfg(target_arch = "x86_64")]
use qk256_kernels::avx2::Avx2;
use qk256_kernels::{Kernels, Level};
#[cfg(target_arch = "x86_64")]
use qk256_skip::skip;
use qk256_skip::skip_part;

/// The kernels of every level that this CPU supports. For the others a skip is reported, once a process.
pub fn supported() -> Vec<Kernels> {
    static REPORTED: Once = Once::new();
    let (mut supported, mut refusals) = (Vec::new(), Vec::new());
    for &level in Level::ALL {
        Kernels::new(level).map_or_else(|refusal| refusals.push(refusal), |kernels| supported.push(kernels));
    }
    REPORTED.call_once(|| {
        refusals.iter().for_each(|refusal| skip_part(refusal.level().name(), refusal.missing()));
    });
    supported
}

/// The token of AVX2. If this CPU lacks it, a skip is reported.
#[cfg(target_arch = "x86_64")]
#[track_caller]
pub fn avx2() -> Option<Avx2> {
    if let Err(refusal) = Kernels::new(Level::Avx2) {
        skip(refusal.missing());
    }
    Avx2::new()
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
