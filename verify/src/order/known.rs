//! Rung 3: rows held to the order in which their kernel adds.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Order, Subject, reveal};
use crate::inputs::Inputs;
use crate::judge::{same_sum, show};
use crate::kernel::Kernel;
use crate::operation::Operation;
use crate::oracle;
use crate::quiet::quiet;
use crate::rung::{Failure, Rung};

/// Columns up to which rows are held to an order: revealing one takes about a millisecond here, and ever more beyond.
pub const ORDER_COLUMNS: usize = 256;

/// The orders of kernels, revealed when they are first asked for.
#[derive(Debug, Default)]
pub(crate) struct KnownOrders {
    /// By the kernel's name and its columns. `None`: there is no tree.
    orders: HashMap<(String, usize), Option<Order>>,
}

impl KnownOrders {
    /// Holds the rows of a legal call to the order of `kernel`: how many rows, and what is wrong. `None` where this does not
    /// apply: another operation, scales, too many columns or too few to differ, terms that are not finite, or a kernel that no tree explains.
    pub(crate) fn judge(
        &mut self,
        kernel: &dyn Kernel,
        inputs: &Inputs,
        outputs: &[u32],
    ) -> Option<(u64, Option<Failure>)> {
        let cols = inputs.shape.cols;
        let applies = inputs.operation == Operation::Gemv
            && inputs.scales.is_none()
            && (3..=ORDER_COLUMNS).contains(&cols)
            && inputs.x[..cols].iter().all(|x| x.abs() <= f32::MAX / 2.0);
        if !applies {
            return None;
        }
        let key = (kernel.name().to_owned(), cols);
        let known = self.orders.entry(key).or_insert_with(|| revealed(kernel, cols));
        let mut failure = failure(known.as_ref()?, inputs, outputs);
        if failure.is_some() {
            // The order may be that of another kernel of this name: only a fresh one condemns.
            *known = revealed(kernel, cols);
            failure = self::failure(known.as_ref()?, inputs, outputs);
        }
        Some((outputs.len() as u64, failure))
    }
}

/// The order of a row of so many columns, if there is a tree. A kernel that panics has none.
fn revealed(kernel: &dyn Kernel, cols: usize) -> Option<Order> {
    let subject = Subject { rows: 1, cols, row: 0 };
    quiet(|| catch_unwind(AssertUnwindSafe(|| reveal(kernel, subject)))).ok()?.ok()
}

fn failure(order: &Order, inputs: &Inputs, outputs: &[u32]) -> Option<Failure> {
    let must: Vec<u32> =
        (0..outputs.len()).map(|row| order.sum(&oracle::terms(inputs, row)).to_bits()).collect();
    let wrong: Vec<usize> = (0..outputs.len()).filter(|&row| !same_sum(must[row], outputs[row])).collect();
    let &first = wrong.first()?;
    let show = |bits| show(Operation::Gemv, bits);
    let detail = format!(
        "{} of {} rows are not what the kernel's own order of summation gives; the first is row {first}: got {}, must be {} \
         (`qk256 reveal` shows the order)",
        wrong.len(),
        outputs.len(),
        show(outputs[first]),
        show(must[first])
    );
    Some(Failure { rung: Rung::Order, detail })
}
