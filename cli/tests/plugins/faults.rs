//! How the plugins of `verify/plugins` are built and checked, and what is expected of each fault.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use qk256_skip::{has_programs, skip};
use qk256_verify::kernel::missing_features;
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const VERIFY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../verify");

/// Cases for each operation: the small shapes of every part of the sweep, wrong sizes and threads among them.
pub(crate) const CASES: &str = "150";

/// Cases by which every fault of the tables is found, which are many: hence few.
pub(crate) const FEW_CASES: &str = "110";

/// Warnings of the example plugins are errors.
pub(crate) const STRICT: &[&str] = &["-O2", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fPIC", "-shared"];

/// A fault of a plugin and what `check` must say of it.
pub(crate) struct Fault {
    /// What is behind `FAULT_`.
    pub(crate) name: &'static str,
    /// Must be found.
    pub(crate) property: &'static str,
    /// Must be in the case or in the detail of that finding.
    pub(crate) words: &'static str,
    /// May be found as well: `None` for any.
    pub(crate) besides: Option<&'static [&'static str]>,
}

/// A fault that shows as one thing only.
pub(crate) const fn only(name: &'static str, property: &'static str, words: &'static str) -> Fault {
    Fault { name, property, words, besides: Some(&[]) }
}

/// A fault that shows in many ways.
pub(crate) const fn among_others(name: &'static str, property: &'static str, words: &'static str) -> Fault {
    Fault { name, property, words, besides: None }
}

/// Checks each fault of `faults.c` by its gemv, where all of them are, and reports every one that is not seen as it must be.
pub(crate) fn expect(faults: &[Fault]) {
    expect_of("faults.c", "faults", "gemv", faults);
}

/// The same of the faults of another source, by that kernel of it.
pub(crate) fn expect_of(source: &str, kernel: &str, operation: &str, faults: &[Fault]) {
    if !has("cc") {
        return;
    }
    let folder = scratch();
    let mut wrong = String::new();
    for expected in faults {
        let library = fault_of(&folder, source, expected.name);
        let (report, printed) = check_by(FEW_CASES, &library, &["--op", operation], 1);
        if let Some(complaint) = expected.complaint(kernel, operation, &report) {
            writeln!(wrong, "{}: {complaint}\n{printed}", expected.name).expect("a string takes it all");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

impl Fault {
    fn complaint(&self, kernel: &str, operation: &str, report: &Value) -> Option<String> {
        let findings = report["findings"].as_array().expect("findings is a list");
        let Some(finding) = findings.iter().find(|finding| violated(finding).contains(&self.property)) else {
            return Some(format!("not found on `{}`", self.property));
        };
        let detail = format!("{} {} {}", finding["case"], finding["detail"], finding["also"]);
        if !detail.contains(self.words) {
            return Some(format!("the case or the detail must contain `{}`: {detail}", self.words));
        }
        if (&finding["kernel"], &finding["operation"]) != (&kernel.into(), &operation.into()) {
            return Some(format!("found in another kernel: {finding}"));
        }
        let is_surplus = |found: &String| {
            found != self.property && self.besides.is_some_and(|besides| !besides.contains(&found.as_str()))
        };
        properties(report)
            .into_iter()
            .find(is_surplus)
            .map(|property| format!("found on `{property}` as well"))
    }
}

/// Runs the command that a finding ends in, as a shell does: it must show the same violation.
pub(crate) fn shows_again(finding: &Value) {
    let replay = finding["replay"].as_str().expect("a finding has its command");
    let output = Command::new("sh").args(["-c", replay]).output().expect("sh starts");
    assert_eq!(output.status.code(), Some(1), "{replay}: {}", shown(&output));
    let violated = format!("violates `{}`", finding["property"].as_str().expect("a name"));
    assert!(shown(&output).contains(&violated), "{replay}: {}", shown(&output));
}

/// The properties that the findings of a report are about.
pub(crate) fn properties(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().expect("findings is a list");
    findings.iter().flat_map(violated).map(str::to_owned).collect()
}

/// The properties that one finding is about.
pub(crate) fn violated(finding: &Value) -> Vec<&str> {
    let properties = finding["properties"].as_array().expect("properties is a list");
    properties.iter().map(|property| property.as_str().expect("a name")).collect()
}

/// The report of a check of the library that must end with `code`, and what it wrote.
pub(crate) fn check(library: &Path, more: &[&str], code: i32) -> (Value, String) {
    check_by(CASES, library, more, code)
}

pub(crate) fn check_by(cases: &str, library: &Path, more: &[&str], code: i32) -> (Value, String) {
    check_in(&[], &[], cases, library, more, code)
}

/// The same under limits of the shell, with variables set.
pub(crate) fn check_in(
    environment: &[(&str, &str)],
    limits: &[&str],
    cases: &str,
    library: &Path,
    more: &[&str],
    code: i32,
) -> (Value, String) {
    let folder = scratch();
    let json = folder.path().join("r.json");
    let words = ["check", "--no-speed", "--seed", "1", "--cases", cases, "--lib", text(library), "--json"];
    let output = limited(environment, limits, &[&words[..], &[text(&json)], more].concat());
    let printed = shown(&output);
    assert_eq!(output.status.code(), Some(code), "{}: {printed}", library.display());
    let report = std::fs::read(&json).expect("the report was written");
    (serde_json::from_slice(&report).expect("the report is JSON"), printed)
}

pub(crate) fn qk256(words: &[&str]) -> Output {
    limited(&[], &[], words)
}

/// The command, after commands of the shell that limit it, with variables set.
pub(crate) fn limited(environment: &[(&str, &str)], limits: &[&str], words: &[&str]) -> Output {
    let script = [limits, &["exec \"$0\" \"$@\""]].concat().join(" && ");
    let program = assert_cmd::cargo::cargo_bin("qk256");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(program).args(words).envs(environment.iter().copied());
    command.output().expect("the command starts")
}

/// What a command wrote.
pub(crate) fn shown(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

/// The kernel of `faults.c` with one fault, or none.
pub(crate) fn fault(folder: &TempDir, name: &str) -> PathBuf {
    fault_of(folder, "faults.c", name)
}

/// The kernel of a source with one of its faults.
pub(crate) fn fault_of(folder: &TempDir, source: &str, name: &str) -> PathBuf {
    let library = c(folder, source, &[&format!("-DFAULT_{name}")]);
    let own = library.with_file_name(format!("{name}.so"));
    std::fs::rename(library, &own).expect("a scratch file can be renamed");
    own
}

/// An example plugin in C.
pub(crate) fn c(folder: &TempDir, source: &str, options: &[&str]) -> PathBuf {
    build("cc", folder, source, &[&["-std=c11"], options].concat())
}

pub(crate) fn build(compiler: &str, folder: &TempDir, source: &str, options: &[&str]) -> PathBuf {
    let library = folder.path().join(Path::new(source).with_extension("so"));
    let source = PathBuf::from(format!("{VERIFY}/plugins/{source}"));
    succeed(self::compiler(compiler, options, &source).arg("-o").arg(&library));
    library
}

/// A compiler of a library in C, to which warnings are errors.
pub(crate) fn compiler(compiler: &str, options: &[&str], source: &Path) -> Command {
    let mut command = Command::new(compiler);
    command.args(options).args(STRICT).arg(format!("-I{VERIFY}/include")).arg(source);
    command
}

/// The same of one in Rust.
pub(crate) fn rustc(source: &Path) -> Command {
    let mut command = Command::new("rustc");
    command
        .args([
            "-O",
            "-D",
            "warnings",
            "--edition",
            "2024",
            "--crate-type",
            "cdylib",
            "--crate-name",
            "kernel",
        ])
        .arg(source);
    command
}

/// The example plugin in Rust.
pub(crate) fn rust(folder: &TempDir, options: &[&str]) -> PathBuf {
    let library = folder.path().join("rust.so");
    let source = PathBuf::from(format!("{VERIFY}/plugins/rust/src/lib.rs"));
    succeed(rustc(&source).args(options).arg("-o").arg(&library));
    library
}

pub(crate) fn succeed(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", shown(&output));
}

/// Whether there is such a program. If not, a skip is reported.
#[track_caller]
pub(crate) fn has(program: &str) -> bool {
    has_programs(&[program])
}

/// Whether this CPU can run the example with intrinsics. If not, a skip is reported.
#[track_caller]
pub(crate) fn has_avx2() -> bool {
    has_features(&["avx2", "fma"])
}

/// Whether this CPU has all of these features. If not, a skip is reported.
#[track_caller]
pub(crate) fn has_features(features: &[&str]) -> bool {
    let missing = missing_features(features);
    if !missing.is_empty() {
        skip(&missing);
    }
    missing.is_empty()
}

pub(crate) fn scratch() -> TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}
