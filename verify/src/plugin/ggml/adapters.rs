//! Functions of ggml, called with what is in a call.

use std::ffi::{c_int, c_void};

use crate::plugin::abi::{Call, Function};

/// `ggml_to_float_t`.
pub(super) type ToFloat = unsafe extern "C" fn(*const c_void, *mut f32, i64);

/// `ggml_vec_dot_t`.
pub(super) type VecDot =
    unsafe extern "C" fn(c_int, *mut f32, usize, *const c_void, usize, *const c_void, usize, c_int);

/// `ggml_from_float_t`.
pub(super) type FromFloat = unsafe extern "C" fn(*const f32, *mut c_void, i64);

/// Rows that a call of `vec_dot` works on.
const ONE_ROW: c_int = 1;

/// Has a `to_float` decode a row.
///
/// # Safety
/// The function is a [`ToFloat`], and the call is one of `dequantize`.
pub(super) unsafe extern "C" fn to_float(call: *const Call, function: Function) -> i32 {
    // SAFETY: the caller says that the call is one.
    let call = unsafe { &*call };
    // SAFETY: the caller says that the function has this type.
    let to_float = unsafe { std::mem::transmute::<Function, ToFloat>(function) };
    // SAFETY: the pointers are those of slices that hold `cols` elements.
    unsafe { to_float(call.packed.cast(), call.out.cast(), call.cols as i64) };
    0
}

/// Has a `from_float` quantise a row.
///
/// # Safety
/// The function is a [`FromFloat`], and the call is one of `quantize`.
pub(super) unsafe extern "C" fn from_float(call: *const Call, function: Function) -> i32 {
    // SAFETY: the caller says that the call is one.
    let call = unsafe { &*call };
    // SAFETY: the caller says that the function has this type.
    let from_float = unsafe { std::mem::transmute::<Function, FromFloat>(function) };
    // SAFETY: the pointers are those of slices that hold `cols` values, and the blocks that they become.
    unsafe { from_float(call.x.cast(), call.out.cast(), call.cols as i64) };
    0
}

/// Has a `vec_dot` multiply rows, one after the other.
///
/// # Safety
/// The function is a [`VecDot`], and the call is one of `dot`.
pub(super) unsafe extern "C" fn vec_dot(call: *const Call, function: Function) -> i32 {
    // SAFETY: the caller says that the call is one.
    let call = unsafe { &*call };
    // SAFETY: the caller says that the function has this type.
    let vec_dot = unsafe { std::mem::transmute::<Function, VecDot>(function) };
    let Ok(cols) = c_int::try_from(call.cols) else { return 1 };
    let out: *mut f32 = call.out.cast();
    for row in 0..call.rows {
        // SAFETY: there is an output for each row.
        let to = unsafe { out.add(row) };
        // SAFETY: rows are so far apart, and the last is whole.
        let packed = unsafe { call.packed.add(row * call.row_stride) };
        // SAFETY: the pointers are those of a row, of its output, and of activations with `cols` elements.
        unsafe { vec_dot(cols, to, 0, packed.cast(), 0, call.x.cast(), 0, ONE_ROW) };
    }
    0
}
