//! Inputs of which all can be tried: every scale, and every column of every row.
//!
//! What fails is reported as a case, so that the harness can judge, shrink and replay it. Each function ends early, with what it found so
//! far, where [an interrupt](crate::interrupt) is requested.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::buffer::Buffer;
use crate::case::{Case, Patch};
use crate::data::{Codes, Distribution, every_byte};
use crate::fault_injection::OldContents;
use crate::format::QK256;
use crate::interrupt;
use crate::kernel::{Arguments, Kernel, Outcome};
use crate::operation::Operation;

/// Elements of the block that each scale goes through: a whole register or two, and remainders of four, two and one.
const SCALED_ELEMENTS: usize = 23;

/// Scales that a thread takes at a time.
const BATCH: u64 = 1 << 20;

/// The bits that outputs hold before: no NaN, which some scales must give.
const OLD: u32 = OldContents::Large.bits(Operation::Dequantize);

/// Columns of the rows whose wiring is tried: across four blocks, and every remainder of a fifth that is not long.
pub const WIRED_COLS: Range<usize> = 1..1101;

/// The number of scales: every f32.
pub const ALL_SCALES: u64 = 1 << 32;

/// Sends the f32 of all these bits through a kernel of `dequantize` as scales, on all cores: the case of one that comes out
/// wrong, if any does.
///
/// # Panics
/// If the kernel is of another operation, or panics.
pub fn wrong_scale(kernel: &dyn Kernel, scales: Range<u64>) -> Option<Case> {
    assert_eq!(kernel.operation(), Operation::Dequantize, "scales are those of dequantize");
    let next = AtomicU64::new(scales.start);
    let wrong = Mutex::new(None);
    let found = AtomicBool::new(false);
    let work = || {
        while !found.load(Ordering::Relaxed) && !interrupt::is_requested() {
            let start = next.fetch_add(BATCH, Ordering::Relaxed);
            if start >= scales.end {
                return;
            }
            let batch = start..scales.end.min(start + BATCH);
            if let Some(bits) = batch.map(|bits| bits as u32).find(|&bits| !scales_rightly(kernel, bits)) {
                found.store(true, Ordering::Relaxed);
                *wrong.lock().expect("no thread panics while it holds this") = Some(bits);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let bits = wrong.into_inner().expect("no thread panics while it holds this")?;
    let patch = Patch { buffer: Buffer::Scales, index: 0, bits: vec![bits] };
    Some(Case {
        codes: Codes::Bytes,
        distribution: Distribution::Raw,
        patches: vec![patch],
        ..Case::new(Operation::Dequantize, 1, SCALED_ELEMENTS)
    })
}

/// Whether a block with the scale of these bits is dequantized bit for bit.
fn scales_rightly(kernel: &dyn Kernel, bits: u32) -> bool {
    let packed: [u8; QK256.block_bytes] = std::array::from_fn(|place| every_byte(0, place));
    let scale = f32::from_bits(bits);
    let mut out = [f32::from_bits(OLD); SCALED_ELEMENTS];
    let outcome = kernel.call(Arguments {
        packed: &packed,
        scales: Some(&[scale]),
        out: &mut out,
        rows: 1,
        cols: SCALED_ELEMENTS,
        row_stride: QK256.block_bytes,
        ..Arguments::default()
    });
    let must: [u32; 4] = std::array::from_fn(|code| {
        ((f64::from(QK256.weight(code as u8)) * f64::from(scale)) as f32).to_bits()
    });
    let right = |(at, out): (usize, &f32)| {
        let must = must[usize::from(QK256.code(&packed, at))];
        out.to_bits() == must || (scale.is_nan() && out.is_nan())
    };
    outcome == Outcome::Done && out.iter().enumerate().all(right)
}

/// What a one-hot x holds: any number that is exact times every weight.
const HOT: f32 = 1.5;

/// Multiplies a matrix of `rows` rows by every one-hot x, for each of these numbers of columns: the case of one that comes out
/// wrong, if any does. That no column is dropped, doubled, or mistaken for another is then known for all data, as far as paths
/// do not depend on them.
///
/// # Panics
/// If the kernel is not one of gemv, or panics.
pub fn wrong_wiring(kernel: &dyn Kernel, cols: Range<usize>, rows: usize) -> Option<Case> {
    assert_eq!(kernel.operation(), Operation::Gemv, "the wiring is that of gemv");
    cols.take_while(|_| !interrupt::is_requested()).find_map(|cols| {
        let case = Case { distribution: Distribution::Raw, ..Case::new(Operation::Gemv, rows, cols) };
        let inputs = case.materialize(None).expect("a small case has data");
        let stride = inputs.shape.row_stride;
        let packed = inputs.packed.kept();
        let (mut x, mut y) = (vec![0.0; cols], vec![f32::NAN; rows]);
        let column = (0..cols).find(|&column| {
            x[column] = HOT;
            let outcome = kernel.call(Arguments {
                packed,
                x: &x,
                out: &mut y,
                rows,
                cols,
                row_stride: stride,
                ..Arguments::default()
            });
            x[column] = 0.0;
            let right = |(row, y): (usize, &f32)| {
                *y == HOT * f32::from(QK256.weight(QK256.code(&packed[row * stride..], column)))
            };
            outcome != Outcome::Done || !y.iter().enumerate().all(right)
        })?;
        let patch = Patch { buffer: Buffer::X, index: column, bits: vec![HOT.to_bits()] };
        Some(Case { patches: vec![patch], ..case })
    })
}

const _: () = assert!(SCALED_ELEMENTS <= QK256.block_len, "one scale is that of one block");
