//! In which order an output adds its products, so that two outputs can be compared.

use std::collections::HashMap;

use super::expression::{Expression, Node};
use super::terms::{Factors, factors_of, is_added, is_power_of_two, is_zero, leaf, product};
use super::value::Values;

/// The number of an order.
pub(super) type Order = u32;

/// Nothing but zeros is added.
const NOTHING: Order = 0;

/// The last operation of an order, up to what changes no bit: signs, powers of two, zeros that are added, and which of two addends comes
/// first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// The product of a column, which was rounded as often.
    Product { column: u32, roundings: u32 },
    /// The sum of two others, that of the lesser number first.
    Sum(Order, Order),
    /// Another one times a factor, rounded.
    Scaled(Order),
}

/// Orders of summation: outputs that have the same number add the products of the same columns in the same order.
#[derive(Debug, Default)]
pub(super) struct Orders {
    numbers: HashMap<Step, Order>,
}

impl Orders {
    /// The order of an output whose first column is element `start` of x.
    ///
    /// # Errors
    /// What is no sum of products, in words.
    pub(super) fn of(&mut self, values: &Values, output: Expression, start: u32) -> Result<Order, String> {
        // A stack of its own: rows are long.
        let (mut known, mut open) = (HashMap::new(), vec![output]);
        while let Some(&expression) = open.last() {
            let before = open.len();
            open.extend(
                sums(values, expression).into_iter().flatten().filter(|part| !known.contains_key(part)),
            );
            if open.len() == before {
                let order = self.last(values, expression, start, &known)?;
                known.insert(expression, order);
                open.pop();
            }
        }
        Ok(known[&output])
    }

    /// The order of an expression, where those of its sums are known.
    fn last(
        &mut self,
        values: &Values,
        expression: Expression,
        start: u32,
        known: &HashMap<Expression, Order>,
    ) -> Result<Order, String> {
        match values.nodes[expression as usize] {
            Node::Sum(a, b) => Ok(self.sum(known[&a], known[&b])),
            Node::Fused(a, b, c) => {
                // A product that is added to nothing is rounded by itself.
                let is_alone = is_zero(values, c);
                let factors = if is_alone { product(values, a, b)? } else { factors_of(values, a, b)? };
                let product = self.product(&factors, start);
                Ok(self.sum(product, known[&c]))
            }
            Node::Negated(a) if is_added(values, a) => Ok(known[&a]),
            Node::Product(a, b) if is_added(values, a) || is_added(values, b) => {
                let (sum, factor) = if is_added(values, a) { (a, b) } else { (b, a) };
                match known[&sum] {
                    NOTHING => Ok(NOTHING),
                    order if is_power_of_two(&leaf(values, factor)?) => Ok(order),
                    order => Ok(self.number(Step::Scaled(order))),
                }
            }
            _ => Ok(self.product(&leaf(values, expression)?, start)),
        }
    }

    fn product(&mut self, factors: &Factors, start: u32) -> Order {
        match factors.of.iter().find(|one| one.factor != 0.0) {
            None => NOTHING,
            Some(one) => {
                let column = one.x.unwrap_or_default().wrapping_sub(start);
                self.number(Step::Product { column, roundings: factors.roundings })
            }
        }
    }

    fn sum(&mut self, a: Order, b: Order) -> Order {
        match (a, b) {
            (NOTHING, order) | (order, NOTHING) => order,
            (a, b) => self.number(Step::Sum(a.min(b), a.max(b))),
        }
    }

    fn number(&mut self, step: Step) -> Order {
        let next = self.numbers.len() as Order + 1;
        *self.numbers.entry(step).or_insert(next)
    }
}

/// What an expression is made of that is a sum itself.
fn sums(values: &Values, expression: Expression) -> [Option<Expression>; 2] {
    let if_added = |part: Expression| is_added(values, part).then_some(part);
    match values.nodes[expression as usize] {
        Node::Sum(a, b) => [Some(a), Some(b)],
        Node::Fused(_, _, c) => [Some(c), None],
        Node::Product(a, b) => [if_added(a), if_added(b)],
        Node::Negated(a) => [if_added(a), None],
        _ => [None, None],
    }
}
