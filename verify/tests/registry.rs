//! What the names of the registry stand for. Kernels that give the same bits could change places, and no check of results
//! would mind; their instructions differ.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use qk256_kernels::avx2::Avx2;
use qk256_kernels::{Matrix, SizeError};
use qk256_verify::kernel::missing_features;
use qk256_verify::timing::Workload;
use qk256_verify::trace::{Trace, Width, trace};
use qk256_verify::{Arguments, Case, Domain, Kernel, KernelFn, Operation, Outcome, registry};

/// `gemv` with x as it is, past the registry.
const NATURAL: KernelFn = KernelFn {
    name: "avx2_natural",
    domain: Domain::new(Operation::Gemv),
    required_features: &["avx2", "fma"],
    refuses_wrong_sizes: false,
    call: |arguments| call(Avx2::gemv_natural, arguments),
};

/// `gemv` with x permuted, past the registry.
const PERMUTED: KernelFn =
    KernelFn { name: "avx2_permuted", call: |arguments| call(Avx2::gemv_permuted, arguments), ..NATURAL };

type Gemv = fn(Avx2, &Matrix<'_>, &[f32], &mut [f32]) -> Result<(), SizeError>;

fn call(gemv: Gemv, arguments: Arguments<'_>) -> Outcome {
    let Some(avx2) = Avx2::new() else { return Outcome::Unsupported };
    let Arguments { packed, x, out: y, rows, cols, row_stride, .. } = arguments;
    let matrix = Matrix::new(packed, rows, cols, row_stride).expect("the sizes are right");
    gemv(avx2, &matrix, x, y).expect("the sizes are right");
    Outcome::Done
}

/// Of a matrix of which the loops take most instructions, and the way to them few.
fn traced(kernel: &dyn Kernel) -> Trace {
    traced_on(kernel, Workload::new(Operation::Gemv, 9, 512, false))
}

fn traced_on(kernel: &dyn Kernel, mut workload: Workload) -> Trace {
    trace(|| {
        workload.run(kernel);
    })
}

/// What this machine must have for the tests that look at instructions.
const TRAP_FLAG: &[&str] = &["a CPU whose trap flag works"];

/// Small calls of an operation: few elements, which kernels may leave to other code, and many; with and without scales, with few
/// digits and with all.
fn workloads(domain: Domain) -> impl Iterator<Item = Workload> {
    let operation = domain.operation;
    let shapes = [(1, 3), (3, 40), (1, 300)];
    shapes.into_iter().flat_map(move |(rows, cols)| {
        let cols = domain.cols(cols);
        let case = Case::new(domain, if operation.is_matrix() { rows } else { 1 }, cols);
        let other = Case {
            digits: if operation.has_digits() { 1 } else { case.digits },
            scaled: case.scaled || domain.may_be_scaled(),
            ..case.clone()
        };
        [case, other].map(Workload::of)
    })
}

/// What a kernel that requires these features may execute: the widest registers, and whether instructions of AVX.
fn allowed(features: &[&str]) -> (Width, bool) {
    if features.iter().any(|feature| feature.starts_with("avx512")) {
        (Width::Bits512, true)
    } else if features.iter().any(|feature| feature.starts_with("avx")) {
        (Width::Bits256, true)
    } else {
        (Width::Narrow, false)
    }
}

#[test]
fn no_level_executes_instructions_of_features_that_it_does_not_require() {
    if cfg!(target_feature = "avx") {
        // Then the compiler may use it in all code.
        return qk256_skip::skip(&["a build for CPUs without AVX"]);
    }
    for kernel in registry::kernels().iter().filter(|kernel| !kernel.shares_work()) {
        let missing = missing_features(kernel.required_features());
        if !missing.is_empty() {
            qk256_skip::skip_part(&format!("{kernel:?}"), &missing);
            continue;
        }
        let (widest, avx) = allowed(kernel.required_features());
        let mut seen = Vec::new();
        for workload in workloads(kernel.domain()) {
            let case = workload.case().clone();
            let trace = traced_on(kernel.as_ref(), workload);
            let Some(width) = trace.width() else { return qk256_skip::skip(TRAP_FLAG) };
            assert!(width <= widest, "{kernel:?} on `{case}`: {}", width.name());
            assert!(avx || !trace.uses_avx(), "{kernel:?} on `{case}` executes an instruction of AVX");
            seen.push(width);
        }
        // Kernels that are written with intrinsics use them somewhere.
        if kernel.name().starts_with("avx") {
            assert!(seen.contains(&widest), "{kernel:?}: {seen:?}");
        }
    }
}

#[test]
fn each_path_of_the_avx2_gemv_executes_what_its_name_says() {
    let missing = missing_features(NATURAL.required_features);
    if !missing.is_empty() {
        return qk256_skip::skip(&missing);
    }
    let direct = [NATURAL, PERMUTED].map(|kernel| (kernel.name, traced(&kernel)));
    if direct.iter().any(|(_, trace)| trace.width().is_none()) {
        return qk256_skip::skip(TRAP_FLAG);
    }
    let registered = registry::kernels();
    for (name, _) in &direct {
        let kernel = registered.iter().find(|kernel| kernel.name() == *name).expect("it is registered");
        let trace = traced(kernel.as_ref());
        let same = direct.iter().filter(|(_, direct)| direct.is_same_function(&trace));
        assert_eq!(same.map(|(name, _)| *name).collect::<Vec<_>>(), [*name], "what `{name}` executes");
    }
}
