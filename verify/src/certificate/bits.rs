//! Bits as functions of bits of the weights.
//!
//! A function is its table over the few bits that it depends on, so that equal functions are equal values, whichever instructions they come from.

use std::collections::HashMap;

/// The most bits that a function is known for: four codes of a byte have eight, but no weight has more than four.
pub(super) const MOST_VARIABLES: usize = 6;

/// The number of a function.
pub(super) type Bit = u32;

pub(super) const FALSE: Bit = 0;
pub(super) const TRUE: Bit = 1;

/// A bit, by the bits of the weights that it depends on: variable `i` is bit `i` of the number of an entry of the table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Function {
    /// Numbers of bits, ascending.
    variables: Vec<u32>,
    table: u64,
}

/// All functions that came up.
#[derive(Debug)]
pub(super) struct Functions {
    all: Vec<Function>,
    numbers: HashMap<Function, Bit>,
    known: HashMap<(u8, Bit, Bit), Option<Bit>>,
}

impl Functions {
    pub(super) fn new() -> Self {
        let mut functions = Self { all: Vec::new(), numbers: HashMap::new(), known: HashMap::new() };
        for table in [0, 1] {
            functions.number(Function { variables: Vec::new(), table });
        }
        functions
    }

    /// The bit of this number of the weights.
    pub(super) fn variable(&mut self, number: u32) -> Bit {
        self.number(Function { variables: vec![number], table: 0b10 })
    }

    /// The bits that any of these depends on, ascending; `None` if they are too many.
    pub(super) fn variables(&self, bits: impl IntoIterator<Item = Bit>) -> Option<Vec<u32>> {
        let mut all = Vec::new();
        for bit in bits {
            add_variables(&mut all, &self.all[bit as usize].variables);
            if all.len() > MOST_VARIABLES {
                return None;
            }
        }
        Some(all)
    }

    /// The value of a bit where those of `variables`, among which are all that it depends on, have the bits of `assignment`.
    pub(super) fn value(&self, bit: Bit, variables: &[u32], assignment: u64) -> bool {
        let function = &self.all[bit as usize];
        let place = |variable| {
            variables.iter().position(|other| other == variable).expect("it is among the variables")
        };
        let entry = function
            .variables
            .iter()
            .enumerate()
            .fold(0, |entry, (at, variable)| entry | (assignment >> place(variable) & 1) << at);
        function.table >> entry & 1 == 1
    }

    /// The function of this table over these variables.
    pub(super) fn of_table(&mut self, variables: &[u32], table: u64) -> Bit {
        let (mut variables, mut table) = (variables.to_vec(), table);
        for at in (0..variables.len()).rev() {
            let [low, high] = [false, true].map(|is_set| half(table, variables.len(), at, is_set));
            if low == high {
                variables.remove(at);
                table = low;
            }
        }
        self.number(Function { variables, table })
    }

    pub(super) fn and(&mut self, a: Bit, b: Bit) -> Option<Bit> {
        match (a, b) {
            (FALSE, _) | (_, FALSE) => Some(FALSE),
            (TRUE, other) | (other, TRUE) => Some(other),
            _ => self.combine(0, a, b, |a, b| a & b),
        }
    }

    pub(super) fn xor(&mut self, a: Bit, b: Bit) -> Option<Bit> {
        match (a, b) {
            (FALSE, other) | (other, FALSE) => Some(other),
            _ => self.combine(1, a, b, |a, b| a ^ b),
        }
    }

    pub(super) fn or(&mut self, a: Bit, b: Bit) -> Option<Bit> {
        match (a, b) {
            (TRUE, _) | (_, TRUE) => Some(TRUE),
            (FALSE, other) | (other, FALSE) => Some(other),
            _ => self.combine(2, a, b, |a, b| a | b),
        }
    }

    fn combine(&mut self, operation: u8, a: Bit, b: Bit, of: fn(bool, bool) -> bool) -> Option<Bit> {
        if let Some(&known) = self.known.get(&(operation, a, b)) {
            return known;
        }
        let result = self.variables([a, b]).map(|variables| {
            let table = table(variables.len(), |entry| {
                of(self.value(a, &variables, entry), self.value(b, &variables, entry))
            });
            self.of_table(&variables, table)
        });
        self.known.insert((operation, a, b), result);
        result
    }

    fn number(&mut self, function: Function) -> Bit {
        let next = self.all.len() as Bit;
        let number = *self.numbers.entry(function.clone()).or_insert(next);
        if number == next {
            self.all.push(function);
        }
        number
    }
}

/// The table of a function of N variables.
pub(super) fn table(variables: usize, of: impl Fn(u64) -> bool) -> u64 {
    (0..1_u64 << variables).fold(0, |table, entry| table | u64::from(of(entry)) << entry)
}

/// Adds to ascending numbers those that are not among them.
pub(super) fn add_variables(all: &mut Vec<u32>, more: &[u32]) {
    for variable in more {
        if let Err(place) = all.binary_search(variable) {
            all.insert(place, *variable);
        }
    }
}

/// The part of a table of N variables in which variable `at` is so.
fn half(whole: u64, variables: usize, at: usize, is_set: bool) -> u64 {
    table(variables - 1, |entry| {
        let low = entry & ((1 << at) - 1);
        let entry = low | (entry >> at) << (at + 1) | u64::from(is_set) << at;
        whole >> entry & 1 == 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_functions_are_equal_whatever_they_were_made_of() {
        let mut functions = Functions::new();
        let [a, b] = [3, 9].map(|number| functions.variable(number));
        let both = functions.and(a, b).unwrap();
        assert_eq!(functions.and(b, a), Some(both));
        let either = functions.or(a, b).unwrap();
        let one = functions.xor(a, b).unwrap();
        assert_eq!(functions.xor(either, one), Some(both));
        assert_eq!(functions.xor(a, a), Some(FALSE));
        assert_eq!(functions.or(both, a), Some(a), "it does not depend on b");
        assert!(functions.value(one, &[3, 9], 0b10) && !functions.value(one, &[3, 9], 0b11));
    }

    #[test]
    fn what_depends_on_too_many_bits_is_not_known() {
        let mut functions = Functions::new();
        let mut parity = FALSE;
        for number in 0..MOST_VARIABLES as u32 {
            let next = functions.variable(number);
            parity = functions.xor(parity, next).unwrap();
        }
        let next = functions.variable(100);
        assert_eq!(functions.xor(parity, next), None);
    }
}
