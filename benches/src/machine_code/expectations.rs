//! What is claimed of the kernels' machine code: one table.
//!
//! A claim is about hot loops: innermost loops that have the mark of their kernel, an instruction that does its work. Those
//! of one function may be of several kinds. All that is counted is what stands in the loop, executed or not.

use super::judge::Loop;

/// A kind of hot loops of a function.
#[derive(Debug)]
pub(super) struct Expectation {
    /// The path of the function.
    pub(super) function: &'static str,
    /// What the loops do.
    pub(super) kind: &'static str,
    /// Which of the hot loops these are, among those that no earlier expectation of the function has taken.
    pub(super) is: fn(&Loop<'_>) -> bool,
    /// Loops of this kind, at least: of all functions of this path together.
    pub(super) loops: usize,
    /// What the mnemonic starts with that marks the loop.
    pub(super) mark: &'static str,
    /// Marks of a loop, at least.
    pub(super) marks: usize,
    /// A mnemonic, and the elements that each instance of it stands for.
    pub(super) unit: (&'static str, usize),
    /// Vector registers read from the stack, at most.
    pub(super) loads: usize,
    /// Vector registers written to the stack, at most.
    pub(super) stores: usize,
}

/// What the paths of functions start with that are all held to the rules without numbers: no intrinsic out of line, no call
/// from an innermost loop with vectors in it.
pub(super) const KERNELS: [&str; 2] = ["qk256_kernels::avx2::", "qk256_kernels::avx_vnni::"];

/// What the paths of functions start with that are shown beside the kernels, and held to nothing.
pub(super) const SHOWN: &str = "qk256_kernels::fast_scalar::avx2::";

/// Weights of a vector of f32, and codes of a vector of bytes.
const FLOATS: usize = 8;
const BYTES: usize = 32;

/// A block with some number of digits: eight shuffles, for each of them a product with every digit.
const DIGITS: Expectation = Expectation {
    function: "",
    kind: "",
    is: |_| true,
    loops: 1,
    mark: "",
    marks: 8,
    unit: ("vpshufb", BYTES),
    loads: 0,
    stores: 0,
};

const AVX2_DIGITS: Expectation =
    Expectation { function: "qk256_kernels::avx2::fixed::gemv", mark: "vpmaddubsw", ..DIGITS };

const AVX_VNNI_DIGITS: Expectation =
    Expectation { function: "qk256_kernels::avx_vnni::fixed::gemv", mark: "vpdpbusd", ..DIGITS };

/// The even bytes of the blocks of two rows, by the first of two passes: 256 elements a block, eight sums.
const EVEN: Expectation = Expectation {
    function: "qk256_kernels::avx2::permuted::pairs",
    kind: "unscaled, even bytes",
    is: |own| own.has("prefetch"),
    loops: 1,
    mark: "vfmadd",
    marks: 32,
    unit: ("vfmadd", FLOATS),
    loads: 0,
    stores: 0,
};

/// The odd bytes. A sum of the first pass is taken back into its register once a block, where once in all would do; none that
/// this pass adds to is ever in memory.
const ODD: Expectation = Expectation { kind: "unscaled, odd bytes", is: |_| true, loads: 1, ..EVEN };

/// The groups of a row.
const ROWS: Expectation = Expectation {
    function: "qk256_kernels::avx2::natural::rows",
    kind: "unscaled",
    is: |_| true,
    loops: 2,
    mark: "vfmadd",
    marks: 16,
    unit: ("vfmadd", FLOATS),
    loads: 0,
    stores: 0,
};

/// All of it.
pub(super) const EXPECTATIONS: &[Expectation] = &[
    Expectation {
        function: "qk256_kernels::avx2::unpack::unpack",
        kind: "whole blocks",
        is: |_| true,
        loops: 1,
        mark: "vpmulhuw",
        marks: 8,
        unit: ("vpmulhuw", BYTES),
        loads: 0,
        stores: 0,
    },
    Expectation {
        function: "qk256_kernels::avx2::lut::lut",
        kind: "all",
        is: |_| true,
        loops: 1,
        mark: "vpermilps",
        marks: 1,
        unit: ("vpermilps", FLOATS),
        loads: 0,
        stores: 0,
    },
    Expectation {
        function: "qk256_kernels::avx2::dequantize::dequantize",
        kind: "whole blocks",
        is: |own| own.has("vmulps"),
        loops: 1,
        mark: "vpermilps",
        marks: 32,
        unit: ("vpermilps", FLOATS),
        loads: 0,
        stores: 0,
    },
    Expectation {
        function: "qk256_kernels::avx2::dequantize::dequantize",
        kind: "last block",
        is: |_| true,
        loops: 1,
        mark: "vpermilps",
        marks: 2,
        unit: ("vpermilps", FLOATS),
        loads: 0,
        stores: 0,
    },
    // Two tables instead of one: in each pass one of the eight sums goes through memory once a block, and the second takes
    // three sums of the first back each time.
    Expectation {
        kind: "scaled, even bytes",
        is: |own| own.has("vmulps") && own.has("prefetch"),
        loads: 1,
        stores: 1,
        ..EVEN
    },
    Expectation { kind: "scaled, odd bytes", is: |own| own.has("vmulps"), loads: 4, stores: 1, ..ODD },
    EVEN,
    ODD,
    Expectation { kind: "scaled", is: |own| own.has("vmulps"), ..ROWS },
    ROWS,
    Expectation { kind: "1 digit", is: |own| own.digits() == 1, ..AVX2_DIGITS },
    Expectation { kind: "2 digits", is: |own| own.digits() == 2, marks: 16, ..AVX2_DIGITS },
    Expectation { kind: "3 digits", is: |own| own.digits() == 3, marks: 24, ..AVX2_DIGITS },
    Expectation { kind: "4 digits", is: |own| own.digits() == 4, marks: 32, ..AVX2_DIGITS },
    Expectation { kind: "1 digit", is: |own| own.digits() == 1, ..AVX_VNNI_DIGITS },
    Expectation { kind: "2 digits", is: |own| own.digits() == 2, marks: 16, ..AVX_VNNI_DIGITS },
    Expectation { kind: "3 digits", is: |own| own.digits() == 3, marks: 24, ..AVX_VNNI_DIGITS },
    Expectation { kind: "4 digits", is: |own| own.digits() == 4, marks: 32, ..AVX_VNNI_DIGITS },
];
