//! Numbers in JSON, none of which is lost: what JSON has no number for is a word.
//!
//! A field of type `f64` with `#[serde(with = "qk256_verify::number")]` is a JSON number where it is finite, in the shortest form that
//! reads back to the same bits, and otherwise the string `"NaN"`, `"inf"` or `"-inf"`. Every value is read back as it was, `-0.0`, subnormal
//! numbers and `f64::MAX` included, except that one NaN is like another.

use serde::{Deserialize, Deserializer, Serializer};

/// A finite number, or the name of one that is not.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(f64),
    Word(String),
}

/// Writes a number.
///
/// # Errors
/// If the writer fails.
pub fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if number.is_finite() { serializer.serialize_f64(*number) } else { serializer.collect_str(number) }
}

/// Reads what [`serialize`] wrote.
///
/// # Errors
/// If it is neither a number nor one of the words.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    match Written::deserialize(deserializer)? {
        Written::Number(number) => Ok(number),
        Written::Word(word) => {
            word.parse().map_err(|_| serde::de::Error::custom(format!("no number: {word:?}")))
        }
    }
}
