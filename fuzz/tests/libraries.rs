//! Fuzz targets on shared libraries, replaying the seeds: right kernels pass, a wrong one is found with the command that shows it again,
//! and what is no library for a target is refused.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use qk256_fuzz::{FORMATS, LIBRARIES};
use qk256_skip::{has_programs, skip};
use qk256_verify::kernel::missing_features;
use tempfile::TempDir;

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

const GEMV: &str = env!("CARGO_BIN_EXE_gemv");
const GEMV_SCALED: &str = env!("CARGO_BIN_EXE_gemv_scaled");
const DOT: &str = env!("CARGO_BIN_EXE_dot");
const ARGUMENTS: &str = env!("CARGO_BIN_EXE_arguments");
const CASE_TEXT: &str = env!("CARGO_BIN_EXE_case_text");

/// Builds a plugin of `verify/plugins`.
fn build(folder: &TempDir, source: &str, name: &str, options: &[&str]) -> PathBuf {
    let library = folder.path().join(name);
    let mut command = Command::new("cc");
    command.args(["-O2", "-std=c11", "-fPIC", "-shared"]).args(options);
    command.arg(format!("-I{REPOSITORY}/verify/include"));
    command.arg(format!("{REPOSITORY}/verify/plugins/{source}")).arg("-o").arg(&library);
    assert!(command.status().expect("cc starts").success(), "{command:?}");
    library
}

/// Replays the seeds of the target of a program on libraries, in a folder where it may leave what it likes.
fn replay(folder: &TempDir, program: &str, libraries: &[&Path], formats: &str) -> (Option<i32>, String) {
    let name = Path::new(program).file_name().expect("a program has a name").to_string_lossy().into_owned();
    let mut command = Command::new(program);
    command.arg("-runs=0").arg(format!("{REPOSITORY}/corpus/{name}")).current_dir(folder.path());
    command.env(LIBRARIES, std::env::join_paths(libraries).expect("paths without colons"));
    command.env(FORMATS, formats);
    ended(&mut command)
}

/// The exit code and what was printed.
fn ended(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    let printed = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (status.code(), printed)
}

fn scratch() -> TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}

/// Whether the plugins with AVX2 can be built and run here. If not, a skip is reported.
#[track_caller]
fn can_run_avx2() -> bool {
    let missing = missing_features(&["avx2", "fma", "f16c"]);
    if !missing.is_empty() {
        skip(&missing);
    }
    missing.is_empty()
}

#[test]
fn right_kernels_of_a_library_pass_and_keep_what_they_require() {
    if !has_programs(&["cc"]) || !can_run_avx2() {
        return;
    }
    let folder = scratch();
    let plain = build(&folder, "plain.c", "plain.so", &[]);
    let q4_0 = build(&folder, "q4_0_q8_0.c", "q4_0.so", &[]);
    let i2_s = build(&folder, "i2_s_i8.c", "i2_s.so", &["-DDECLARED_TERNARY"]);
    let rows: &[(&str, &[&Path])] = &[
        (GEMV, &[&plain]),
        (GEMV_SCALED, &[&plain]),
        (DOT, &[&q4_0, &i2_s, &plain]),
        (ARGUMENTS, &[&plain, &q4_0, &i2_s]),
    ];
    for (program, libraries) in rows {
        let (code, printed) = replay(&folder, program, libraries, "");
        assert_eq!(code, Some(0), "{program} {libraries:?}: {printed}");
        assert!(printed.contains("DONE"), "{program} {libraries:?}: {printed}");
    }
}

#[test]
fn a_fault_of_a_library_is_found_with_the_command_that_shows_it_again() {
    if !has_programs(&["cc"]) {
        return;
    }
    let folder = scratch();
    let library = build(&folder, "plain.c", "bug.so", &["-DQK256_BUG"]);
    let (code, printed) = replay(&folder, GEMV, &[&library], "");
    assert!(code != Some(0), "{printed}");
    assert!(printed.contains("finding: plain gemv violates `exact-regime`"), "{printed}");
    let shown = library.canonicalize().expect("it was built");
    let again =
        format!("  again:   qk256 replay --lib {} --kernel plain gemv rows=1 cols=7 ", shown.display());
    assert!(printed.contains(&again), "no `{again}`: {printed}");
}

#[test]
fn a_crash_of_a_library_is_reported_with_the_command_that_shows_it_again() {
    if !has_programs(&["cc"]) {
        return;
    }
    let folder = scratch();
    let library = build(&folder, "faults.c", "null.so", &["-DFAULT_NULL"]);
    let (code, printed) = replay(&folder, GEMV, &[&library], "");
    assert!(code != Some(0) && printed.contains("finding: crash"), "{printed}");
    assert!(printed.contains("null.so --kernel faults gemv rows="), "{printed}");
}

#[test]
fn a_fault_of_one_library_is_found_beside_a_right_kernel_of_the_same_name() {
    if !has_programs(&["cc"]) || !can_run_avx2() {
        return;
    }
    let folder = scratch();
    let right = build(&folder, "q4_0_q8_0.c", "right.so", &[]);
    let wrong = build(&folder, "q4_0_q8_0.c", "wrong.so", &["-DFAULT_NIBBLES"]);
    let (code, printed) = replay(&folder, DOT, &[&right, &wrong], "");
    assert!(code != Some(0) && printed.contains("wrong.so --kernel c_q4_0 dot "), "{printed}");
    assert!(!printed.contains("right.so --kernel"), "{printed}");
}

#[test]
fn what_is_no_library_for_a_target_ends_it_with_one_line() {
    if !has_programs(&["cc"]) {
        return;
    }
    let folder = scratch();
    let plain = build(&folder, "plain.c", "plain.so", &[]);
    let missing = folder.path().join("missing.so");
    let none = "the libraries have no kernel for the fuzz target";
    let rows: &[(&str, &Path, &str, &str)] = &[
        (GEMV, &missing, "", "gemv: cannot load "),
        (GEMV, Path::new("/dev/null"), "", "gemv: cannot load /dev/null"),
        (DOT, &plain, "", &format!("dot: {none} `dot`; they have kernels for unpack, dequantize, gemv, ")),
        (CASE_TEXT, &plain, "", &format!("case_text: {none} `case_text`; ")),
        (GEMV, &plain, "q4_0", &format!("gemv: {none} `gemv`; none of theirs is chosen")),
        (GEMV, &plain, "q9", "gemv: `q9` is not a format; "),
        (GEMV, &plain, "missing.toml", "gemv: cannot read the format of missing.toml"),
    ];
    for (program, library, formats, line) in rows {
        let (code, printed) = replay(&folder, program, &[library], formats);
        assert_eq!(code, Some(2), "{line}: {printed}");
        let lines = printed.lines().filter(|printed| printed.starts_with(line)).count();
        assert_eq!(lines, 1, "`{line}`: {printed}");
    }
}
