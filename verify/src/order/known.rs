//! Rung 3: rows held to the order in which their kernel adds.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Model, Subject, reveal};
use crate::inputs::Inputs;
use crate::judge::{same_sum, show};
use crate::kernel::Kernel;
use crate::operation::Operation;
use crate::oracle::{self, Expected, RowTruth};
use crate::quiet::quiet;
use crate::rung::{Cause, Failure, Rung};

/// Columns up to which all rows are held to an order: revealing one takes about a millisecond here, and ever more beyond.
pub const ORDER_COLUMNS: usize = 256;

/// Longer rows that are held to an order: around blocks, and such that sums of several blocks meet.
pub const LONG_ORDER_COLUMNS: [usize; 5] = [257, 300, 512, 513, 1024];

/// Whether gemv rows of so many columns are held to an order. Of fewer than three numbers there is but one.
pub fn is_ordered(cols: usize) -> bool {
    (3..=ORDER_COLUMNS).contains(&cols) || LONG_ORDER_COLUMNS.contains(&cols)
}

/// The models of kernels, revealed when they are first asked for.
#[derive(Debug, Default)]
pub(crate) struct KnownOrders {
    /// What a kernel gave two answers to, until it is told.
    fickle: Option<Failure>,
    /// By the kernel's name, its columns, and whether there are scales. `None`: there is no model.
    models: HashMap<(String, usize, bool), Option<Model>>,
}

impl KnownOrders {
    /// The model for these inputs, where there is one: not for other operations, too many or too few columns, and kernels that
    /// nothing explains.
    pub(crate) fn model(&mut self, kernel: &dyn Kernel, inputs: &Inputs) -> Option<&Model> {
        let (cols, scaled) = (inputs.shape.cols, inputs.scales.is_some());
        if inputs.operation != Operation::Gemv || !is_ordered(cols) {
            return None;
        }
        let key = (kernel.name().to_owned(), cols, scaled);
        let fickle = &mut self.fickle;
        let first = || {
            let model = revealed(kernel, cols, scaled);
            // One that nothing explains is asked again: a kernel that went wrong once will not do it again.
            if let Err(first) = &model
                && revealed(kernel, cols, scaled).as_ref() != Err(first)
            {
                let detail = format!(
                    "asked twice for the order in which it adds {cols} columns, the kernel gives two answers; the first is: {first}"
                );
                *fickle = Some(Failure::new(Rung::Repeat, Cause::Nondeterministic, detail));
            }
            model.ok()
        };
        self.models.entry(key).or_insert_with(first).as_ref()
    }

    /// That the kernel which was last asked for its order gave two answers, if it did; told once.
    pub(crate) fn take_fickle(&mut self) -> Option<Failure> {
        self.fickle.take()
    }

    /// The most columns without scales for which there is a model, and its depth.
    pub(crate) fn depth(&self, kernel: &dyn Kernel) -> Option<(usize, usize)> {
        let of_kernel = self.models.iter().filter(|((name, _, scaled), _)| name == kernel.name() && !scaled);
        let known =
            of_kernel.filter_map(|((_, cols, _), model)| Some((*cols, model.as_ref()?.order().depth())));
        known.max().filter(|_| kernel.operation() == Operation::Gemv)
    }

    /// Whether the kernel has been asked for an order that nothing explains.
    pub(crate) fn is_unexplained(&self, kernel: &dyn Kernel) -> bool {
        let unexplained = |((name, ..), model): (&(String, usize, bool), &Option<Model>)| {
            name == kernel.name() && model.is_none()
        };
        kernel.operation() == Operation::Gemv && self.models.iter().any(unexplained)
    }

    /// Holds the rows of a legal call to the model of `kernel`: how many rows, and what is wrong. `None` where there is none. Rows
    /// that are not finite, or may overflow, are left out.
    pub(crate) fn judge(
        &mut self,
        kernel: &dyn Kernel,
        inputs: &Inputs,
        expected: &Expected,
        outputs: &[u32],
    ) -> Option<(u64, Option<Failure>)> {
        let Expected::Rows(truths) = expected else { return None };
        let finite = |row: &usize| matches!(truths[*row], RowTruth::Near { .. } | RowTruth::Exact(_));
        let rows: Vec<usize> = (0..outputs.len()).filter(finite).collect();
        let mut found = failure(self.model(kernel, inputs)?, inputs, &rows, outputs);
        if found.is_some() {
            // The model may be that of another kernel of this name: only a fresh one condemns.
            self.models.remove(&(kernel.name().to_owned(), inputs.shape.cols, inputs.scales.is_some()));
            found = failure(self.model(kernel, inputs)?, inputs, &rows, outputs);
        }
        Some((rows.len() as u64, found))
    }
}

/// The model of a row of so many columns, if there is one, or why not.
fn revealed(kernel: &dyn Kernel, cols: usize, scaled: bool) -> Result<Model, String> {
    let subject = Subject::one_row(cols, scaled);
    let revealed = quiet(|| catch_unwind(AssertUnwindSafe(|| reveal(kernel, subject))));
    revealed.map_err(|_| "the kernel panics".to_owned())?.map_err(|error| error.to_string())
}

fn failure(model: &Model, inputs: &Inputs, rows: &[usize], outputs: &[u32]) -> Option<Failure> {
    let blocks = inputs.shape.blocks();
    let scales = inputs.scales.as_deref().unwrap_or(&[]);
    let must = |row: usize| {
        let scales = scales.get(row * blocks..).unwrap_or(&[]);
        model.predict(&oracle::terms(inputs, row), scales).to_bits()
    };
    let mut wrong =
        rows.iter().map(|&row| (row, must(row))).filter(|&(row, must)| !same_sum(must, outputs[row]));
    let (first, must) = wrong.next()?;
    let show = |bits| show(Operation::Gemv, bits);
    let detail = format!(
        "{} of {} rows are not what the kernel's own order of summation gives; the first is row {first}: got {}, must be {} \
         (`qk256 reveal` shows the order)",
        1 + wrong.count(),
        rows.len(),
        show(outputs[first]),
        show(must)
    );
    let cause = Cause::of_bits(Operation::Gemv, must, outputs[first]);
    Some(Failure::new(Rung::Order, cause, detail))
}
