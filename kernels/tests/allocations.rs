//! What the AVX2 gemv allocates: a copy of `x` where it lays `x` out, and nothing elsewhere. Results do not show that, since both
//! ways give the same bits.
#![cfg(target_arch = "x86_64")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::avx2;
use qk256_kernels::avx2::Avx2;
use qk256_kernels::{BLOCK_BYTES, BLOCK_LEN, Matrix, SizeError, blocks};

thread_local! {
    /// Bytes that this thread has asked for.
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: `System` does what is asked, with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.set(ALLOCATED.get() + layout.size());
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        // SAFETY: as above; `alloc` has it from `System`.
        unsafe { System.dealloc(address, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

type Gemv = fn(Avx2, &Matrix<'_>, &[f32], &mut [f32]) -> Result<(), SizeError>;

/// Bytes that a product allocates, for each of `shapes`: rows, columns, whether there are scales.
fn allocated(avx2: Avx2, gemv: Gemv, shapes: &[(usize, usize, bool)]) -> Vec<usize> {
    let of = |&(rows, cols, scaled): &(usize, usize, bool)| {
        let row_bytes = blocks(cols) * BLOCK_BYTES;
        let packed = vec![0; rows * row_bytes];
        let (x, scales) = (vec![1.0; cols], vec![1.0; rows * blocks(cols)]);
        let mut y = vec![0.0; rows];
        let matrix = Matrix::new(&packed, rows, cols, row_bytes).unwrap();
        let matrix = if scaled { matrix.with_scales(&scales).unwrap() } else { matrix };
        let before = ALLOCATED.get();
        gemv(avx2, &matrix, &x, &mut y).unwrap();
        ALLOCATED.get() - before
    };
    shapes.iter().map(of).collect()
}

/// Bytes of whole blocks of f32.
const fn copy_of(cols: usize) -> usize {
    blocks(cols) * BLOCK_LEN * size_of::<f32>()
}

#[test]
fn gemv_permuted_copies_x_in_whole_blocks_and_gemv_natural_does_not() {
    let Some(avx2) = avx2() else { return };
    let shapes = [(3, 17, false), (1, 256, false), (4, 257, false), (3, 512, true), (2, 2048, false)];
    let copies: Vec<usize> = shapes.iter().map(|&(_, cols, _)| copy_of(cols)).collect();
    assert_eq!(allocated(avx2, Avx2::gemv_permuted, &shapes), copies, "{shapes:?}");
    assert_eq!(allocated(avx2, Avx2::gemv_natural, &shapes), [0; 5], "{shapes:?}");
}

#[test]
fn gemv_permuted_makes_no_copy_that_it_cannot_use() {
    let Some(avx2) = avx2() else { return };
    let shapes = [(3, 0, false), (3, 16, false), (3, 16, true), (3, 257, true)];
    assert_eq!(allocated(avx2, Avx2::gemv_permuted, &shapes), [0; 4], "{shapes:?}");
}

#[test]
fn gemv_copies_x_from_48_rows_and_2048_columns_on() {
    let Some(avx2) = avx2() else { return };
    let shapes =
        [(48, 2048, false), (49, 2049, false), (47, 2048, false), (48, 2047, false), (1, 4096, false)];
    let expected = [copy_of(2048), copy_of(2049), 0, 0, 0];
    assert_eq!(allocated(avx2, Avx2::gemv, &shapes), expected, "{shapes:?}");
}
