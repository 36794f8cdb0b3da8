//! The fields of a format's TOML file, and the plain format that they describe.

use serde::Deserialize;
use toml::{Table, Value};

use super::{BitOrder, Coding, Format, Number, Plain, Scale};

/// The most elements or bytes of a block, far above those of real formats, so that sums of a few of them fit any number.
const MAX_BLOCK: usize = 1 << 16;

/// The fields as they are written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Description {
    name: String,
    block_len: i64,
    block_bytes: i64,
    bits: i64,
    codes_at: i64,
    group: i64,
    order: String,
    values: Vec<i64>,
    scale: Value,
}

/// What is wrong with a field.
#[derive(Debug)]
pub(super) struct Problem {
    /// The field.
    pub(super) field: &'static str,
    /// What is wrong, and what to write in its place.
    pub(super) what: String,
}

impl Problem {
    fn new(field: &'static str, what: impl Into<String>) -> Self {
        Self { field, what: what.into() }
    }
}

impl Description {
    /// The format, which the file `origin` describes. Its name may be that of another.
    pub(super) fn format(self, origin: &str) -> Result<Format, Problem> {
        let name = self.name()?.to_owned();
        let block_len = size("block_len", self.block_len, 1)?;
        let block_bytes = size("block_bytes", self.block_bytes, 1)?;
        let bits = self.bits()?;
        let plain = Plain {
            bits,
            codes_at: size("codes_at", self.codes_at, 0)?,
            group: size("group", self.group, 1)?,
            order: self.order()?,
            values: self.values(bits)?.leak(),
            scale: scale(&self.scale)?,
        };
        let codes_end = codes_end(&plain, block_len, block_bytes)?;
        check_scale(&plain, codes_end, block_bytes)?;
        Ok(Format {
            name: name.leak(),
            origin: origin.to_owned().leak(),
            block_len,
            block_bytes,
            coding: Coding::Plain(plain),
            activations: None,
        })
    }

    fn name(&self) -> Result<&str, Problem> {
        let fits = |letter: char| matches!(letter, 'a'..='z' | '0'..='9' | '_');
        if !self.name.is_empty() && self.name.chars().all(fits) {
            return Ok(&self.name);
        }
        let what = format!("{:?} is no name: use small letters, digits and underscores only", self.name);
        Err(Problem::new("name", what))
    }

    fn bits(&self) -> Result<u32, Problem> {
        match self.bits {
            1 => Ok(1),
            2 => Ok(2),
            4 => Ok(4),
            other => {
                Err(Problem::new("bits", format!("a code of {other} bits is not supported: write 1, 2 or 4")))
            }
        }
    }

    fn order(&self) -> Result<BitOrder, Problem> {
        match self.order.as_str() {
            "lsb" => Ok(BitOrder::LsbFirst),
            "msb" => Ok(BitOrder::MsbFirst),
            other => {
                let what = format!(
                    "{other:?} is no order: write \"lsb\" where the first code of a byte is in its least significant bits, or \"msb\""
                );
                Err(Problem::new("order", what))
            }
        }
    }

    fn values(&self, bits: u32) -> Result<Vec<i8>, Problem> {
        let (count, codes) = (self.values.len(), 1 << bits);
        if count != codes {
            let what = format!(
                "{bits} bits make {codes} codes, but there are {count} values: write one for each code"
            );
            return Err(Problem::new("values", what));
        }
        let value = |&value: &i64| {
            i8::try_from(value).map_err(|_| {
                let what = format!("{value} does not fit into 8 bits: write values from -128 to 127");
                Problem::new("values", what)
            })
        };
        self.values.iter().map(value).collect()
    }
}

/// A number of elements or bytes from `least` to [`MAX_BLOCK`].
fn size(field: &'static str, number: i64, least: usize) -> Result<usize, Problem> {
    let size = usize::try_from(number).ok().filter(|size| (least..=MAX_BLOCK).contains(size));
    size.ok_or_else(|| {
        Problem::new(
            field,
            format!("{number} is out of range: write a whole number from {least} to {MAX_BLOCK}"),
        )
    })
}

/// The byte behind the codes, if they fill whole groups that fit into a block.
fn codes_end(plain: &Plain, block_len: usize, block_bytes: usize) -> Result<usize, Problem> {
    let (of_byte, group) = (plain.codes_per_byte(), plain.group);
    if !block_len.is_multiple_of(of_byte) {
        let what = format!(
            "{block_len} codes do not fill whole bytes of {of_byte} codes: write a multiple of {of_byte}"
        );
        return Err(Problem::new("block_len", what));
    }
    let bytes = block_len / of_byte;
    if !bytes.is_multiple_of(group) {
        let what = format!(
            "the {bytes} bytes of codes of a block are not a whole number of groups of {group} bytes: write a divisor of {bytes}"
        );
        return Err(Problem::new("group", what));
    }
    let end = plain.codes_at + bytes;
    if end > block_bytes {
        let what = format!(
            "the {bytes} bytes of codes from byte {} on do not fit into {block_bytes} bytes: set `block_bytes` to {end} or more, or correct \
             `codes_at`, `bits` or `block_len`",
            plain.codes_at
        );
        return Err(Problem::new("codes_at", what));
    }
    Ok(end)
}

/// The scale as it is written.
fn scale(value: &Value) -> Result<Scale, Problem> {
    match value {
        Value::String(word) if word == "none" => Ok(Scale::None),
        Value::String(word) if word == "separate" => Ok(Scale::Separate),
        Value::String(word) if word == "tensor" => Ok(Scale::Tensor),
        Value::Table(table) => inner_scale(table),
        other => Err(unknown_scale(&other.to_string())),
    }
}

/// A scale among the bytes of a row.
fn inner_scale(table: &Table) -> Result<Scale, Problem> {
    let text = |key| table.get(key).and_then(Value::as_str);
    let number = Number::ALL.into_iter().find(|number| text("number") == Some(number.name()));
    let byte = table.get("byte").and_then(Value::as_integer);
    match (text("in"), byte, number, table.len()) {
        (Some("block"), Some(byte), Some(number), 3) => Ok(Scale::InBlock(size("scale", byte, 0)?, number)),
        (Some("row"), None, Some(number), 2) => Ok(Scale::BeforeRow(number)),
        _ => Err(unknown_scale(&Value::Table(table.clone()).to_string())),
    }
}

fn unknown_scale(written: &str) -> Problem {
    let numbers = Number::ALL.map(Number::name).join(", ");
    let what = format!(
        "{written} is no scale: write \"none\", \"separate\" (one f32 a block in a buffer of its own), \"tensor\" (one f32 in that buffer), {{ in = \"block\", byte = 0, number = \
         \"f16\" }} or {{ in = \"row\", number = \"f32\" }} (before the blocks of each row); the numbers are {numbers}"
    );
    Problem::new("scale", what)
}

/// Whether the scale of a block lies within it, beside the codes.
fn check_scale(plain: &Plain, codes_end: usize, block_bytes: usize) -> Result<(), Problem> {
    let Scale::InBlock(byte, number) = plain.scale else { return Ok(()) };
    let (end, codes_at) = (byte + number.width(), plain.codes_at);
    if end > block_bytes {
        let what = format!(
            "the {} from byte {byte} on ends behind the {block_bytes} bytes of a block: set `block_bytes` to {end} or more, or correct `byte`",
            number.name()
        );
        return Err(Problem::new("scale", what));
    }
    if byte < codes_end && codes_at < end {
        let what = format!(
            "bytes {byte} to {} hold codes as well, which are in bytes {codes_at} to {}: correct `byte` or `codes_at`",
            end - 1,
            codes_end - 1
        );
        return Err(Problem::new("scale", what));
    }
    Ok(())
}
