//! Evidence as the fields of a JSON report, which docs/verification.md lists.

use serde_json::{Value, json};

use super::{Allowed, Bits, Evidence, Miss, Place, WrongBlock, WrongCode};
use crate::memory::Violation;
use crate::number;

impl Evidence {
    /// The fields of a JSON report.
    pub fn facts(&self) -> Vec<(&'static str, Value)> {
        match self {
            Self::Judged(wrong) | Self::Order(wrong) => {
                let mut facts = wrong.first.facts();
                facts.extend([("wrong", json!(wrong.wrong)), ("of", json!(wrong.of))]);
                let worst = wrong.worst.iter().map(|worst| {
                    worst.facts().into_iter().map(|(name, fact)| (name.to_owned(), fact)).collect()
                });
                facts.extend(worst.map(|worst| ("worst", Value::Object(worst))));
                facts
            }
            Self::Blocks { wrong, of, first } => {
                let mut facts = first.facts();
                facts.extend([("wrong", json!(wrong)), ("of", json!(of))]);
                facts
            }
            Self::Further(_, miss) | Self::Repeated(miss) => miss.facts(),
            Self::Access(Violation::OutOfBounds { buffer, distance, .. }) => {
                vec![("buffer", json!(buffer.name())), ("distance", json!(distance))]
            }
            Self::Access(Violation::ReadOnly { buffer, byte }) => {
                vec![("buffer", json!(buffer.name())), ("byte", json!(byte))]
            }
            Self::Input { buffer, byte, was, is } => {
                let bits = |byte: &u8| Bits::new(size_of::<u8>(), (*byte).into());
                let mut facts = vec![("buffer", json!(buffer.name())), ("byte", json!(byte))];
                facts.extend(pair(["got", "got_bits"], bits(is)));
                facts.extend(pair(["expected", "expected_bits"], bits(was)));
                facts
            }
            Self::Words(_) => Vec::new(),
        }
    }
}

impl Miss {
    fn facts(&self) -> Vec<(&'static str, Value)> {
        let mut facts = match self.place {
            Place::Row(row) => vec![("row", json!(row))],
            Place::Result { vector, row, .. } => vec![("row", json!(row)), ("vector", json!(vector))],
            Place::Element { buffer, index, .. } => {
                vec![("buffer", json!(buffer.name())), ("index", json!(index))]
            }
        };
        facts.extend(pair(["got", "got_bits"], self.got));
        match self.expected {
            Allowed::Exactly(bits) | Allowed::Infinity(bits) => {
                facts.extend(pair(["expected", "expected_bits"], bits));
            }
            Allowed::Near { nearest, bound, error } => {
                facts.extend(pair(["expected", "expected_bits"], nearest));
                facts.extend([("bound", json(bound)), ("error", json(error))]);
            }
            Allowed::Nan => facts.push(("expected", json!("NaN"))),
            Allowed::NotFinite => facts.push(("expected", json!("not finite"))),
        }
        facts
    }
}

impl WrongBlock {
    fn facts(&self) -> Vec<(&'static str, Value)> {
        let mut facts = vec![("block", json!(self.number))];
        facts.extend(self.code.map(|code| ("element", json!(code.element))));
        let code = |code: WrongCode| code.codes.map(|code| Bits::new(size_of::<u8>(), code.into()));
        let [got, expected] = self.code.map_or(self.scale, code);
        facts.extend(pair(["got", "got_bits"], got));
        facts.extend(pair(["expected", "expected_bits"], expected));
        facts.extend([("bound", json(self.least)), ("error", json(self.error))]);
        facts
    }
}

impl Bits {
    /// As JSON: a number, or the name of one that JSON does not have; and the bits.
    fn json(self) -> [Value; 2] {
        let Self { width, bits } = self;
        match width {
            1 => [json!(bits), json!(format!("{bits:#04x}"))],
            _ => [json(self.number().into()), json!(format!("{bits:#010x}"))],
        }
    }
}

fn pair(names: [&'static str; 2], bits: Bits) -> impl Iterator<Item = (&'static str, Value)> {
    names.into_iter().zip(bits.json())
}

/// A number as JSON.
fn json(number: f64) -> Value {
    number::serialize(&number, serde_json::value::Serializer).expect("a number is JSON")
}
