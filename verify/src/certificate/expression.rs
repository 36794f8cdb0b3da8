//! The f32 numbers of a call, as they were computed.

/// The number of an expression.
pub(super) type Expression = u32;

/// Bytes of an f32.
pub(super) const WIDTH: usize = size_of::<f32>();

/// How an f32 came about. Each operation rounds once, to nearest.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Constant(f32),
    /// An element of x.
    X(u32),
    /// An element of the scales.
    Scale(u32),
    /// One of these, by some bits of the weights: entry `n` where the bits have the value `n`, the first variable lowest.
    Choice {
        variables: Vec<u32>,
        of: Vec<Expression>,
    },
    Negated(Expression),
    Sum(Expression, Expression),
    Product(Expression, Expression),
    /// A product and an addend, rounded once.
    Fused(Expression, Expression, Expression),
}

/// A kind of operation on f32 numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
}

/// The entry of a table over some of the variables, by an entry of one over all.
pub(super) fn narrowed(entry: u64, all: &[u32], some: &[u32]) -> usize {
    some.iter().enumerate().fold(0, |narrow, (at, variable)| {
        let place = all.binary_search(variable).expect("some are among all");
        narrow | ((entry >> place & 1) as usize) << at
    })
}
