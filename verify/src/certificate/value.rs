//! What a byte of a register or of memory holds, for every input of the shape.

use std::collections::HashMap;

use super::address::Addresses;
use super::bits::{Bit, FALSE, Functions, TRUE, table};
use super::expression::{Expression, Node};

/// A byte, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Byte(u32);

/// What is known of a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// It does not depend on data or addresses: it is as it was in the call that was traced.
    Known,
    /// Nobody has written it.
    Undefined,
    /// Byte `at` of something made of addresses.
    Address {
        /// By the numbers of [`Addresses`].
        sum: u32,
        at: u8,
    },
    /// Byte `at` of an f32.
    Float { of: Expression, at: u8 },
    /// Eight functions of bits of the weights.
    Bits(u32),
    /// Something made of data that no rule here describes.
    Unclear,
}

const TAG_AT: u32 = 29;

impl Byte {
    pub(super) const KNOWN: Self = Self::tagged(0, 0);
    pub(super) const UNDEFINED: Self = Self::tagged(1, 0);
    pub(super) const UNCLEAR: Self = Self::tagged(5, 0);

    const fn tagged(tag: u32, content: u32) -> Self {
        assert!(content < 1 << TAG_AT, "the call is larger than what is known of it can be numbered");
        Self(tag << TAG_AT | content)
    }

    pub(super) const fn address(sum: u32, at: u8) -> Self {
        Self::tagged(2, sum << 3 | at as u32)
    }

    pub(super) const fn float(of: Expression, at: u8) -> Self {
        Self::tagged(3, of << 2 | at as u32)
    }

    pub(super) const fn content(self) -> Content {
        let content = self.0 & ((1 << TAG_AT) - 1);
        match self.0 >> TAG_AT {
            0 => Content::Known,
            1 => Content::Undefined,
            2 => Content::Address { sum: content >> 3, at: (content & 7) as u8 },
            3 => Content::Float { of: content >> 2, at: (content & 3) as u8 },
            4 => Content::Bits(content),
            _ => Content::Unclear,
        }
    }

    pub(super) fn is_known(self) -> bool {
        self == Self::KNOWN
    }

    /// Whether it depends on weights, scales or activations.
    pub(super) fn is_data(self) -> bool {
        matches!(self.content(), Content::Float { .. } | Content::Bits(_) | Content::Unclear)
    }
}

/// A byte of an operand, with its value in the call that was traced, where that is known and counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datum {
    pub(super) byte: Byte,
    /// That of a byte that is [`Content::Known`].
    pub(super) value: u8,
}

impl Datum {
    pub(super) const ZERO: Self = Self { byte: Byte::KNOWN, value: 0 };

    pub(super) const fn of(byte: Byte) -> Self {
        Self { byte, value: 0 }
    }
}

/// Everything that bytes are made of.
#[derive(Debug)]
pub(super) struct Values {
    pub(super) functions: Functions,
    pub(super) addresses: Addresses,
    bytes: Vec<[Bit; 8]>,
    byte_numbers: HashMap<[Bit; 8], u32>,
    pub(super) nodes: Vec<Node>,
}

impl Values {
    pub(super) fn new() -> Self {
        Self {
            functions: Functions::new(),
            addresses: Addresses::new(),
            bytes: Vec::new(),
            byte_numbers: HashMap::new(),
            nodes: Vec::new(),
        }
    }

    /// The byte of these bits, the lowest first; a constant one with its value.
    pub(super) fn byte(&mut self, bits: [Bit; 8]) -> Datum {
        if bits.iter().all(|&bit| bit <= TRUE) {
            let value = bits.iter().rev().fold(0, |value, &bit| value << 1 | bit as u8);
            return Datum { byte: Byte::KNOWN, value };
        }
        let next = self.bytes.len() as u32;
        let number = *self.byte_numbers.entry(bits).or_insert(next);
        if number == next {
            self.bytes.push(bits);
        }
        Datum::of(Byte::tagged(4, number))
    }

    /// The bits of a byte; `None` where it has no such.
    pub(super) fn bits(&self, datum: Datum) -> Option<[Bit; 8]> {
        match datum.byte.content() {
            Content::Known => {
                Some(std::array::from_fn(|at| if datum.value >> at & 1 == 1 { TRUE } else { FALSE }))
            }
            Content::Bits(number) => Some(self.bytes[number as usize]),
            _ => None,
        }
    }

    /// The bits of some bytes, the lowest first.
    pub(super) fn all_bits(&self, data: &[Datum]) -> Option<Vec<Bit>> {
        let mut all = Vec::with_capacity(8 * data.len());
        for &datum in data {
            all.extend(self.bits(datum)?);
        }
        Some(all)
    }

    /// The bytes of these bits.
    pub(super) fn bytes_of(&mut self, bits: &[Bit]) -> Vec<Datum> {
        bits.as_chunks().0.iter().map(|&bits| self.byte(bits)).collect()
    }

    /// Bytes that depend on a few bits of the weights as numbers: one for each value of those.
    pub(super) fn entries(&self, data: &[Datum]) -> Option<(Vec<u32>, Vec<u64>)> {
        let bits = self.all_bits(data)?;
        let variables = self.functions.variables(bits.iter().copied())?;
        let number = |entry| {
            bits.iter().rev().fold(0_u64, |number, &bit| {
                number << 1 | u64::from(self.functions.value(bit, &variables, entry))
            })
        };
        let numbers = (0..1_u64 << variables.len()).map(number).collect();
        Some((variables, numbers))
    }

    /// What `of` gives for `operands` of up to eight bytes, in `len` bytes: known where they are, a function of the few bits of the weights
    /// that they depend on, and unclear otherwise.
    pub(super) fn compute(
        &mut self,
        operands: &[&[Datum]],
        len: usize,
        of: impl Fn(&[u64]) -> u64,
    ) -> Vec<Datum> {
        let bits: Option<Vec<Vec<Bit>>> = operands.iter().map(|operand| self.all_bits(operand)).collect();
        let Some(bits) = bits else { return vec![Datum::of(Byte::UNCLEAR); len] };
        let Some(variables) = self.functions.variables(bits.iter().flatten().copied()) else {
            return vec![Datum::of(Byte::UNCLEAR); len];
        };
        let results: Vec<u64> = (0..1_u64 << variables.len())
            .map(|entry| {
                let value = |bits: &Vec<Bit>| {
                    bits.iter().rev().fold(0_u64, |value, &bit| {
                        value << 1 | u64::from(self.functions.value(bit, &variables, entry))
                    })
                };
                of(&bits.iter().map(value).collect::<Vec<_>>())
            })
            .collect();
        let bits: Vec<Bit> = (0..8 * len)
            .map(|at| {
                let table = table(variables.len(), |entry| results[entry as usize] >> at & 1 == 1);
                self.functions.of_table(&variables, table)
            })
            .collect();
        self.bytes_of(&bits)
    }

    /// Two bytes, bit by bit.
    pub(super) fn bitwise(
        &mut self,
        a: Datum,
        b: Datum,
        of: fn(&mut Functions, Bit, Bit) -> Option<Bit>,
    ) -> Datum {
        let (Some(a), Some(b)) = (self.bits(a), self.bits(b)) else { return Datum::of(Byte::UNCLEAR) };
        let mut bits = [FALSE; 8];
        for (at, bit) in bits.iter_mut().enumerate() {
            let Some(known) = of(&mut self.functions, a[at], b[at]) else {
                return Datum::of(Byte::UNCLEAR);
            };
            *bit = known;
        }
        self.byte(bits)
    }
}

/// Little-endian bytes as a number.
pub(super) fn number(data: &[Datum]) -> u64 {
    data.iter().rev().fold(0, |number, datum| number << 8 | u64::from(datum.value))
}

/// Whether all of these are known.
pub(super) fn are_known(data: &[Datum]) -> bool {
    data.iter().all(|datum| datum.byte.is_known())
}
