//! What can be tried whole, is.

use qk256_verify::exhaustive::{WIRED_COLS, wrong_scale, wrong_wiring};
use qk256_verify::kernel::missing_features;
use qk256_verify::{Arguments, Domain, Harness, Kernel, KernelFn, Operation, Outcome, registry};

/// Rows: those of every tile that our kernels have, and one more.
const ROWS: usize = 3;

/// The kernels of an operation that this CPU can run, in the thread that calls them. For the others a skip is reported.
fn kernels(operation: Operation) -> Vec<Box<dyn Kernel>> {
    let mut kernels = registry::kernels();
    kernels.retain(|kernel| {
        kernel.domain() == Domain::new(operation) && !kernel.shares_work() && can_run(kernel.as_ref())
    });
    kernels
}

fn can_run(kernel: &dyn Kernel) -> bool {
    let missing = missing_features(kernel.required_features());
    if !missing.is_empty() {
        qk256_skip::skip_part(&format!("{kernel:?}"), &missing);
    }
    missing.is_empty()
}

#[test]
fn every_column_of_every_row_is_wired_to_its_own_weight() {
    let kernels = kernels(Operation::Gemv);
    let wrong: Vec<_> =
        kernels.iter().filter_map(|kernel| wrong_wiring(kernel.as_ref(), WIRED_COLS, ROWS)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn every_exponent_of_a_scale_is_multiplied_exactly() {
    for kernel in kernels(Operation::Dequantize) {
        // A 4096th of all scales: both signs, all exponents, the ends of all mantissas.
        for high in 0..1 << 10 {
            for low in [0, 1 << 21, (1 << 22) - 512] {
                let bits = (high << 22) + low;
                let wrong = wrong_scale(kernel.as_ref(), bits..bits + 512);
                assert_eq!(wrong, None, "{kernel:?}");
            }
        }
    }
}

/// Right but for one column of one row where there are 77, and but for the scale 2^-100.
fn wrong_once(arguments: Arguments<'_>) -> Outcome {
    let Arguments { packed, scales, x, out, rows, cols, row_stride, .. } = arguments;
    let weight = |start: usize, c: usize| {
        [-2.0, -1.0, 1.0, 2.0][usize::from(packed[start + c / 4] >> (2 * (c % 4)) & 3)]
    };
    match scales {
        None => {
            for (row, y) in out[..rows].iter_mut().enumerate() {
                let last = cols - usize::from(cols == 77 && row == 1);
                *y = (0..last).map(|c| weight(row * row_stride, c) * x[c]).sum();
            }
        }
        Some(scales) => {
            for (at, out) in out.iter_mut().enumerate() {
                let off = scales[0] == 2_f32.powi(-100) && at == 22;
                *out = if off { 0.0 } else { weight(0, at) * scales[at / 256] };
            }
        }
    }
    Outcome::Done
}

#[test]
fn what_is_wrong_once_is_found_and_reported_as_a_case_that_the_harness_refuses() {
    let gemv = KernelFn {
        name: "wrong once",
        domain: Domain::new(Operation::Gemv),
        required_features: &[],
        refuses_wrong_sizes: false,
        call: wrong_once,
    };
    let dequantize = KernelFn { domain: Domain::new(Operation::Dequantize), ..gemv };
    let bits = u64::from(2_f32.powi(-100).to_bits());
    let wired = wrong_wiring(&gemv, WIRED_COLS, ROWS).expect("a column is dropped");
    let scaled = wrong_scale(&dequantize, bits - 5..bits + 5).expect("a scale is lost");
    assert_eq!((wired.cols, wired.patches[0].index), (77, 76), "{wired}");
    for (kernel, case) in [(&gemv, &wired), (&dequantize, &scaled)] {
        let findings = Harness::new(None).findings(kernel, case).expect("the case has data");
        assert!(!findings.is_empty(), "{case}");
    }
}
