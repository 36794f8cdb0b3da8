//! Kernels whose path depends on their data, in one way each: valgrind must see every one of them.

use std::hint::black_box;

use qk256_verify::{Arguments, Domain, KernelFn, Operation, Outcome};

/// A weight for each byte: too many for a register.
static TABLE: [f32; 256] = [1.0; 256];

/// Counts codes of 3, by a branch on each.
const BRANCH_ON_A_CODE: KernelFn = KernelFn {
    name: "branch_on_a_code",
    domain: Domain::new(Operation::Unpack),
    required_features: &[],
    refuses_wrong_sizes: false,
    call: |arguments| {
        let Arguments { packed, out_bytes: codes, .. } = arguments;
        for (i, code) in codes.iter_mut().enumerate() {
            *code = packed[i / 4] >> (2 * (i % 4)) & 3;
            if *code == 3 {
                black_box(i);
            }
        }
        Outcome::Done
    },
};

/// Looks each code up.
const ADDRESS_OF_A_CODE: KernelFn = KernelFn {
    name: "address_of_a_code",
    domain: Domain::new(Operation::Lut),
    call: |arguments| {
        let Arguments { codes, out: weights, .. } = arguments;
        for (weight, code) in weights.iter_mut().zip(codes) {
            *weight = black_box(&TABLE)[usize::from(*code)];
        }
        Outcome::Done
    },
    ..BRANCH_ON_A_CODE
};

/// Asks whether a scale is zero.
const BRANCH_ON_A_SCALE: KernelFn = KernelFn {
    name: "branch_on_a_scale",
    domain: Domain::new(Operation::Dequantize),
    call: |arguments| {
        let Arguments { scales: Some(scales), out, .. } = arguments else { return Outcome::Unsupported };
        for (i, out) in out.iter_mut().enumerate() {
            *out = scales[i / 256];
            if *out == 0.0 {
                black_box(i);
            }
        }
        Outcome::Done
    },
    ..BRANCH_ON_A_CODE
};

/// Leaves out zeros of x.
const BRANCH_ON_X: KernelFn = KernelFn {
    name: "branch_on_x",
    domain: Domain::new(Operation::Gemv),
    call: |arguments| {
        let Arguments { x, out: y, cols, .. } = arguments;
        y.fill(x[..cols].iter().filter(|x| **x != 0.0).map(|x| black_box(*x)).sum());
        Outcome::Done
    },
    ..BRANCH_ON_A_CODE
};

/// All of them.
pub(crate) const CANARIES: [KernelFn; 4] =
    [BRANCH_ON_A_CODE, ADDRESS_OF_A_CODE, BRANCH_ON_A_SCALE, BRANCH_ON_X];
