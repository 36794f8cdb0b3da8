//! Which kernels of this project are certified, which are refused by design, and that a right kernel with a rare condition in it is refused.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::hint::black_box;

use qk256_kernels::{Batch, Kernels, Level, Matrix, SizeError};
use qk256_verify::certificate::{Refusal, Shown, certify, is_possible};
use qk256_verify::kernel::missing_features;
use qk256_verify::{Arguments, Case, Domain, Kernel, Operation, Outcome, registry};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// Elements of vector operations: tails of every kind, and several blocks.
const LENGTHS: [usize; 24] =
    [1, 2, 3, 4, 5, 7, 8, 13, 14, 15, 16, 17, 31, 32, 33, 64, 127, 128, 255, 256, 257, 300, 512, 700];

/// Rows and columns of matrices.
const MATRICES: [(usize, usize); 22] = [
    (1, 1),
    (1, 2),
    (3, 3),
    (2, 7),
    (1, 8),
    (2, 15),
    (3, 16),
    (2, 17),
    (1, 33),
    (5, 64),
    (2, 100),
    (1, 127),
    (3, 128),
    (2, 129),
    (4, 200),
    (1, 255),
    (2, 256),
    (3, 257),
    (5, 300),
    (2, 513),
    (1, 770),
    (2, 640),
];

/// The kernels that certificates are for.
const CERTIFIED: [&str; 6] =
    ["scalar", "fast_scalar", "fast_scalar_avx2", "avx2", "avx2_natural", "avx2_permuted"];

fn kernel(name: &str, operation: Operation) -> Option<Box<dyn Kernel>> {
    let is_it = |kernel: &dyn Kernel| {
        kernel.name() == name && kernel.operation() == operation && kernel.domain().is_plain()
    };
    registry::kernels().into_iter().find(|kernel| is_it(kernel.as_ref()))
}

/// Whether the test can be made: skipped without a trap flag, as emulators have none.
fn can_follow() -> bool {
    if !is_possible() {
        qk256_skip::skip(&["a CPU whose trap flag works"]);
    }
    is_possible()
}

/// Every refusal of an operation's kernels, in words.
fn refusals(operation: Operation, cases: impl Fn(&dyn Kernel) -> Vec<Case>) -> Vec<String> {
    let mut refusals = Vec::new();
    for kernel in CERTIFIED.iter().filter_map(|name| kernel(name, operation)) {
        let missing = missing_features(kernel.required_features());
        if !missing.is_empty() {
            qk256_skip::skip_part(&format!("{kernel:?}"), &missing);
            continue;
        }
        for case in cases(kernel.as_ref()) {
            if let Err(refusal) = certify(kernel.as_ref(), &case) {
                refusals.push(format!("{kernel:?}: {case}: {refusal}"));
            }
        }
    }
    refusals
}

#[test]
fn kernels_of_vectors_are_certified() {
    if !can_follow() {
        return;
    }
    for operation in [Operation::Unpack, Operation::Lut, Operation::Dequantize] {
        let refusals = refusals(operation, |kernel| {
            LENGTHS.map(|length| Case::new(kernel.domain(), 1, length)).to_vec()
        });
        assert!(refusals.is_empty(), "{}", refusals.join("\n"));
    }
}

#[test]
fn kernels_of_matrices_are_certified_with_and_without_scales() {
    if !can_follow() {
        return;
    }
    let refusals = refusals(Operation::Gemv, |kernel| {
        let of = |(rows, cols)| {
            [false, true].map(|scaled| Case { scaled, ..Case::new(kernel.domain(), rows, cols) })
        };
        MATRICES.into_iter().flat_map(of).collect()
    });
    assert!(refusals.is_empty(), "{}", refusals.join("\n"));
}

#[test]
fn kernels_of_batches_are_certified() {
    if !can_follow() {
        return;
    }
    let refusals = refusals(Operation::Gemm, |kernel| {
        let of = |(at, (rows, cols)): (usize, _)| Case {
            batch: 1 + at % 5,
            scaled: at % 3 == 0,
            ..Case::new(kernel.domain(), rows, cols)
        };
        MATRICES.into_iter().enumerate().map(of).collect()
    });
    assert!(refusals.is_empty(), "{}", refusals.join("\n"));
}

#[test]
fn tiles_and_a_permuted_x_in_memory_of_the_heap_are_certified() {
    if !can_follow() {
        return;
    }
    let (Some(gemv), Some(gemm)) = (kernel("avx2", Operation::Gemv), kernel("avx2", Operation::Gemm)) else {
        return;
    };
    let missing = missing_features(gemv.required_features());
    if !missing.is_empty() {
        return qk256_skip::skip(&missing);
    }
    let certificate = certify(gemv.as_ref(), &Case::new(Operation::Gemv, 48, 2048)).expect("it is certified");
    let allocates = |called: &(String, u64)| called.0.contains("alloc") || called.0.contains("memalign");
    assert!(certificate.called.iter().any(allocates), "{:?}", certificate.called);
    let tiled = Case { batch: 3, ..Case::new(Operation::Gemm, 96, 1024) };
    assert_eq!(certify(gemm.as_ref(), &tiled).map(|certificate| certificate.outputs), Ok(288));
}

#[test]
fn a_certificate_knows_the_order() {
    if !can_follow() {
        return;
    }
    let scalar = kernel("scalar", Operation::Gemv).expect("there is a scalar kernel");
    let certificate = certify(scalar.as_ref(), &Case::new(Operation::Gemv, 2, 300)).expect("it is certified");
    assert_eq!((certificate.outputs, certificate.terms), (2, 600));
    assert_eq!((certificate.depth, certificate.roundings), (299, 299));
    let error = certificate.largest_error.expect("there are no scales");
    assert!(
        (600.0 * 299.0 / f64::from(1 << 24)..1.001 * 600.0 * 299.0 / f64::from(1 << 24)).contains(&error)
    );
}

#[test]
fn what_depends_on_data_by_design_is_refused() {
    if !can_follow() {
        return;
    }
    for (name, operation, shown, part) in [
        ("scalar", Operation::GemvFixed, Shown::Instructions, "that no right kernel needs"),
        ("avx2", Operation::GemvFixed, Shown::Instructions, "that no right kernel needs"),
        ("scalar", Operation::Quantize, Shown::Call, "chooses codes by comparing values"),
        ("avx2_threads", Operation::Gemv, Shown::Call, "leaves work to other threads"),
    ] {
        let kernel = kernel(name, operation).expect("it is in the registry");
        let missing = missing_features(kernel.required_features());
        if !missing.is_empty() {
            qk256_skip::skip_part(&format!("{kernel:?}"), &missing);
            continue;
        }
        let refusal = certify(kernel.as_ref(), &Case::new(kernel.domain(), 2, 40)).expect_err(name);
        assert!(refusal.shown == shown && refusal.what.contains(part), "{kernel:?}: {refusal}");
    }
}

/// A right kernel that is wrong if a condition holds, which hardly any input meets.
struct Spliced {
    kernels: Kernels,
    operation: Operation,
    condition: Condition,
    branches: bool,
}

/// When it is wrong.
#[derive(Clone, Copy, Debug)]
enum Condition {
    /// Never in a call of few rows.
    Rows(usize),
    /// An activation or a scale has these bits.
    Float(usize, u32),
    /// An activation or a scale is larger than any that is drawn.
    Larger(usize, f32),
    /// A byte of the weights and the next have these values.
    Bytes(usize, u16),
    /// The output lies at such an address.
    Address(usize),
}

impl Condition {
    fn holds(self, arguments: &Arguments<'_>) -> bool {
        let Arguments { packed, codes, scales, x, rows, .. } = arguments;
        let floats = if x.is_empty() { scales.unwrap_or_default() } else { x };
        let weights = if packed.is_empty() { codes } else { packed };
        match self {
            Self::Rows(limit) => *rows == limit,
            Self::Float(at, bits) => {
                floats.get(at % floats.len().max(1)).is_some_and(|x| x.to_bits() == bits)
            }
            Self::Larger(at, limit) => floats.get(at % floats.len().max(1)).is_some_and(|x| *x > limit),
            Self::Bytes(at, value) => {
                let at = at % (weights.len() - 1);
                u16::from_le_bytes([weights[at], weights[at + 1]]) == value
            }
            Self::Address(page) => arguments.out.as_ptr().addr() >> 12 & 0xffff == page,
        }
    }

    /// One that the operation has the data for.
    fn drawn(operation: Operation, rng: &mut ChaCha8Rng) -> Self {
        let (at, bits) = (rng.next_u32() as usize, rng.next_u32());
        let has_floats = matches!(operation, Operation::Gemv | Operation::Gemm | Operation::Dequantize);
        match rng.next_u32() % if has_floats { 4 } else { 1 } {
            0 => Self::Bytes(at, bits as u16),
            1 => Self::Float(at, bits),
            2 => Self::Larger(at, 1e20),
            _ => Self::Address(bits as usize & 0xffff),
        }
    }
}

impl Kernel for Spliced {
    fn name(&self) -> &str {
        "spliced"
    }

    fn domain(&self) -> Domain {
        Domain::new(self.operation)
    }

    fn call(&self, arguments: Arguments<'_>) -> Outcome {
        let is_wrong = self.condition.holds(&arguments);
        let Arguments { packed, codes, scales, x, rows, cols, row_stride, batch, .. } = arguments;
        let (out, out_bytes) = (arguments.out, arguments.out_bytes);
        let matrix = || -> Result<Matrix<'_>, SizeError> {
            let matrix = Matrix::new(packed, rows, cols, row_stride)?;
            scales.map_or(Ok(matrix), |scales| matrix.with_scales(scales))
        };
        let done = match self.operation {
            Operation::Unpack => self.kernels.unpack(packed, out_bytes),
            Operation::Lut => self.kernels.lut(codes, out),
            Operation::Dequantize => self.kernels.dequantize(packed, scales.unwrap_or_default(), out),
            Operation::Gemv => matrix().and_then(|matrix| self.kernels.gemv(&matrix, x, out)),
            _ => matrix().and_then(|matrix| {
                let x = Batch::new(x, batch, cols, arguments.x_stride)?;
                self.kernels.gemm(&matrix, &x, out, arguments.out_stride)
            }),
        };
        if let Some(first) = out.first_mut() {
            *first = spoiled(*first, is_wrong, self.branches);
        }
        if let Some(first) = out_bytes.first_mut() {
            *first ^= u8::from(is_wrong);
        }
        if done.is_ok() { Outcome::Done } else { Outcome::Refused }
    }
}

fn spoiled(value: f32, is_wrong: bool, branches: bool) -> f32 {
    match branches {
        true if is_wrong => value + 1.0,
        true => value,
        false => f32::from_bits(value.to_bits() ^ black_box(u32::from(is_wrong))),
    }
}

fn certify_spliced(
    kernels: Kernels,
    operation: Operation,
    condition: Condition,
    branches: bool,
) -> Result<(), Refusal> {
    let kernel = Spliced { kernels, operation, condition, branches };
    let rows = if operation.is_matrix() { 2 } else { 1 };
    certify(&kernel, &Case::new(operation, rows, 70)).map(drop)
}

#[test]
fn a_rare_condition_in_a_right_kernel_is_refused() {
    const CONDITIONS: usize = 12;
    const OPERATIONS: [Operation; 5] =
        [Operation::Unpack, Operation::Lut, Operation::Dequantize, Operation::Gemv, Operation::Gemm];
    if !can_follow() {
        return;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(20);
    for level in [Level::Scalar, Level::Avx2] {
        let Ok(kernels) = Kernels::new(level) else {
            qk256_skip::skip_part(level.name(), &missing_features(level.required_features()));
            continue;
        };
        for operation in OPERATIONS {
            let right = certify_spliced(kernels, operation, Condition::Rows(12_345), true);
            assert_eq!(right, Ok(()), "{level} {operation} without a condition");
            for _ in 0..CONDITIONS {
                let (condition, branches) = (Condition::drawn(operation, &mut rng), rng.next_u32() % 2 == 0);
                let spliced = certify_spliced(kernels, operation, condition, branches);
                assert!(spliced.is_err(), "{level} {operation} {condition:?} {branches}");
            }
        }
    }
}
