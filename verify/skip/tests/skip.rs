//! What a skip looks like from outside: a test of this file runs again in a process of its own.

use std::process::{Command, Output};

use qk256_skip::{FORBID_SKIPS, has_programs, skip, skip_part};

/// Set in the process that skips.
const CHILD: &str = "QK256_SKIP_TEST_CHILD";

/// Runs the test `name` again, with this value of the variable.
fn again(name: &str, value: &str) -> Output {
    let itself = std::env::current_exe().expect("a test knows its own path");
    let mut command = Command::new(itself);
    // Two threads, so that the test has one of its own: its name.
    command.args([name, "--exact", "--test-threads", "2"]).env(CHILD, "1").env(FORBID_SKIPS, value);
    command.output().expect("a test can start itself")
}

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

#[test]
fn a_skip_is_a_line_on_standard_error_although_the_test_passes() {
    let name = "a_skip_is_a_line_on_standard_error_although_the_test_passes";
    if is_child() {
        skip(&["qemu-none", "avx9"]);
        return skip_part("one of two", &["cobol"]);
    }
    for value in ["", "0", "cc,avx2"] {
        let output = again(name, value);
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{value}: {printed}");
        assert!(printed.contains(&format!("skipped: {name} needs qemu-none, avx9\n")), "{value}: {printed}");
        assert!(
            printed.contains(&format!("skipped: {name} (one of two) needs cobol\n")),
            "{value}: {printed}"
        );
    }
}

#[test]
fn a_forbidden_skip_fails_and_names_what_is_missing() {
    let name = "a_forbidden_skip_fails_and_names_what_is_missing";
    if is_child() {
        return assert!(!has_programs(&["rustc", "qk256-no-such-program"]));
    }
    for value in ["1", "avx2,qk256-no-such-program"] {
        let output = again(name, value);
        let printed = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(101), "{value}: {printed}");
        let message = format!(
            "{name} needs qk256-no-such-program, and {FORBID_SKIPS}={value} forbids skips for qk256-no-such-program"
        );
        assert!(printed.contains(&message), "{value}: {printed}");
    }
    assert!(again(name, "rustc").status.success(), "a program that is there is not skipped for");
}
