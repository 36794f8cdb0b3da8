//! What the names of the registry stand for. Kernels that give the same bits could change places, and no check of results
//! would mind; their instructions tell them apart.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use qk256_kernels::avx2::Avx2;
use qk256_kernels::{Matrix, SizeError};
use qk256_verify::timing::Workload;
use qk256_verify::trace::{Trace, trace};
use qk256_verify::{Arguments, Kernel, KernelFn, Operation, Outcome, registry};

/// `gemv` with x as it is, past the registry.
const NATURAL: KernelFn = KernelFn {
    name: "avx2_natural",
    operation: Operation::Gemv,
    required_features: &["avx2", "fma"],
    refuses_wrong_sizes: false,
    call: |arguments| call(Avx2::gemv_natural, arguments),
};

/// `gemv` with x laid out, past the registry.
const LAID_OUT: KernelFn =
    KernelFn { name: "avx2_laid_out", call: |arguments| call(Avx2::gemv_laid_out, arguments), ..NATURAL };

type Gemv = fn(Avx2, &Matrix<'_>, &[f32], &mut [f32]) -> Result<(), SizeError>;

fn call(gemv: Gemv, arguments: Arguments<'_>) -> Outcome {
    let (Arguments::Gemv { packed, x, y, rows, cols, row_stride, .. }, Some(avx2)) = (arguments, Avx2::new())
    else {
        return Outcome::Unsupported;
    };
    let matrix = Matrix::new(packed, rows, cols, row_stride).expect("the sizes are right");
    gemv(avx2, &matrix, x, y).expect("the sizes are right");
    Outcome::Done
}

/// Of a matrix of which the loops take most instructions, and the way to them few.
fn traced(kernel: &dyn Kernel) -> Trace {
    let mut workload = Workload::new(Operation::Gemv, 9, 512, false);
    trace(|| {
        workload.run(kernel);
    })
}

#[test]
fn each_path_of_the_avx2_gemv_executes_what_its_name_says() {
    if Avx2::new().is_none() {
        return eprintln!("skipped: no AVX2 and FMA");
    }
    let direct = [NATURAL, LAID_OUT].map(|kernel| (kernel.name, traced(&kernel)));
    if direct.iter().any(|(_, trace)| trace.width().is_none()) {
        return eprintln!("skipped: no instructions are seen here");
    }
    let registered = registry::kernels();
    for (name, _) in &direct {
        let kernel = registered.iter().find(|kernel| kernel.name() == *name).expect("it is registered");
        let trace = traced(kernel.as_ref());
        let same = direct.iter().filter(|(_, direct)| direct.is_same_function(&trace));
        assert_eq!(same.map(|(name, _)| *name).collect::<Vec<_>>(), [*name], "what `{name}` executes");
    }
}
