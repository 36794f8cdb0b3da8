//! `qk256 certify` as its users meet it.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use assert_cmd::Command;
use qk256_verify::certificate::is_possible;
use serde_json::Value;

fn qk256(words: &[&str]) -> Command {
    let mut command = Command::cargo_bin("qk256").expect("the binary is built with its tests");
    command.arg("certify").args(words);
    command
}

/// Standard output and standard error of a run that must end with `code`.
fn run(words: &[&str], code: i32) -> (String, String) {
    let output = qk256(words).output().expect("the command starts");
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert_eq!(output.status.code(), Some(code), "qk256 certify {words:?}\n{out}\n{err}");
    (out, err)
}

/// Whether calls can be followed and valgrind is there; the skip is reported otherwise.
fn can_certify() -> bool {
    if !is_possible() {
        qk256_skip::skip(&["a CPU whose trap flag works"]);
    }
    is_possible() && qk256_skip::has_programs(&["valgrind"])
}

#[test]
fn a_right_kernel_is_certified_with_its_code_and_what_was_assumed() {
    if !can_certify() {
        return;
    }
    let (text, _) = run(&["scalar", "--op", "gemv", "--rows", "2", "--cols", "40"], 0);
    for part in ["certified", "sha256", "addresses", "80 products", "depth", "assumed"] {
        assert!(text.contains(part) || part == "depth" && text.contains("additions"), "{part}: {text}");
    }
}

#[test]
fn each_shape_has_a_line_of_json() {
    if !can_certify() {
        return;
    }
    let (text, _) = run(&["scalar", "--op", "unpack", "--cols", "7..9", "--json"], 0);
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect();
    let columns: Vec<u64> = lines.iter().map(|line| line["cols"].as_u64().expect("a number")).collect();
    assert_eq!(columns, [7, 8, 9]);
    for line in lines {
        assert_eq!((&line["verdict"], &line["memcheck"]), (&"certified".into(), &"clean".into()), "{line}");
    }
}

#[test]
fn a_refused_kernel_has_the_instruction_at_fault() {
    if !can_certify() {
        return;
    }
    let (text, _) = run(&["scalar", "--op", "gemv_fixed", "--rows", "2", "--cols", "40"], 1);
    assert!(text.starts_with("refused") && text.contains("instructions") && text.contains("at "), "{text}");
}

#[test]
fn without_valgrind_the_package_is_named() {
    let output =
        qk256(&["scalar", "--cols", "40"]).env("PATH", "/nowhere").output().expect("the command starts");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert!(err.contains("valgrind is not installed") && err.contains("the package is `valgrind`"), "{err}");
}

#[test]
fn what_makes_no_sense_is_bad_usage() {
    if !can_certify() {
        return;
    }
    for (words, part) in [
        (&["scalar", "--cols", "0"][..], "from 1 on"),
        (&["scalar", "--cols", "9..7"], "from 1 on"),
        (&["no-such-kernel", "--cols", "7"], "no-such-kernel"),
        (&["scalar", "--op", "unpack", "--cols", "7", "--scaled"], "--scaled"),
    ] {
        let (_, err) = run(words, 2);
        assert!(err.contains(part), "{words:?}: {err}");
    }
}
