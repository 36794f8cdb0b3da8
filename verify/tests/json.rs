//! The fields that a finding of a known wrong kernel has in a JSON report.

use std::sync::atomic::{AtomicU32, Ordering};

use qk256_verify::{Arguments, Domain, Finding, Harness, Kernel, KernelFn, Operation, Outcome, registry};
use serde_json::{Value, json};

/// What is found of a kernel on a case, as JSON.
fn found(kernel: &KernelFn, case: &str) -> Vec<Value> {
    let case = case.parse().expect("it is a case");
    let findings: Vec<Finding> = Harness::new(None).findings(kernel, &case).expect("it has data");
    findings.iter().map(|finding| serde_json::to_value(finding).expect("it is JSON")).collect()
}

/// The fields of an object that are named.
fn fields(of: &Value, names: &[&str]) -> Value {
    names.iter().map(|&name| (name.to_owned(), of[name].clone())).collect()
}

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

/// The scalar gemv, whose result is then changed.
fn changed(mut arguments: Arguments<'_>, change: impl FnOnce(&mut [f32])) -> Outcome {
    let kernels = registry::kernels();
    let is_right =
        |kernel: &dyn Kernel| (kernel.name(), kernel.operation()) == (registry::SCALAR, Operation::Gemv);
    let right = kernels.iter().map(Box::as_ref).find(|&kernel| is_right(kernel));
    let right = right.expect("there is a scalar gemv");
    let outcome = right.call(arguments.reborrow());
    change(arguments.out);
    outcome
}

/// Row 1 is NaN, and row 2 is off by 2^20.
const NAN_AND_OFF: KernelFn = KernelFn {
    name: "nan and off",
    domain: Domain::new(Operation::Gemv),
    call: |arguments| {
        changed(arguments, |y| {
            if let [_, second, third, ..] = y {
                *second = f32::NAN;
                *third += 1_048_576.0;
            }
        })
    },
    ..ZEROS
};

/// Row 1 is off, and row 2 is off by more.
const OFF: KernelFn = KernelFn {
    name: "off",
    call: |arguments| {
        changed(arguments, |y| {
            if let [_, second, third, ..] = y {
                *second += 1024.0;
                *third += 1_048_576.0;
            }
        })
    },
    ..NAN_AND_OFF
};

/// The first call gives zeros with a sign, and every other call ones.
const FORGETS: KernelFn = KernelFn {
    name: "forgets",
    domain: Domain::new(Operation::Dequantize),
    call: |arguments| {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        arguments.out.fill(if CALLS.fetch_add(1, Ordering::Relaxed) == 0 { -0.0 } else { 1.0 });
        Outcome::Done
    },
    ..ZEROS
};

#[test]
fn a_wrong_code_has_its_index_and_both_values_with_their_bits() {
    let findings = found(&ZEROS, "unpack len=300 codes=ramp seed=1");
    let finding = findings.iter().find(|each| each["property"] == "bit-exact").expect("it is wrong");
    let names = ["index", "buffer", "got", "got_bits", "expected", "expected_bits", "wrong", "of"];
    let expected = json!({
        "index": 1, "buffer": "out", "got": 0, "got_bits": "0x00", "expected": 1, "expected_bits": "0x01", "wrong": 225, "of": 300
    });
    assert_eq!(fields(finding, &names), expected, "{finding}");
    assert!(finding.get("row").is_none() && finding.get("bound").is_none(), "{finding}");
    let detail = "225 of 300 outputs are wrong; the first is element 1 of block 0: got 0x00, must be 0x01";
    assert_eq!(finding["detail"], detail);
}

#[test]
fn a_wrong_row_has_its_bound_and_error_and_the_worst_row_its_own() {
    let findings = found(&NAN_AND_OFF, "gemv rows=3 cols=400 dist=ten seed=1");
    let finding = findings.iter().find(|each| each["property"] == "bound").expect("it is wrong");
    assert_eq!(
        fields(finding, &["operation", "cause", "row", "got", "error", "wrong", "of"]),
        json!({"operation": "gemv", "cause": "NaN", "row": 1, "got": "NaN", "error": "inf", "wrong": 2, "of": 3}),
        "{finding}"
    );
    assert!(finding["bound"].as_f64().is_some_and(|bound| bound > 0.0 && bound < 1.0), "{finding}");
    assert!(
        finding["expected"].is_f64() && finding.get("worst").is_none(),
        "the first is the worst: {finding}"
    );
    let bits = finding["got_bits"].as_str().and_then(|bits| bits.strip_prefix("0x"));
    let bits = u32::from_str_radix(bits.expect("bits are hexadecimal"), 16).expect("bits are hexadecimal");
    assert!(f32::from_bits(bits).is_nan(), "{finding}");
}

#[test]
fn the_worst_place_stands_beside_the_first() {
    let findings = found(&OFF, "gemv rows=3 cols=400 dist=ten seed=1");
    let finding = findings.iter().find(|each| each["property"] == "bound").expect("it is wrong");
    let error = |of: &Value| of["error"].as_f64().expect("it is finite");
    assert_eq!((&finding["row"], &finding["worst"]["row"]), (&json!(1), &json!(2)), "{finding}");
    assert!(error(&finding["worst"]) > error(finding), "{finding}");
}

#[test]
fn a_zero_keeps_its_sign() {
    let findings = found(&FORGETS, "dequantize len=1500 seed=1");
    let finding = findings.iter().find(|each| each["property"] == "bit-exact").expect("it is wrong");
    // JSON has a zero with a sign.
    assert_eq!(finding["got"].to_string(), "-0.0", "{finding}");
    assert_eq!(finding["got_bits"], "0x80000000", "{finding}");
}
