//! The matrices of BitNet b1.58-2B-4T, filled with random codes, and what they are multiplied by.

use qk256_kernels::avx2::{AHEAD, prefetch};
use qk256_kernels::{Activations, BLOCK_BYTES, Digits, Kernels, blocks};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use rayon::prelude::*;

use super::DecodeError;

/// Layers of the model.
const LAYERS: usize = 30;

/// Width of the hidden state: 20 heads of 128.
const HIDDEN: usize = 2560;

/// Width of the keys and of the values: 5 heads of 128.
const KEY_VALUE: usize = 640;

/// Width of the feed-forward network.
pub(super) const FEED_FORWARD: usize = 6912;

/// Columns of the vectors that a layer multiplies matrices by: the input of attention, what attention gives, the input of
/// the feed-forward network, and what its two halves give.
pub(super) const INPUTS: [usize; 4] = [HIDDEN, HIDDEN, HIDDEN, FEED_FORWARD];

/// Rows of the matrices of a layer, and the input of each: query, key, value, output; gate, up, down.
pub(super) const MATRICES: [(usize, usize); 7] = [
    (HIDDEN, 0),
    (KEY_VALUE, 0),
    (KEY_VALUE, 0),
    (HIDDEN, 1),
    (FEED_FORWARD, 2),
    (FEED_FORWARD, 2),
    (HIDDEN, 3),
];

/// Rows and columns of the matrices, each shape once.
pub(super) fn shapes() -> impl Iterator<Item = (usize, usize)> {
    [(HIDDEN, HIDDEN), (KEY_VALUE, HIDDEN), (FEED_FORWARD, HIDDEN), (HIDDEN, FEED_FORWARD)].into_iter()
}

/// The codes of all matrices.
pub(super) struct Model {
    /// By layer, then in the order of [`MATRICES`].
    pub(super) codes: Vec<[Vec<u8>; MATRICES.len()]>,
}

impl Model {
    /// A model of random codes.
    pub(super) fn random() -> Result<Self, DecodeError> {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let layers = (0..LAYERS).map(|_| {
            let mut layer: [Vec<u8>; MATRICES.len()] = Default::default();
            for (codes, (rows, input)) in layer.iter_mut().zip(MATRICES) {
                let bytes = rows * row_bytes(INPUTS[input]);
                codes.try_reserve_exact(bytes).map_err(|_| {
                    DecodeError::Impossible(format!("no memory for {} MB of codes", BYTES / 1_000_000))
                })?;
                codes.resize(bytes, 0);
                rng.fill_bytes(codes);
            }
            Ok(layer)
        });
        Ok(Self { codes: layers.collect::<Result<_, DecodeError>>()? })
    }

    /// Bytes of codes that a token reads.
    pub(super) fn bytes(&self) -> usize {
        self.codes.as_flattened().iter().map(Vec::len).sum()
    }
}

/// Bytes of a row of N columns.
pub(super) const fn row_bytes(cols: usize) -> usize {
    blocks(cols) * BLOCK_BYTES
}

/// Bytes of codes of a model.
const BYTES: usize = {
    let (mut layer, mut at) = (0, 0);
    while at < MATRICES.len() {
        layer += MATRICES[at].0 * row_bytes(INPUTS[MATRICES[at].1]);
        at += 1;
    }
    LAYERS * layer
};

/// A vector, and the same in fixed point.
pub(super) struct Input {
    pub(super) x: Vec<f32>,
    pub(super) fixed: Activations,
}

/// The inputs of a layer, of random numbers from -1 to 1.
pub(super) fn inputs() -> [Input; INPUTS.len()] {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    INPUTS.map(|cols| {
        let x: Vec<f32> = (0..cols).map(|_| rng.next_u32() as f32 / (1_u32 << 31) as f32 - 1.0).collect();
        let fixed = Kernels::detect().activations(&x, Digits::One).expect("these are finite numbers");
        Input { x, fixed }
    })
}

/// The exclusive or of all words, by N threads: nothing but reading, with the prefetches that the kernels make too.
pub(super) fn read(codes: &[u8], threads: usize) -> u64 {
    /// Words of a cache line.
    const LANES: usize = 8;
    let read = |codes: &[u8]| {
        let lines = codes.as_chunks::<8>().0.as_chunks::<LANES>().0;
        let lanes = lines.iter().enumerate().fold([0; LANES], |mut lanes, (line, words)| {
            prefetch(codes, 8 * LANES * line + AHEAD);
            for (lane, word) in lanes.iter_mut().zip(words) {
                *lane ^= u64::from_le_bytes(*word);
            }
            lanes
        });
        lanes.iter().fold(0, |all, lane| all ^ lane)
    };
    if threads == 1 {
        return read(codes);
    }
    codes
        .par_chunks(codes.len().div_ceil(4 * threads).next_multiple_of(4096))
        .map(read)
        .reduce(|| 0, |a, b| a ^ b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_521_megabytes() {
        assert_eq!(BYTES, 521_011_200);
    }

    #[test]
    fn several_threads_read_what_one_reads() {
        let codes: Vec<u8> = (0..6912 * 640).map(|at| (at * 7 % 251) as u8).collect();
        let words = codes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().expect("whole words")));
        assert_eq!(read(&codes, 1), words.fold(0, |all, word| all ^ word));
        assert_eq!(read(&codes, 3), read(&codes, 1));
    }
}
