//! Kernels of other languages in shared libraries: right ones pass, and each fault of `verify/plugins/faults.c` is the finding
//! that it must be, whatever it does to the process that calls it.
//!
//! Where there is no C compiler, the tests that need one report a skip.

mod domains;
mod faults;
mod new_plugin;
mod process;
mod products;

use std::process::Command;

use serde_json::Value;

use faults::{
    among_others, build, c, check, check_by, expect, fault, has, has_avx2, only, properties, qk256, rust,
    scratch, shown, shows_again, text,
};

#[test]
fn the_header_is_c11_and_cpp17() {
    let folder = scratch();
    for (compiler, standard, language) in [("cc", "-std=c11", "c"), ("c++", "-std=c++17", "c++")] {
        if has(compiler) {
            for source in ["plain.c", "faults.c"] {
                build(compiler, &folder, source, &[standard, "-x", language]);
            }
        }
    }
}

#[test]
fn right_kernels_of_other_languages_pass() {
    let folder = scratch();
    let mut libraries = vec![("rust_example", rust(&folder, &[]))];
    if has("cc") {
        libraries.push(("plain", c(&folder, "plain.c", &[])));
        if has_avx2() {
            libraries.push(("c_avx2", c(&folder, "avx2.c", &[])));
        }
    }
    for (name, library) in libraries {
        let (report, printed) = check(&library, &[], 0);
        assert_eq!(report["verdict"], "pass", "{printed}");
        let kernels = report["kernels"].as_array().expect("kernels is a list");
        let met: Vec<_> = kernels.iter().map(|kernel| (&kernel["kernel"], &kernel["operation"])).collect();
        for operation in ["unpack", "dequantize", "gemv"] {
            assert!(met.contains(&(&name.into(), &operation.into())), "{name} {operation}: {printed}");
        }
        for kernel in kernels.iter().filter(|kernel| kernel["skipped"] == false) {
            assert!(kernel["properties"]["sizes"].as_u64() > Some(0), "{kernel}");
        }
    }
}

#[test]
fn each_example_has_a_bug_that_is_found() {
    let folder = scratch();
    let (report, printed) = check(&rust(&folder, &["--cfg", "feature=\"bug\""]), &["--op", "gemv"], 1);
    assert!(properties(&report).contains(&"exact-regime".to_owned()), "{printed}");
    if !has("cc") {
        return;
    }
    let (report, printed) = check(&c(&folder, "plain.c", &["-DQK256_BUG"]), &["--op", "gemv"], 1);
    assert!(properties(&report).contains(&"exact-regime".to_owned()), "{printed}");
    if has_avx2() {
        let library = c(&folder, "avx2.c", &["-DQK256_BUG"]);
        let (report, printed) = check_by("1500", &library, &["--op", "gemv"], 1);
        assert_eq!(properties(&report), ["special-values"], "{printed}");
    }
}

#[test]
fn an_access_outside_of_a_buffer_is_named_to_the_byte() {
    expect(&[
        only("READ_BEFORE_PACKED", "memory", "reads 1 byte before the start of `packed`"),
        only("READ_PAST_PACKED", "memory", "reads 1 byte past the end of `packed`"),
        only("READ_BEFORE_X", "memory", "reads 1 byte before the start of `x`"),
        only("READ_PAST_X", "memory", "reads 1 byte past the end of `x`"),
        only("READ_BEFORE_SCALES", "memory", "reads 1 byte before the start of `scales`"),
        only("READ_PAST_SCALES", "memory", "reads 1 byte past the end of `scales`"),
        only("WRITE_BEFORE_Y", "memory", "writes 4 bytes before the start of `out`"),
        only("WRITE_PAST_Y", "memory", "writes 1 byte past the end of `out`"),
        only("WRITE_SLACK_Y", "memory", "past the last row"),
    ]);
}

#[test]
fn a_write_to_what_may_only_be_read_is_a_finding_although_it_is_undone() {
    expect(&[
        only("RESTORE_PACKED", "memory", "writes byte 0 of `packed`, which it may only read"),
        only("RESTORE_SCALES", "memory", "writes byte 0 of `scales`, which it may only read"),
        only("RESTORE_X", "memory", "of `x`, which it may only read"),
        only("RESTORE_SLACK", "memory", "of `out`, which it may only read"),
    ]);
}

#[test]
fn huge_errors_and_rows_that_are_not_written_are_findings() {
    if !has("cc") {
        return;
    }
    let folder = scratch();
    for name in ["ACCUMULATE", "LEAVE_ROWS"] {
        // As many cases as it takes until one has data of the flat bound: there the worst error is infinite.
        let (report, printed) = check_by("1500", &fault(&folder, name), &["--op", "gemv"], 1);
        assert_eq!(report["verdict"], "finding", "{name}: {printed}");
        assert_eq!(report["harness_faults"], Value::Array(Vec::new()), "{name}: {printed}");
        assert_eq!(report["kernels"][0]["cases"], 1500, "{name}: no case is lost: {printed}");
        let worst = &report["kernels"][0]["worst_error"]["absolute"];
        assert_eq!(worst, "inf", "{name}: a number that JSON lacks is a word: {worst}");
        assert!(properties(&report).contains(&"placement".to_owned()), "{name}: {printed}");
    }
}

#[test]
fn an_answer_that_cannot_be_read_is_a_fault_of_the_harness_and_loses_no_finding() {
    if !has("cc") {
        return;
    }
    let folder = scratch();
    let library = fault(&folder, "GARBAGE");
    let (report, printed) = check(&library, &["--op", "gemv", "--jobs", "1"], 1);
    assert!(
        properties(&report).contains(&"exact-regime".to_owned()),
        "what was found before is reported: {printed}"
    );
    let faults = report["harness_faults"].as_array().expect("it is a list");
    let first = faults.first().and_then(Value::as_str).unwrap_or_default();
    assert!(first.starts_with("fault of the harness (worker of "), "{printed}");
    assert!(first.contains("cannot be read") && first.contains("nonsense"), "{printed}");
    assert!(printed.contains(first), "the text says so as well: {printed}");
}

#[test]
fn a_kernel_that_fails_only_after_other_calls_is_reported_with_these_calls() {
    if !has("cc") {
        return;
    }
    let folder = scratch();
    let library = fault(&folder, "AFTER_WIDE");
    let (report, printed) = check(&library, &["--op", "gemv", "--jobs", "1"], 1);
    for finding in report["findings"].as_array().expect("findings is a list") {
        let [detail, replay, case] =
            ["detail", "replay", "case"].map(|field| finding[field].as_str().expect("it is text"));
        assert!(detail.contains("only after other calls"), "{detail}: {printed}");
        assert!(replay.contains(" --after '"), "{replay}");
        shows_again(finding);
        let alone = [&["replay", "--lib", text(&library)][..], &case.split(' ').collect::<Vec<_>>()].concat();
        let output = qk256(&alone);
        assert_eq!(output.status.code(), Some(0), "alone it passes: {}", shown(&output));
    }
}

#[test]
fn every_reported_case_fails_in_a_new_process() {
    if !has("cc") {
        return;
    }
    let folder = scratch();
    for name in ["STALE", "ACCUMULATE"] {
        let library = fault(&folder, name);
        let (report, _) = check(&library, &["--op", "gemv"], 1);
        for finding in report["findings"].as_array().expect("findings is a list") {
            shows_again(finding);
        }
    }
}

#[test]
fn a_row_that_varies_with_the_number_of_rows_is_a_finding_unless_the_kernel_declares_it() {
    if !has("cc") {
        return;
    }
    let folder = scratch();
    let (report, printed) = check(&fault(&folder, "VARIES"), &[], 1);
    assert!(
        properties(&report).iter().any(|property| property == "order" || property == "invariance"),
        "{printed}"
    );
    let (report, printed) = check(&fault(&folder, "VARIES_DECLARED"), &[], 0);
    assert_eq!(report["verdict"], "pass", "{printed}");
    assert!(printed.contains("faults gemv: not invariant to the number of rows, as declared"), "{printed}");
    for kernel in report["kernels"].as_array().expect("kernels is a list") {
        assert_eq!(kernel["varies_with_rows"], kernel["operation"] == "gemv", "{kernel}");
        assert_eq!(kernel["properties"]["invariance"], Value::Null, "{kernel}");
    }
}

#[test]
fn what_a_kernel_leaves_behind_and_what_it_takes_for_granted_is_a_finding() {
    expect(&[
        only("FTZ", "mxcsr", "MXCSR 0x9f80"),
        among_others("STALE", "repeat", "in call number 2"),
        among_others("ACCUMULATE", "placement", "over other old contents"),
        only("SECOND_THREAD", "threads", "from several threads"),
        only("REFUSE", "sizes", "a legal call is refused"),
        only("ACCEPT", "sizes", "accepted"),
    ]);
}

#[test]
fn what_is_legal_is_no_finding() {
    if !has("cc") {
        return;
    }
    let folder = scratch();
    for name in ["NONE", "LEGAL_ORDER", "NO_FLAGS", "NO_SCALES", "GEMV_ALONE", "POOL"] {
        let (report, printed) = check(&fault(&folder, name), &[], 0);
        assert_eq!(report["verdict"], "pass", "{name}: {printed}");
    }
    let (report, printed) = check(&fault(&folder, "ONLY_GEMV"), &[], 0);
    assert_eq!(report["verdict"], "pass", "{printed}");
    let kernels = report["kernels"].as_array().expect("kernels is a list");
    assert_eq!(kernels.len(), 1, "a library has what it lists: {printed}");
    assert!(!printed.contains("skipped"), "{printed}");
    let missing = qk256(&["check", "--lib", text(&folder.path().join("ONLY_GEMV.so")), "--op", "unpack"]);
    assert_eq!(missing.status.code(), Some(2), "{}", shown(&missing));
    assert!(shown(&missing).contains("there is no kernel of unpack"), "{}", shown(&missing));
}

#[test]
fn a_library_that_supports_nothing_fails() {
    if !has("cc") {
        return;
    }
    let folder = scratch();
    let library = fault(&folder, "NOTHING");
    let (report, printed) = check(&library, &[], 1);
    assert_eq!(report["verdict"], "invalid", "{printed}");
    assert!(printed.contains("supports none of its"), "{printed}");
}

#[test]
fn refused_legal_calls_are_counted_and_the_smallest_is_shown_with_why_it_is_legal() {
    if !has("cc") {
        return;
    }
    let folder = scratch();
    let (report, printed) = check(&fault(&folder, "REFUSE"), &["--op", "gemv"], 1);
    let kernel = &report["kernels"][0];
    let refused = kernel["refused_cases"].as_u64().expect("a number");
    assert!(refused > 1, "{kernel}");
    assert!(printed.contains(&format!("faults gemv: {refused} of ")), "{printed}");
    let smallest = kernel["smallest_refused_case"].as_str().expect("a case");
    assert!(printed.contains(&format!("the smallest:  {smallest}")), "{printed}");
    assert!(
        printed.contains("rows of 3 columns, ") && printed.contains("`x` has 3 of 3 elements"),
        "{printed}"
    );
}

#[test]
fn legal_calls_refused_and_wrong_sizes_accepted_are_two_findings() {
    if !has("cc") {
        return;
    }
    let folder = scratch();
    let (report, printed) = check(&fault(&folder, "REFUSE_AND_ACCEPT"), &["--op", "gemv"], 1);
    let findings = report["findings"].as_array().expect("findings is a list");
    let mut causes: Vec<&str> =
        findings.iter().map(|each| each["cause"].as_str().expect("a cause")).collect();
    causes.sort_unstable();
    assert_eq!(causes, ["accepted", "refused"], "{printed}");
    assert_eq!(properties(&report), ["sizes", "sizes"], "{printed}");
}

#[test]
fn several_libraries_are_checked_in_one_run() {
    if !has("cc") {
        return;
    }
    let folder = scratch();
    let (right, wrong) = (c(&folder, "plain.c", &[]), fault(&folder, "READ_PAST_X"));
    let (report, printed) = check(&right, &["--lib", text(&wrong), "--op", "gemv"], 1);
    let findings = report["findings"].as_array().expect("findings is a list");
    assert!(findings.iter().all(|finding| finding["kernel"] == "faults"), "{printed}");
    assert_eq!(report["kernels"].as_array().map(Vec::len), Some(2), "{printed}");
}

#[test]
fn more_workers_find_the_same() {
    if !has("cc") {
        return;
    }
    let folder = scratch();
    for name in ["SECOND_THREAD", "NULL"] {
        let library = fault(&folder, name);
        let findings = |jobs| {
            let mut findings = check(&library, &["--op", "gemv", "--jobs", jobs], 1).0["findings"].clone();
            // When each was made is the one thing that may differ.
            for finding in findings.as_array_mut().expect("findings is a list") {
                finding["seconds"].take();
            }
            findings
        };
        assert_eq!(findings("1"), findings("3"), "{name}");
    }
}

#[test]
fn the_order_of_a_plugin_is_revealed() {
    if !has("cc") {
        return;
    }
    let folder = scratch();
    let library = c(&folder, "plain.c", &[]);
    let output = qk256(&["reveal", "--lib", text(&library), "plain", "--cols", "300"]);
    let printed = shown(&output);
    assert_eq!(output.status.code(), Some(0), "{printed}");
    assert!(
        printed.contains("plain gemv, 300 columns: one sum") && printed.contains("f32 additions"),
        "{printed}"
    );
    let nameless = qk256(&["reveal", "--lib", text(&library), "--cols", "300"]);
    assert_eq!(shown(&nameless), printed, "the only kernel needs no name");
    let other = fault(&folder, "LEGAL_ORDER");
    let several = qk256(&["reveal", "--lib", text(&library), "--lib", text(&other), "--cols", "300"]);
    assert_eq!(several.status.code(), Some(2), "{}", shown(&several));
    assert!(shown(&several).contains("give the name of one: plain, faults"), "{}", shown(&several));
}

#[test]
fn the_command_that_a_finding_ends_in_shows_it_again() {
    if !has("cc") {
        return;
    }
    let folder = scratch();
    let library = fault(&folder, "NULL");
    let (report, printed) = check(&library, &["--op", "gemv"], 1);
    let given_up = report["kernels"][0]["given_up"].as_str();
    assert!(given_up.is_some_and(|why| why.ends_with("times `crash`")), "{printed}");
    // Workers that were at work already may add to the eighth.
    assert!(printed.contains("no longer called after ") && printed.contains(" times `crash`"), "{printed}");
    let replay = report["findings"][0]["replay"].as_str().expect("a finding has its command");
    assert!(replay.contains(" replay --lib /"), "the path of the library holds everywhere: {replay}");
    let elsewhere = scratch();
    let mut shell = Command::new("sh");
    let output = shell.args(["-c", replay]).current_dir(elsewhere.path()).output().expect("a shell starts");
    assert_eq!(output.status.code(), Some(1), "{replay}\n{}", shown(&output));
    assert!(shown(&output).contains("SIGSEGV"), "{}", shown(&output));
    let case = report["findings"][0]["case"].as_str().expect("a finding has its case");
    let output = qk256(&["minimize", "--lib", text(&library), case]);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    assert!(shown(&output).contains("rows=2 cols=1"), "{}", shown(&output));
}

#[test]
fn a_library_that_is_no_kernel_is_bad_usage() {
    let folder = scratch();
    let absent = folder.path().join("absent.so");
    let no_library = folder.path().join("text.so");
    std::fs::write(&no_library, "no library").expect("a scratch file can be written");
    // The loader gives its own reason.
    let mut rows = vec![(absent, "absent.so"), (no_library, "file too short")];
    if has("cc") {
        let faults = [
            ("VERSION", "does not support version 2 of the ABI"),
            ("NO_VERSION", "it exports no `qk256_kernels`"),
            ("OLD_VERSION", "is a plugin of ABI version 1"),
            ("NO_OPERATION", "states that it has 0 kernels"),
            ("NO_NAME", "kernel 1: `name` is NULL"),
            ("MISSING_SYMBOL", "undefined symbol: qk256_test_missing"),
        ];
        rows.extend(faults.map(|(name, part)| (fault(&folder, name), part)));
    }
    for (library, part) in rows {
        let output = qk256(&["check", "--no-speed", "--cases", "1", "--lib", text(&library)]);
        let printed = shown(&output);
        assert_eq!(output.status.code(), Some(2), "{}: {printed}", library.display());
        assert!(printed.contains(part) && !printed.contains("panicked"), "it must say `{part}`: {printed}");
    }
}
