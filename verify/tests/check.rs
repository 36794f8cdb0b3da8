//! What a run of `check` does, and what it must not let pass, through the public API.

use std::ops::ControlFlow;

use qk256_verify::check::{Budget, Plan, Progress, Report, Vacuous, check};
use qk256_verify::{Arguments, Harness, Kernel, KernelFn, Operation, Outcome};

/// Codes of zero, whatever the bytes.
const ZEROS: KernelFn = KernelFn {
    name: "zeros",
    operation: Operation::Unpack,
    required_features: &[],
    refuses_wrong_sizes: false,
    call: |arguments| {
        let Arguments::Unpack { codes, .. } = arguments else { return Outcome::Unsupported };
        codes.fill(0);
        Outcome::Done
    },
};

fn checked<'a>(
    kernels: &[&'a dyn Kernel],
    plan: Plan,
    watch: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Report<'a> {
    check(&mut Harness::new(None), kernels, &plan, watch).expect("cases without tensors have data")
}

#[test]
fn a_watcher_ends_the_run_at_the_first_finding_and_has_it_as_it_was_met() {
    let plan = Plan { minimize: false, ..Plan::new(1, Budget::Cases(1000)) };
    let stop = &mut |progress: Progress<'_>| {
        assert_eq!(progress.found.len(), progress.findings);
        if progress.findings > 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let report = checked(&[&ZEROS], plan, stop);
    assert_eq!((report.findings.is_empty(), report.kernels[0].failed), (false, 1));
    assert!(report.cases < 100, "{} cases were made", report.cases);
    let whole = checked(&[&ZEROS], Plan::new(1, Budget::Cases(20)), &mut |_| ControlFlow::Continue(()));
    assert!(whole.cases >= 20);
    assert_eq!(whole.findings[0].case.to_string(), "unpack len=1 regime=unit seed=2");
}

/// One code a byte, as the format says.
const PLAIN: KernelFn = KernelFn {
    name: "plain",
    call: |arguments| {
        let Arguments::Unpack { packed, codes } = arguments else { return Outcome::Unsupported };
        codes.iter_mut().enumerate().for_each(|(at, code)| *code = packed[at / 4] >> (2 * (at % 4)) & 3);
        Outcome::Done
    },
    ..ZEROS
};

#[test]
fn a_run_that_shows_nothing_of_a_kernel_says_so() {
    let vacuous = |kernels: &[&dyn Kernel], cases| {
        let report = checked(kernels, Plan::new(1, Budget::Cases(cases)), &mut |_| ControlFlow::Continue(()));
        assert_eq!(report.findings, [], "nothing is wrong");
        report.vacuous()
    };
    assert_eq!(vacuous(&[&PLAIN], 200), None);
    assert_eq!(vacuous(&[], 200), Some(Vacuous::Nothing));
    let idle = KernelFn { name: "idle", call: |_| Outcome::Unsupported, ..ZEROS };
    assert!(matches!(vacuous(&[&idle], 200), Some(Vacuous::MostlyUnsupported { done: 0, of: 200, .. })));
    // The first case of the sweep has no elements.
    assert!(matches!(vacuous(&[&PLAIN], 1), Some(Vacuous::NotCompared(_))));
}

/// Instructions are seen on x86-64 Linux alone.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[test]
fn simd_that_is_the_scalar_function_is_unmasked() {
    let masked = KernelFn { name: "simd", required_features: &["sse2"], ..PLAIN };
    let plan = Plan::new(1, Budget::Cases(200));
    let report = checked(&[&PLAIN, &masked], plan, &mut |_| ControlFlow::Continue(()));
    let is_unmasked = |vacuous| matches!(vacuous, Some(Vacuous::SameFunction { kernel, plain }) if kernel == "simd unpack" && plain == "plain unpack");
    assert!(is_unmasked(report.vacuous()), "{:?}", report.vacuous());
}

/// The codes by AVX2, behind a set-up of plain code: a hundred thousand instructions in each call, a million in the first.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
const LATE: KernelFn = KernelFn {
    name: "late",
    required_features: &["avx2"],
    call: |arguments| {
        #[target_feature(enable = "avx2")]
        fn doubled(codes: &[u8; 32]) -> [u8; 32] {
            use std::arch::x86_64::*;
            let mut doubled = [0; 32];
            // SAFETY: the array is 32 bytes.
            let codes = unsafe { _mm256_loadu_si256(codes.as_ptr().cast()) };
            let sums = _mm256_add_epi8(codes, codes);
            // SAFETY: as above.
            unsafe { _mm256_storeu_si256(doubled.as_mut_ptr().cast(), sums) };
            doubled
        }
        static CALLED: std::sync::Once = std::sync::Once::new();
        let set_up = |instructions| (0..instructions).for_each(|step| _ = std::hint::black_box::<u32>(step));
        CALLED.call_once(|| set_up(1 << 20));
        set_up(100_000);
        // SAFETY: the kernel is called on a CPU that has AVX2.
        let two = unsafe { doubled(std::hint::black_box(&[1; 32])) };
        assert_eq!(two, [2; 32]);
        (PLAIN.call)(arguments)
    },
    ..ZEROS
};

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[test]
fn wide_registers_of_a_kernel_with_a_long_set_up_are_reported() {
    use qk256_verify::trace::Width;

    let missing = qk256_verify::kernel::missing_features(LATE.required_features);
    if !missing.is_empty() {
        return qk256_skip::skip(&missing);
    }
    let report = checked(&[&LATE], Plan::new(1, Budget::Cases(60)), &mut |_| ControlFlow::Continue(()));
    assert_eq!(report.kernels[0].trace.width(), Some(Width::Bits256));
}
