//! A kernel that crashes the process leaves its case on standard error, and the exit code that was asked for.

use std::process::Command;
use std::sync::OnceLock;
use std::thread::ThreadId;
use std::time::Duration;

use qk256_verify::memory::fault;
use qk256_verify::operation::Operation;
use qk256_verify::{Arguments, Case, Domain, Harness, KernelFn, Outcome};

/// How long a call may take that is not to hang: longer than any machine is busy with something else.
const LONG: Duration = Duration::from_secs(300);

/// How long a call may take that never returns. It is the first of its process, so that no other can be too slow for this limit.
const SHORT: Duration = Duration::from_millis(300);

/// Set in the process that crashes.
const CHILD: &str = "QK256_CRASH_TEST_CHILD";

/// Crashes on every thread but the first, and does worse at some lengths.
const WILD: KernelFn = KernelFn {
    name: "wild",
    domain: Domain::new(Operation::Unpack),
    required_features: &[],
    refuses_wrong_sizes: false,
    call: |arguments| {
        static FIRST: OnceLock<ThreadId> = OnceLock::new();
        let here = std::thread::current().id();
        let Arguments { packed, out_bytes: codes, .. } = arguments;
        (0..codes.len()).for_each(|at| codes[at] = packed[at / 4] >> (2 * (at % 4)) & 3);
        if *FIRST.get_or_init(|| here) != here || codes.len() == 300 {
            let nowhere = std::hint::black_box(std::ptr::without_provenance_mut::<u8>(4096));
            // SAFETY: deliberately not: page one is never mapped, and the crash is what the test is about.
            unsafe { nowhere.write_volatile(1) };
        }
        match codes.len() {
            302 => loop {
                std::hint::spin_loop();
            },
            303 => std::process::exit(0),
            304 => std::process::abort(),
            _ => {}
        }
        Outcome::Done
    },
};

/// Runs the test `name` again in a process of its own, which is to crash on `case`.
fn crash(name: &str, case: &str, cause: &str) {
    crash_within(LONG, name, case, cause);
}

/// The same, where a call may take so long.
fn crash_within(limit: Duration, name: &str, case: &str, cause: &str) {
    if std::env::var_os(CHILD).is_some() {
        fault::exit_after_crash(1, limit);
        let case: Case = case.parse().expect("the test's own case parses");
        let _ = Harness::new(None).findings(&WILD, &case);
        unreachable!("the kernel crashes");
    }
    let itself = std::env::current_exe().expect("a test knows its own path");
    let child = Command::new(itself).args([name, "--exact", "--nocapture"]).env(CHILD, "1").output();
    let child = child.expect("a test can start itself");
    let printed = String::from_utf8_lossy(&child.stderr);
    assert_eq!(child.status.code(), Some(1), "{printed}");
    for part in [cause, &format!("qk256 replay --kernel wild {case}")] {
        assert!(printed.contains(part), "`{part}` is not in: {printed}");
    }
}

#[test]
fn a_crash_far_from_any_buffer_leaves_the_case_and_the_exit_code() {
    crash(
        "a_crash_far_from_any_buffer_leaves_the_case_and_the_exit_code",
        "unpack len=300 dist=unit seed=0",
        "SIGSEGV",
    );
}

#[test]
fn so_does_a_crash_on_another_thread() {
    crash("so_does_a_crash_on_another_thread", "unpack len=301 dist=unit seed=0 threads=2", "SIGSEGV");
}

#[test]
fn so_does_a_call_that_does_not_return() {
    let name = "so_does_a_call_that_does_not_return";
    crash_within(SHORT, name, "unpack len=302 dist=unit seed=0", "finding: hang");
}

#[test]
fn so_does_a_call_that_ends_the_process_as_if_all_were_well() {
    let name = "so_does_a_call_that_ends_the_process_as_if_all_were_well";
    crash(name, "unpack len=303 dist=unit seed=0", "finding: exit");
}

#[test]
fn so_does_a_call_that_aborts() {
    crash("so_does_a_call_that_aborts", "unpack len=304 dist=unit seed=0", "SIGABRT");
}
