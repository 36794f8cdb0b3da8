//! An f32 as a sum of products of weights, scales and activations.

use super::bits::{MOST_VARIABLES, add_variables};
use super::expression::{Expression, Node, narrowed};
use super::value::Values;

/// A product that a result is made of.
#[derive(Clone, Debug)]
pub(super) struct Term {
    /// The bits of the weights that it depends on, and the factor of each of their values.
    pub(super) variables: Vec<u32>,
    pub(super) factors: Vec<f64>,
    /// The element of the scales, if it is multiplied by one.
    pub(super) scale: Option<u32>,
    /// The element of x.
    pub(super) x: Option<u32>,
    /// Operations that round on its way into the result.
    pub(super) roundings: u32,
    /// Those of them that add.
    pub(super) additions: u32,
}

/// What the factors of a product come to, for one value of the bits that they depend on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Monomial {
    pub(super) factor: f64,
    scale: Option<u32>,
    pub(super) x: Option<u32>,
}

impl Monomial {
    const ONE: Self = Self { factor: 1.0, scale: None, x: None };

    /// The product; `None` if it has two scales or two activations.
    fn times(self, other: Self) -> Option<Self> {
        let either = |a: Option<u32>, b: Option<u32>| match (a, b) {
            (Some(_), Some(_)) => None,
            (a, b) => Some(a.or(b)),
        };
        Some(Self {
            factor: self.factor * other.factor,
            scale: either(self.scale, other.scale)?,
            x: either(self.x, other.x)?,
        })
    }
}

/// Factors that hold no sum, over the bits that they depend on.
#[derive(Clone, Debug)]
pub(super) struct Factors {
    variables: Vec<u32>,
    pub(super) of: Vec<Monomial>,
    /// Products among them that round.
    pub(super) roundings: u32,
}

/// The products that make up an f32, one behind the other.
///
/// # Errors
/// What is no sum of products, in words.
pub(super) fn terms(values: &Values, expression: Expression) -> Result<Vec<Term>, String> {
    let one = Factors { variables: Vec::new(), of: vec![Monomial::ONE], roundings: 0 };
    let mut terms = Vec::new();
    // A stack of its own: rows are long.
    let mut open = vec![(expression, one, [0, 0])];
    while let Some((expression, factors, [roundings, additions])) = open.pop() {
        match values.nodes[expression as usize] {
            Node::Sum(a, b) => {
                let rounds = u32::from(!is_zero(values, a) && !is_zero(values, b));
                let counts = [roundings + rounds, additions + rounds];
                open.push((b, factors.clone(), counts));
                open.push((a, factors, counts));
            }
            Node::Fused(a, b, c) => {
                let [inner, product] = [factors_of(values, a, b)?, product(values, a, b)?];
                let is_alone = is_zero(values, c);
                let rounds = u32::from(!is_alone && inner.of.iter().any(|one| one.factor != 0.0));
                let counts = [roundings + rounds, additions + rounds];
                // A product that is added to nothing is rounded by itself.
                let own = if is_alone { product.roundings } else { inner.roundings };
                open.push((c, factors.clone(), counts));
                let whole = multiplied(&factors, &inner)?;
                add_term(&mut terms, &whole, [counts[0] + factors.roundings + own, counts[1]])?;
            }
            Node::Product(a, b) => match (leaf(values, a), leaf(values, b)) {
                (Ok(_), Ok(_)) => {
                    let product = product(values, a, b)?;
                    let whole = multiplied(&factors, &product)?;
                    add_term(&mut terms, &whole, [roundings + whole.roundings, additions])?;
                }
                (Ok(factor), Err(_)) => open.push((b, scaled(&factors, &factor)?, [roundings, additions])),
                (Err(_), Ok(factor)) => open.push((a, scaled(&factors, &factor)?, [roundings, additions])),
                (Err(_), Err(_)) => return Err("multiplies two sums".to_owned()),
            },
            Node::Negated(a) => {
                let minus = Factors {
                    of: vec![Monomial { factor: -1.0, ..Monomial::ONE }],
                    variables: Vec::new(),
                    roundings: 0,
                };
                open.push((a, multiplied(&factors, &minus)?, [roundings, additions]));
            }
            _ => {
                let whole = multiplied(&factors, &leaf(values, expression)?)?;
                add_term(&mut terms, &whole, [roundings + whole.roundings, additions])?;
            }
        }
    }
    Ok(terms)
}

/// Factors and one more, which rounds unless it is a power of two.
fn scaled(factors: &Factors, factor: &Factors) -> Result<Factors, String> {
    let mut whole = multiplied(factors, factor)?;
    whole.roundings += u32::from(!is_power_of_two(factor));
    Ok(whole)
}

/// Two factors, before their product is rounded.
pub(super) fn factors_of(values: &Values, a: Expression, b: Expression) -> Result<Factors, String> {
    multiplied(&leaf(values, a)?, &leaf(values, b)?)
}

/// The product of two factors.
pub(super) fn product(values: &Values, a: Expression, b: Expression) -> Result<Factors, String> {
    let (a, b) = (leaf(values, a)?, leaf(values, b)?);
    let mut whole = multiplied(&a, &b)?;
    whole.roundings += u32::from(!is_power_of_two(&a) && !is_power_of_two(&b));
    Ok(whole)
}

/// Whether multiplying by it is exact, up to overflow and underflow.
pub(super) fn is_power_of_two(factors: &Factors) -> bool {
    factors.of.iter().all(|one| {
        let magnitude = one.factor.abs();
        let is_power = magnitude.to_bits().trailing_zeros() >= f64::MANTISSA_DIGITS - 1;
        one.scale.is_none() && one.x.is_none() && (magnitude == 0.0 || is_power)
    })
}

/// An f32 without sums, as factors.
pub(super) fn leaf(values: &Values, expression: Expression) -> Result<Factors, String> {
    let one = |of: Monomial| Factors { variables: Vec::new(), of: vec![of], roundings: 0 };
    Ok(match &values.nodes[expression as usize] {
        Node::Constant(value) if is_usual(*value) => {
            one(Monomial { factor: (*value).into(), ..Monomial::ONE })
        }
        Node::Constant(value) => return Err(format!("it is multiplied by {value}, or that is added")),
        Node::X(at) => one(Monomial { x: Some(*at), ..Monomial::ONE }),
        Node::Scale(at) => one(Monomial { scale: Some(*at), ..Monomial::ONE }),
        Node::Negated(a) => {
            let mut factors = leaf(values, *a)?;
            factors.of.iter_mut().for_each(|of| of.factor = -of.factor);
            factors
        }
        Node::Product(a, b) => product(values, *a, *b)?,
        Node::Choice { variables, of } => chosen(values, variables, of)?,
        Node::Sum(..) | Node::Fused(..) => return Err("multiplies two sums".to_owned()),
    })
}

/// Whether a factor is none by which f32 numbers get lost that are not very small or very large.
fn is_usual(value: f32) -> bool {
    const MOST: f32 = 256.0;
    value == 0.0 || (1.0 / MOST..=MOST).contains(&value.abs())
}

fn chosen(values: &Values, variables: &[u32], of: &[Expression]) -> Result<Factors, String> {
    let each: Vec<Factors> = of.iter().map(|&of| leaf(values, of)).collect::<Result<_, _>>()?;
    let mut all = variables.to_vec();
    each.iter().for_each(|factors| add_variables(&mut all, &factors.variables));
    if all.len() > MOST_VARIABLES {
        return Err(TOO_MANY.to_owned());
    }
    let entry = |entry| {
        let factors = &each[narrowed(entry, &all, variables)];
        factors.of[narrowed(entry, &all, &factors.variables)]
    };
    let of = (0..1_u64 << all.len()).map(entry).collect();
    let roundings = each.iter().map(|factors| factors.roundings).max().unwrap_or(0);
    Ok(Factors { variables: all, of, roundings })
}

const TOO_MANY: &str = "makes a factor of more codes than one";

fn multiplied(a: &Factors, b: &Factors) -> Result<Factors, String> {
    let mut all = a.variables.clone();
    add_variables(&mut all, &b.variables);
    if all.len() > MOST_VARIABLES {
        return Err(TOO_MANY.to_owned());
    }
    let entry = |entry| {
        let [a, b] = [a, b].map(|factors| factors.of[narrowed(entry, &all, &factors.variables)]);
        a.times(b).ok_or_else(|| "multiplies two activations, or two scales".to_owned())
    };
    let of = (0..1_u64 << all.len()).map(entry).collect::<Result<_, _>>()?;
    Ok(Factors { variables: all, of, roundings: a.roundings + b.roundings })
}

/// Adds a product, unless it is zero whatever the weights are.
fn add_term(
    terms: &mut Vec<Term>,
    factors: &Factors,
    [roundings, additions]: [u32; 2],
) -> Result<(), String> {
    let mut nonzero = factors.of.iter().filter(|one| one.factor != 0.0);
    let Some(first) = nonzero.next() else { return Ok(()) };
    if nonzero.any(|one| (one.scale, one.x) != (first.scale, first.x)) {
        return Err("takes one activation or scale for some codes and another for others".to_owned());
    }
    terms.push(Term {
        variables: factors.variables.clone(),
        factors: factors.of.iter().map(|one| one.factor).collect(),
        scale: first.scale,
        x: first.x,
        roundings,
        additions,
    });
    Ok(())
}

/// Whether an f32 comes out of an addition, if only of zero, which loses the sign of a zero.
pub(super) fn is_added(values: &Values, expression: Expression) -> bool {
    match &values.nodes[expression as usize] {
        Node::Sum(..) | Node::Fused(..) => true,
        Node::Product(a, b) => is_added(values, *a) || is_added(values, *b),
        Node::Negated(a) => is_added(values, *a),
        Node::Choice { of, .. } => of.iter().any(|&of| is_added(values, of)),
        Node::Constant(_) | Node::X(_) | Node::Scale(_) => false,
    }
}

/// Whether an f32 is zero for all weights, scales and activations: adding it rounds nothing.
pub(super) fn is_zero(values: &Values, expression: Expression) -> bool {
    match &values.nodes[expression as usize] {
        Node::Constant(value) => *value == 0.0,
        Node::Choice { of, .. } => of.iter().all(|&of| is_zero(values, of)),
        Node::Negated(a) => is_zero(values, *a),
        Node::Product(a, b) => is_zero(values, *a) || is_zero(values, *b),
        Node::Fused(a, b, c) => (is_zero(values, *a) || is_zero(values, *b)) && is_zero(values, *c),
        Node::Sum(..) | Node::X(_) | Node::Scale(_) => false,
    }
}
