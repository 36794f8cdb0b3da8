//! The one-line text form of a case: an operation, then `key=value` words that a shell passes on unquoted.
//!
//! ```text
//! gemv rows=3 cols=300 scaled stride=7 offset.x=1 slack.packed=2 codes=ramp dist=ten seed=9 patch.x.3=7fc00000
//! dot format=q4_0 activations=q8_0 rows=2 cols=64 requires=min:-127 dist=integer seed=1
//! ```
//! Whatever has its plain value is left out. docs/cases.md lists the words.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{Case, Patch};
use crate::activations::Activations;
use crate::buffer::{Buffer, OFFSET_BYTES};
use crate::data::{Codes, Distribution, Scales};
use crate::domain::Domain;
use crate::format;
use crate::operation::{Operation, UnknownOperation};
use crate::requirements::UnknownRequirement;
use crate::shape::Threads;
use crate::weights::TensorRows;

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = Self::new(self.domain(), self.rows, self.cols);
        self.write_domain(f)?;
        if self.operation.is_matrix() {
            write!(f, " rows={} cols={}", self.rows, self.cols)?;
        } else {
            write!(f, " len={}", self.cols)?;
        }
        if self.operation.is_batched() {
            write!(f, " batch={}", self.batch)?;
        }
        if self.operation.has_digits() {
            write!(f, " digits={}", self.digits)?;
        }
        if self.scaled && !plain.scaled {
            f.write_str(" scaled")?;
        }
        if self.stride != 0 {
            write!(f, " stride={}", self.stride)?;
        }
        for (name, gap) in [("x_gap", self.x_gap), ("out_gap", self.out_gap)] {
            if gap != 0 {
                write!(f, " {name}={gap}")?;
            }
        }
        for buffer in Buffer::ALL {
            if self.offset[buffer] != 0 {
                write!(f, " offset.{}={}", buffer.name(), self.offset[buffer])?;
            }
            if self.slack[buffer] != 0 {
                write!(f, " slack.{}={}", buffer.name(), self.slack[buffer])?;
            }
        }
        if let Some(tensor) = &self.tensor {
            write!(f, " tensor={} row={}", utf8_percent_encode(&tensor.name, ESCAPED), tensor.first_row)?;
        }
        if self.codes != plain.codes {
            write!(f, " codes={}", self.codes.name())?;
        }
        if self.scales != plain.scales {
            write!(f, " scales={}", self.scales.name())?;
        }
        write!(f, " dist={} seed={}", self.distribution.name(), self.seed)?;
        if self.threads != plain.threads {
            write!(f, " threads={}", self.threads.count())?;
        }
        if self.stack != 0 {
            write!(f, " stack={}", self.stack)?;
        }
        if self.once {
            f.write_str(" once")?;
        }
        for buffer in Buffer::ALL {
            if let Some(bits) = self.fill[buffer] {
                let digits = 2 * self.operation.width(buffer);
                write!(f, " fill.{}={bits:0digits$x}", buffer.name())?;
            }
        }
        self.patches.iter().try_for_each(|patch| write_patch(f, self.operation, patch))
    }
}

impl Case {
    /// The operation, and what is not plain of its domain.
    fn write_domain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = Domain::new(self.operation);
        write!(f, "{}", self.operation)?;
        if self.format != plain.format {
            write!(f, " format={}", self.format.name)?;
        }
        if self.activations != plain.activations {
            write!(f, " activations={}", self.activations.name)?;
        }
        if self.requirements != plain.requirements {
            write!(f, " requires={}", self.requirements)?;
        }
        Ok(())
    }
}

fn write_patch(f: &mut fmt::Formatter<'_>, operation: Operation, patch: &Patch) -> fmt::Result {
    write!(f, " patch.{}.{}=", patch.buffer.name(), patch.index)?;
    let digits = 2 * operation.width(patch.buffer);
    patch.bits.iter().try_for_each(|bits| write!(f, "{bits:0digits$x}"))
}

/// Why a line is not a case. Each names the word at fault and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The line has no words.
    #[error("the case is empty; it starts with an operation, such as `gemv rows=3 cols=300`")]
    Empty,
    /// The first word is not an operation.
    #[error(transparent)]
    Operation(#[from] UnknownOperation),
    /// A word that is not `key=value` or a known flag.
    #[error("`{0}` is not a word of a case of {1}; docs/cases.md lists the words")]
    Word(String, Operation),
    /// A requirement that there is not.
    #[error(transparent)]
    Requirement(#[from] UnknownRequirement),
    /// A value that does not fit its key.
    #[error("`{word}`: {expected}")]
    Value {
        /// The word at fault.
        word: String,
        /// What the key takes.
        expected: &'static str,
    },
    /// An offset, slack, fill or patch of a buffer that cannot have one.
    #[error(
        "`{1}` of a case of {0} takes no such `offset`, `slack`, `fill` or `patch`: the operation does not use the buffer, or its length is that of the case"
    )]
    Buffer(Operation, &'static str),
    /// A word that others need is absent.
    #[error("a case of {0} needs `{1}=`")]
    Missing(Operation, &'static str),
}

impl FromStr for Case {
    type Err = ParseError;

    fn from_str(line: &str) -> Result<Self, ParseError> {
        let mut words = line.split_whitespace();
        let operation: Operation = words.next().ok_or(ParseError::Empty)?.parse()?;
        let domain = domain(operation, words.clone())?;
        let mut parser =
            Parser { case: Self::new(domain, 1, 0), rows: None, cols: None, tensor: None, first_row: None };
        words.try_for_each(|word| parser.word(word))?;
        parser.finish()
    }
}

/// The domain of a case of these words.
fn domain<'a>(operation: Operation, words: impl Iterator<Item = &'a str>) -> Result<Domain, ParseError> {
    let mut domain = Domain::new(operation);
    for word in words {
        let Some((key, value)) = word.split_once('=') else { continue };
        match key {
            "format" => domain.format = format::find(value).ok_or_else(|| value_error(word, FORMATS))?,
            "activations" => {
                domain.activations =
                    Activations::find(value).ok_or_else(|| value_error(word, ACTIVATIONS))?;
            }
            "requires" => domain.requirements = value.parse()?,
            _ => {}
        }
    }
    let is_product = operation.inputs(false).contains(&Buffer::Activations);
    if domain.activations.is_quantized() != is_product {
        return Err(ParseError::Missing(
            operation,
            if is_product { "activations" } else { "f32 activations, not `activations" },
        ));
    }
    Ok(domain)
}

struct Parser {
    case: Case,
    rows: Option<usize>,
    cols: Option<usize>,
    tensor: Option<String>,
    first_row: Option<usize>,
}

impl Parser {
    fn word(&mut self, word: &str) -> Result<(), ParseError> {
        let operation = self.case.operation;
        let matrix = operation.is_matrix();
        let unknown = || ParseError::Word(word.to_owned(), operation);
        let (key, value) = match word.split_once('=') {
            Some(pair) => pair,
            None if word == "scaled" && self.case.domain().may_be_scaled() => {
                self.case.scaled = true;
                return Ok(());
            }
            None if word == "once" => {
                self.case.once = true;
                return Ok(());
            }
            None => return Err(unknown()),
        };
        match key {
            // Read before all others.
            "format" | "activations" | "requires" => {}
            "batch" if operation.is_batched() => {
                self.case.batch = number(word, value, "batch is a number of vectors, from 0 on")?
            }
            "x_gap" if operation.is_batched() => {
                self.case.x_gap = number(word, value, "x_gap is a signed number of elements")?
            }
            "out_gap" if operation.is_batched() => {
                self.case.out_gap = number(word, value, "out_gap is a signed number of elements")?
            }
            "rows" if matrix => self.rows = Some(number(word, value, "rows is a whole number, from 0 on")?),
            "cols" if matrix => self.cols = Some(number(word, value, "cols is a whole number, from 0 on")?),
            "len" if !matrix => {
                self.cols = Some(number(word, value, "len is a number of elements, from 0 on")?)
            }
            "stride" if matrix => {
                self.case.stride = number(word, value, "stride is a signed number of bytes")?
            }
            "digits" if operation.has_digits() => {
                self.case.digits = number(word, value, "digits is a number, of which 1 to 4 are legal")?
            }
            "codes" if operation.reads_codes() => {
                self.case.codes = Codes::find(value).ok_or_else(|| value_error(word, CODES))?
            }
            "scales" if self.case.domain().may_be_scaled() || self.case.scaled => {
                self.case.scales = named(word, value, &Scales::ALL, Scales::name, SCALES)?
            }
            "dist" => {
                self.case.distribution =
                    named(word, value, Distribution::ALL, Distribution::name, DISTRIBUTIONS)?
            }
            "seed" => self.case.seed = number(word, value, "seed is a 64-bit number")?,
            "threads" => {
                let count = Threads::new(number(word, value, THREADS)?);
                self.case.threads = count.ok_or_else(|| value_error(word, THREADS))?;
            }
            "stack" => {
                let stack: u16 = number(word, value, STACK)?;
                self.case.stack = (stack == 0 || stack >= MIN_STACK)
                    .then_some(stack)
                    .ok_or_else(|| value_error(word, STACK))?;
            }
            "tensor" if !value.is_empty() => self.tensor = Some(unescaped(word, value)?),
            "row" => self.first_row = Some(number(word, value, "row is the first row of the tensor")?),
            _ => self.dotted(key, value, word).ok_or_else(unknown)??,
        }
        Ok(())
    }

    /// `offset.B=N`, `slack.B=N`, `fill.B=BITS` and `patch.B.I=BITS`; `None` if the key is none of these.
    fn dotted(&mut self, key: &str, value: &str, word: &str) -> Option<Result<(), ParseError>> {
        let (kind, place) = key.split_once('.')?;
        let (name, index) = place.split_once('.').map_or((place, None), |(name, index)| (name, Some(index)));
        let buffer = Buffer::from_name(name)?;
        match (kind, index) {
            ("offset", None) => {
                let limit = OFFSET_BYTES / self.case.operation.width(buffer);
                let expected = "an offset is below 32 bytes, in elements: 0 to 31 for bytes, 0 to 7 for f32";
                let offset = number(word, value, expected).and_then(|offset: u8| {
                    (usize::from(offset) < limit).then_some(offset).ok_or(value_error(word, expected))
                });
                Some(offset.map(|offset| self.case.offset[buffer] = offset))
            }
            ("slack", None) => {
                let slack = number(word, value, "slack is a signed number of elements");
                Some(slack.map(|slack: i64| self.case.slack[buffer] = slack))
            }
            ("fill", None) => Some(self.fill(buffer, value, word)),
            ("patch", Some(index)) => Some(self.patch(buffer, index, value, word)),
            _ => None,
        }
    }

    fn patch(&mut self, buffer: Buffer, index: &str, value: &str, word: &str) -> Result<(), ParseError> {
        let index = number(word, index, "the index of a patch is a count of elements")?;
        let bits = elements(self.case.operation, buffer, value);
        let bits = bits.ok_or_else(|| value_error(word, PATCH))?;
        self.case.patches.push(Patch { buffer, index, bits });
        Ok(())
    }

    fn fill(&mut self, buffer: Buffer, value: &str, word: &str) -> Result<(), ParseError> {
        let bits = elements(self.case.operation, buffer, value);
        let [bits] = bits.as_deref().unwrap_or_default() else { return Err(value_error(word, FILL)) };
        self.case.fill[buffer] = Some(*bits);
        Ok(())
    }

    fn finish(self) -> Result<Case, ParseError> {
        let operation = self.case.operation;
        let first_row = self.first_row;
        let mut case = self.case;
        case.tensor = match (self.tensor, first_row) {
            (None, Some(_)) => return Err(ParseError::Missing(operation, "tensor")),
            (name, row) => name.map(|name| TensorRows { name, first_row: row.unwrap_or(0) }),
        };
        if operation.is_matrix() {
            case.rows = self.rows.ok_or(ParseError::Missing(operation, "rows"))?;
            case.cols = self.cols.ok_or(ParseError::Missing(operation, "cols"))?;
        } else {
            case.cols = self.cols.ok_or(ParseError::Missing(operation, "len"))?;
        }
        if case.scales != Scales::Independent && !case.scaled {
            return Err(ParseError::Missing(operation, "scaled` with `scales"));
        }
        let foreign = Buffer::ALL.into_iter().find(|&buffer| {
            let used = case.buffers().any(|own| own == buffer);
            let resizable = case.resizable_buffers().any(|own| own == buffer);
            let patched = case.patches.iter().any(|patch| patch.buffer == buffer);
            (!used && (case.offset[buffer] != 0 || case.fill[buffer].is_some() || patched))
                || (!resizable && case.slack[buffer] != 0)
        });
        match foreign {
            Some(buffer) => Err(ParseError::Buffer(operation, buffer.name())),
            None => Ok(case),
        }
    }
}

/// Elements of an input, by their bits in hexadecimal.
fn elements(operation: Operation, buffer: Buffer, value: &str) -> Option<Vec<u32>> {
    let digits = 2 * operation.width(buffer);
    let hexadecimal = value.bytes().all(|byte| byte.is_ascii_hexdigit());
    let whole = hexadecimal && !value.is_empty() && value.len().is_multiple_of(digits);
    if buffer.is_output() || !whole {
        return None;
    }
    let element = |at: usize| u32::from_str_radix(&value[at..at + digits], 16).ok();
    (0..value.len()).step_by(digits).map(element).collect()
}

const PATCH: &str = "a patch is whole elements in hexadecimal, two digits for a byte and eight for an f32";
const FILL: &str = "a fill is one element in hexadecimal, two digits for a byte and eight for an f32";
const THREADS: &str = "threads is a number from 1 to 8";
const STACK: &str = "stack is a number of KiB, 64 or more; 0 is the stack of the caller";
const CODES: &str = "codes is one of random, all0 to all15, ramp, stripes, bytes";
const FORMATS: &str = "`qk256 formats` lists the formats";
const ACTIVATIONS: &str = "activations is one of f32, q8_0, q8_k, i8";
const SCALES: &str = "scales is one of independent, equal, alternating";
const DISTRIBUTIONS: &str = "dist is one of unit, ten, integer, onehot, wide, subnormal, special, sparse, huge, absorbing, raw, extreme, levels, outliers, steps, full7, full8, full15, full16, full23";

fn value_error(word: &str, expected: &'static str) -> ParseError {
    ParseError::Value { word: word.to_owned(), expected }
}

fn number<T: FromStr>(word: &str, value: &str, expected: &'static str) -> Result<T, ParseError> {
    // Rust takes a plus sign; here a number has one spelling.
    let digits = if value.starts_with('+') { "" } else { value };
    digits.parse().map_err(|_| value_error(word, expected))
}

fn named<T: Copy>(
    word: &str,
    value: &str,
    all: &[T],
    name: fn(T) -> &'static str,
    expected: &'static str,
) -> Result<T, ParseError> {
    all.iter().copied().find(|&each| name(each) == value).ok_or_else(|| value_error(word, expected))
}

/// KiB of the smallest stack: what runs a call in the harness needs some of it.
const MIN_STACK: u16 = 64;

/// What is written as `%` and two digits in a tensor's name: all that a shell or a reader of words may give a meaning.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'.')
    .remove(b'_')
    .remove(b'-')
    .remove(b'/')
    .remove(b':')
    .remove(b',')
    .remove(b'@');

fn unescaped(word: &str, name: &str) -> Result<String, ParseError> {
    let name = percent_decode_str(name).decode_utf8();
    name.map(Cow::into_owned).map_err(|_| value_error(word, "the bytes of a tensor's name are UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_parses_back_to_the_same_case() {
        for line in [
            "unpack len=300 dist=unit seed=0",
            "lut len=1 offset.codes=31 slack.codes=-1 codes=all3 dist=raw seed=1 patch.codes.0=ff",
            "dequantize len=257 offset.out=7 dist=special seed=18446744073709551615 patch.scales.1=7fc00001ff800000",
            "gemv rows=3 cols=300 scaled stride=-64 slack.out=2 tensor=a%20b%25%F0%9F%98%80 row=7 dist=ten seed=2 threads=8",
            "gemv rows=3 cols=600 scaled codes=stripes scales=alternating dist=sparse seed=2",
            "gemv_fixed rows=3 cols=300 digits=2 stride=7 offset.x=1 dist=extreme seed=9 patch.x.0=00000001",
            "gemv rows=3 cols=600 scaled dist=unit seed=0 threads=2 fill.packed=e4 fill.scales=3f800000 fill.x=42fe0000",
            "lut len=600 dist=unit seed=0 fill.codes=02 patch.codes.7=03",
            "gemv rows=3 cols=600 codes=all3 dist=full15 seed=0 stack=256 once fill.x=42fe0000",
            "quantize len=600 offset.x=7 offset.out=31 slack.out=-1 offset.out_scales=3 slack.out_scales=2 dist=levels seed=5 patch.x.599=ff800000",
        ] {
            let case: Case = line.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(case.to_string(), line);
        }
    }

    #[test]
    fn digits_left_out_are_four_and_are_written_all_the_same() {
        let case: Case = "gemv_fixed rows=1 cols=2".parse().expect("the case parses");
        assert_eq!(case.to_string(), "gemv_fixed rows=1 cols=2 digits=4 dist=unit seed=0");
    }

    #[test]
    fn a_word_that_means_nothing_is_named() {
        for (line, part) in [
            ("", "empty"),
            ("gemn rows=1", "`gemn`"),
            ("gemv cols=1", "needs `rows=`"),
            ("gemv rows=1 cols=1 row=2", "needs `tensor=`"),
            ("unpack rows=1", "`rows=1`"),
            ("unpack len=1 scaled", "`scaled`"),
            ("unpack len=1 scales=equal", "`scales=equal`"),
            ("gemv rows=1 cols=1 scales=equal", "needs `scaled` with"),
            ("gemv rows=1 cols=1 scales=odd", "independent, equal"),
            ("unpack len=+1", "`len=+1`"),
            ("unpack len=1 slack.out=1", "`out` of a case of unpack"),
            ("unpack len=1 offset.x=1", "`x` of a case of unpack"),
            ("unpack len=1 patch.packed.0=+f", "`patch.packed.0=+f`"),
            ("unpack len=1 patch.packed.0=abc", "two digits for a byte"),
            ("lut len=1 tensor=%ff", "UTF-8"),
            ("gemv rows=1 cols=1 threads=9", "from 1 to 8"),
            ("gemv rows=1 cols=1 threads=0", "from 1 to 8"),
            ("gemv rows=1 cols=1 threads=255", "from 1 to 8"),
            ("gemv rows=1 cols=1 stack=8", "64 or more"),
            ("gemv rows=1 cols=1 once=1", "`once=1`"),
            ("gemv rows=1 cols=1 offset.x=8", "0 to 7 for f32"),
            ("gemv rows=1 cols=1 dist=odd", "unit, ten"),
            ("gemv rows=1 cols=1 digits=4", "`digits=4` is not a word of a case of gemv"),
            ("gemv_fixed rows=1 cols=1 scaled", "`scaled` is not a word of a case of gemv_fixed"),
            ("gemv_fixed rows=1 cols=1 digits=256", "1 to 4 are legal"),
            ("gemv rows=1 cols=1 fill.x=42fe00", "eight for an f32"),
            ("gemv rows=1 cols=1 fill.x=42fe000042fe0000", "one element"),
            ("gemv rows=1 cols=1 fill.out=42fe0000", "one element"),
            ("gemv rows=1 cols=1 fill.codes=00", "`codes` of a case of gemv"),
            ("gemv_fixed rows=1 cols=1 patch.scales.0=00000000", "`scales` of a case of gemv_fixed"),
            ("quantize len=1 slack.x=1", "`x` of a case of quantize"),
            ("quantize len=1 offset.packed=1", "`packed` of a case of quantize"),
            ("quantize len=1 codes=ramp", "`codes=ramp`"),
            ("quantize len=1 patch.out_scales.0=00000000", "whole elements"),
        ] {
            let error = line.parse::<Case>().expect_err(line).to_string();
            assert!(error.contains(part), "`{line}` must name {part}: {error}");
        }
    }
}
