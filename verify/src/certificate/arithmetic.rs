//! Bytes as f32 numbers, and sums and products of these.

use super::bits::{MOST_VARIABLES, add_variables, table};
use super::expression::{Expression, Node, Operator, WIDTH, narrowed};
use super::value::{Byte, Content, Datum, Values, are_known, number};

impl Values {
    pub(super) fn node(&mut self, node: Node) -> Expression {
        self.nodes.push(node);
        (self.nodes.len() - 1) as Expression
    }

    /// The bytes of an f32 that is an element of an input.
    pub(super) fn element(&mut self, node: Node) -> [Byte; WIDTH] {
        let of = self.node(node);
        std::array::from_fn(|at| Byte::float(of, at as u8))
    }

    /// Four bytes as an f32.
    pub(super) fn float(&mut self, lane: &[Datum]) -> Option<Expression> {
        if are_known(lane) {
            return Some(self.node(Node::Constant(f32::from_bits(number(lane) as u32))));
        }
        if let Content::Float { of, at: 0 } = lane[0].byte.content() {
            let is_next = |at: usize| lane[at].byte == Byte::float(of, at as u8);
            return (1..WIDTH).all(is_next).then_some(of);
        }
        let bits = self.all_bits(lane)?;
        let variables = self.functions.variables(bits.iter().copied())?;
        let values: Vec<f32> = (0..1_u64 << variables.len())
            .map(|entry| {
                let value = bits.iter().rev().fold(0, |value, &bit| {
                    value << 1 | u32::from(self.functions.value(bit, &variables, entry))
                });
                f32::from_bits(value)
            })
            .collect();
        let of = values.into_iter().map(|value| self.node(Node::Constant(value))).collect();
        Some(self.node(Node::Choice { variables, of }))
    }

    /// An f32 as four bytes. One that is made of weights alone is as good as its bits.
    pub(super) fn lane(&mut self, expression: Expression) -> Vec<Datum> {
        let Some((variables, values)) = self.constants(expression) else {
            return (0..WIDTH).map(|at| Datum::of(Byte::float(expression, at as u8))).collect();
        };
        let bits: Vec<_> = (0..8 * WIDTH)
            .map(|at| {
                let table = table(variables.len(), |entry| values[entry as usize].to_bits() >> at & 1 == 1);
                self.functions.of_table(&variables, table)
            })
            .collect();
        self.bytes_of(&bits)
    }

    /// The values of an f32 that depends on a few bits of the weights only.
    pub(super) fn constants(&self, expression: Expression) -> Option<(Vec<u32>, Vec<f32>)> {
        match &self.nodes[expression as usize] {
            Node::Constant(value) => Some((Vec::new(), vec![*value])),
            Node::Choice { variables, of } => {
                let value = |&of: &Expression| match self.nodes[of as usize] {
                    Node::Constant(value) => Some(value),
                    _ => None,
                };
                Some((variables.clone(), of.iter().map(value).collect::<Option<_>>()?))
            }
            _ => None,
        }
    }

    /// One of `of` by the bits of `variables`.
    pub(super) fn choice(&mut self, variables: &[u32], of: Vec<Expression>) -> Expression {
        self.node(Node::Choice { variables: variables.to_vec(), of })
    }

    pub(super) fn negate(&mut self, a: Expression) -> Expression {
        match self.constants(a) {
            Some((variables, values)) => self.folded(&variables, values.into_iter().map(|value| -value)),
            None => self.node(Node::Negated(a)),
        }
    }

    pub(super) fn operate(&mut self, operator: Operator, a: Expression, b: Expression) -> Expression {
        match operator {
            Operator::Subtract => {
                let b = self.negate(b);
                self.operate(Operator::Add, a, b)
            }
            _ => self.fold(operator, a, b).unwrap_or_else(|| {
                self.node(if operator == Operator::Add { Node::Sum(a, b) } else { Node::Product(a, b) })
            }),
        }
    }

    /// `a * b + c`, rounded once.
    pub(super) fn fuse(&mut self, a: Expression, b: Expression, c: Expression) -> Expression {
        self.node(Node::Fused(a, b, c))
    }

    /// The result of an operation on weights alone.
    fn fold(&mut self, operator: Operator, a: Expression, b: Expression) -> Option<Expression> {
        let ((of_a, a), (of_b, b)) = (self.constants(a)?, self.constants(b)?);
        let mut variables = of_a.clone();
        add_variables(&mut variables, &of_b);
        if variables.len() > MOST_VARIABLES {
            return None;
        }
        let values: Vec<f32> = (0..1_u64 << variables.len())
            .map(|entry| {
                let (a, b) = (a[narrowed(entry, &variables, &of_a)], b[narrowed(entry, &variables, &of_b)]);
                if operator == Operator::Add { a + b } else { a * b }
            })
            .collect();
        Some(self.folded(&variables, values.into_iter()))
    }

    fn folded(&mut self, variables: &[u32], values: impl Iterator<Item = f32>) -> Expression {
        let mut of: Vec<Expression> = values.map(|value| self.node(Node::Constant(value))).collect();
        match variables {
            [] => of.swap_remove(0),
            _ => self.choice(variables, of),
        }
    }
}
