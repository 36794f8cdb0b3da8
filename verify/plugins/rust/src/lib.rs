//! A kernel in Rust behind the C ABI of qk256, `qk256_kernel.h`: every operation, slow and short. A place to start from.
//!
//! It uses no crate of qk256: it stands for a project that has its own code, and shares none with what judges it.
#![allow(clippy::too_many_arguments, reason = "the ABI has that many")]
#![allow(
    clippy::missing_safety_doc,
    reason = "the header says what callers owe: pointers and lengths that belong together"
)]

use std::ffi::{CStr, c_char};
use std::slice;

const BLOCK: usize = 256;
const BLOCK_BYTES: usize = 64;
const WEIGHTS: [f32; 4] = [-2.0, -1.0, 1.0, 2.0];

const NAME: &CStr = c"rust_example";

const ABI_VERSION: u32 = 1;
const CHECKS_SIZES: u32 = 1;
const DONE: i32 = 0;
const REFUSED: i32 = 2;

/// The version of the ABI.
#[unsafe(no_mangle)]
pub extern "C" fn qk256_abi_version() -> u32 {
    ABI_VERSION
}

/// The name in reports.
#[unsafe(no_mangle)]
pub extern "C" fn qk256_kernel_name() -> *const c_char {
    NAME.as_ptr()
}

/// Wrong sizes are refused.
#[unsafe(no_mangle)]
pub extern "C" fn qk256_flags() -> u32 {
    CHECKS_SIZES
}

/// `codes[i]` = the code of element `i`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qk256_unpack(
    packed: *const u8,
    packed_len: usize,
    codes: *mut u8,
    codes_len: usize,
) -> i32 {
    // SAFETY: the caller hands over `packed_len` readable bytes.
    let packed = unsafe { input(packed, packed_len) };
    // SAFETY: the caller hands over `codes_len` bytes to write, and nobody else looks at them.
    let codes = unsafe { output(codes, codes_len) };
    answer(unpack(packed, codes))
}

/// `out[i]` = the weight of element `i` times `scales[i / 256]`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qk256_dequantize(
    packed: *const u8,
    packed_len: usize,
    scales: *const f32,
    scales_len: usize,
    out: *mut f32,
    out_len: usize,
) -> i32 {
    // SAFETY: the caller hands over `packed_len` readable bytes.
    let packed = unsafe { input(packed, packed_len) };
    // SAFETY: the caller hands over `scales_len` readable floats.
    let scales = unsafe { input(scales, scales_len) };
    // SAFETY: the caller hands over `out_len` floats to write, and nobody else looks at them.
    let out = unsafe { output(out, out_len) };
    answer(dequantize(packed, scales, out))
}

/// `y[r]` = the product of row `r` and `x`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qk256_gemv(
    packed: *const u8,
    packed_len: usize,
    scales: *const f32,
    scales_len: usize,
    x: *const f32,
    x_len: usize,
    y: *mut f32,
    y_len: usize,
    rows: usize,
    cols: usize,
    row_stride: usize,
) -> i32 {
    // SAFETY: the caller hands over `packed_len` readable bytes.
    let packed = unsafe { input(packed, packed_len) };
    // Without scales the pointer is null, whatever the length; with scales the length may be 0.
    // SAFETY: the caller hands over `scales_len` readable floats, if any.
    let scales = (!scales.is_null()).then(|| unsafe { input(scales, scales_len) });
    // SAFETY: the caller hands over `x_len` readable floats.
    let x = unsafe { input(x, x_len) };
    // SAFETY: the caller hands over `y_len` floats to write, and nobody else looks at them.
    let y = unsafe { output(y, y_len) };
    answer(gemv(packed, scales, x, y, rows, cols, row_stride))
}

/// A slice of what the caller handed over; an empty one need not have an address.
unsafe fn input<'a, T>(start: *const T, len: usize) -> &'a [T] {
    // SAFETY: the caller of this function vouches for `len` items from `start` on.
    if len == 0 { &[] } else { unsafe { slice::from_raw_parts(start, len) } }
}

/// The same to write to.
unsafe fn output<'a, T>(start: *mut T, len: usize) -> &'a mut [T] {
    // SAFETY: the caller of this function vouches for `len` items from `start` on.
    if len == 0 { &mut [] } else { unsafe { slice::from_raw_parts_mut(start, len) } }
}

/// `None`, the sizes are wrong, in the words of the ABI.
fn answer(done: Option<()>) -> i32 {
    done.map_or(REFUSED, |()| DONE)
}

fn unpack(packed: &[u8], codes: &mut [u8]) -> Option<()> {
    let packed = packed.get(..bytes(codes.len())?)?;
    for (i, out) in codes.iter_mut().enumerate() {
        *out = code(packed, i);
    }
    Some(())
}

fn dequantize(packed: &[u8], scales: &[f32], out: &mut [f32]) -> Option<()> {
    let packed = packed.get(..bytes(out.len())?)?;
    let scales = scales.get(..out.len().div_ceil(BLOCK))?;
    for (i, out) in out.iter_mut().enumerate() {
        *out = weight(packed, i) * scales[i / BLOCK];
    }
    Some(())
}

fn gemv(
    packed: &[u8],
    scales: Option<&[f32]>,
    x: &[f32],
    y: &mut [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
) -> Option<()> {
    let (x, y) = (x.get(..cols)?, y.get_mut(..rows)?);
    let (blocks, row_bytes) = (cols.div_ceil(BLOCK), bytes(cols)?);
    let scales = match scales {
        Some(scales) => Some(scales.get(..rows.checked_mul(blocks)?)?),
        None => None,
    };
    if rows > 1 && row_stride < row_bytes {
        return None;
    }
    if let Some(before_last) = rows.checked_sub(1) {
        // With one row this is 0, whatever the stride.
        let last = before_last.checked_mul(row_stride)?;
        packed.get(last..last.checked_add(row_bytes)?)?;
    }
    for (r, y) in y.iter_mut().enumerate() {
        let row = &packed[r * row_stride..][..row_bytes];
        *y = dot(row, scales.map(|scales| &scales[r * blocks..][..blocks]), x);
    }
    Some(())
}

/// The product of one row and `x`, added from left to right.
fn dot(row: &[u8], scales: Option<&[f32]>, x: &[f32]) -> f32 {
    let mut sum = 0.0;
    #[cfg(feature = "bug")] // What is left over from eights is dropped.
    let x = &x[..x.len() / 8 * 8];
    for (c, x) in x.iter().enumerate() {
        let scale = scales.map_or(1.0, |scales| scales[c / BLOCK]);
        sum += weight(row, c) * scale * x;
    }
    sum
}

/// Bytes of the blocks that hold N elements; `None` if that is no number.
fn bytes(elements: usize) -> Option<usize> {
    elements.div_ceil(BLOCK).checked_mul(BLOCK_BYTES)
}

fn weight(packed: &[u8], i: usize) -> f32 {
    WEIGHTS[usize::from(code(packed, i))]
}

/// The code of element `i`: the first of a byte is in its lowest bits.
fn code(packed: &[u8], i: usize) -> u8 {
    packed[i / 4] >> (2 * (i % 4)) & 3
}
