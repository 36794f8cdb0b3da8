//! What shows that a property is violated: data, for which this is the only place that has words.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::buffer::Buffer;
use crate::inputs::Inputs;
use crate::memory::Violation;
use crate::number;
use crate::operation::Change;
use crate::words::count;

/// What shows a failure. Its `Display` is the `detail` of reports, [`facts`](Self::facts) are the fields of a JSON report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Evidence {
    /// Outputs that are not what an oracle demands.
    Judged(Wrong),
    /// Rows that are not what the kernel's own order of summation gives.
    Order(Wrong),
    /// Quantised blocks that are not what an oracle demands: how many of how many, and the first.
    Blocks {
        /// Blocks that are wrong.
        wrong: u64,
        /// Blocks that were judged.
        of: u64,
        /// The first wrong one.
        first: Box<WrongBlock>,
    },
    /// An output that a further call gives, and what it must be by the result of the first.
    Further(Call, Miss),
    /// An output of a vector whose memory repeats, or another one that lies in the same memory.
    Repeated(Miss),
    /// An access that no kernel may make.
    Access(Violation),
    /// An input that holds another byte than before the call.
    Input {
        /// The input.
        buffer: Buffer,
        /// The first byte that is another one, counted from the start of the buffer.
        byte: usize,
        /// What it was.
        was: u8,
        /// What it is.
        is: u8,
    },
    /// Anything else.
    Words(String),
}

/// Outputs that are wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wrong {
    /// How many they are.
    pub wrong: u64,
    /// How many were judged.
    pub of: u64,
    /// The first of them.
    pub first: Miss,
    /// The one with the largest error, where that is another one.
    pub worst: Option<Box<Miss>>,
}

/// An output that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Miss {
    /// Where it stands.
    pub place: Place,
    /// What it is.
    pub got: Bits,
    /// What it must be.
    pub expected: Allowed,
}

/// The place of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// A row of a matrix, which has one.
    Row(usize),
    /// An element of a buffer.
    Element {
        /// The buffer.
        buffer: Buffer,
        /// The element's number.
        index: usize,
        /// Elements of a block of the format.
        block_len: usize,
    },
}

/// An output element: its bits, and how many bytes it has. One byte is a code, or packed codes; four are an f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bits {
    width: u8,
    bits: u32,
}

/// What an output may be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Allowed {
    /// These bits.
    Exactly(Bits),
    /// Whatever is within a bound of the exact number.
    Near {
        /// The f32 nearest to that.
        nearest: Bits,
        /// The bound of the error.
        #[serde(with = "number")]
        bound: f64,
        /// The error of what the kernel gave.
        #[serde(with = "number")]
        error: f64,
    },
    /// This infinity.
    Infinity(Bits),
    /// Any NaN.
    Nan,
    /// NaN or an infinity.
    NotFinite,
}

/// A quantised block that is wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WrongBlock {
    /// Its number.
    pub number: usize,
    /// The first element whose code is not that of the first right choice.
    pub code: Option<WrongCode>,
    /// Its scale, and that of the first right choice.
    pub scale: [Bits; 2],
    /// Its squared error.
    #[serde(with = "number")]
    pub error: f64,
    /// The least squared error that a block may have.
    #[serde(with = "number")]
    pub least: f64,
}

/// A code that a quantiser chose.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WrongCode {
    /// The element of the block.
    pub element: usize,
    /// The code, and the right one.
    pub codes: [u8; 2],
    /// The value that it stands for; none is padding.
    pub value: Option<Bits>,
}

/// How a further call differs from the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// It does not.
    Again,
    /// It does not; it is the call of this number.
    Number(usize),
    /// Other addresses, and other old contents of the output.
    Moved,
    /// Several threads call at once.
    AtOnce,
    /// Its inputs are changed.
    Changed(Change),
    /// Rows of the matrix, N of them, as a matrix of their own: the place is that in the whole matrix.
    FewRows(usize),
}

impl From<String> for Evidence {
    fn from(words: String) -> Self {
        Self::Words(words)
    }
}

impl Bits {
    /// The bits of an element of `width` bytes.
    pub fn new(width: usize, bits: u32) -> Self {
        Self { width: width as u8, bits }
    }

    /// Those of a number.
    pub fn of(number: f32) -> Self {
        Self::new(size_of::<f32>(), number.to_bits())
    }

    fn number(self) -> f32 {
        f32::from_bits(self.bits)
    }

    /// As JSON: a number, or the name of one that JSON does not have; and the bits.
    fn json(self) -> [Value; 2] {
        let Self { width, bits } = self;
        match width {
            1 => [json!(bits), json!(format!("{bits:#04x}"))],
            _ => [json(self.number().into()), json!(format!("{bits:#010x}"))],
        }
    }
}

/// A number as JSON.
fn json(number: f64) -> Value {
    number::serialize(&number, serde_json::value::Serializer).expect("a number is JSON")
}

impl Miss {
    /// Output `at` of a call with these inputs, whose bits are `got` and must be `expected`.
    pub(crate) fn new(inputs: &Inputs, at: usize, got: u32, expected: u32) -> Self {
        let (buffer, index) = inputs.output_place(at);
        let bits = |bits| Bits::new(inputs.operation.width(buffer), bits);
        let is_row = inputs.operation.is_matrix();
        let block_len = inputs.shape.format.block_len;
        let place = if is_row { Place::Row(index) } else { Place::Element { buffer, index, block_len } };
        Self { place, got: bits(got), expected: Allowed::Exactly(bits(expected)) }
    }

    /// The error where there is a bound for it; what must have its bits, or be no number, is as wrong as can be.
    pub(crate) fn error(&self) -> f64 {
        match self.expected {
            Allowed::Near { error, .. } => error,
            _ => f64::INFINITY,
        }
    }

    fn facts(&self) -> Vec<(&'static str, Value)> {
        let mut facts = match self.place {
            Place::Row(row) => vec![("row", json!(row))],
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

fn pair(names: [&'static str; 2], bits: Bits) -> impl Iterator<Item = (&'static str, Value)> {
    names.into_iter().zip(bits.json())
}

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

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Judged(wrong) => write!(f, "{wrong}"),
            Self::Order(Wrong { wrong, of, first, .. }) => write!(
                f,
                "{wrong} of {of} rows are not what the kernel's own order of summation gives, which predicts other rows with random \
                 codes and with these; the first is {first} (`qk256 reveal` shows the order)"
            ),
            Self::Blocks { wrong, of, first } => {
                write!(f, "{wrong} of {of} blocks are wrong; the first is {first}")
            }
            Self::Further(Call::FewRows(count), Miss { place: Place::Row(row), got, expected }) => {
                let noun = if *count == 1 { "row" } else { "rows" };
                write!(f, "row {row} is {expected} in this matrix and {got} in one of {count} {noun}")
            }
            Self::Further(call, Miss { place, got, expected }) if call.is_same_call() => {
                write!(f, "{call}, {} is {got}; it was {expected}", place.element())
            }
            Self::Further(call, Miss { place, got, expected }) => {
                write!(f, "{call}: {} must be {expected}, got {got}", place.element())
            }
            Self::Repeated(Miss { place, got, expected }) => write!(
                f,
                "{}, or another output that lies in the same memory, is {got}; it must be {expected}",
                place.element()
            ),
            Self::Access(violation) => write!(f, "the kernel {violation}"),
            Self::Input { buffer, byte, was, is } => {
                let name = buffer.name();
                write!(f, "byte {byte} of `{name}` was {was:#04x} before the call and is {is:#04x} after it")
            }
            Self::Words(words) => f.write_str(words),
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wrong, of, first, worst } = self;
        let noun = if matches!(first.place, Place::Row(_)) { "row" } else { "output" };
        let are = if *wrong == 1 { "is" } else { "are" };
        write!(f, "{wrong} of {} {are} wrong; the first is {first}", count(*of, noun))?;
        worst.iter().try_for_each(|worst| write!(f, "; the worst is {worst}"))
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: got {}, must be {}", self.place, self.got, self.expected)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row(row) => write!(f, "row {row}"),
            Self::Element { index, block_len, .. } => {
                write!(f, "element {} of block {}", index % block_len, index / block_len)
            }
        }
    }
}

impl Place {
    /// As an element of its buffer.
    fn element(self) -> String {
        let (buffer, index) = match self {
            Self::Row(row) => (Buffer::Out, row),
            Self::Element { buffer, index, .. } => (buffer, index),
        };
        format!("{}[{index}]", buffer.name())
    }
}

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { width, bits } = self;
        if *width == 1 { write!(f, "{bits:#04x}") } else { write!(f, "{:e} ({bits:#010x})", self.number()) }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(bits) => write!(f, "{bits}"),
            Self::Near { nearest, bound, error } => {
                let ulps = error / ulp(nearest.number());
                write!(f, "within {bound:e} of {nearest}; error {error:e}, {ulps:.1} ulp")
            }
            Self::Infinity(infinity) => write!(f, "{}", infinity.number()),
            Self::Nan => f.write_str("NaN"),
            Self::NotFinite => f.write_str("NaN or infinite"),
        }
    }
}

/// The distance of f32 neighbours at the magnitude of a number.
pub(crate) fn ulp(number: f32) -> f64 {
    let near = number.abs();
    f64::from(near.next_up()) - f64::from(near)
}

impl fmt::Display for WrongBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, code, scale: [got, expected], error, least } = self;
        write!(f, "block {number}: ")?;
        if let Some(WrongCode { element, codes: [got, expected], value }) = code {
            let value = value.map_or("padding".to_owned(), |value| format!("value {:e}", value.number()));
            write!(f, "code {got} of element {element} ({value}), must be {expected}; ")?;
        }
        write!(f, "scale {got}, must be {expected}; squared error {error:e}, the least is {least:e}")
    }
}

impl Call {
    /// Whether what is asked is the same as in the first call.
    fn is_same_call(self) -> bool {
        matches!(self, Self::Again | Self::Number(_) | Self::Moved | Self::AtOnce)
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Again => "called again",
            Self::Number(number) => return write!(f, "in call number {number}"),
            Self::Moved => "at other addresses and over other old contents",
            Self::AtOnce => "called alone and then from several threads at once, each with other data",
            Self::Changed(Change::Padding) => "with padding codes, gaps and slack changed",
            Self::Changed(Change::Complement) => "with every code complemented",
            Self::Changed(Change::NegatedX | Change::NegatedScales) => {
                "with x, or the scales, negated in the same buffers"
            }
            Self::Changed(Change::PowerOfTwo) => "with x times a power of two",
            Self::Changed(Change::RowOrder) => "with the rows in another order",
            Self::Changed(Change::BlockOrder) => "with the blocks in another order",
            Self::Changed(Change::OneBlock) => "called with one block alone, in buffers without slack",
            Self::Changed(Change::FewRows) | Self::FewRows(_) => "with some of the rows alone",
        })
    }
}
