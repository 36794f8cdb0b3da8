//! A kernel of one's own in a test of one's own.

use std::panic::catch_unwind;

use qk256_verify::{Arguments, KernelFn, Operation, Outcome, assert_right};

/// One code a byte, as the format says.
const RIGHT: KernelFn = KernelFn {
    name: "mine",
    operation: Operation::Unpack,
    required_features: &[],
    refuses_wrong_sizes: false,
    call: |arguments| {
        let Arguments::Unpack { packed, codes } = arguments else { return Outcome::Unsupported };
        codes.iter_mut().enumerate().for_each(|(at, code)| *code = packed[at / 4] >> (2 * (at % 4)) & 3);
        Outcome::Done
    },
};

/// The same, but for the last of 33 codes.
const WRONG: KernelFn = KernelFn {
    call: |arguments| match arguments {
        Arguments::Unpack { packed, codes } if codes.len() % 64 == 33 => {
            let last = codes.len() - 1;
            (RIGHT.call)(Arguments::Unpack { packed, codes: &mut codes[..last] });
            codes[last] = 0;
            Outcome::Done
        }
        other => (RIGHT.call)(other),
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
    let said = panic.downcast_ref::<String>().expect("a panic with a text");
    for part in ["mine unpack violates `bit-exact`", "QK256_CASE='unpack len=33 ", "cargo test"] {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
}
