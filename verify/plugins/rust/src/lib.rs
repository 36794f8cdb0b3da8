//! Kernels in Rust behind the C ABI of qk256, `qk256_kernel.h`: unpack, dequantize and gemv, slow and short. A place to start from.
//!
//! It uses no crate of qk256: it stands for a project that has its own code, and shares none with what judges it.
#![allow(
    clippy::missing_safety_doc,
    reason = "the header says what callers owe: pointers and lengths that belong together"
)]

use std::ffi::{CStr, c_char, c_void};
use std::{ptr, slice};

const BLOCK: usize = 256;
const BLOCK_BYTES: usize = 64;
const WEIGHTS: [f32; 4] = [-2.0, -1.0, 1.0, 2.0];

const NAME: &CStr = c"rust_example";

const ABI_VERSION: u32 = 2;
const REFUSES_WRONG_SIZES: u32 = 1;
const DONE: i32 = 0;
const REFUSED: i32 = 2;

/// `qk256_call` of the header: the arguments of one call.
#[repr(C)]
#[derive(Debug)]
pub struct Call {
    packed: *const u8,
    packed_len: usize,
    scales: *const f32,
    scales_len: usize,
    x: *const c_void,
    x_len: usize,
    out: *mut c_void,
    out_len: usize,
    prepared: *const c_void,
    prepared_len: usize,
    rows: usize,
    cols: usize,
    batch: usize,
    row_stride: usize,
    x_stride: usize,
    out_stride: usize,
    digits: u32,
}

type Run = unsafe extern "C" fn(*const Call) -> i32;
type PreparedBytes = unsafe extern "C" fn(*const Call) -> usize;
type Prepare = unsafe extern "C" fn(*const Call, *mut c_void) -> i32;

/// `qk256_kernel` of the header: a kernel and what it requires of its callers.
#[repr(C)]
#[derive(Debug)]
pub struct Kernel {
    size: usize,
    name: *const c_char,
    operation: *const c_char,
    format: *const c_char,
    activations: *const c_char,
    features: *const c_char,
    flags: u32,
    cols_multiple: u32,
    rows_multiple: u32,
    max_batch: u32,
    alignment: u32,
    over_read: u32,
    max_cols: u64,
    max_code: u32,
    activation_min: i32,
    rounds_x: u32,
    prepared_bytes: Option<PreparedBytes>,
    prepare: Option<Prepare>,
    run: Option<Run>,
}

// SAFETY: the pointers are those of constants, which every thread may read.
unsafe impl Sync for Kernel {}

/// A kernel that requires nothing.
const fn kernel(operation: &'static CStr, run: Run) -> Kernel {
    Kernel {
        size: size_of::<Kernel>(),
        name: NAME.as_ptr(),
        operation: operation.as_ptr(),
        format: c"qk256".as_ptr(),
        activations: c"f32".as_ptr(),
        features: c"".as_ptr(),
        flags: REFUSES_WRONG_SIZES,
        cols_multiple: 0,
        rows_multiple: 0,
        max_batch: 0,
        alignment: 0,
        over_read: 0,
        max_cols: 0,
        max_code: 0,
        activation_min: 0,
        rounds_x: 0,
        prepared_bytes: None,
        prepare: None,
        run: Some(run),
    }
}

/// Another kernel is one more line, whatever it computes.
static KERNELS: [Kernel; 3] =
    [kernel(c"unpack", unpack), kernel(c"dequantize", dequantize), kernel(c"gemv", gemv)];

/// The kernels of this library, and their number in `count`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qk256_kernels(abi_version: u32, count: *mut usize) -> *const Kernel {
    // SAFETY: the caller hands over a place for a number.
    unsafe { count.write(KERNELS.len()) };
    if abi_version == ABI_VERSION { KERNELS.as_ptr() } else { ptr::null() }
}

/// `codes[i]` = the code of element `i`.
unsafe extern "C" fn unpack(call: *const Call) -> i32 {
    // SAFETY: the caller hands over a call.
    let call = unsafe { &*call };
    // SAFETY: the caller hands over `packed_len` readable bytes.
    let packed = unsafe { input(call.packed, call.packed_len) };
    // SAFETY: the caller hands over `out_len` bytes to write, and nobody else looks at them.
    let codes = unsafe { output(call.out.cast::<u8>(), call.out_len) };
    answer(unpack_all(packed, codes, call.cols))
}

/// `out[i]` = the weight of element `i` times `scales[i / 256]`.
unsafe extern "C" fn dequantize(call: *const Call) -> i32 {
    // SAFETY: the caller hands over a call.
    let call = unsafe { &*call };
    // SAFETY: the caller hands over `packed_len` readable bytes.
    let packed = unsafe { input(call.packed, call.packed_len) };
    // SAFETY: the caller hands over `scales_len` readable floats.
    let scales = unsafe { input(call.scales, call.scales_len) };
    // SAFETY: the caller hands over `out_len` floats to write, and nobody else looks at them.
    let out = unsafe { output(call.out.cast::<f32>(), call.out_len) };
    answer(dequantize_all(packed, scales, out, call.cols))
}

/// `y[r]` = the product of row `r` and `x`.
unsafe extern "C" fn gemv(call: *const Call) -> i32 {
    // SAFETY: the caller hands over a call.
    let call = unsafe { &*call };
    // SAFETY: the caller hands over `packed_len` readable bytes.
    let packed = unsafe { input(call.packed, call.packed_len) };
    // Without scales the pointer is null, whatever the length; with scales the length may be 0.
    // SAFETY: the caller hands over `scales_len` readable floats, if any.
    let scales = (!call.scales.is_null()).then(|| unsafe { input(call.scales, call.scales_len) });
    // SAFETY: the caller hands over `x_len` readable floats.
    let x = unsafe { input(call.x.cast::<f32>(), call.x_len) };
    // SAFETY: the caller hands over `out_len` floats to write, and nobody else looks at them.
    let y = unsafe { output(call.out.cast::<f32>(), call.out_len) };
    answer(product(call, packed, scales, x, y))
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

fn unpack_all(packed: &[u8], codes: &mut [u8], len: usize) -> Option<()> {
    let packed = packed.get(..bytes(len)?)?;
    for (i, out) in codes.get_mut(..len)?.iter_mut().enumerate() {
        *out = code(packed, i);
    }
    Some(())
}

fn dequantize_all(packed: &[u8], scales: &[f32], out: &mut [f32], len: usize) -> Option<()> {
    let packed = packed.get(..bytes(len)?)?;
    let scales = scales.get(..len.div_ceil(BLOCK))?;
    for (i, out) in out.get_mut(..len)?.iter_mut().enumerate() {
        *out = weight(packed, i) * scales[i / BLOCK];
    }
    Some(())
}

fn product(call: &Call, packed: &[u8], scales: Option<&[f32]>, x: &[f32], y: &mut [f32]) -> Option<()> {
    let &Call { rows, cols, row_stride, .. } = call;
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
