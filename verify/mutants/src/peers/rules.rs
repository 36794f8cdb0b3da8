//! What each project's test calls its kernels with, and what it accepts.

use qk256_verify::Domain;
use qk256_verify::Operation::{Dot, Gemm, Gemv, GemvFixed};
use qk256_verify::format::QK256;

use super::operands::{Operands, Test};
use super::quantised::Row;

/// Elements of the row of ggml's test.
const COSINES: usize = 4096;

/// Vectors, rows and columns of KleidiAI's tests of kernels for many vectors.
const KLEIDIAI_GEMM: [[usize; 3]; 14] = [
    [8, 4, 32],
    [16, 8, 64],
    [7, 3, 32],
    [9, 5, 32],
    [5, 5, 32],
    [3, 3, 32],
    [4, 4, 32],
    [16, 32, 64],
    [15, 63, 32],
    [17, 65, 32],
    [32, 128, 64],
    [15, 31, 64],
    [19, 129, 64],
    [1, 128, 32],
];

/// Rows and columns of those for one.
const KLEIDIAI_GEMV: [[usize; 2]; 10] =
    [[4, 32], [8, 64], [3, 32], [5, 32], [63, 32], [64, 32], [65, 32], [71, 32], [128, 64], [225, 64]];

/// Vectors, rows and columns of torchao's tests, each with each.
const TORCHAO: [&[usize]; 3] = [
    &[1, 3, 4, 8, 9, 13, 21, 43, 101],
    &[1, 2, 3, 4, 5, 6, 7, 8, 52, 55, 104, 107, 208, 211],
    &[32, 64, 128],
];

/// Columns of BitNet-rs' tests of one row, and their number of seeds.
const BITNET_RS: [(usize, u64); 6] = [(256, 1), (512, 1), (1024, 8), (4096, 1), (300, 1), (513, 1)];

/// Calls, which are made one by one: those of large matrices take much memory.
type Tests = Box<dyn Iterator<Item = Test>>;

/// Whether kernels of a domain multiply.
pub(super) fn is_product(domain: Domain) -> bool {
    [Gemv, GemvFixed, Gemm, Dot].contains(&domain.operation)
}

/// Whether ggml has such a kernel.
pub(super) fn is_of_ggml(domain: Domain) -> bool {
    domain.operation == Dot && ["q1_0", "q2_0", "tq2_0", "q2_k", "q4_0"].contains(&domain.format.name)
}

/// Whether BitNet-rs has such a kernel.
pub(super) fn is_of_bitnet_rs(domain: Domain) -> bool {
    [Gemv, GemvFixed].contains(&domain.operation) && domain.format == &QK256
}

/// ggml's: the dot product of two rows of cosines, and its error by element.
pub(super) fn ggml(domain: Domain) -> Tests {
    let cosines = |offset: f32| -> Vec<f32> {
        (0..COSINES).map(|at| (0.1 + 2.0 * f64::from((at as f32 + offset).cos())) as f32).collect()
    };
    let (weights, x) = (cosines(0.0), cosines(1.0));
    let exact: f64 = weights.iter().zip(&x).map(|(weight, x)| f64::from(weight * x)).sum();
    let accepts = match domain.format.name {
        "q1_0" => within::<40>,
        "q2_0" | "tq2_0" => within::<15>,
        "q2_k" => within::<4>,
        _ => within::<2>,
    };
    let test = Test::new(Operands::of(domain, &[weights], &[x]), accepts);
    Box::new(std::iter::once(Test { y: f32::INFINITY, expected: Some(vec![exact as f32]), ..test }))
}

/// Whether the error is below `HUNDREDTHS` hundredths an element.
fn within<const HUNDREDTHS: u32>(results: &[f32], expected: &[f32]) -> bool {
    (results[0] - expected[0]).abs() / (COSINES as f32) < HUNDREDTHS as f32 / 100.0
}

/// KleidiAI's: numbers from 0 to 1, quantised; an output may be 2 % off, and 5 % of the outputs more.
pub(super) fn kleidiai(domain: Domain) -> Tests {
    let shapes = match domain.operation {
        Gemm => KLEIDIAI_GEMM.to_vec(),
        _ => KLEIDIAI_GEMV.map(|[rows, cols]| [1, rows, cols]).to_vec(),
    };
    let test = move |(seed, shape)| Test::new(drawn(domain, shape, seed, |unit| unit), accepted_by_kleidiai);
    Box::new((0..).zip(shapes).map(test))
}

/// A difference that is not a number is no mismatch: it compares as not larger.
fn accepted_by_kleidiai(results: &[f32], expected: &[f32]) -> bool {
    let is_mismatch = |(result, expected): &(&f32, &f32)| {
        let error = (*result - *expected).abs();
        let relative = if **expected == 0.0 { 0.0 } else { error / expected.abs() };
        error > 0.0 && relative > 0.02
    };
    let mismatches = results.iter().zip(expected).filter(is_mismatch).count();
    mismatches as f32 / results.len() as f32 <= 0.05
}

/// torchao's: numbers from -1 to 1, quantised, and 5e-2 for each output, which is its limit where it calls KleidiAI.
pub(super) fn torchao(domain: Domain) -> Tests {
    let [vectors, rows, columns] = TORCHAO;
    let vectors = if domain.operation == Gemm { vectors } else { &vectors[..1] };
    let of_rows = move |batch, rows| columns.iter().map(move |&cols| [batch, rows, cols]);
    let of_vectors = move |&batch: &usize| rows.iter().flat_map(move |&rows| of_rows(batch, rows));
    let shapes = vectors.iter().flat_map(of_vectors);
    let operands = move |shape, seed| drawn(domain, shape, seed, |unit| 2.0 * unit - 1.0);
    Box::new(
        (0..).zip(shapes).map(move |(seed, shape)| Test::new(operands(shape, seed), within_5_hundredths)),
    )
}

/// Whether each result is within 5e-2 of what is expected.
fn within_5_hundredths(results: &[f32], expected: &[f32]) -> bool {
    results.iter().zip(expected).all(|(result, expected)| (result - expected).abs() <= 5e-2)
}

/// BitNet-rs': a scalar sum in f32 is the reference of a product of QK256 weights without scales.
pub(super) fn bitnet_rs(domain: Domain) -> Tests {
    let codes = |rows: usize, cols: usize, seed: u64| {
        let drawn = numbers(seed, rows * cols.next_multiple_of(QK256.block_len));
        drawn.into_iter().map(|unit| (4.0 * unit) as u8).collect::<Vec<u8>>()
    };
    let x = |cols: usize, seed: u64| -> Vec<f32> {
        numbers(seed, cols).into_iter().map(|unit| 20.0 * unit - 10.0).collect()
    };
    let operands = move |codes: Vec<u8>, rows: usize, x: Vec<f32>| {
        let row = |codes: &[u8]| {
            let packed = QK256.pack(codes);
            let weights = QK256.decode(&packed, x.len());
            Row { packed, scales: Vec::new(), weights }
        };
        let rows = codes.chunks(codes.len() / rows).map(row).collect();
        Operands::of_rows(domain, rows, std::slice::from_ref(&x))
    };
    let seeds = |(cols, seeds): (usize, u64)| (0..seeds).map(move |seed| (cols, seed));
    let single = BITNET_RS.into_iter().flat_map(seeds);
    let single = single.map(move |(cols, seed)| operands(codes(1, cols, seed), 1, x(cols, seed + 1)));
    let uniform = (0..4).map(move |code| operands(vec![code; 512], 1, x(512, 42)));
    let zeros = operands(codes(1, 1024, 42), 1, vec![0.0; 1024]);
    let rows = operands(codes(8, 512, 42), 8, x(512, 43));
    let all = single.chain(uniform).chain([zeros, rows]);
    Box::new(all.map(|operands| Test::new(operands, absolute_or_relative)))
}

/// Whether each result is within 1e-4, absolutely or of what is expected.
fn absolute_or_relative(results: &[f32], expected: &[f32]) -> bool {
    let is_near = |(result, expected): (&f32, &f32)| {
        let error = (result - expected).abs();
        let relative = if expected.abs() > 1e-6 { error / expected.abs() } else { error };
        error < 1e-4 || relative < 1e-4
    };
    results.iter().zip(expected).all(is_near)
}

/// Operands of drawn numbers. Where a product is defined for whole blocks only, the columns are raised to the next.
fn drawn(domain: Domain, shape: [usize; 3], seed: u64, number: fn(f32) -> f32) -> Operands {
    let [batch, rows, cols] = shape;
    let cols = match domain.operation.whole_blocks() {
        true => cols.next_multiple_of(domain.format.block_len.max(domain.activations.block_len)),
        false => cols,
    };
    let draw = |count: usize, seed: u64| -> Vec<Vec<f32>> {
        let all: Vec<f32> = numbers(seed, count * cols).into_iter().map(number).collect();
        all.chunks(cols).map(<[f32]>::to_vec).collect()
    };
    Operands::of(domain, &draw(rows, 2 * seed), &draw(batch, 2 * seed + 1))
}

/// Numbers from 0 up to 1, the same for the same seed (SplitMix64).
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let number = |at: u64| {
        let mut bits = (seed << 32 | at).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ bits >> 31) >> 40
    };
    (0..count as u64).map(|at| number(at) as f32 / (1_u32 << 24) as f32).collect()
}
