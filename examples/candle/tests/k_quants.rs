//! `vec_dot` and `to_float` of candle's quantised types, each held to all that `qk256 check` holds kernels to.

use candle_core::quantized::GgmlType;
use candle_core::quantized::k_quants::{BlockQ2K, BlockQ3K, BlockQ4_0, BlockQ4K, BlockQ5K, BlockQ6K, BlockQ8_0};
use qk256_verify::{Arguments, Domain, KernelFn, Operation, Outcome, Requirements, assert_right, format};

/// Holds a type to the format of that name. candle's trait has no sizes to refuse, takes whole blocks, and quantises to -127 and up.
fn check<T: GgmlType + 'static>(name: &str) {
    let format = format::decoded_by(name, to_float::<T>).expect("ggml has the type");
    let requirements = Requirements {
        cols_multiple: T::BLCK_SIZE as u32,
        alignment: 4,
        activation_min: -127,
        ..Requirements::NONE
    };
    let kernel = |domain: Domain, call| KernelFn {
        name: "candle",
        domain: domain.requiring(requirements),
        required_features: &[],
        refuses_wrong_sizes: false,
        call,
    };
    assert_right(&kernel(Domain::dot(format).expect("kernels multiply it"), dot::<T>));
    assert_right(&kernel(Domain::of(Operation::Dequantize, format), dequantize::<T>));
}

fn dot<T: GgmlType>(arguments: Arguments<'_>) -> Outcome {
    let Arguments { packed, activations, out, rows, cols, row_stride, .. } = arguments;
    for (row, y) in out[..rows].iter_mut().enumerate() {
        *y = T::vec_dot(cols, blocks(&packed[row * row_stride..], cols), blocks(activations, cols));
    }
    Outcome::Done
}

fn dequantize<T: GgmlType>(arguments: Arguments<'_>) -> Outcome {
    T::to_float(blocks(arguments.packed, arguments.out.len()), arguments.out);
    Outcome::Done
}

/// The weights of one block, wherever its bytes are.
fn to_float<T: GgmlType>(block: &[u8], weights: &mut [f32]) {
    let mut aligned = T::zeros();
    // SAFETY: the blocks of candle are `repr(C)` and hold numbers only, any bytes of which are valid; the lengths are equal.
    unsafe { (&raw mut aligned).cast::<u8>().copy_from_nonoverlapping(block.as_ptr(), size_of::<T>()) };
    T::to_float(&[aligned], weights);
}

/// The blocks of `len` elements at the start of some bytes, which the requirement of an alignment keeps aligned.
fn blocks<T: GgmlType>(bytes: &[u8], len: usize) -> &[T] {
    // SAFETY: as above, any bytes are valid blocks.
    let (before, blocks, _) = unsafe { bytes.align_to::<T>() };
    assert!(before.is_empty(), "blocks are aligned");
    &blocks[..len / T::BLCK_SIZE]
}

#[test]
fn q4_0() {
    check::<BlockQ4_0>("q4_0");
}

#[test]
fn q8_0() {
    check::<BlockQ8_0>("q8_0");
}

#[test]
fn q2k() {
    check::<BlockQ2K>("q2_k");
}

#[test]
fn q3k() {
    check::<BlockQ3K>("q3_k");
}

#[test]
fn q4k() {
    check::<BlockQ4K>("q4_k");
}

#[test]
fn q5k() {
    check::<BlockQ5K>("q5_k");
}

#[test]
fn q6k() {
    check::<BlockQ6K>("q6_k");
}
