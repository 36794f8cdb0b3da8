//! A kernel that takes the process down leaves its case on standard error, and the exit code that was asked for.

use std::process::Command;

use qk256_verify::memory::fault;
use qk256_verify::operation::Operation;
use qk256_verify::{Arguments, Case, Harness, Kernel, Outcome};

/// Set in the process that crashes.
const CHILD: &str = "QK256_CRASH_TEST_CHILD";

struct Wild;

impl Kernel for Wild {
    fn name(&self) -> &str {
        "wild"
    }

    fn operation(&self) -> Operation {
        Operation::Unpack
    }

    fn call(&self, _arguments: Arguments<'_>) -> Outcome {
        let nowhere = std::hint::black_box(std::ptr::without_provenance_mut::<u8>(4096));
        // SAFETY: deliberately not: page one is never mapped, and the crash is what the test is about.
        unsafe { nowhere.write_volatile(1) };
        Outcome::Done
    }
}

#[test]
fn a_crash_far_from_any_buffer_leaves_the_case_and_the_exit_code() {
    let name = "a_crash_far_from_any_buffer_leaves_the_case_and_the_exit_code";
    if std::env::var_os(CHILD).is_some() {
        fault::exit_after_crash(1);
        let _ = Harness::new(None).findings(&Wild, &Case::new(Operation::Unpack, 1, 300));
        unreachable!("the kernel crashes");
    }
    let itself = std::env::current_exe().expect("a test knows its own path");
    let child = Command::new(itself).args([name, "--exact", "--nocapture"]).env(CHILD, "1").output();
    let child = child.expect("a test can start itself");
    let said = String::from_utf8_lossy(&child.stderr);
    assert_eq!(child.status.code(), Some(1), "{said}");
    for part in ["SIGSEGV", "qk256 replay --kernel wild unpack len=300 regime=unit seed=0"] {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
}
