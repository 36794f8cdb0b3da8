//! What is said of each field that makes no sense, and what the others become.

use std::ffi::CStr;
use std::ptr;

use super::call::Call;
use super::fields::Problem;
use super::*;
use crate::activations::Q8_0;
use crate::domain::Domain;
use crate::format::{Q4_0, TQ2_0};
use crate::kernel::{Arguments, Outcome};
use crate::operation::Operation;
use crate::requirements::{Requirements, Rounding, ScaleUse};

unsafe extern "C" fn done(_: *const Call) -> i32 {
    0
}

unsafe extern "C" fn seven(_: *const Call) -> usize {
    7
}

unsafe extern "C" fn prepare(_: *const Call, prepared: *mut u8) -> i32 {
    // SAFETY: the caller hands over seven bytes.
    unsafe { prepared.write_bytes(1, 7) };
    0
}

/// A kernel that requires nothing.
fn plain(operation: &'static CStr, format: &'static CStr, activations: &'static CStr) -> RawKernel {
    RawKernel {
        size: KERNEL_BYTES,
        name: c"mine".as_ptr(),
        operation: operation.as_ptr(),
        format: format.as_ptr(),
        activations: activations.as_ptr(),
        features: ptr::null(),
        flags: 0,
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
        run: Some(done),
    }
}

fn gemv() -> RawKernel {
    plain(c"gemv", c"qk256", c"f32")
}

fn dot() -> RawKernel {
    plain(c"dot", c"q4_0", c"q8_0")
}

fn kernel(raw: &RawKernel) -> Result<PluginKernel, Problem> {
    // SAFETY: the strings are constants.
    unsafe { PluginKernel::of(raw, &Library::plugin("lib.so")) }
}

fn requirements(raw: &RawKernel) -> Requirements {
    kernel(raw).expect("all fields make sense").domain().requirements
}

#[test]
fn a_kernel_that_requires_nothing_is_of_the_plain_domain() {
    let of = |raw: RawKernel| kernel(&raw).expect("all fields make sense").domain();
    assert_eq!(of(gemv()), Domain::new(Operation::Gemv));
    assert_eq!(of(dot()), Domain::of(Operation::Dot, &Q4_0).with(&Q8_0));
    assert_eq!(of(plain(c"gemm", c"tq2_0", c"f32")), Domain::of(Operation::Gemm, &TQ2_0));
}

#[test]
fn every_requirement_is_kept() {
    let raw = RawKernel {
        flags: 1 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5,
        cols_multiple: 256,
        rows_multiple: 4,
        alignment: 32,
        over_read: 16,
        max_cols: 8192,
        max_code: 2,
        rounds_x: u32::MAX,
        ..gemv()
    };
    let words = "cols:256,rows:4,max_cols:8192,no_scales,whole_last_stride,varies_with_rows,alignment:32,over_read:16,max_code:2,finite,\
                 rounds_x:row";
    assert_eq!(requirements(&raw).to_string(), words);
    assert!(kernel(&raw).expect("all fields make sense").refuses_wrong_sizes());
    assert_eq!(requirements(&RawKernel { flags: 4, ..gemv() }).scales, ScaleUse::Required);
    assert_eq!(requirements(&RawKernel { rounds_x: 32, ..gemv() }).rounds_x, Rounding::Group(32));
    assert_eq!(requirements(&RawKernel { activation_min: -127, ..dot() }).activation_min, -127);
    let batched = RawKernel { max_batch: 4, ..plain(c"gemm", c"qk256", c"f32") };
    assert_eq!(requirements(&batched).max_batch, Some(4));
}

#[test]
fn what_has_no_meaning_is_no_requirement() {
    let unpack = plain(c"unpack", c"q4_0", c"f32");
    for raw in [
        RawKernel { max_code: 15, ..unpack },
        RawKernel { flags: 1 << 1 | 1 << 3 | 1 << 5, rows_multiple: 4, max_batch: 2, ..unpack },
        RawKernel { cols_multiple: 1, alignment: 1, ..unpack },
    ] {
        assert_eq!(requirements(&raw), Requirements::NONE, "{raw:?}");
    }
    assert_eq!(requirements(&RawKernel { activation_min: -128, ..dot() }), Requirements::NONE);
}

#[test]
fn a_field_that_makes_no_sense_is_named_with_the_remedy() {
    let with = |raw: RawKernel, field: &'static str, part: &'static str| (raw, field, part);
    let rows = [
        with(RawKernel { name: ptr::null(), ..gemv() }, "name", "is NULL"),
        with(RawKernel { name: c"".as_ptr(), ..gemv() }, "name", "is empty"),
        with(RawKernel { name: c"\xff".as_ptr(), ..gemv() }, "name", "is not UTF-8"),
        with(RawKernel { operation: ptr::null(), ..gemv() }, "operation", "is NULL"),
        with(plain(c"gemx", c"qk256", c"f32"), "operation", "write one of unpack, dequantize, gemv"),
        with(plain(c"quantize", c"qk256", c"f32"), "operation", "check such kernels in Rust"),
        with(plain(c"lut", c"qk256", c"f32"), "operation", "cannot carry"),
        with(plain(c"gemv", c"q9", c"f32"), "format", "--format FILE.toml"),
        with(plain(c"gemv_fixed", c"q4_0", c"f32"), "format", "defined for qk256 only"),
        with(plain(c"gemv", c"qk256", c"f16"), "activations", "is no kind of activations: gemv has f32"),
        with(plain(c"gemv", c"qk256", c"q8_0"), "activations", "does not fit gemv: write f32"),
        with(plain(c"dot", c"q4_0", c"f32"), "activations", "does not fit dot: write q8_0, q8_1, q8_k, i8"),
        with(RawKernel { features: c"avx2 fmaa".as_ptr(), ..gemv() }, "features", "no CPU feature `fmaa`"),
        with(RawKernel { flags: 64, ..gemv() }, "flags", "reserved"),
        with(RawKernel { flags: 6, ..gemv() }, "flags", "set one of them"),
        with(RawKernel { flags: 2, ..plain(c"dequantize", c"qk256", c"f32") }, "flags", "always has scales"),
        with(RawKernel { flags: 4, ..plain(c"gemv", c"q4_0", c"f32") }, "flags", "q4_0 has no scales"),
        with(RawKernel { flags: 4, ..plain(c"unpack", c"qk256", c"f32") }, "flags", "unpack has no scales"),
        with(RawKernel { alignment: 48, ..gemv() }, "alignment", "a power of two up to 4096"),
        with(RawKernel { alignment: 8192, ..gemv() }, "alignment", "a power of two up to 4096"),
        with(RawKernel { over_read: 2049, ..gemv() }, "over_read", "2048 at most"),
        with(RawKernel { max_code: 4, ..gemv() }, "max_code", "the codes of qk256 are 0 to 3"),
        with(RawKernel { max_code: 258, ..dot() }, "max_code", "the codes of q4_0 are 0 to 15"),
        with(RawKernel { activation_min: -5, ..dot() }, "activation_min", "write -128 or -127"),
        with(RawKernel { activation_min: -127, ..gemv() }, "activation_min", "not quantised"),
        with(RawKernel { rounds_x: 32, ..dot() }, "rounds_x", "no f32 x"),
        with(RawKernel { max_cols: 100, cols_multiple: 256, ..gemv() }, "max_cols", "no shape is left"),
        with(RawKernel { max_cols: 31, ..dot() }, "max_cols", "multiples of 32"),
        with(RawKernel { run: None, ..gemv() }, "run", "is NULL"),
        with(RawKernel { prepare: Some(prepare), ..gemv() }, "prepared_bytes", "set both or none"),
        with(RawKernel { prepared_bytes: Some(seven), ..gemv() }, "prepare", "set both or none"),
    ];
    for (raw, field, part) in rows {
        let problem = kernel(&raw).expect_err(field);
        assert!(problem.field == field && problem.what.contains(part), "`{part}`: {problem:?}");
        let error = LoadError::field(Path::new("lib.so"), 3, raw.name, problem).to_string();
        assert!(error.starts_with("lib.so: kernel 3") && error.contains(&format!("`{field}` ")), "{error}");
    }
}

#[test]
fn entries_are_as_large_as_the_first_and_not_smaller_than_the_struct() {
    let size = |table: &[RawKernel]| {
        let read = read_table(Path::new("lib.so"), table.as_ptr().cast(), table.len());
        read.map(|kernels| kernels.len()).map_err(|error| error.to_string())
    };
    assert_eq!(size(&[gemv(), dot()]), Ok(2));
    for (table, number) in [
        (vec![RawKernel { size: 0, ..gemv() }], 1),
        (vec![RawKernel { size: KERNEL_BYTES - 1, ..gemv() }], 1),
        (vec![gemv(), RawKernel { size: KERNEL_BYTES + 8, ..gemv() }], 2),
    ] {
        let error = size(&table).expect_err("a size is wrong");
        assert!(error.starts_with(&format!("lib.so: kernel {number}: `size` is ")), "{error}");
    }
    // A newer header has more fields, which are not looked at.
    let newer: Vec<[u64; KERNEL_BYTES / 8 + 2]> = [gemv(), dot()]
        .iter()
        .map(|raw| {
            let mut entry = [0; KERNEL_BYTES / 8 + 2];
            // SAFETY: the entry has room for a kernel, and its alignment.
            unsafe { entry.as_mut_ptr().cast::<RawKernel>().write(*raw) };
            entry[0] = size_of_val(&entry) as u64;
            entry
        })
        .collect();
    let read = read_table(Path::new("lib.so"), newer.as_ptr().cast(), 2).expect("sizes are the same");
    assert_eq!(kernel(&read[1]).expect("all fields make sense").domain().operation, Operation::Dot);
}

#[test]
fn kernels_of_one_name_and_domain_are_refused() {
    let all = |raw: &[RawKernel]| {
        let kernels: Vec<PluginKernel> =
            raw.iter().map(|raw| kernel(raw).expect("all fields make sense")).collect();
        all_differ(Path::new("lib.so"), &kernels).map_err(|error| error.to_string())
    };
    let other = RawKernel { name: c"other".as_ptr(), ..gemv() };
    assert_eq!(all(&[gemv(), dot(), other, RawKernel { cols_multiple: 8, ..gemv() }]), Ok(()));
    let error = all(&[dot(), gemv(), gemv()]).expect_err("two are the same");
    assert!(error.contains("kernels 2 and 3 are both mine gemv: give one of them another `name`"), "{error}");
}

#[test]
fn weights_are_prepared_by_the_two_functions() {
    let prepares = RawKernel { prepared_bytes: Some(seven), prepare: Some(prepare), ..gemv() };
    let kernel = kernel(&prepares).expect("all fields make sense");
    let arguments = Arguments::default();
    assert_eq!(kernel.prepared_bytes(&arguments), Some(7));
    for kernel in [kernel.clone(), kernel.seeing_registers()] {
        let mut prepared = [0; 7];
        assert_eq!(kernel.prepare(&arguments, &mut prepared), Outcome::Done);
        assert_eq!(prepared, [1; 7]);
        assert_eq!(kernel.call(Arguments::default()), Outcome::Done);
    }
}
