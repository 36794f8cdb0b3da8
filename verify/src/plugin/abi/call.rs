//! The arguments of a call, as C sees them.

use std::ptr;

use crate::kernel::Arguments;
use crate::operation::Operation;

/// `qk256_call`, field by field as in the header.
#[repr(C)]
#[derive(Debug)]
pub(in crate::plugin) struct Call {
    pub(in crate::plugin) packed: *const u8,
    packed_len: usize,
    scales: *const f32,
    scales_len: usize,
    pub(in crate::plugin) x: *const u8,
    x_len: usize,
    pub(in crate::plugin) out: *mut u8,
    out_len: usize,
    prepared: *const u8,
    prepared_len: usize,
    pub(in crate::plugin) rows: usize,
    pub(in crate::plugin) cols: usize,
    batch: usize,
    pub(in crate::plugin) row_stride: usize,
    x_stride: usize,
    out_stride: usize,
    digits: u32,
}

impl Call {
    /// A call of an operation: each pointer is that of a slice with the length beside it, or null where a length of 0 is.
    pub(super) fn new(operation: Operation, arguments: Arguments<'_>) -> Self {
        let Arguments { out_bytes, out, .. } = arguments;
        let (out, out_len) = match operation {
            Operation::Unpack | Operation::Quantize => (out_bytes.as_mut_ptr(), out_bytes.len()),
            _ => (out.as_mut_ptr().cast(), out.len()),
        };
        let (x, x_len) = match operation {
            Operation::Dot => (arguments.activations.as_ptr(), arguments.activations.len()),
            _ => (arguments.x.as_ptr().cast(), arguments.x.len()),
        };
        let mut call = Self::of_weights(&Arguments { out_bytes: &mut [], out: &mut [], ..arguments });
        (call.x, call.x_len, call.out, call.out_len) = (x, x_len, out, out_len);
        if !arguments.prepared.is_empty() {
            (call.prepared, call.prepared_len) = (arguments.prepared.as_ptr(), arguments.prepared.len());
        }
        call
    }

    /// The same before there are activations, outputs and prepared weights.
    pub(super) fn of_weights(arguments: &Arguments<'_>) -> Self {
        let &Arguments {
            packed, scales, rows, cols, batch, row_stride, x_stride, out_stride, digits, ..
        } = arguments;
        let (scales, scales_len) = scales.map_or((ptr::null(), 0), |scales| (scales.as_ptr(), scales.len()));
        Self {
            packed: packed.as_ptr(),
            packed_len: packed.len(),
            scales,
            scales_len,
            x: ptr::null(),
            x_len: 0,
            out: ptr::null_mut(),
            out_len: 0,
            prepared: ptr::null(),
            prepared_len: 0,
            rows,
            cols,
            batch,
            row_stride,
            x_stride,
            out_stride,
            digits: u32::try_from(digits).unwrap_or(u32::MAX),
        }
    }
}
