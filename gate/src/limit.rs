//! What a machine can do at best: less than the work of a kernel, to measure the kernel against. None of these would pass any
//! check.

use qk256_verify::{Arguments, Domain, Kernel, Operation, Outcome};

/// The name of the limit of the vector operations.
pub(crate) const STORE_FILL: &str = "store_fill";

/// The name of the limit of gemv.
pub(crate) const FMA_PEAK: &str = "fma_peak";

/// The limits of all operations that have one.
pub(crate) fn limits() -> Vec<Box<dyn Kernel>> {
    let fills = [Operation::Unpack, Operation::Lut, Operation::Dequantize];
    let mut limits: Vec<Box<dyn Kernel>> =
        fills.into_iter().map(|operation| Box::new(StoreFill(operation)) as Box<dyn Kernel>).collect();
    limits.push(Box::new(FmaPeak));
    limits
}

/// Whether a kernel of this name is a limit.
pub(crate) fn is_limit(name: &str) -> bool {
    [STORE_FILL, FMA_PEAK].contains(&name)
}

/// Writes as much as a vector operation and reads nothing: the same value everywhere.
#[derive(Clone, Copy, Debug)]
struct StoreFill(Operation);

impl Kernel for StoreFill {
    fn name(&self) -> &str {
        STORE_FILL
    }

    fn domain(&self) -> Domain {
        Domain::new(self.0)
    }

    fn refuses_wrong_sizes(&self) -> bool {
        false
    }

    fn call(&self, arguments: Arguments<'_>) -> Outcome {
        let Arguments { packed, codes, scales, out_bytes, out, .. } = arguments;
        match (self.0, packed, codes, scales) {
            (Operation::Unpack, [byte, ..], ..) => fill(out_bytes, *byte),
            (Operation::Lut, _, [code, ..], _) => fill(out, f32::from(*code)),
            (Operation::Dequantize, .., Some([scale, ..])) => fill(out, *scale),
            _ => return Outcome::Unsupported,
        }
        Outcome::Done
    }
}

/// As many multiplications and additions as a gemv, on registers: no weights, no activations, nothing decoded.
#[derive(Clone, Copy, Debug)]
struct FmaPeak;

impl Kernel for FmaPeak {
    fn name(&self) -> &str {
        FMA_PEAK
    }

    fn domain(&self) -> Domain {
        Domain::new(Operation::Gemv)
    }

    fn refuses_wrong_sizes(&self) -> bool {
        false
    }

    fn call(&self, arguments: Arguments<'_>) -> Outcome {
        let Arguments { x: [x, ..], out: y, rows, cols, .. } = arguments else {
            return Outcome::Unsupported;
        };
        y.fill(fused(rows * cols, *x));
        Outcome::Done
    }
}

/// Fills with the widest stores that the kernels use too.
#[cfg(target_arch = "x86_64")]
fn fill<T: Copy>(out: &mut [T], value: T) {
    #[target_feature(enable = "avx2")]
    fn entered<T: Copy>(out: &mut [T], value: T) {
        for out in out {
            *out = value;
        }
    }
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has AVX2, as just detected.
        unsafe { entered(out, value) }
    } else {
        out.fill(value);
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn fill<T: Copy>(out: &mut [T], value: T) {
    out.fill(value);
}

/// The sum of N products of `x`, in enough sums to hide the latency of one.
#[cfg(target_arch = "x86_64")]
fn fused(terms: usize, x: f32) -> f32 {
    use std::arch::x86_64::*;

    /// Sums, of eight lanes each.
    const SUMS: usize = 12;

    #[target_feature(enable = "avx2,fma")]
    fn entered(terms: usize, x: f32) -> f32 {
        let x = _mm256_set1_ps(x);
        let mut sums = [_mm256_setzero_ps(); SUMS];
        for _ in 0..terms / (8 * SUMS) {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(x, x, *sum);
            }
        }
        let sum = sums.into_iter().reduce(|a, b| _mm256_add_ps(a, b)).expect("there are sums");
        _mm256_cvtss_f32(sum)
    }
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the CPU has AVX2 and FMA, as just detected.
        unsafe { entered(terms, x) }
    } else {
        terms as f32 * x
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn fused(terms: usize, x: f32) -> f32 {
    terms as f32 * x
}
