//! What a machine can do at best: less than the work of a kernel, to measure the kernel against.

use qk256_verify::{Arguments, Kernel, Operation, Outcome};

/// The name of [`StoreFill`].
pub const STORE_FILL: &str = "store_fill";

/// Writes as much as `dequantize` and reads nothing: the same value everywhere. Not a kernel that any check would pass.
#[derive(Clone, Copy, Debug)]
pub struct StoreFill;

impl Kernel for StoreFill {
    fn name(&self) -> &str {
        STORE_FILL
    }

    fn operation(&self) -> Operation {
        Operation::Dequantize
    }

    fn refuses_wrong_sizes(&self) -> bool {
        false
    }

    fn call(&self, arguments: Arguments<'_>) -> Outcome {
        let Arguments::Dequantize { scales: [scale, ..], out, .. } = arguments else {
            return Outcome::Unsupported;
        };
        fill(out, *scale);
        Outcome::Done
    }
}

/// Fills with the widest stores that the kernels use too.
#[cfg(target_arch = "x86_64")]
fn fill(out: &mut [f32], value: f32) {
    #[target_feature(enable = "avx2")]
    fn entered(out: &mut [f32], value: f32) {
        out.fill(value);
    }
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has AVX2, as just detected.
        unsafe { entered(out, value) }
    } else {
        out.fill(value);
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn fill(out: &mut [f32], value: f32) {
    out.fill(value);
}
