//! Scalar, AVX2 and AVX-VNNI kernels for QK256, a 2-bit block-quantised weight format.
//!
//! A block is [`BLOCK_LEN`] elements in [`BLOCK_BYTES`] bytes. Byte `i` of a block holds the elements
//! `4 * i .. 4 * i + 4`, two bits each, least significant bits first; the code `c` stands for the weight
//! [`WEIGHTS`]`[c]`. No code stands for zero, so the padding of a last block is never neutral: it may be read
//! and must not matter. A block may carry one f32 scale.
//!
//! # Operations
//! Six operations, with the same signatures in every implementation:
//!
//! | operation | result |
//! | --- | --- |
//! | `unpack` | `codes[i]` = the 2-bit code of element `i` |
//! | `lut` | `weights[i] = WEIGHTS[codes[i] & 3]`, the stage between unpacking and multiplying |
//! | `dequantize` | `out[i] = weight[i] * scale[i / 256]` |
//! | `gemv` | `y[r]` = the sum over `c` of `weight[r, c] * x[c]` |
//! | `gemm` | `gemv` of each vector of a [`Batch`], bit for bit |
//! | `gemv_fixed` | as `gemv` without scales, `x` in fixed point ([`Activations`]): exact sums, rounded once |
//!
//! A quantiser, of which there is one implementation, makes codes and scales of f32 values: [`quantize()`].
//!
//! A `gemv` with scales takes the weights that `dequantize` gives, weight times scale. That product is exact,
//! down to subnormals, unless it overflows: a scale beyond `f32::MAX / 2` makes a weight of 2 infinite.
//!
//! The output's length says how much is asked for (products: the matrix does). Buffers longer than needed are
//! legal everywhere; their excess is neither written nor of any influence. Wrong sizes are refused with a
//! [`SizeError`] before any memory is touched. Outputs are overwritten, never accumulated into.
//!
//! # Implementations
//! [`scalar`] is the definition, [`fast_scalar`] what a compiler makes of scalar code, `avx2` and `avx_vnni` (on
//! x86-64) are written with intrinsics. [`Kernels`] picks one at run time. All of them give the same bits for
//! `unpack`, `lut`, `dequantize` and `gemv_fixed`; `gemv` sums in f32, in an order that each implementation states.
//! Within one implementation a row's bits depend on that row's bytes, its scales and `x` alone: not on where the row
//! stands, nor on addresses, nor on what the buffers held before, nor (feature `rayon`) on the number of threads.
//!
//! ```
//! use qk256_kernels::{Kernels, Matrix, BLOCK_BYTES};
//!
//! // Two rows of 3 columns: the weights -2, -1, 1 and 2, 2, 2. The other codes of the blocks are padding.
//! let mut packed = [0; 2 * BLOCK_BYTES];
//! packed[0] = 0b10_01_00;
//! packed[BLOCK_BYTES] = 0b11_11_11;
//! let matrix = Matrix::new(&packed, 2, 3, BLOCK_BYTES)?;
//!
//! let mut y = [0.0; 2];
//! Kernels::detect().gemv(&matrix, &[1.0, 10.0, 100.0], &mut y)?;
//! assert_eq!(y, [88.0, 222.0]);
//! # Ok::<(), qk256_kernels::SizeError>(())
//! ```

pub mod activations;
#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "x86_64")]
pub mod avx_vnni;
mod batch;
mod dispatch;
pub mod fast_scalar;
pub mod format;
mod functions;
mod level;
mod matrix;
#[cfg(feature = "rayon")]
pub mod parallel;
pub mod quantize;
pub mod scalar;
mod size;

pub use activations::{Activations, ActivationsError, Digits};
pub use batch::Batch;
pub use dispatch::{Kernels, Unsupported};
pub use format::{BLOCK_BYTES, BLOCK_LEN, CODES_PER_BYTE, Packed, WEIGHTS, blocks};
pub use level::Level;
pub use matrix::Matrix;
pub use quantize::{QuantizeError, quantize, quantize_matrix};
pub use size::{Buffer, SizeError};
