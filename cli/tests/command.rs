//! The command as its users meet it: exit codes, reports, and one clear line for everything that is wrong.

use std::collections::BTreeSet;
use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

const WEIGHTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../corpus/weights/all-MiniLM-L6-v2.safetensors");

fn qk256(words: &[&str]) -> Command {
    let mut command = Command::cargo_bin("qk256").expect("the binary is built with its tests");
    command.args(words);
    command
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

/// Standard output and standard error of a run that must end with `code`.
fn run(words: &[&str], code: i32) -> (String, String) {
    let output = qk256(words).output().expect("the command starts");
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert_eq!(output.status.code(), Some(code), "qk256 {words:?}\n{out}\n{err}");
    (out, err)
}

fn json(path: &Path) -> Value {
    let bytes = std::fs::read(path).expect("the report was written");
    serde_json::from_slice(&bytes).expect("the report is JSON")
}

#[test]
fn a_check_of_every_kernel_passes_and_reports_what_it_did() {
    let folder = scratch();
    let (report, junit) = (folder.path().join("r.json"), folder.path().join("r.xml"));
    let (table, _) =
        run(&["check", "--cases", "60", "--seed", "1", "--json", text(&report), "--junit", text(&junit)], 0);
    let report = json(&report);
    let kernels = report["kernels"].as_array().expect("kernels is a list");
    let domain =
        |kernel: &Value| ["operation", "format", "activations"].map(|field| kernel[field].to_string());
    let domains: BTreeSet<_> = kernels.iter().map(domain).collect();
    assert_eq!(
        (&report["verdict"], &report["seed"], &report["cases"]),
        (&"pass".into(), &1.into(), &(60 * domains.len()).into())
    );
    for kernel in kernels {
        if kernel["skipped"] == true {
            let missing = kernel["missing_features"].as_array().expect("a list").iter();
            let missing: Vec<&str> = missing.map(|name| name.as_str().expect("a name")).collect();
            qk256_skip::skip_part(kernel["kernel"].as_str().expect("a name"), &missing);
            continue;
        }
        assert_eq!(kernel["cases"], 60, "{kernel}");
        // What several threads do is not timed by the clock of one, and what has no other beside it has no ratio.
        let timed = kernel["timing"]["nanoseconds"].as_f64() > Some(0.0);
        let is_alone = kernels.iter().filter(|other| domain(other) == domain(kernel)).count() == 1;
        assert_eq!(timed, kernel["kernel"] != "avx2_threads" && !is_alone, "{kernel}");
        assert!(kernel["properties"]["memory"].as_u64() > Some(60), "{kernel}");
        let is_sum = ["gemv", "gemm", "dot"].iter().any(|operation| kernel["operation"] == *operation);
        let oracle = if is_sum { "exact-regime" } else { "bit-exact" };
        assert!(kernel["properties"][oracle].as_u64() > Some(0), "{kernel}");
        assert!(table.contains(kernel["kernel"].as_str().expect("a name")), "{table}");
    }
    let junit = std::fs::read_to_string(&junit).expect("the JUnit report was written");
    assert!(junit.contains(r#"failures="0""#) && junit.contains("scalar exact-regime"), "{junit}");
}

#[test]
fn every_tensor_of_the_real_weights_is_checked() {
    let folder = scratch();
    let report = folder.path().join("r.json");
    run(&["check", "--op", "gemv", "--cases", "40", "--weights", WEIGHTS, "--json", text(&report)], 0);
    // Two tensors, with and without scales, real-valued and integer x.
    assert_eq!(json(&report)["cases"], 2 * 4 + 40);
    run(&["check", "--op", "gemv_fixed", "--cases", "40", "--weights", WEIGHTS, "--json", text(&report)], 0);
    // Two tensors, with one digit and with four.
    assert_eq!(json(&report)["cases"], 2 * 2 + 40);
    run(&["check", "--op", "quantize", "--cases", "40", "--weights", WEIGHTS, "--json", text(&report)], 0);
    assert_eq!(json(&report)["cases"], 2 + 40);
}

#[test]
fn avx_vnni_is_listed_where_it_has_code_of_its_own() {
    let (list, _) = run(&["list", "--kernel", "avx_vnni"], 0);
    assert!(list.contains("avx2 fma avxvnni") && list.lines().count() == 4, "{list}");
    assert!(list.contains("gemv_fixed"), "{list}");
}

#[test]
fn each_operation_has_one_kernel_that_the_library_chooses_and_it_can_run_here() {
    let (list, _) = run(&["list", "--json"], 0);
    let rows: Value = serde_json::from_str(&list).expect("the list is JSON");
    let rows = rows.as_array().expect("the list is a list");
    let chosen = rows.iter().filter(|row| row["chosen"] == true).collect::<Vec<_>>();
    let operations = chosen.iter().map(|row| &row["operation"]).collect::<Vec<_>>();
    assert_eq!(operations, ["unpack", "lut", "dequantize", "gemv", "gemv_fixed", "quantize", "gemm"]);
    for row in chosen {
        assert_eq!(row["missing_features"], Value::Array(Vec::new()), "{row}");
    }
}

#[test]
fn no_speed_is_a_check_without_times() {
    let folder = scratch();
    let report = folder.path().join("r.json");
    run(&["check", "--op", "unpack", "--cases", "20", "--no-speed", "--json", text(&report)], 0);
    let report = json(&report);
    assert_eq!(report["verdict"], "pass");
    assert!(report["kernels"].as_array().expect("a list").iter().all(|kernel| kernel["timing"].is_null()));
}

#[test]
fn reveal_says_in_a_line_how_a_kernel_adds_and_draws_it() {
    let folder = scratch();
    let (dot, svg) = (folder.path().join("order.dot"), folder.path().join("order.svg"));
    let (printed, _) = run(&["reveal", "fast_scalar", "--dot", text(&dot), "--svg", text(&svg)], 0);
    assert!(printed.contains("8 partial sums of 128 columns; the first: 0 8 16 24 32 .. 1016;"), "{printed}");
    assert!(printed.contains("depth 130") && printed.contains("predicts every bit"), "{printed}");
    let drawing = |path: &Path| std::fs::read_to_string(path).expect("the drawing was written");
    assert!(drawing(&dot).starts_with("digraph") && drawing(&svg).starts_with("<svg"));
    let (printed, _) = run(&["reveal", "scalar", "--cols", "300", "--rows", "3", "--row", "2"], 0);
    assert!(printed.contains("one sum, of columns 0 1 2 3 4 .. 299"), "{printed}");
}

#[test]
fn the_same_seed_gives_the_same_data() {
    let folder = scratch();
    let worst = |seed| {
        let report = folder.path().join("r.json");
        let words = [
            "check",
            "--op",
            "gemv_fixed",
            "--no-speed",
            "--cases",
            "200",
            "--seed",
            seed,
            "--json",
            text(&report),
        ];
        run(&words, 0);
        let report = json(&report);
        let kernels = report["kernels"].as_array().expect("a list");
        kernels.iter().map(|kernel| kernel["worst_error"]["absolute"].as_f64()).collect::<Vec<_>>()
    };
    assert_eq!(worst("5"), worst("5"));
    assert_ne!(worst("5"), worst("6"));
}

#[test]
fn a_replay_names_the_properties_that_a_case_ran_on() {
    let (out, _) =
        run(&["replay", "--kernel", "scalar", "gemv", "rows=2", "cols=300", "dist=integer", "seed=9"], 0);
    assert!(out.starts_with("pass     scalar gemv: exact-regime, memory"), "{out}");
    assert!(out.contains("row-order"), "{out}");
    let (out, _) =
        run(&["replay", "--kernel", "scalar", "gemv", "rows=2", "cols=300", "dist=ten", "seed=9"], 0);
    assert!(out.starts_with("pass     scalar gemv: order, bound, memory"), "{out}");
    let (out, _) = run(&["replay", "--kernel", "scalar", "gemv", "rows=2", "cols=300", "slack.x=-1"], 0);
    assert!(out.contains("sizes"), "{out}");
    let (out, _) =
        run(&["replay", "--kernel", "scalar", "gemv_fixed", "rows=2", "cols=300", "dist=ten", "seed=9"], 0);
    assert!(out.starts_with("pass     scalar gemv_fixed: bit-exact, flat-1e-4, bound, memory"), "{out}");
}

#[test]
fn a_case_on_a_tensor_replays_with_its_weights_only() {
    let case = "gemv rows=3 cols=300 scaled tensor=encoder.layer.0.output.dense.weight row=7 dist=ten seed=1";
    run(&["replay", "--weights", WEIGHTS, case], 0);
    let (_, printed) = run(&["replay", case], 2);
    assert!(printed.contains("--weights"), "{printed}");
}

#[test]
fn replay_takes_case_files_and_minimize_says_when_there_is_nothing_to_do() {
    let folder = scratch();
    let file = folder.path().join("a.case");
    std::fs::write(&file, "# why\n\nunpack len=9 dist=unit seed=1\n").expect("a scratch file can be written");
    let (out, _) = run(&["replay", text(&file)], 0);
    assert!(out.contains("pass     scalar unpack"), "{out}");
    let (_, printed) = run(&["minimize", text(&file)], 0);
    assert!(printed.contains("nothing to minimise"), "{printed}");
}

#[test]
fn an_existing_report_is_replaced_and_nothing_else_is_left_in_its_folder() {
    let folder = scratch();
    let report = folder.path().join("r.json");
    std::fs::write(&report, "old").expect("a scratch file can be written");
    run(&["check", "--op", "unpack", "--cases", "20", "--json", text(&report)], 0);
    assert_eq!(json(&report)["verdict"], "pass");
    let names: Vec<_> = std::fs::read_dir(folder.path()).expect("the folder is there").collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn bad_usage_and_bad_input_end_in_one_clear_line_and_exit_code_2() {
    let folder = scratch();
    let truncated = folder.path().join("truncated.safetensors");
    let whole = std::fs::read(WEIGHTS).expect("the weights are in the repository");
    std::fs::write(&truncated, &whole[..whole.len() - 1]).expect("a scratch file can be written");
    let empty = folder.path().join("empty.safetensors");
    std::fs::write(&empty, "").expect("a scratch file can be written");
    let no_tensor = folder.path().join("none.safetensors");
    std::fs::write(&no_tensor, b"\x02\0\0\0\0\0\0\0{}").expect("a scratch file can be written");
    let nowhere = folder.path().join("no/such/folder/r.json");
    let absent = folder.path().join("absent.case");
    let here = text(folder.path());
    for (words, part) in [
        (&["check", "--weights", text(&truncated)][..], "not a whole safetensors file"),
        (&["check", "--weights", text(&empty)], "not a whole safetensors file"),
        (&["check", "--weights", text(&no_tensor)], "no 2-D f32, f16 or bf16 tensor"),
        (&["check", "--weights", here], "is a directory"),
        (&["check", "--weights", text(&absent)], "No such file"),
        (&["check", "--json", text(&nowhere)], "cannot write"),
        (&["check", "--junit", here], "is a directory"),
        (&["check", "--kernel", "avx1024"], "there is no kernel `avx1024`"),
        (&["check", "--require", "avx9"], "no chosen kernel needs this feature"),
        (&["check", "--op", "gemx"], "not an operation"),
        (&["check", "--format", "q9"], "`q9` is not a format; the formats are qk256, q2_0,"),
        (&["check", "--op", "gemv", "--format", "q4_0"], "there is no kernel of gemv"),
        (&["check", "--for", "soon"], "--for"),
        (&["check", "--cases", "0"], "--cases"),
        (&["check", "--cases", "1", "--for", "1s"], "cannot be used with"),
        (&["check", "--bogus"], "--bogus"),
        (&["replay"], "required"),
        (&["replay", "gemx", "rows=1"], "`gemx` is not an operation"),
        (&["replay", "gemv", "format=q4_0", "rows=1", "cols=1"], "there is no kernel of gemv q4_0"),
        (
            &["replay", "gemv", "rows=1", "cols=8", "requires=cols:8", "--kernel", "scalar"],
            "no kernel takes a case with these requirements: `scalar` has no `requires=`",
        ),
        (&["replay", "gemv", "rows=1"], "needs `cols=`"),
        (&["replay", "gemv", "rows=1", "cols=-1"], "cols is a whole number, from 0 on"),
        (
            &["replay", "gemv_fixed", "rows=1", "cols=1", "digits=many"],
            "digits is a number, of which 1 to 4 are legal",
        ),
        (&["replay", "unpack", "len=1", "patch.packed.64=00"], "past the end"),
        (&["replay", "unpack", "len=99999999999"], "the most is"),
        (&["replay", text(&absent)], "cannot read"),
        (&["replay", "--kernel", "nosuch", "unpack", "len=1"], "there is no kernel `nosuch`"),
        (&["minimize", "unpack", "len=1", "--output", here], "is a directory"),
        (&["reveal"], "required"),
        (&["reveal", "nosuch"], "there is no kernel `nosuch`"),
        (&["reveal", "scalar", "--row", "1"], "there is no row 1: the matrix has 1 row, counted from 0"),
        (&["reveal", "scalar", "--cols", "131073"], "is too large: at most 131072 columns"),
        (&["reveal", "scalar", "--svg", here], "is a directory"),
    ] {
        let (_, printed) = run(words, 2);
        assert!(printed.contains(part), "{words:?} must say `{part}`: {printed}");
        assert!(!printed.contains("panicked"), "{words:?}: {printed}");
        let line_by_us = printed.strip_prefix("qk256: ");
        assert!(line_by_us.is_none_or(|line| line.trim_end().lines().count() == 1), "{words:?}: {printed}");
    }
}

#[test]
fn a_closed_standard_output_is_no_panic_and_has_the_exit_code_of_sigpipe() {
    let (reader, writer) = std::io::pipe().expect("a pipe can be made");
    drop(reader);
    let program = assert_cmd::cargo::cargo_bin("qk256");
    let mut list = std::process::Command::new(program);
    let list = list.arg("list").stdout(writer).stderr(std::process::Stdio::piped());
    let output = list.spawn().and_then(|child| child.wait_with_output()).expect("the command starts");
    let printed = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*printed), (Some(141), ""));
}

#[test]
fn a_selftest_distinguishes_wrong_kernels_right_ones_and_faults_of_the_harness() {
    let folder = scratch();
    let report = folder.path().join("s.json");
    for (part, kind) in [
        ("code-three-read-as-two", "wrong"),
        ("never-returns", "wrong"),
        ("last-column-first", "right"),
        ("panics-swallowed", "fault"),
    ] {
        let (printed, _) = run(&["selftest", "--only", part, "--seed", "1", "--json", text(&report)], 0);
        let report = json(&report);
        let result = &report["results"][0];
        assert_eq!((&report["verdict"], &result["kind"]), (&"pass".into(), &kind.into()), "{printed}");
        assert_eq!(result["caught_by"].is_string(), kind == "wrong", "{printed}");
    }
    let (_, printed) = run(&["selftest", "--only", "no-such-kernel"], 2);
    assert!(printed.contains("--only no-such-kernel: no kernel and no fault"), "{printed}");
}

#[test]
fn a_selftest_lists_the_bugs_of_public_history_and_the_tests_of_other_projects() {
    let (printed, _) = run(&["selftest", "--museum", "--only", "zero-times-y-added", "--seed", "1"], 0);
    assert!(printed.contains("ROCm/rocBLAS#538") && printed.contains("bugs caught: 2 of 2"), "{printed}");
    // Wrong kernels, seen, seen here, right kernels, flagged.
    let (one_of_one, unseen, no_test) = ("1 1 1 0 0", "1 0 1 0 0", "0 0 0 0 0");
    for (mutant, [of_ggml, of_kleidiai]) in [
        ("dot-nibbles-swapped", [one_of_one, one_of_one]),
        ("dot-minus-128-negated-by-vpsignb", [unseen, unseen]),
    ] {
        let (printed, _) = run(&["selftest", "--peers", "--only", mutant, "--seed", "1"], 0);
        for (peer, counts) in [("ggml", of_ggml), ("kleidiai", of_kleidiai), ("bitnet-rs", no_test)] {
            let row = printed.lines().find(|line| line.split_whitespace().next() == Some(peer));
            let words: Vec<&str> = row.expect("there is a row").split_whitespace().collect();
            assert_eq!(words[words.len() - 5..].join(" "), counts, "{mutant} by {peer}: {printed}");
        }
    }
}

#[test]
fn a_check_that_shows_nothing_of_a_kernel_fails_and_says_why() {
    // Two cases of no columns and of none: nothing to compare.
    let (_, printed) =
        run(&["check", "--op", "unpack", "--kernel", "scalar", "--cases", "1", "--no-speed"], 1);
    assert!(printed.contains("was compared with no oracle"), "{printed}");
}
