//! What a kernel may only read it cannot write unseen, through the public API: wherever the buffers lie and whoever calls.

use qk256_verify::{Arguments, Case, Domain, Finding, Harness, KernelFn, Operation, Outcome, Property};

/// A gemv that gives the last byte of `packed` for each row, and complements that byte; then it restores it, or not.
fn complement<const RESTORED: bool>(arguments: Arguments<'_>) -> Outcome {
    let Arguments { packed, out: y, rows, .. } = arguments;
    let last = std::hint::black_box(*packed.last().expect("the cases have codes"));
    y[..rows].fill(f32::from(last));
    let place = packed.as_ptr().cast_mut().wrapping_add(packed.len() - 1);
    for byte in [!last, if RESTORED { last } else { !last }] {
        // SAFETY: deliberately none: a kernel may only read this, and the harness lets it go on.
        unsafe { place.write_volatile(byte) };
    }
    Outcome::Done
}

const fn kernel(name: &'static str, call: fn(Arguments<'_>) -> Outcome) -> KernelFn {
    KernelFn {
        name,
        domain: Domain::new(Operation::Gemv),
        required_features: &[],
        refuses_wrong_sizes: false,
        call,
    }
}

const UNDONE: KernelFn = kernel("undone", complement::<true>);
const CHANGED: KernelFn = kernel("changed", complement::<false>);

/// What is found of `kernel` in a case: the properties, and all of it in words.
fn found(kernel: &KernelFn, case: &str) -> (Vec<Property>, String) {
    let case: Case = case.parse().expect("the test's own case parses");
    let findings = Harness::new(None).findings(kernel, &case).expect("the case has data");
    (
        findings.iter().map(|finding| finding.failure.property).collect(),
        findings.iter().map(Finding::detail).collect::<Vec<_>>().join("\n"),
    )
}

#[test]
fn a_write_that_is_undone_is_found_in_dense_and_sparse_memory_and_from_threads() {
    for (case, byte) in [
        ("gemv rows=1 cols=256", 63),
        ("gemv rows=2 cols=256 stride=20000000", 20_000_127),
        ("gemv rows=2 cols=256 stride=70000000", 70_000_127),
        ("gemv rows=2 cols=256 stride=4294967296", 4_294_967_423_u64),
        ("gemv rows=1 cols=256 offset.packed=3 threads=8", 63),
    ] {
        let (properties, details) = found(&UNDONE, case);
        assert!(properties.contains(&Property::Memory), "{case}: {details}");
        assert!(details.contains(&format!("writes byte {byte} of `packed`")), "{case}: {details}");
        assert!(!properties.contains(&Property::Inputs), "{case}: {details}");
    }
}

#[test]
fn an_input_that_was_changed_is_as_it_was_for_the_next_call() {
    for case in ["gemv rows=1 cols=256 codes=all0", "gemv rows=2 cols=256 stride=70000000 codes=all0"] {
        let (mut properties, details) = found(&CHANGED, case);
        assert!(properties.contains(&Property::Inputs), "{case}: {details}");
        properties.retain(|property| *property != Property::Inputs);
        assert_eq!(properties, found(&UNDONE, case).0, "{case}: nothing but the change differs: {details}");
    }
}
