//! Rows shared among the threads of a [`rayon`] pool (feature `rayon`): the bits are those of one thread, since a row's bits
//! depend on nothing but the row and `x`.
//!
//! The pool is that of the caller: [`rayon::ThreadPool::install`] chooses one, otherwise it is rayon's global pool.

use rayon::prelude::*;

use crate::activations::Activations;
use crate::dispatch::Kernels;
use crate::format::packed_bytes;
use crate::matrix::Matrix;
use crate::size::SizeError;

/// The fewest bytes of codes that are worth a task of their own: about ten microseconds of work.
const TASK_BYTES: usize = 64 * 1024;

/// Tasks for each thread: more than one, so that a thread that is held up does not hold up all.
const TASKS_PER_THREAD: usize = 4;

impl Kernels {
    /// As [`gemv`](Self::gemv), bit for bit, on all threads of the pool.
    ///
    /// # Errors
    /// The same.
    pub fn par_gemv(self, matrix: &Matrix<'_>, x: &[f32], y: &mut [f32]) -> Result<(), SizeError> {
        self.par_gemv_in_bands(band_rows(matrix), matrix, x, y)
    }

    /// As [`par_gemv`](Self::par_gemv), with N rows a task.
    ///
    /// # Errors
    /// The same.
    ///
    /// # Panics
    /// If `rows` is 0.
    pub fn par_gemv_in_bands(
        self,
        rows: usize,
        matrix: &Matrix<'_>,
        x: &[f32],
        y: &mut [f32],
    ) -> Result<(), SizeError> {
        let (x, y) = matrix.fit(x, y)?;
        bands(rows, matrix, y, |band, y| self.gemv(band, x, y))
    }

    /// As [`gemv_fixed`](Self::gemv_fixed), bit for bit, on all threads of the pool.
    ///
    /// # Errors
    /// The same.
    pub fn par_gemv_fixed(
        self,
        matrix: &Matrix<'_>,
        x: &Activations,
        y: &mut [f32],
    ) -> Result<(), SizeError> {
        self.par_gemv_fixed_in_bands(band_rows(matrix), matrix, x, y)
    }

    /// As [`par_gemv_fixed`](Self::par_gemv_fixed), with N rows a task.
    ///
    /// # Errors
    /// The same.
    ///
    /// # Panics
    /// If `rows` is 0.
    pub fn par_gemv_fixed_in_bands(
        self,
        rows: usize,
        matrix: &Matrix<'_>,
        x: &Activations,
        y: &mut [f32],
    ) -> Result<(), SizeError> {
        let y = matrix.fit_fixed(x, y)?;
        bands(rows, matrix, y, |band, y| self.gemv_fixed(band, x, y))
    }
}

/// Calls `multiply` with each band of N rows and its part of `y`, on all threads of the pool. The last band has what is
/// left. `y` is as long as the matrix has rows.
///
/// # Errors
/// One of those of `multiply`.
///
/// # Panics
/// If `rows` is 0, or `y` longer than the matrix has rows.
pub fn bands(
    rows: usize,
    matrix: &Matrix<'_>,
    y: &mut [f32],
    multiply: impl Fn(&Matrix<'_>, &mut [f32]) -> Result<(), SizeError> + Sync,
) -> Result<(), SizeError> {
    assert!(rows > 0, "a band has rows");
    if y.len() <= rows {
        return multiply(matrix, y);
    }
    y.par_chunks_mut(rows)
        .enumerate()
        .try_for_each(|(band, y)| multiply(&matrix.band(band * rows, y.len()), y))
}

/// Rows of a band such that no task is too small and each thread has a few.
pub fn band_rows(matrix: &Matrix<'_>) -> usize {
    let row_bytes = packed_bytes(matrix.cols());
    let worth_it = TASK_BYTES.div_ceil(row_bytes.max(1));
    let fair = matrix.rows().div_ceil(TASKS_PER_THREAD * rayon::current_num_threads());
    worth_it.max(fair).max(1)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::format::BLOCK_BYTES;

    #[test]
    fn each_band_is_a_call_and_the_last_has_what_is_left() {
        let packed = [0; 20 * BLOCK_BYTES];
        let matrix = Matrix::new(&packed, 20, 1, BLOCK_BYTES).unwrap();
        for (rows, expected) in [(7, vec![6, 7, 7]), (20, vec![20]), (usize::MAX, vec![20])] {
            let calls = Mutex::new(Vec::new());
            let count = |band: &Matrix<'_>, y: &mut [f32]| {
                calls.lock().unwrap().push((band.rows(), y.len()));
                Ok(())
            };
            bands(rows, &matrix, &mut [0.0; 20], count).unwrap();
            let mut calls = calls.into_inner().unwrap();
            calls.sort_unstable();
            let expected: Vec<_> = expected.into_iter().map(|rows| (rows, rows)).collect();
            assert_eq!(calls, expected, "bands of {rows} rows");
        }
    }

    #[test]
    fn small_matrices_are_one_task_and_large_ones_a_few_for_each_thread() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let bytes = vec![0; 6912 * 640];
        for (rows, cols, expected) in [(8, 256, 1024), (64, 2560, 103), (6912, 2560, 864), (0, 0, 65536)] {
            let matrix = Matrix::new(&bytes, rows, cols, cols.div_ceil(256) * 64).unwrap();
            assert_eq!(pool.install(|| band_rows(&matrix)), expected, "{rows} x {cols}");
        }
    }
}
