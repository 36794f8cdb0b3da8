//! `qk256 gate` and `qk256 history` as their users meet them: exit codes, reports, comparisons, and a clear line for what is wrong.
//!
//! Bars are so low, or so high, that no machine decides a test.

use std::path::{Path, PathBuf};
use std::process::Command as Program;

use assert_cmd::Command;
use qk256_skip::has_programs;
use serde_json::Value;
use tempfile::TempDir;

const VERIFY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../verify");

/// Rows that every machine meets, and some that none does: dequantize and gemv of scalar code over itself.
const ROWS: &str = r#"
[[rows]]
operation = "dequantize"
sizes = ["256"]
kernel = "scalar"
over = { scalar = LOW }
why = "a test"

[[rows]]
operation = "gemv"
sizes = ["1x256"]
kernel = "fast_scalar"
over = { scalar = HIGH }
why = "a test"

[against]
at_least = 0.2
kernels = ["scalar"]
sizes = ["unpack 1024", "gemv 1x1024"]
"#;

/// Standard output and standard error of a run that must end with `code`.
fn run(words: &[&str], code: i32) -> (String, String) {
    let mut command = Command::cargo_bin("qk256").expect("the binary is built with its tests");
    let output = command.args(words).output().expect("the command starts");
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert_eq!(output.status.code(), Some(code), "qk256 {words:?}\n{out}\n{err}");
    (out, err)
}

/// The same of a run that must end with 2 and say one line.
fn refused(words: &[&str]) -> String {
    let (_, err) = run(words, 2);
    assert!(!err.contains("panicked"), "{err}");
    err
}

fn scratch() -> TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}

/// A file of rows with these bars.
fn rows(folder: &TempDir, low: &str, high: &str) -> PathBuf {
    write(folder, "rows.toml", &ROWS.replace("LOW", low).replace("HIGH", high))
}

fn write(folder: &TempDir, name: &str, content: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, content).expect("there is room for a file");
    path
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn rows_that_are_met_pass_and_every_report_is_written() {
    let folder = scratch();
    let rows = rows(&folder, "0.01", "0.01");
    let file = |name: &str| folder.path().join(name);
    let [json, junit, markdown, metrics, quality, record] =
        ["r.json", "r.xml", "r.md", "r.txt", "q.json", "history.jsonl"].map(file);
    let (out, _) = run(
        &[
            "gate",
            "--processes",
            "3",
            "--rows",
            text(&rows),
            "--json",
            text(&json),
            "--junit",
            text(&junit),
            "--markdown",
            text(&markdown),
            "--metrics",
            text(&metrics),
            "--code-quality",
            text(&quality),
            "--record",
            text(&record),
        ],
        0,
    );
    assert!(out.contains("gate (promises) passed: of 2 rows 2 met"), "{out}");
    let report: Value = serde_json::from_str(&read(&json)).expect("it is JSON");
    assert_eq!(report["verdict"], "pass");
    for row in report["rows"].as_array().expect("rows is a list") {
        assert_eq!((&row["verdict"], &row["estimate"]["processes"]), (&"met".into(), &3.into()), "{row}");
        assert!(row["estimate"]["low"].as_f64() <= row["estimate"]["high"].as_f64(), "{row}");
    }
    assert!(read(&junit).contains(r#"failures="0""#), "{}", read(&junit));
    assert!(read(&markdown).contains("| fast_scalar"), "{}", read(&markdown));
    assert!(read(&metrics).ends_with("# EOF\n"), "{}", read(&metrics));
    assert_eq!(read(&quality).trim(), "[]");
    let (trends, _) = run(&["history", text(&record), "--only", "gemv"], 0);
    assert!(
        trends.contains("fast_scalar gemv 1x256 over scalar") && !trends.contains("dequantize"),
        "{trends}"
    );
}

#[test]
fn a_row_that_is_missed_fails_and_is_named_with_its_reason() {
    let folder = scratch();
    let quality = folder.path().join("q.json");
    let rows = rows(&folder, "0.01", "1000.0");
    let (_, err) =
        run(&["gate", "--processes", "3", "--rows", text(&rows), "--code-quality", text(&quality)], 1);
    assert!(err.contains("missed: fast_scalar gemv 1x256 over scalar:") && err.contains("a test"), "{err}");
    let entries: Value = serde_json::from_str(&read(&quality)).expect("it is JSON");
    assert_eq!(entries[0]["location"]["path"], text(&rows));
    assert_eq!((&entries[0]["location"]["lines"]["begin"], &entries[1]), (&9.into(), &Value::Null));
}

#[test]
fn a_build_is_no_slower_than_itself() {
    let folder = scratch();
    let itself = assert_cmd::cargo::cargo_bin("qk256");
    let rows = rows(&folder, "1.0", "1.0");
    let (out, _) = run(&["gate", "--processes", "3", "--rows", text(&rows), "--against", text(&itself)], 0);
    assert!(out.contains("of 2 rows 2 met"), "{out}");
}

#[test]
fn a_library_that_is_slower_than_another_is_missed_and_the_other_is_not() {
    if !has_programs(&["cc"]) {
        return;
    }
    let folder = scratch();
    let [fast, slow] = ["-O3", "-O0"].map(|level| plugin(&folder, "plain.c", level, &[]));
    let words = ["gate", "--processes", "3", "--for", "5m", "--lib"];
    let (_, err) = run(&[&words[..], &[text(&slow), "--against", text(&fast)]].concat(), 1);
    assert!(err.contains("missed: plain gemv 64x2560"), "{err}");
    let (out, _) = run(&[&words[..], &[text(&fast), "--against", text(&slow)]].concat(), 0);
    assert!(out.contains("passed"), "{out}");
}

/// A library whose `unpack` takes three times as long where its code lies in the half `SLOW` (0 or 32) of 64 bytes. It is linked into the
/// half 0.
const PLACED: &str = r#"
#define qk256_kernels plain_kernels
#include "plain.c"
#undef qk256_kernels
__attribute__((aligned(64))) static int32_t placed(const qk256_call *call) {
    uintptr_t here;
    __asm__ volatile("lea 0(%%rip), %0" : "=r"(here));
    if ((here & 32) == SLOW) {
        unpack(call);
        unpack(call);
    }
    return unpack(call);
}
static const qk256_kernel PLACED = QK256_KERNEL("placed", "unpack", "qk256", "f32", "", 1, placed);
const qk256_kernel *qk256_kernels(uint32_t abi_version, size_t *count) {
    *count = 1;
    return abi_version == QK256_ABI_VERSION ? &PLACED : NULL;
}
"#;

#[test]
fn a_library_does_not_fail_for_where_the_linker_put_its_code() {
    if !has_programs(&["cc"]) || cfg!(not(target_arch = "x86_64")) {
        return;
    }
    let folder = scratch();
    let source = write(&folder, "placed.c", PLACED);
    let library = |slow: &str| {
        let path = folder.path().join(format!("slow{slow}.so"));
        let mut command = Program::new("cc");
        command.args(["-std=gnu11", "-fPIC", "-shared", "-O1", &format!("-DSLOW={slow}")]);
        command
            .args([format!("-I{VERIFY}/include"), format!("-I{VERIFY}/plugins")])
            .arg("-o")
            .arg(&path)
            .arg(&source);
        assert!(command.status().is_ok_and(|status| status.success()), "{command:?}");
        path
    };
    let [new, old] = ["0", "32"].map(library);
    let rows = ROWS.replace("LOW", "1.0").replace("HIGH", "1.0").replace("at_least = 0.2", "at_least = 0.7");
    let rows = write(&folder, "rows.toml", &rows);
    let words = ["gate", "--processes", "3", "--for", "5m", "--only", "unpack", "--rows", text(&rows)];
    let (out, err) = run(&[&words[..], &["--lib", text(&new), "--against", text(&old)]].concat(), 0);
    assert!(out.contains("of 1 rows 1 met") && !out.contains("where the linker put it"), "{out}\n{err}");
}

/// Rows that each CPU has its own bars of, and the bars of one that does not exist.
const REACHED: &str = r#"
[[reached]]
operation = "dequantize"
sizes = ["256"]
kernel = "fast_scalar"
over = ["store_fill", "scalar"]
why = "a test"

[[cpus]]
vendor = "Nobody"
family = 1
model = 1
bars = { "fast_scalar dequantize 256" = { store_fill = 1000.0, scalar = 1000.0 } }
"#;

#[test]
fn rows_without_a_bar_for_this_cpu_are_shown_and_fail_nothing_until_it_is_calibrated() {
    let folder = scratch();
    let json = folder.path().join("r.json");
    let content = ROWS.replace("LOW", "0.01").replace("HIGH", "0.01") + REACHED;
    let rows = write(&folder, "rows.toml", &content);
    let words = ["gate", "--processes", "3", "--for", "5m", "--rows", text(&rows)];
    let (out, _) = run(&[&words[..], &["--json", text(&json)]].concat(), 0);
    assert!(out.contains("of 4 rows 2 met, 2 not judged"), "{out}");
    assert!(out.contains("qk256 gate --calibrate"), "{out}");
    let report: Value = serde_json::from_str(&read(&json)).expect("it is JSON");
    let row = &report["rows"][2];
    assert_eq!((&row["verdict"], &row["at_least"]), (&"not_judged".into(), &Value::Null), "{row}");
    assert!(row["estimate"]["median"].as_f64() > Some(0.0), "{row}");
}

#[test]
fn what_calibrate_prints_is_a_table_that_judges_this_cpu() {
    let folder = scratch();
    let content = ROWS.replace("LOW", "0.01").replace("HIGH", "0.01") + REACHED;
    let rows = write(&folder, "rows.toml", &content);
    let words = ["gate", "--processes", "15", "--rows", text(&rows)];
    let mut command = Command::cargo_bin("qk256").expect("the binary is built with its tests");
    let output = command.args(words).arg("--calibrate").output().expect("the command starts");
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if output.status.code() == Some(3) {
        // A busy machine gives no table, and says of which row.
        assert!(err.contains("cannot calibrate") && out.is_empty(), "{out}\n{err}");
        return;
    }
    assert_eq!(output.status.code(), Some(0), "{out}\n{err}");
    assert!(
        out.contains("[[cpus]]") && out.contains("\"fast_scalar dequantize 256\" = { scalar = "),
        "{out}"
    );
    // So high a bar is missed: the table is of this CPU.
    let bars = out.lines().map(|line| match line.split_once(" = {") {
        Some((candidate, _)) => format!("{candidate} = {{ store_fill = 1000.0, scalar = 1000.0 }}\n"),
        None => format!("{line}\n"),
    });
    let rows = write(&folder, "calibrated.toml", &(content + &bars.collect::<String>()));
    let (_, err) = run(&["gate", "--processes", "15", "--for", "5m", "--rows", text(&rows)], 1);
    assert!(err.contains("missed: fast_scalar dequantize 256 over store_fill"), "{err}");
}

#[test]
fn a_library_that_is_wrong_or_dies_is_a_finding_and_is_not_timed() {
    if !has_programs(&["cc"]) {
        return;
    }
    let folder = scratch();
    let right = plugin(&folder, "plain.c", "-O2", &[]);
    // The size at which the kernel that ends its process does so.
    let rows = ROWS.replace("LOW", "1.0").replace("HIGH", "1.0").replace("gemv 1x1024", "gemv 2x33");
    let rows = write(&folder, "rows.toml", &rows);
    for (fault, expected) in
        [("ACCUMULATE", "nothing was timed: a kernel is wrong"), ("EXIT", "ended while it was timed")]
    {
        let wrong = plugin(&folder, "faults.c", "-O1", &[&format!("-DFAULT_{fault}")]);
        let words = ["gate", "--rows", text(&rows), "--lib", text(&wrong), "--against", text(&right)];
        let (_, err) = run(&words, 1);
        assert!(err.contains(expected), "{fault}: {err}");
    }
}

/// A library built from an example.
fn plugin(folder: &TempDir, source: &str, level: &str, options: &[&str]) -> PathBuf {
    let library = folder.path().join(format!("{source}{level}.so"));
    let mut command = Program::new("cc");
    command.args(["-std=c11", "-fPIC", "-shared", level]).args(options).arg(format!("-I{VERIFY}/include"));
    let built = command.arg("-o").arg(&library).arg(format!("{VERIFY}/plugins/{source}")).output();
    let built = built.expect("the compiler starts");
    assert!(built.status.success(), "{command:?}: {}", String::from_utf8_lossy(&built.stderr));
    library
}

#[test]
fn what_cannot_be_measured_is_refused_with_a_line_that_names_it() {
    let folder = scratch();
    let good = rows(&folder, "1.0", "1.0");
    let broken = write(&folder, "broken.toml", "rows = 3");
    let unknown = write(
        &folder,
        "unknown.toml",
        &ROWS.replace("LOW", "1.0").replace("HIGH", "1.0").replace("fast_scalar", "quick"),
    );
    let foreign = write(&folder, "foreign", "not a program");
    let missing = folder.path().join("missing");
    for (words, expected) in [
        (&["--rows", text(&missing)][..], "cannot read"),
        (&["--rows", text(&broken)], "broken.toml:"),
        (&["--rows", text(&unknown)], "gemv 1x256 has no kernel `quick`: there are scalar, fast_scalar"),
        (&["--rows", text(&good), "--only", "nothing"], "no row contains --only \"nothing\""),
        (&["--rows", text(&good), "--calibrate"], "the file has no rows for this"),
        (&["--calibrate", "--against", "/bin/true"], "cannot be used with"),
        (&["--against", text(&missing)], "cannot read"),
        (&["--against", text(&foreign)], "cannot start"),
        (&["--against", "/bin/true"], "give the `qk256` of a commit that has the same `qk256 gate`"),
        (&["--lib", text(&foreign), "--against", text(&foreign)], "file too short"),
        (&["--lib", text(&foreign)], "--against <PROGRAM>"),
        (&["--processes", "2"], "three processes"),
        (
            &["--rows", text(&good), "--require", "avx9"],
            "no chosen row is about a kernel that needs this feature",
        ),
        (&["--instructions", text(&missing), "--no-times"], "--update"),
        (&["--rows", text(&good), "--json", text(folder.path())], "it is a directory"),
    ] {
        let words: Vec<&str> = ["gate"].iter().chain(words).copied().collect();
        let printed = refused(&words);
        assert!(printed.contains(expected), "{words:?}: {printed}");
    }
    let printed = refused(&["history", text(&broken)]);
    assert!(printed.contains("line 1 is not a run of the gate") && printed.contains("--record"), "{printed}");
}
