//! Oracle 3: rows held to the order in which their kernel adds.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::model::negates;
use super::once::Once;
use super::probe::Probe;
use super::{Model, Operands, Subject, reveal};
use crate::domain::Domain;
use crate::evidence::{Evidence, Miss, Wrong};
use crate::inputs::Inputs;
use crate::judge::same_sum;
use crate::kernel::Kernel;
use crate::memory::Placement;
use crate::oracle::{self, Expected, RowTruth};
use crate::property::{Cause, Failure, Property};
use crate::quiet::quiet;

/// Columns up to which all rows are held to an order: revealing one takes about a millisecond here, and ever more beyond.
pub const ORDER_COLUMNS: usize = 256;

/// Longer rows that are held to an order: around blocks, and such that sums of several blocks meet.
pub const LONG_ORDER_COLUMNS: [usize; 5] = [257, 300, 512, 513, 1024];

/// Columns of the shortest rows that have more than one order.
const FEWEST_ORDERED: usize = 3;

/// Whether gemv rows of N columns are held to an order. Of fewer than three numbers there is but one.
pub fn is_ordered(cols: usize) -> bool {
    (FEWEST_ORDERED..=ORDER_COLUMNS).contains(&cols) || LONG_ORDER_COLUMNS.contains(&cols)
}

/// The models of kernels, revealed when they are first asked for.
#[derive(Debug, Default)]
pub(crate) struct KnownOrders {
    /// What a kernel gave two answers to, until it is reported.
    nondeterministic: Option<Failure>,
    /// `None`: there is no model.
    models: HashMap<Key, Option<Model>>,
    /// Of kernels without a tree: how they round an exact sum. `None`: they do not.
    once: HashMap<Key, Option<Once>>,
    /// The same of a kernel by name and domain, with or without scales: what it was last found to do.
    ways: HashMap<(String, Domain, bool), Once>,
}

/// What a model is of: a kernel by name and domain, its columns, and whether there are scales in a buffer of their own.
type Key = (String, Domain, usize, bool);

impl KnownOrders {
    /// The model for these inputs, where there is one: not for other operations, too many or too few columns, and kernels that
    /// nothing explains.
    pub(crate) fn model(&mut self, kernel: &dyn Kernel, inputs: &Inputs) -> Option<&Model> {
        let (cols, scaled) = (inputs.shape.cols, inputs.scales.is_some());
        if !inputs.operation.sums_floats() || !is_ordered(cols) || !has_one_order(kernel, inputs) {
            return None;
        }
        self.model_of(kernel, cols, scaled)
    }

    /// Whether one order explains all rows of the kernel that have as many columns as these inputs. Where rows are not held to an order,
    /// the nearest smaller number of columns decides. Rows of fewer than three columns have one order, integers need none.
    pub(crate) fn is_single(&mut self, kernel: &dyn Kernel, inputs: &Inputs) -> bool {
        if !has_one_order(kernel, inputs) {
            return false;
        }
        if !inputs.operation.sums_floats() || inputs.shape.cols < FEWEST_ORDERED {
            return true;
        }
        let is_taken = |cols: &usize| *cols < inputs.shape.cols && kernel.domain().cols(*cols) == *cols;
        let known = || LONG_ORDER_COLUMNS.into_iter().rev().chain((FEWEST_ORDERED..=ORDER_COLUMNS).rev());
        let cols = match inputs.shape.cols {
            cols if is_ordered(cols) => Some(cols),
            _ => known().find(is_taken),
        };
        // What was not seen may be anything.
        let Some(cols) = cols else { return false };
        self.model_of(kernel, cols, inputs.scales.is_some()).is_some()
    }

    fn model_of(&mut self, kernel: &dyn Kernel, cols: usize, scaled: bool) -> Option<&Model> {
        let key = key(kernel, cols, scaled);
        let nondeterministic = &mut self.nondeterministic;
        let first = || {
            let model = revealed(kernel, cols, scaled);
            // One that nothing explains is asked again: a kernel that went wrong once will not do it again.
            if let Err(first) = &model
                && revealed(kernel, cols, scaled).as_ref() != Err(first)
            {
                let detail = format!(
                    "asked twice for the order in which it adds {cols} columns, the kernel gives two answers; the first is: {first}"
                );
                *nondeterministic = Some(Failure::new(Property::Repeat, Cause::Nondeterministic, detail));
            }
            model.ok()
        };
        self.models.entry(key).or_insert_with(first).as_ref()
    }

    /// That the kernel which was last asked for its order gave two answers, if it did; reported once.
    pub(crate) fn take_nondeterministic(&mut self) -> Option<Failure> {
        self.nondeterministic.take()
    }

    /// The most columns without scales for which there is a model, and its depth.
    pub(crate) fn depth(&self, kernel: &dyn Kernel) -> Option<(usize, usize)> {
        let of_kernel = self.models.iter().filter(|(key, _)| is_of(key, kernel) && !key.3);
        let known = of_kernel.filter_map(|(key, model)| Some((key.2, model.as_ref()?.order().depth())));
        known.max().filter(|_| kernel.operation().sums_floats())
    }

    /// Whether rows were met of which the kernel rounds the exact sum once.
    pub(crate) fn rounds_once(&self, kernel: &dyn Kernel) -> bool {
        self.once.iter().any(|(key, once)| is_of(key, kernel) && once.is_some())
    }

    /// Whether the kernel has been asked for an order that nothing explains.
    pub(crate) fn is_unexplained(&self, kernel: &dyn Kernel) -> bool {
        let unexplained = |(key, model): (&Key, &Option<Model>)| {
            is_of(key, kernel) && model.is_none() && !matches!(self.once.get(key), Some(Some(_)))
        };
        kernel.operation().sums_floats() && self.models.iter().any(unexplained)
    }

    /// Holds the rows of a legal call to the model of `kernel`: how many rows, and what is wrong. `None` where there is none. Rows
    /// that are not finite, or may overflow, are left out, and so are those that every order gives to the bit, which the oracle demands.
    /// A model that turns out to hold for some codes only is dropped. `call` gives the results of the kernel for other inputs, or nothing
    /// where it does not do them.
    pub(crate) fn judge(
        &mut self,
        kernel: &dyn Kernel,
        inputs: &Inputs,
        expected: &Expected,
        outputs: &[u32],
        call: impl FnMut(&Inputs) -> Option<Vec<u32>>,
    ) -> Option<(u64, Option<Failure>)> {
        let Expected::Rows(truths) = expected else { return None };
        let is_ordered = |row: &usize| matches!(truths[*row], RowTruth::Near { .. });
        let rows: Vec<usize> = (0..outputs.len()).filter(is_ordered).collect();
        let Some(model) = self.model(kernel, inputs) else {
            return self.judge_once(kernel, inputs, (truths, &rows), outputs, call);
        };
        let wrong = misses(model, inputs, &rows, outputs);
        if wrong.is_empty() {
            return Some((rows.len() as u64, None));
        }
        // The model may be that of another kernel of this name: only a fresh one is proof.
        let key = key(kernel, inputs.shape.cols, inputs.scales.is_some());
        self.models.remove(&key);
        let model = self.model(kernel, inputs)?;
        let wrong = misses(model, inputs, &rows, outputs);
        if let Some(&(row, _)) = wrong.first()
            && !holds_for_codes(kernel, model, inputs, inputs.shape.vector_and_row(row).1)
        {
            self.models.insert(key, None);
            return None;
        }
        Some((rows.len() as u64, failure(inputs, &wrong, rows.len(), outputs)))
    }

    /// The same for a kernel without a tree: rows are held to the exact sum, rounded once.
    fn judge_once(
        &mut self,
        kernel: &dyn Kernel,
        inputs: &Inputs,
        (truths, rows): (&[RowTruth], &[usize]),
        outputs: &[u32],
        mut call: impl FnMut(&Inputs) -> Option<Vec<u32>>,
    ) -> Option<(u64, Option<Failure>)> {
        // Where there is a tree for fewer columns, there is one.
        if rows.is_empty() || (inputs.operation.sums_floats() && self.is_single(kernel, inputs)) {
            return None;
        }
        let is_scaled = inputs.scales.is_some();
        let place = self.once.entry(key(kernel, inputs.shape.cols, is_scaled));
        let way = (kernel.name().to_owned(), kernel.domain(), is_scaled);
        // What holds for other columns is taken to hold for these until a row misses it.
        let once =
            place.or_insert_with(|| self.ways.get(&way).copied().or_else(|| Once::fit(inputs, &mut call)));
        let misses = |once: Once| {
            let must = |&row: &usize| once.predict(inputs, &truths[row], row).map(|must| (row, must));
            let is_miss = |&(row, must): &(usize, u32)| !same_sum(must, outputs[row]);
            rows.iter().filter_map(must).filter(is_miss).collect::<Vec<_>>()
        };
        let mut wrong = misses((*once)?);
        if !wrong.is_empty() {
            // It may be that of another kernel of this name, or not hold for these columns: only a fresh one is proof.
            *once = Once::fit(inputs, &mut call);
            wrong = misses((*once)?);
        }
        self.ways.extend(once.map(|once| (way, once)));
        Some((rows.len() as u64, failure(inputs, &wrong, rows.len(), outputs)))
    }
}

/// Whether a model is of this kernel.
fn is_of((name, domain, ..): &Key, kernel: &dyn Kernel) -> bool {
    name == kernel.name() && *domain == kernel.domain()
}

fn key(kernel: &dyn Kernel, cols: usize, scaled: bool) -> Key {
    (kernel.name().to_owned(), kernel.domain(), cols, scaled)
}

/// A row of these inputs, alone.
fn row_of(kernel: &dyn Kernel, inputs: &Inputs) -> Subject {
    Subject::of(kernel, inputs.shape.cols, inputs.scales.is_some())
}

/// Whether the order of a row alone, which is the one that is revealed, is that of these rows.
fn has_one_order(kernel: &dyn Kernel, inputs: &Inputs) -> bool {
    inputs.shape.results() <= 1 || !kernel.domain().requirements.varies_with_rows
}

/// Whether the model predicts other rows with the codes of this one. The contract allows an order that depends on the codes, and random
/// codes need not have met them.
fn holds_for_codes(kernel: &dyn Kernel, model: &Model, inputs: &Inputs, row: usize) -> bool {
    let subject = row_of(kernel, inputs);
    let codes = oracle::codes(inputs, row);
    let tried = || {
        let mut probe = Probe::new(kernel, subject, Placement::EndFlush)?;
        model.predicts_codes(&mut probe, &codes)
    };
    // A kernel that panics or refuses here is none whose order depends on the codes.
    !matches!(quiet(|| catch_unwind(AssertUnwindSafe(tried))), Ok(Ok(false)))
}

/// The model of a row of N columns, if there is one, or why not.
fn revealed(kernel: &dyn Kernel, cols: usize, scaled: bool) -> Result<Model, String> {
    let tried = || reveal(kernel, Subject::of(kernel, cols, scaled));
    let revealed = quiet(|| catch_unwind(AssertUnwindSafe(tried)));
    revealed.map_err(|_| "the kernel panics".to_owned())?.map_err(|error| error.to_string())
}

/// Whether the codes of this row and their complements are added in different orders: other activations show it as well, with the row
/// alone.
pub(crate) fn depends_on_codes(kernel: &dyn Kernel, inputs: &Inputs, row: usize) -> bool {
    let codes = oracle::codes(inputs, row);
    let tried = || negates(kernel, row_of(kernel, inputs), &codes);
    matches!(quiet(|| catch_unwind(AssertUnwindSafe(tried))), Ok(Ok(false)))
}

/// Those of these results that are not what the model gives, each with the bits that it must have.
fn misses(model: &Model, inputs: &Inputs, results: &[usize], outputs: &[u32]) -> Vec<(usize, u32)> {
    let row = |result: &usize| inputs.shape.vector_and_row(*result).1;
    let mut by_row = results.to_vec();
    by_row.sort_by_key(row);
    let mut wrong = Vec::new();
    for of_row in by_row.chunk_by(|a, b| row(a) == row(b)) {
        let row = row(&of_row[0]);
        let (codes, scales) = (oracle::codes(inputs, row), oracle::scales(inputs, row));
        let mut operands = Operands { codes, x: Vec::new(), scales };
        for &result in of_row {
            operands.x = inputs.vector(inputs.shape.vector_and_row(result).0).to_vec();
            let must = model.predict(&operands).to_bits();
            if !same_sum(must, outputs[result]) {
                wrong.push((result, must));
            }
        }
    }
    wrong.sort_unstable();
    wrong
}

/// The failure that the rows of these are which are wrong, if there are some.
fn failure(inputs: &Inputs, wrong: &[(usize, u32)], rows: usize, outputs: &[u32]) -> Option<Failure> {
    let &(first, must) = wrong.first()?;
    let cause = Cause::of_bits(size_of::<f32>(), must, outputs[first]);
    let evidence = Evidence::Order(Wrong {
        wrong: wrong.len() as u64,
        of: rows as u64,
        first: Miss::new(inputs, first, outputs[first], must),
        worst: None,
    });
    Some(Failure::new(Property::Order, cause, evidence))
}
