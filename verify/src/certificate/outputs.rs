//! What the outputs of a call are made of, held against what they must be made of.

use super::bits::FALSE;
use super::expression::{Expression, WIDTH};
use super::refusal::{Refusal, Shown};
use super::summation::{Order, Orders};
use super::terms::{Term, is_added, terms};
use super::value::{Byte, Datum, Values};
use crate::buffer::Buffer;
use crate::inputs::Inputs;
use crate::operation::Operation;

/// How outputs were computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wiring {
    pub(super) outputs: usize,
    /// Products that they are made of.
    pub(super) terms: usize,
    /// The most operations that round on the way of a product.
    pub(super) roundings: u32,
    /// The most of them that add.
    pub(super) depth: u32,
}

/// The codes of a matrix or a vector: where each is, and what it weighs.
struct Codes<'a> {
    inputs: &'a Inputs,
    /// Of each element of a block, the byte and its bits.
    places: Vec<(usize, u8)>,
}

impl<'a> Codes<'a> {
    fn new(inputs: &'a Inputs) -> Self {
        let format = inputs.shape.format;
        let mut places = vec![(0, 0); format.block_len];
        for byte in 0..format.block_bytes {
            for (element, bits) in format.elements_of_byte(byte) {
                places[element] = (byte, bits);
            }
        }
        Self { inputs, places }
    }

    /// The numbers of the bits of a code, the lowest first.
    fn bits(&self, row: usize, column: usize) -> Vec<u32> {
        let shape = self.inputs.shape;
        if self.inputs.operation == Operation::Lut {
            return (0..shape.format.code_count().ilog2()).map(|bit| (8 * column) as u32 + bit).collect();
        }
        let format = shape.format;
        let (byte, bits) = self.places[column % format.block_len];
        let start =
            row * shape.row_stride + format.header_bytes() + column / format.block_len * format.block_bytes;
        (0..8).filter(|bit| bits >> bit & 1 == 1).map(|bit| (8 * (start + byte)) as u32 + bit).collect()
    }

    /// The place of the scale of a column.
    fn scale(&self, row: usize, column: usize) -> Option<u32> {
        let shape = self.inputs.shape;
        self.inputs.scales.as_ref()?;
        let of_row = shape.format.separate_scales(row, shape.blocks());
        Some((of_row.start + shape.format.scale_of(column)) as u32)
    }

    /// What is wrong with a term as the weight of a column, with its scale, if anything is.
    fn fault(&self, term: &Term, row: usize, column: usize) -> Option<String> {
        let bits = self.bits(row, column);
        if let Some(other) = term.variables.iter().find(|variable| !bits.contains(variable)) {
            let (byte, bit) = (other / 8, other % 8);
            return Some(format!(
                "column {column} depends on bit {bit} of byte {byte}, which is not of its code"
            ));
        }
        let wanted = self.scale(row, column);
        if term.scale != wanted {
            let named = |scale: Option<u32>| scale.map_or("no scale".to_owned(), |at| format!("scale {at}"));
            return Some(format!(
                "column {column} has {} and must have {}",
                named(term.scale),
                named(wanted)
            ));
        }
        let format = self.inputs.shape.format;
        let codes = self
            .inputs
            .requirements
            .max_code
            .map_or(format.code_count(), |most| format.code_count().min(most.saturating_add(1)));
        (0..codes).find_map(|code| {
            let factor = term.factors[super::expression::narrowed(code.into(), &bits, &term.variables)];
            let weight = f64::from(format.weight(code));
            (factor != weight)
                .then(|| format!("column {column} weighs {factor} where code {code} weighs {weight}"))
        })
    }
}

/// Looks at every output: `bytes` gives those of an element of the output.
///
/// # Errors
/// The first output that is not made of what it must be.
pub(super) fn verify(
    values: &mut Values,
    inputs: &Inputs,
    bytes: impl Fn(usize, usize) -> Vec<Datum>,
) -> Result<Wiring, Refusal> {
    let codes = Codes::new(inputs);
    let mut sums = Sums { codes: &codes, orders: Orders::default(), first: None, wiring: Wiring::default() };
    for at in inputs.written(Buffer::Out).flatten() {
        sums.wiring.outputs += 1;
        if inputs.operation == Operation::Unpack {
            verify_code(values, &codes, at, &bytes(at, 1)).map_err(|what| fault(at, &what))?;
        } else {
            sums.verify(values, at, &bytes(WIDTH * at, WIDTH))?;
        }
    }
    Ok(sums.wiring)
}

/// That an output is not what it must be.
fn fault(at: usize, what: &str) -> Refusal {
    Refusal::of(Shown::Wiring, format!("does not give output {at} as it must: {what}"))
}

/// Outputs that are f32 numbers.
struct Sums<'a> {
    codes: &'a Codes<'a>,
    orders: Orders,
    /// The first output, and its order.
    first: Option<(usize, Order)>,
    wiring: Wiring,
}

impl Sums<'_> {
    fn verify(&mut self, values: &mut Values, at: usize, lane: &[Datum]) -> Result<(), Refusal> {
        let inputs = self.codes.inputs;
        let may_add = inputs.operation.sums_floats();
        let fault = |what: String| fault(at, &what);
        let output = expression_of(values, lane, may_add).map_err(fault)?;
        let terms = terms(values, output).map_err(fault)?;
        verify_terms(self.codes, at, &terms).map_err(fault)?;
        if may_add && !inputs.requirements.varies_with_rows {
            let order = self.orders.of(values, output, start_of_x(inputs, at)).map_err(fault)?;
            let &mut (one, as_before) = self.first.get_or_insert((at, order));
            if order != as_before {
                return Err(Refusal::of(Shown::Order, other_order(at, one)));
            }
        }
        self.wiring.terms += terms.len();
        let most = |of: fn(&Term) -> u32| terms.iter().map(of).max().unwrap_or(0);
        self.wiring.roundings = self.wiring.roundings.max(most(|term| term.roundings));
        self.wiring.depth = self.wiring.depth.max(most(|term| term.additions));
        Ok(())
    }
}

fn other_order(at: usize, one: usize) -> String {
    format!(
        "adds the products of output {at} in another order than those of output {one}, so that its bits depend on where it stands"
    )
}

/// The first element of x that an output is a product of.
fn start_of_x(inputs: &Inputs, at: usize) -> u32 {
    (at / inputs.shape.out_stride.max(1) * inputs.shape.x_stride) as u32
}

fn expression_of(values: &mut Values, lane: &[Datum], may_add: bool) -> Result<Expression, String> {
    if lane.iter().any(|datum| datum.byte == Byte::UNDEFINED) {
        return Err("it is not written, or not from what the call was given".to_owned());
    }
    let unclear = || "it is made of data in a way that no rule describes".to_owned();
    let expression = values.float(lane).ok_or_else(unclear)?;
    if !may_add && is_added(values, expression) {
        return Err("it is the result of an addition".to_owned());
    }
    Ok(expression)
}

fn verify_code(values: &mut Values, codes: &Codes<'_>, at: usize, byte: &[Datum]) -> Result<(), String> {
    let wanted: Vec<_> = codes.bits(0, at).iter().map(|&bit| values.functions.variable(bit)).collect();
    let bits = values.bits(byte[0]).ok_or("it is made of data in a way that no rule describes")?;
    let is_right = bits.iter().enumerate().all(|(bit, of)| *of == *wanted.get(bit).unwrap_or(&FALSE));
    is_right.then_some(()).ok_or_else(|| "it is not the code of this element".to_owned())
}

/// Whether the terms of an output are those of its row and vector: each column once.
fn verify_terms(codes: &Codes<'_>, at: usize, terms: &[Term]) -> Result<(), String> {
    let inputs = codes.inputs;
    let shape = inputs.shape;
    if !inputs.operation.sums_floats() {
        return match terms {
            [term] if term.x.is_none() => codes.fault(term, 0, at).map_or(Ok(()), Err),
            _ => Err(format!("it is a sum of {} products", terms.len())),
        };
    }
    let (vector, row) = (at / shape.out_stride.max(1), at % shape.out_stride.max(1));
    let mut seen = vec![false; shape.cols];
    for term in terms {
        let x = term.x.ok_or("it adds what is multiplied by no element of x")? as usize;
        let column = x.checked_sub(vector * shape.x_stride).filter(|&column| column < shape.cols);
        let column = column.ok_or_else(|| format!("it depends on x[{x}], which is of another vector"))?;
        if let Some(fault) = codes.fault(term, row, column) {
            return Err(fault);
        }
        if std::mem::replace(&mut seen[column], true) {
            return Err(format!("column {column} comes twice"));
        }
    }
    match seen.iter().position(|seen| !seen) {
        Some(column) => Err(format!("column {column} is missing")),
        None => Ok(()),
    }
}
