//! A custom kernel in a test of its author.

use std::panic::catch_unwind;
use std::process::Command;

use qk256_verify::own::FORBID_SKIPS;
use qk256_verify::{Arguments, Domain, KernelFn, Operation, Outcome, assert_right, assert_right_or_skip};

/// One code a byte, as the format says.
const RIGHT: KernelFn = KernelFn {
    name: "mine",
    domain: Domain::new(Operation::Unpack),
    required_features: &[],
    refuses_wrong_sizes: false,
    call: |arguments| {
        let Arguments { packed, out_bytes: codes, .. } = arguments;
        codes.iter_mut().enumerate().for_each(|(at, code)| *code = packed[at / 4] >> (2 * (at % 4)) & 3);
        Outcome::Done
    },
};

/// The same, but for the last of 33 codes.
const WRONG: KernelFn = KernelFn {
    call: |mut arguments| {
        let len = arguments.out_bytes.len();
        let outcome = (RIGHT.call)(arguments.reborrow());
        if len % 64 == 33 {
            arguments.out_bytes[len - 1] = 0;
        }
        outcome
    },
    ..RIGHT
};

#[test]
fn a_right_kernel_passes() {
    assert_right(&RIGHT);
}

#[test]
fn a_wrong_kernel_panics_with_findings_and_the_command_to_see_them_again() {
    let panic = catch_unwind(|| assert_right(&WRONG)).expect_err("the kernel is wrong");
    let printed = panic.downcast_ref::<String>().expect("a panic with a text");
    for part in ["mine unpack violates `", "QK256_CASE='unpack len=33 ", "cargo test"] {
        assert!(printed.contains(part), "`{part}` is not in: {printed}");
    }
}

/// A feature of another architecture: no CPU that runs this has it.
const MISSING: &[&str] = if cfg!(target_arch = "x86_64") { &["neon"] } else { &["avx2"] };

/// What a call that must panic says.
fn panic_of(call: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let panic = catch_unwind(call).expect_err("it must panic");
    panic.downcast_ref::<String>().expect("a panic with a text").clone()
}

#[test]
fn a_name_that_is_no_cpu_feature_panics_with_the_known_ones_and_is_never_skipped() {
    for name in ["avx_2", "avx512", "AVX2", "sse4"] {
        let features: &'static [&'static str] = Box::leak(Box::new([name]));
        for assert in [assert_right, assert_right_or_skip] {
            let printed = panic_of(|| assert(&KernelFn { required_features: features, ..RIGHT }));
            for part in [&format!("no CPU feature `{name}`"), " avx2 ", " avx512ifma ", " neon "] {
                assert!(printed.contains(part), "`{part}` is not in: {printed}");
            }
        }
    }
}

#[test]
fn a_missing_feature_panics_where_a_skip_was_not_chosen() {
    let printed = panic_of(|| assert_right(&KernelFn { required_features: MISSING, ..RIGHT }));
    let expected = format!("mine unpack cannot be checked: this CPU lacks {}", MISSING[0]);
    assert!(printed.contains(&expected) && printed.contains("assert_right_or_skip"), "{printed}");
}

#[test]
fn a_chosen_skip_is_reported_and_can_be_forbidden() {
    let name = "a_chosen_skip_is_reported_and_can_be_forbidden";
    if std::env::var_os("QK256_OWN_TEST_CHILD").is_some() {
        return assert_right_or_skip(&KernelFn { required_features: MISSING, ..WRONG });
    }
    for (value, forbidden) in [("", false), ("cc", false), (MISSING[0], true), ("1", true)] {
        let itself = std::env::current_exe().expect("a test knows its own path");
        let mut command = Command::new(itself);
        command.args([name, "--exact", "--test-threads", "2"]);
        command.env("QK256_OWN_TEST_CHILD", "1").env(FORBID_SKIPS, value);
        let output = command.output().expect("a test can start itself");
        assert_eq!(output.status.success(), !forbidden, "{FORBID_SKIPS}={value}");
        let line = format!("skipped: {name} (mine unpack) needs {}\n", MISSING[0]);
        assert_eq!(
            String::from_utf8_lossy(&output.stderr).contains(&line),
            !forbidden,
            "{FORBID_SKIPS}={value}"
        );
    }
}

#[test]
fn a_kernel_that_this_cpu_can_run_is_checked_by_either() {
    assert_right_or_skip(&RIGHT);
    assert!(panic_of(|| assert_right_or_skip(&WRONG)).contains("mine unpack violates `"));
}
