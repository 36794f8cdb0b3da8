//! What a kernel does to the process that it runs in, and what somebody else does to it.

use std::process::Command;

use qk256_skip::{skip, skip_part};
use serde_json::Value;

use super::faults::{
    CASES, Fault, c, check, check_in, expect, fault, has, has_avx2, limited, only, properties, qk256,
    scratch, shown, text,
};

#[test]
fn what_a_kernel_does_to_its_process_is_a_finding() {
    expect(&[
        only("NULL", "crash", "SIGSEGV"),
        only("TRAP", "crash", "SIGILL"),
        only("RECURSION", "crash", "SIGSEGV"),
        only("ABORT", "crash", "SIGABRT"),
        only("HEAP", "crash", "SIGABRT"),
        only("EXIT", "exit", "process"),
        Fault { besides: Some(&["output"]), ..only("CLOSE", "descriptors", "descriptor") },
        Fault { besides: Some(&["output"]), ..only("CLOSE_OUTPUT", "descriptors", "descriptor") },
        only("CLOSE_OTHERS", "descriptors", "descriptor"),
        only("CLOSE_STANDARD", "descriptors", "closes 3 file descriptors: 0, 1, 2"),
        only("CLOSE_ALL", "descriptors", "those of the harness among them"),
        only("KILL", "crash", "killed by SIGKILL"),
        only("PRINT", "output", "standard output"),
        only("PRINT_BUFFERED", "output", "standard output"),
    ]);
}

#[test]
fn a_kernel_that_needs_more_stack_than_thread_pools_give_is_distinguished_from_one_that_needs_little() {
    if !has("cc") {
        return;
    }
    let folder = scratch();
    let case = "gemv rows=1 cols=1024 dist=integer seed=0 stack=256 once";
    for (name, code, words) in
        [("STACK", 1, "the kernel crashes with a stack overflow"), ("LITTLE_STACK", 0, "pass")]
    {
        let library = fault(&folder, name);
        let replay =
            [&["replay", "--lib", text(&library)][..], &case.split(' ').collect::<Vec<_>>()].concat();
        let output = qk256(&replay);
        assert_eq!(output.status.code(), Some(code), "{name}: {}", shown(&output));
        assert!(shown(&output).contains(words), "{name}: {}", shown(&output));
    }
}

#[test]
fn a_kernel_that_closes_descriptors_is_blamed_and_no_other_is() {
    if !has("cc") {
        return;
    }
    let folder = scratch();
    for name in ["CLOSE_STANDARD", "CLOSE_ALL"] {
        let (report, printed) = check(&fault(&folder, name), &[], 1);
        assert_eq!(properties(&report), ["descriptors"], "{name}: {printed}");
        for kernel in report["kernels"].as_array().expect("kernels is a list") {
            let is_blamed = kernel["failed_cases"].as_u64() > Some(0);
            assert_eq!(is_blamed, kernel["operation"] == "gemv", "{name}: {kernel}");
            assert!(is_blamed || kernel["cases"] == 150, "the others lose no case, {name}: {kernel}");
        }
    }
}

#[test]
fn what_somebody_else_does_to_the_process_is_no_finding() {
    if !has("cc") {
        return;
    }
    let folder = scratch();
    let mark = folder.path().join("mark");
    let library = fault(&folder, "KILLED_ONCE");
    let environment = [("QK256_TEST_MARK", text(&mark))];
    let (report, printed) = check_in(&environment, &[], CASES, &library, &["--jobs", "1"], 0);
    assert!(mark.exists(), "the process was killed: {printed}");
    assert_eq!(report["verdict"], "pass", "{printed}");
    assert_eq!(report["cases"], 450, "no case is lost: {printed}");
    let notes = report["notes"].as_array().expect("notes is a list");
    let note = notes.first().and_then(Value::as_str).unwrap_or_default();
    assert!(notes.len() == 1 && note.contains("SIGKILL"), "{printed}");
    assert!(printed.contains(&format!("note: {note}")), "{printed}");
}

#[test]
fn limits_of_the_system_are_no_findings() {
    if !has("cc") {
        return;
    }
    let folder = scratch();
    let library = c(&folder, "plain.c", &[]);
    for limits in ["ulimit -v 200000", "ulimit -v 300000", "ulimit -t 1", "ulimit -f 32"] {
        let (report, printed) = check_in(&[], &[limits], CASES, &library, &["--jobs", "1"], 0);
        assert_eq!(report["verdict"], "pass", "{limits}: {printed}");
        assert_eq!(report["harness_faults"], Value::Array(Vec::new()), "{limits}: {printed}");
    }
    let (report, printed) = check_in(&[], &["ulimit -v 200000"], CASES, &library, &["--jobs", "1"], 0);
    let note = report["notes"][0].as_str().unwrap_or_default();
    assert!(note.contains("too little address space") && note.contains("ulimit -v"), "{printed}");
}

#[test]
fn what_a_worker_lacks_is_named_and_the_library_is_not_blamed() {
    if !has("cc") {
        return;
    }
    let folder = scratch();
    let library = c(&folder, "plain.c", &[]);
    let check = ["check", "--no-speed", "--cases", "50", "--lib", text(&library)];
    for (limits, part) in [("ulimit -n 16", "raise the limit (ulimit -n 256)"), ("ulimit -f 0", "ulimit -f")]
    {
        let output = limited(&[], &[limits], &check);
        let printed = shown(&output);
        assert_eq!(output.status.code(), Some(2), "{limits}: {printed}");
        assert!(printed.starts_with("qk256: cannot start a worker for "), "{limits}: {printed}");
        assert!(
            printed.contains(part) && printed.lines().count() == 1,
            "{limits} must say `{part}`: {printed}"
        );
    }
    // No temporary file is needed.
    let output = limited(&[("TMPDIR", "/nonexistent")], &[], &check);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
}

#[test]
fn a_library_is_checked_where_dev_is_empty() {
    let folder = scratch();
    let is_allowed = Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "none", "/dev"]).output();
    if !is_allowed.is_ok_and(|output| output.status.success()) {
        return qk256_skip::skip(&["unshare and a mount in it"]);
    }
    if !has("cc") {
        return;
    }
    let library = c(&folder, "plain.c", &[]);
    let program = assert_cmd::cargo::cargo_bin("qk256");
    let script = "mount -t tmpfs none /dev && exec \"$0\" check --no-speed --cases 50 --lib \"$1\"";
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", script])
        .args([&program, &library])
        .output()
        .expect("unshare was there a moment ago");
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
}

#[test]
fn after_a_call_that_does_not_return_the_check_goes_on() {
    if !has("cc") {
        return;
    }
    let folder = scratch();
    // Each call that hangs takes as long; the others take microseconds, and longer only where the machine does other things.
    let (report, printed) = check(&fault(&folder, "LOOP"), &["--op", "gemv", "--timeout", "2s"], 1);
    assert_eq!(properties(&report), ["hang"], "{printed}");
    assert!(report["findings"][0]["case"].as_str().is_some_and(|case| case.contains("cols=33")), "{printed}");
    assert!(report["cases"].as_u64() >= Some(149), "the check goes on: {printed}");
}

#[test]
fn what_the_first_call_changes_in_the_process_is_a_finding() {
    let changes = |name, words| only(name, "process-state", words);
    let mut faults = vec![
        changes("HANDLER", "the action of SIGILL"),
        changes("MASK", "the signals that the thread blocks"),
        changes("SIGNAL_STACK", "the stack of signal handlers"),
        changes("ENVIRONMENT", "the environment (OMP_WAIT_POLICY)"),
        changes("LIMIT", "the limit RLIMIT_CORE"),
        changes("DIRECTORY", "the working directory"),
        changes("UMASK", "the umask"),
        changes("LOCALE", "the locale"),
        changes("NICE", "the priority"),
        changes("TIMER", "the interval timer"),
        changes("THREADS", "the number of threads"),
        only("OPEN", "descriptors", "/proc/cpuinfo"),
        only("ROUNDING", "mxcsr", "x87 control word 0x0b7f"),
    ];
    // Where there is one CPU, pinning a thread to it changes nothing.
    match std::thread::available_parallelism().map_or(1, usize::from) {
        1 => skip_part("AFFINITY", &["two CPUs"]),
        _ => faults.push(changes("AFFINITY", "the CPUs that the thread may run on")),
    }
    expect(&faults);
}

#[test]
fn what_is_not_whole_when_threads_make_the_first_call_is_a_finding() {
    expect(&[
        only("READY_TOO_EARLY", "first-call", "the first call of a process is stopped after"),
        only("FLAG_BEFORE_POINTER", "first-call", "the process dies of SIGSEGV"),
    ]);
}

#[test]
fn memory_that_calls_keep_is_a_finding() {
    expect(&[
        only("LEAK", "leak", "bytes a call"),
        only("LEAK_A_LITTLE", "leak", "bytes a call"),
        only("LEAK_MAPPING", "leak", "bytes a call"),
    ]);
}

#[test]
fn memory_that_calls_keep_on_large_matrices_alone_is_a_finding() {
    if !has("cc") {
        return;
    }
    let folder = scratch();
    let library = fault(&folder, "LEAK_WHERE_LARGE");
    for (rows, code) in [("rows=2", 0), ("rows=8", 1)] {
        let case = ["gemv", rows, "cols=1024", "dist=integer", "seed=1"];
        let seen = qk256(&[&["replay", "--lib", text(&library)], &case[..]].concat());
        assert_eq!(seen.status.code(), Some(code), "{rows}: {}", shown(&seen));
        assert_eq!(shown(&seen).contains("violates `leak`"), code == 1, "{rows}: {}", shown(&seen));
    }
}

#[test]
fn registers_that_a_call_must_preserve_are_seen() {
    if !cfg!(target_arch = "x86_64") {
        skip(&["x86_64"]);
        return;
    }
    let mut faults = vec![
        only("CLOBBER", "registers", "changes rbx, r14"),
        only("DIRECTION", "registers", "direction flag"),
        only("ALIGNED_STACK", "crash", "SIGILL"),
    ];
    if has_avx2() {
        faults.push(only("UPPER", "registers", "upper half of ymm3"));
    }
    expect(&faults);
}
