//! Bugs of public history, each with a kernel of this crate that is wrong in the same way.
//!
//! docs/bugs.md shows them, and a test holds that page to this table. Reports were read in public copies of the projects' threads and
//! histories. What is inferred and not in the report is marked.

/// A bug, and the wrong kernel that has it.
#[derive(Clone, Copy, Debug)]
pub struct Bug {
    /// Owner and repository, and the number of the issue or pull request.
    pub source: &'static str,
    /// What was wrong there.
    pub what: &'static str,
    /// The name of the wrong kernel.
    pub mutant: &'static str,
    /// How long it was there.
    pub lived: Known,
    /// Why the tests of the project did not find it.
    pub missed: Known,
}

/// How something is known of a bug.
#[derive(Clone, Copy, Debug)]
pub enum Known {
    /// From the report, or from the history of the code.
    Read(&'static str),
    /// From what the report says of something else.
    Inferred(&'static str),
    /// It is not known: no stored text says it.
    NotRead,
}

impl std::fmt::Display for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Read(text) => f.write_str(text),
            Self::Inferred(text) => write!(f, "{text} (inferred)"),
            Self::NotRead => f.write_str("not read"),
        }
    }
}

/// The bugs that a wrong kernel has.
pub fn of(mutant: &str) -> impl Iterator<Item = &'static Bug> {
    BUGS.iter().filter(move |bug| bug.mutant == mutant)
}

use Known::{Inferred, NotRead, Read};

const fn bug(
    source: &'static str,
    what: &'static str,
    mutant: &'static str,
    lived: Known,
    missed: Known,
) -> Bug {
    Bug { source, what, mutant, lived, missed }
}

/// Every bug, by project.
pub const BUGS: &[Bug] = &[
    bug(
        "microsoft/BitNet#629",
        "128 results of `vpmaddubsw` are added in lanes of 16 bits, which hold half of their largest sum",
        "dot-16-bit-sums-over-32-blocks",
        Read("from the first commit in 10/2024; open in 9/2026"),
        Read("signed activations cancel, and default builds take another path"),
    ),
    bug(
        "microsoft/BitNet#411",
        "256 products are added in lanes of 16 bits where the CPU has no dot product instruction",
        "dot-16-bit-sums-over-16-blocks",
        Inferred("from the first commit in 10/2024; open in 3/2026"),
        Inferred("such CPUs are old: the author of the fix had none"),
    ),
    bug(
        "microsoft/BitNet#598",
        "blocks of i2_s have 128 elements in files and 64 in the code for Arm",
        "dot-groups-of-16-for-32",
        Inferred("from 11/2025; open in 8/2026"),
        Read("x86 never compiles that code, and wrong weights do not crash"),
    ),
    bug(
        "microsoft/BitNet#600",
        "the scalar code reads the interleaved codes in sequence",
        "dot-codes-in-sequence",
        NotRead,
        Read("it builds without an error, and nobody looks at generated text on Arm"),
    ),
    bug(
        "microsoft/BitNet#617",
        "the path for many columns indexes weights or activations with the wrong stride",
        "gemm-stride-of-x-taken-for-columns",
        NotRead,
        Inferred("single tokens are right, and AVX2 has another path"),
    ),
    bug(
        "microsoft/BitNet#521",
        "generated kernels write each vector of a batch to the results of the first",
        "gemm-results-of-all-vectors-in-one-place",
        Read("from the first commit in 10/2024; open in 3/2026"),
        Read("single tokens are right"),
    ),
    bug(
        "microsoft/BitNet#385",
        "scratch memory is allocated by a factor of 11 and addressed by a factor of 16",
        "writes-far-past-y",
        Read("from the first commit in 10/2024; open in 1/2026"),
        Inferred("what lies behind the allocation is mapped"),
    ),
    bug(
        "ggml-org/llama.cpp#25390",
        "the scalar path for tail columns adds the first row of a tile to a pointer that has it",
        "gemm-rest-of-rows-by-vectors-of-a-later-tile",
        Read("2/2026 to 7/2026"),
        Inferred("the sizes of the test that came with the change leave no tail columns"),
    ),
    bug(
        "ggml-org/llama.cpp#10561",
        "a kernel for two rows gets an odd number of rows, since threads share an even one",
        "writes-a-row-past-y",
        Read("2/2024 to 11/2024"),
        Inferred("the check looked at all rows, not at those of a thread"),
    ),
    bug(
        "ggml-org/llama.cpp#19575",
        "packing copies 8 bytes where 4 are left",
        "copies-eight-codes-where-four-are-left",
        Read("11/2025 to 2/2026"),
        Read("only another machine's stack showed it"),
    ),
    bug(
        "ggml-org/llama.cpp#16958",
        "the scale is broadcast by an instruction for integers",
        "dot-scale-cut-to-an-integer",
        Inferred("5/2024 to 11/2025"),
        Inferred("a packager ran `test-quantize-fns` on LoongArch, which the project's CI did not"),
    ),
    bug(
        "ggml-org/llama.cpp#20527",
        "scales are written over the last codes of repacked rows that are no multiple of 256",
        "dot-scales-over-the-codes-of-a-part-of-256",
        Read("10/2025 to 3/2026"),
        Read("the reference of the test read the same corrupted weights, and the model's text looked good"),
    ),
    bug(
        "ggml-org/llama.cpp#16518",
        "one of the unrolled FMAs has the variable of another",
        "dot-wrong-from-48-blocks-on",
        Read("9/2025 to 10/2025"),
        NotRead,
    ),
    bug(
        "ggml-org/llama.cpp#8549",
        "quantised dot products leave out the last of an odd number of blocks",
        "dot-last-of-an-odd-number-of-blocks-skipped",
        NotRead,
        Inferred("the test has 4096 elements, and models have even numbers of blocks"),
    ),
    bug(
        "ggml-org/llama.cpp#17526",
        "rounding leaves rows to no chunk where a matrix has few of them",
        "rows-that-no-worker-gets",
        NotRead,
        Inferred("large matrices have no such chunks"),
    ),
    bug(
        "ggml-org/llama.cpp#22841",
        "f16 accumulators overflow, though the result is f32",
        "sums-of-11-bits",
        Read("9/2025 to 5/2026"),
        Read("it shows in some larger models"),
    ),
    bug(
        "ggml-org/ggml#1393",
        "`vpsignb` leaves -128 as it is, so that products with a negative weight have the wrong sign",
        "dot-minus-128-negated-by-vpsignb",
        Read("from 4/2023; in 0.13.1 still"),
        Read("quantisers write no -128, and the reporter expected the effect to be within noise"),
    ),
    bug(
        "ggml-org/ggml#258",
        "FMA is used on a CPU that has AVX",
        "an-instruction-that-the-cpu-lacks",
        NotRead,
        Inferred("CI machines have both"),
    ),
    bug(
        "ikawrakow/ik_llama.cpp#427",
        "weights raised by 128 saturate `vpmaddubsw`",
        "pairs-of-products-saturate",
        NotRead,
        Read("the author fixed it in the repacked variants and overlooked the others"),
    ),
    bug(
        "ikawrakow/ik_llama.cpp#213",
        "columns past whole steps of 128 are left out: the loop for them was commented out",
        "columns-past-whole-steps-of-128-ignored",
        Read("9/2024 to 2/2025"),
        Read("all models at hand had rows of multiples of 128"),
    ),
    bug(
        "ikawrakow/ik_llama.cpp#951",
        "the tail of repacked rows is wrong",
        "last-dropped-when-17-of-32-in-a-remainder-row",
        NotRead,
        Read("most models have rows of multiples of 128, so that no test ran it"),
    ),
    bug(
        "ikawrakow/ik_llama.cpp#2224",
        "an offset is added to bytes by an addition of 32 bits, which carries from byte to byte",
        "dot-offset-added-with-a-carry",
        Read("6/2024 to 8/2026"),
        Inferred("a carry changes a weight by one step, which hides in the error of the format"),
    ),
    bug(
        "microsoft/onnxruntime#27216",
        "threads set bits of one byte while weights are packed",
        "gemm-rows-that-share-bytes-packed-by-two-threads",
        NotRead,
        Read("tests failed now and then, and were called flaky"),
    ),
    bug(
        "microsoft/onnxruntime#27179",
        "threads build lookup tables in shared buffers",
        "permuted-x-in-shared-memory",
        NotRead,
        Read("one test failed in 2 to 20 % of runs"),
    ),
    bug(
        "microsoft/onnxruntime#20023",
        "a second activation is loaded where one is left",
        "reads-x-to-a-whole-vector",
        NotRead,
        Read("only a build with a sanitizer showed it"),
    ),
    bug(
        "microsoft/onnxruntime#29853",
        "the AVX2 path for one row is wrong for weights with zero points",
        "dot-minima-added-for-a-single-row",
        NotRead,
        Inferred("machines with AVX-512 take another kernel"),
    ),
    bug(
        "uxlfoundation/oneDNN#5723",
        "columns past the last are multiplied by zero, and hold NaN of other rows",
        "gemm-nan-of-a-vector-in-all-of-its-tile",
        Read("2/2026 to 8/2026"),
        Inferred("tests have no NaN in other rows"),
    ),
    bug(
        "OpenMathLib/OpenBLAS#746",
        "zero is multiplied by what the last call left in scratch memory",
        "scratch-keeps-a-longer-x",
        Read("1/2011 to 1/2016"),
        Inferred("no test leaves NaN behind"),
    ),
    bug(
        "OpenMathLib/OpenBLAS#171",
        "a vector register holds NaN from behind x, which spreads",
        "nan-in-slack-x-matters",
        Inferred("1/2011 to 12/2012"),
        Inferred("memory behind a test's x is zero"),
    ),
    bug(
        "google/XNNPACK#4190",
        "the remainder is loaded as a full vector",
        "reads-a-vector-past-packed-when-there-is-a-tail",
        Read("9/2020 to 1/2023 at least"),
        Inferred("results are right, and pages end elsewhere"),
    ),
    bug(
        "google/XNNPACK#10709",
        "a product of two sizes wraps in 32 bits",
        "wrapped-sizes-accepted",
        Read("4/2020 or earlier to 7/2026"),
        Inferred("no test has such sizes"),
    ),
    bug(
        "huggingface/candle#1526",
        "products are added in lanes of 16 bits, on Arm",
        "dot-scaled-sums-of-16-bits",
        Read("8/2023 to 1/2024"),
        Read("it \"would only rarely trigger\", and CI was not on Arm"),
    ),
    bug(
        "robertknight/rten#81",
        "tiles that are not full multiply the old y by a beta of zero",
        "zero-times-y-added-past-whole-tiles",
        NotRead,
        Inferred("tests start from a y of zeros"),
    ),
    bug(
        "ROCm/rocBLAS#538",
        "y is multiplied by a beta of zero",
        "zero-times-y-added",
        NotRead,
        Read("there was no test with NaN in y"),
    ),
    bug(
        "ml-explore/mlx#917",
        "the vector is read to a multiple of 256",
        "reads-x-to-a-whole-block",
        Read("three weeks of 3/2024"),
        Read("it took a loop of 20 large products to show, and not alone"),
    ),
    bug(
        "ml-explore/mlx#4250",
        "the last columns that fill no tile of 64 are never written",
        "gemm-rest-of-repacked-rows-left",
        Read("4/2025 to 8/2026"),
        Inferred("sizes of tests are multiples of 64"),
    ),
    bug(
        "ml-explore/mlx#3631",
        "what is left of the rows is counted in 16 bits",
        "row-index-in-16-bits",
        Read("11/2025 to 6/2026"),
        Read("vocabularies are mostly multiples of 64"),
    ),
    bug(
        "ashvardanian/NumKong#328",
        "flush-to-zero is on in the whole process from the import on",
        "flush-to-zero-left-on",
        NotRead,
        Inferred("no test looks at subnormals after the call"),
    ),
    bug(
        "paiml/aprender#3105",
        "the scales of two blocks cover half of each",
        "dot-scales-over-halves-of-two-blocks",
        NotRead,
        Read("all CI machines had AVX-512, and tests called the dispatcher"),
    ),
    bug(
        "paiml/trueno#182",
        "scales of the second half of a block are read as those of the first are",
        "dot-scales-of-the-first-half-for-both",
        NotRead,
        NotRead,
    ),
    bug(
        "kekzl/imp#722",
        "nibbles of q4_0 are taken for neighbours",
        "dot-nibbles-interleaved",
        NotRead,
        Read("no q4_0 model was in the test suite"),
    ),
    bug(
        "vllm-project/vllm#39705",
        "a tile over several groups takes the scale of the first",
        "dot-one-scale-of-x-for-64-columns",
        NotRead,
        Read("the poor text was taken for the model's nature"),
    ),
    bug(
        "ROCm/hip-ep#588",
        "the row stride is that of the columns, not of whole blocks",
        "stride-taken-for-dense",
        NotRead,
        Read("most models have columns of whole blocks"),
    ),
];
