//! Products of quantised weights and activations in C with AVX2 (`q4_0_q8_0.c`, `tq2_0_q8_k.c` and `i2_s_i8.c` of `verify/plugins`): right
//! as they are, and found wrong with each fault that such kernels have.

use tempfile::TempDir;

use super::faults::{
    Fault, among_others, c, check, check_by, expect_of, has, has_features, only, scratch, shows_again,
};

/// All that the kernels use.
const FEATURES: &[&str] = &["avx2", "fma", "f16c"];

/// Each source, what is printed of its kernel, and of its requirements if there are some.
const RIGHT: &[(&str, &str, Option<&str>)] = &[
    ("q4_0_q8_0.c", "c_q4_0 dot q4_0 q8_0", Some("requires min:-127")),
    ("tq2_0_q8_k.c", "dot tq2_0 q8_k   c_tq2_0", None),
    ("i2_s_i8.c", "c_i2_s dot i2_s i8", Some("requires cols:128,max_cols:4194304,alignment:32")),
];

/// Whether the kernels can be built and run here. If not, a skip is reported.
#[track_caller]
fn can_run() -> bool {
    has("cc") && has_features(FEATURES)
}

fn expect(source: &str, kernel: &str, faults: &[Fault]) {
    if can_run() {
        expect_of(source, kernel, "dot", faults);
    }
}

/// Checks that a library passes with wrong sizes among its cases, and returns what was printed.
fn passes(folder: &TempDir, source: &str, options: &[&str]) -> String {
    let (report, printed) = check(&c(folder, source, options), &[], 0);
    assert_eq!(report["verdict"], "pass", "{source} {options:?}: {printed}");
    let kernel = &report["kernels"][0];
    assert_eq!(kernel["skipped"], false, "{source} {options:?}: {printed}");
    assert!(kernel["properties"]["sizes"].as_u64() > Some(0), "{source} {options:?}: {kernel}");
    printed
}

#[test]
fn right_products_pass_within_what_they_require() {
    if !can_run() {
        return;
    }
    let folder = scratch();
    for (source, kernel, requirements) in RIGHT {
        let printed = passes(&folder, source, &[]);
        assert!(printed.contains(kernel), "{source}: {printed}");
        match requirements {
            Some(words) => assert!(printed.contains(words), "{source}: {printed}"),
            None => assert!(!printed.contains("requires"), "{source}: {printed}"),
        }
    }
}

#[test]
fn a_product_with_narrow_limits_passes_if_it_declares_them() {
    if !can_run() {
        return;
    }
    let folder = scratch();
    for (option, requirement) in
        [("-DDECLARED_COLUMNS", "max_cols:1280"), ("-DDECLARED_TERNARY", "max_code:2")]
    {
        let printed = passes(&folder, "i2_s_i8.c", &[option]);
        assert!(printed.contains(requirement), "{option}: {printed}");
    }
}

#[test]
fn each_fault_of_a_product_of_q4_0_is_found() {
    expect(
        "q4_0_q8_0.c",
        "c_q4_0",
        &[
            only("MINIMUM", "exact-regime", "dist=extreme"),
            only("NIBBLES", "exact-regime", "cols=32"),
            only("SCALE", "exact-regime", "cols=64"),
            only("LAST_BLOCK", "exact-regime", "cols=32"),
            only("OVER_READ", "memory", "past the end of `packed`"),
            only("SUBNORMAL", "bound", "cols=32"),
            among_others("STRIDE", "exact-regime", "rows=2"),
        ],
    );
}

#[test]
fn each_fault_of_a_product_of_tq2_0_is_found() {
    expect(
        "tq2_0_q8_k.c",
        "c_tq2_0",
        &[
            only("NEIGHBOUR", "exact-regime", "cols=512"),
            only("LAST_SUMS", "exact-regime", "cols=256"),
            only("ORDER", "exact-regime", "cols=256"),
            only("GROUP", "exact-regime", "cols=256"),
            among_others("ACCUMULATE", "placement", "over other old contents"),
        ],
    );
}

#[test]
fn each_fault_of_a_product_of_i2_s_is_found() {
    expect(
        "i2_s_i8.c",
        "c_i2_s",
        &[
            // Ten blocks fit into 16 bits, eleven do not.
            only("NARROW", "exact-regime", "cols=1408 codes=all3 dist=extreme"),
            only("TAIL", "exact-regime", "cols=256"),
            only("CODE_3", "exact-regime", "cols=128"),
            Fault { besides: Some(&["negation"]), ..only("SATURATE", "exact-regime", "cols=128") },
            only("VECTOR", "memory", "of `out`"),
        ],
    );
}

#[test]
fn sums_that_overflow_with_the_largest_code_that_may_come_are_found() {
    if !can_run() {
        return;
    }
    let folder = scratch();
    let library = c(&folder, "i2_s_i8.c", &["-DFAULT_NARROW", "-DDECLARED_TERNARY"]);
    // Rows of that length come after all smaller cases.
    let (report, printed) = check_by("1500", &library, &[], 1);
    let case = report["findings"][0]["case"].as_str().expect("a finding has its case");
    // 17 blocks of 8 * 2 * 127 do not fit into 16 bits.
    assert!(case.contains("max_code:2") && case.contains("cols=2176"), "{printed}");
}

#[test]
fn a_finding_in_a_product_is_shown_again_by_its_command() {
    if !can_run() {
        return;
    }
    let folder = scratch();
    let (report, _) = check(&c(&folder, "q4_0_q8_0.c", &["-DFAULT_MINIMUM"]), &[], 1);
    let findings = report["findings"].as_array().expect("findings is a list");
    findings.iter().for_each(shows_again);
}
