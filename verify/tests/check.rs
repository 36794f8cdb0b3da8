//! What a run of `check` does, and what it must not let pass, through the public API.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::{LazyLock, OnceLock};

use qk256_verify::check::{Budget, Plan, Progress, Refusal, Report, Vacuous, check};
use qk256_verify::format::IQ2_BN;
use qk256_verify::property::Cause;
use qk256_verify::{
    Arguments, Case, Domain, Harness, Kernel, KernelFn, Library, Operation, Outcome, Property, Requirements,
    case, registry,
};

/// Codes of zero, whatever the bytes.
const ZEROS: KernelFn = KernelFn {
    name: "zeros",
    domain: Domain::new(Operation::Unpack),
    required_features: &[],
    refuses_wrong_sizes: false,
    call: |arguments| {
        arguments.out_bytes.fill(0);
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
    assert_eq!((report.findings.is_empty(), report.kernels[0].counts.failed), (false, 1));
    assert!(report.cases < 100, "{} cases were made", report.cases);
    let whole = checked(&[&ZEROS], Plan::new(1, Budget::Cases(20)), &mut |_| ControlFlow::Continue(()));
    assert!(whole.cases >= 20);
    assert_eq!(whole.findings[0].case.to_string(), "unpack len=1 dist=unit seed=2");
}

/// One code a byte, as the format says.
const PLAIN: KernelFn = KernelFn {
    name: "plain",
    call: |arguments| {
        let Arguments { packed, out_bytes: codes, .. } = arguments;
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
    assert!(matches!(vacuous(&[&idle], 200), Some(Vacuous::Unsupported { of: 200, .. })));
    // A whole block is not supported, a few elements are.
    let short = KernelFn {
        name: "short",
        call: |arguments| match arguments.out_bytes.len() {
            65.. => Outcome::Unsupported,
            _ => (PLAIN.call)(arguments),
        },
        ..ZEROS
    };
    assert!(matches!(vacuous(&[&short], 200), Some(Vacuous::SomeSizes { .. })));
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

/// The scalar gemv, as a function.
fn scalar_gemv(arguments: Arguments<'_>) -> Outcome {
    static SCALAR: OnceLock<&dyn Kernel> = OnceLock::new();
    let scalar = SCALAR.get_or_init(|| {
        let mut kernels = registry::kernels().into_iter();
        let scalar =
            kernels.find(|kernel| kernel.name() == registry::SCALAR && kernel.operation() == Operation::Gemv);
        Box::leak(scalar.expect("there is a scalar gemv"))
    });
    scalar.call(arguments)
}

/// A right gemv.
const GEMV: KernelFn = KernelFn {
    name: "gemv",
    domain: Domain::new(Operation::Gemv),
    required_features: &[],
    refuses_wrong_sizes: true,
    call: scalar_gemv,
};

/// The same without scales, or with nothing else.
const WITHOUT_SCALES: KernelFn = KernelFn {
    name: "without_scales",
    call: |arguments| match arguments.scales {
        Some(_) => Outcome::Unsupported,
        None => scalar_gemv(arguments),
    },
    ..GEMV
};
const SCALES_ALONE: KernelFn = KernelFn {
    name: "scales_alone",
    call: |arguments| match arguments.scales {
        None => Outcome::Unsupported,
        Some(_) => scalar_gemv(arguments),
    },
    ..GEMV
};

fn checked_by<'a>(kernels: &[&'a dyn Kernel], seed: u64, cases: u64) -> Report<'a> {
    checked(kernels, Plan::new(seed, Budget::Cases(cases)), &mut |_| ControlFlow::Continue(()))
}

#[test]
fn a_right_kernel_of_one_kind_of_calls_passes_whatever_is_drawn() {
    for (seed, cases) in [(1, 20), (2, 33), (3, 41), (1, 64), (5, 100), (9, 300), (11, 740), (5, 3000)] {
        let report = checked_by(&[&WITHOUT_SCALES, &SCALES_ALONE], seed, cases);
        assert_eq!(
            (report.findings.as_slice(), report.vacuous()),
            (&[][..], None),
            "seed {seed}, {cases} cases"
        );
    }
}

/// A kernel of a library.
struct OfLibrary(KernelFn);

impl Kernel for OfLibrary {
    fn name(&self) -> &str {
        self.0.name
    }

    fn domain(&self) -> Domain {
        self.0.domain
    }

    fn library(&self) -> Option<&Library> {
        static LIBRARY: LazyLock<Library> = LazyLock::new(|| Library::plugin("library.so"));
        Some(&LIBRARY)
    }

    fn call(&self, arguments: Arguments<'_>) -> Outcome {
        (self.0.call)(arguments)
    }
}

/// A `gemv` that was made for rows of these columns.
const MADE_FOR: Requirements = Requirements { cols_list: Some(&[64, 320]), ..Requirements::NONE };

#[test]
fn a_kernel_that_is_made_for_some_columns_is_called_with_these_and_no_others() {
    let right = KernelFn {
        name: "made for 64 and 320",
        domain: Domain::new(Operation::Gemv).requiring(MADE_FOR),
        call: |arguments| {
            assert!([64, 320].contains(&arguments.cols), "{} columns", arguments.cols);
            scalar_gemv(arguments)
        },
        ..ZEROS
    };
    let report = checked_by(&[&right], 1, 2000);
    assert!(report.findings.is_empty(), "{:?}", report.findings[0]);
    let wrong = KernelFn {
        name: "wrong for 320",
        call: |mut arguments| {
            arguments.cols -= usize::from(arguments.cols == 320);
            scalar_gemv(arguments)
        },
        ..right
    };
    let report = checked_by(&[&wrong], 1, 2000);
    assert_eq!(report.findings[0].case.cols, 320, "{}", report.findings[0].case);
}

#[test]
fn a_library_may_support_some_of_its_operations_and_not_none() {
    let idle = OfLibrary(KernelFn { name: "library", call: |_| Outcome::Unsupported, ..ZEROS });
    let gemv = OfLibrary(KernelFn { name: "library", ..GEMV });
    for (seed, cases) in [(1, 40), (7, 300)] {
        let report = checked_by(&[&idle, &gemv], seed, cases);
        assert_eq!((report.findings.as_slice(), report.vacuous()), (&[][..], None));
        let report = checked_by(&[&idle], seed, cases);
        assert!(matches!(report.vacuous(), Some(Vacuous::Unsupported { of, .. }) if of == cases));
    }
}

/// Takes rows for dense, whatever the stride.
const DENSE: KernelFn = KernelFn {
    name: "dense",
    call: |arguments| {
        let dense = arguments.cols.div_ceil(256).wrapping_mul(64);
        let row_stride = match arguments.row_stride {
            stride if stride < 1 << 40 => stride.min(dense),
            stride => stride,
        };
        scalar_gemv(Arguments { row_stride, ..arguments })
    },
    ..GEMV
};

/// The properties that a kernel violates on legal cases of a run.
fn violated(kernel: &dyn Kernel, cases: u64) -> BTreeSet<Property> {
    let mut harness = Harness::new(None);
    let cases = (0..cases).map(|index| case::nth(kernel.operation(), 1, index));
    let findings = cases.flat_map(|case| harness.findings(kernel, &case).expect("seeded cases have data"));
    findings.flat_map(|finding| finding.properties()).collect()
}

#[test]
fn one_cause_is_one_finding_whatever_properties_it_violates() {
    let violated = violated(&DENSE, 600);
    assert!(violated.len() >= 5, "{violated:?}");
    let report = checked_by(&[&DENSE], 1, 600);
    let [finding] = &report.findings[..] else { panic!("{:#?}", report.findings) };
    assert!(finding.properties().len() > 1, "{finding}");
    assert!(report.kernels[0].counts.failed > 20, "{} cases fail", report.kernels[0].counts.failed);
}

#[test]
fn two_causes_of_wrong_values_are_two_findings() {
    // Beside the stride, what is lost where x has a NaN.
    const DENSE_AND_DEAF: KernelFn = KernelFn {
        name: "dense_and_deaf",
        call: |arguments| {
            let x: Vec<f32> = arguments.x.iter().map(|&x| if x.is_nan() { 0.0 } else { x }).collect();
            (DENSE.call)(Arguments { x: &x, ..arguments })
        },
        ..GEMV
    };
    let report = checked_by(&[&DENSE_AND_DEAF], 1, 600);
    let heads: BTreeSet<Cause> = report.findings.iter().map(|finding| finding.failure.cause).collect();
    assert_eq!(report.findings.len(), 2, "{:#?}", report.findings);
    assert!(heads.contains(&Cause::NotNan), "{:#?}", report.findings);
}

/// Refuses some legal calls, and leaves out what a short x lacks.
const CONFUSED: KernelFn = KernelFn {
    name: "confused",
    call: |arguments| {
        let Arguments { rows, cols, x, .. } = arguments;
        if rows > 1 && cols % 4 == 3 {
            return Outcome::Refused;
        }
        scalar_gemv(Arguments { cols: cols.min(x.len()), ..arguments })
    },
    ..GEMV
};

#[test]
fn one_property_with_two_causes_is_two_findings_and_neither_shrinks_into_the_other() {
    let report = checked_by(&[&CONFUSED], 1, 300);
    let mut found: Vec<(Property, Cause, bool)> = Vec::new();
    for finding in &report.findings {
        let inputs = finding.case.materialize(None).expect("the case has data");
        found.push((finding.failure.property, finding.failure.cause, inputs.is_legal()));
    }
    found.sort_unstable();
    assert_eq!(found, [(Property::Sizes, Cause::Accepted, false), (Property::Sizes, Cause::Refused, true)]);
    let kernel = &report.kernels[0];
    let Refusal { case: smallest, why } =
        kernel.counts.smallest_refused.as_ref().expect("legal calls were refused");
    assert!(kernel.counts.refused > 1 && smallest.cols == 3 && why.contains("`x` has "), "{smallest}: {why}");
}

#[test]
fn threads_are_held_to_the_same_call_made_alone() {
    /// Adds one: on every thread alike.
    const BIASED: KernelFn = KernelFn {
        name: "biased",
        call: |mut arguments| {
            let outcome = scalar_gemv(arguments.reborrow());
            if outcome == Outcome::Done {
                arguments.out[..arguments.rows].iter_mut().for_each(|y| *y += 1.0);
            }
            outcome
        },
        ..GEMV
    };
    let case: Case = "gemv rows=3 cols=40 dist=integer seed=3 threads=4".parse().expect("the case parses");
    let findings = Harness::new(None).findings(&BIASED, &case).expect("the case has data");
    let [finding] = &findings[..] else { panic!("{findings:#?}") };
    assert!(finding.properties().contains(&Property::Negation), "{finding}");
    assert!(!finding.properties().contains(&Property::Threads), "{finding}");
}

/// The integers of a row of `iq2_bn` times `i8`, rounded and scaled: by `sum`, which is given them, the scale and the first activation.
fn product_of_integers(arguments: Arguments<'_>, sum: fn(&[i32], f32, u8) -> f32) -> Outcome {
    let Arguments { packed, activations, out, cols, row_stride, rows, .. } = arguments;
    for (row, out) in out.iter_mut().enumerate().take(rows) {
        let bytes = packed.get(row * row_stride..).unwrap_or_default();
        *out = 0.0;
        if let (Some(scale), [first, ..]) = (bytes.first_chunk(), activations) {
            let weights = IQ2_BN.weights(bytes, cols);
            let product = |(&weight, &value): (&i8, &u8)| i32::from(weight) * i32::from(value as i8);
            let products: Vec<i32> = weights.iter().zip(activations).map(product).collect();
            *out = sum(&products, f32::from_le_bytes(*scale), *first);
        }
    }
    Outcome::Done
}

/// What a kernel was seen to do with 64 columns does not bind it with 128; but what it does with 128 does, whatever the columns before.
#[test]
fn how_a_kernel_rounds_a_sum_is_known_for_each_number_of_columns() {
    let case = |cols, rest: &str| {
        let text = format!("dot format=iq2_bn activations=i8 rows=30 cols={cols} dist=ten seed=1{rest}");
        text.parse::<Case>().expect(&text)
    };
    let [small, large, zero] = [case(64, ""), case(128, ""), case(128, " patch.activations.0=05")];
    let kernel = |name, call| KernelFn { name, domain: small.domain(), call, ..ZEROS };
    let by_blocks = kernel("by-blocks", |arguments| {
        product_of_integers(arguments, |products, scale, _| {
            let of_block = |products: &[i32]| products.iter().sum::<i32>() as f32 * scale;
            products.chunks(64).map(of_block).sum()
        })
    });
    let off_by_an_ulp = kernel("off-by-an-ulp", |arguments| {
        product_of_integers(arguments, |products, scale, first| {
            let once = products.iter().sum::<i32>() as f32 * scale;
            if products.len() > 64 && first == 5 { once.next_up() } else { once }
        })
    });
    for (kernel, wrong) in [(by_blocks, false), (off_by_an_ulp, true)] {
        let mut harness = Harness::new(None);
        let mut found = |case: &Case| harness.findings(&kernel, case).expect("the case has data");
        assert!(found(&small).is_empty() && found(&large).is_empty(), "{}", kernel.name);
        let found = found(&zero);
        assert_eq!(!found.is_empty(), wrong, "{}: {found:?}", kernel.name);
        assert!(found.iter().all(|found| found.failure.property == Property::Order), "{found:?}");
    }
}
