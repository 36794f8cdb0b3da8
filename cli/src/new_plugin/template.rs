//! The sources that `new-plugin` writes: templates, filled with what a format and an operation need.
//!
//! Lines from `@if` to `@end` are for some kernels only: each word behind `@if` must be a tag of the kernel, or one of several between `|`.
//! `@WORD@` is replaced by its value.

use anyhow::{Result, bail};
use qk256_verify::Operation;
use qk256_verify::activations::Activations;
use qk256_verify::format::{self, BitOrder, Coding, Format, Number, Plain, Scale};

use super::Language;

const C: &str = include_str!("kernel.c.txt");
const RUST: &str = include_str!("kernel.rs.txt");

/// The operations that there is a template for.
pub(super) const OPERATIONS: [Operation; 5] =
    [Operation::Unpack, Operation::Dequantize, Operation::Gemv, Operation::Gemm, Operation::Dot];

/// A kernel to be written.
pub(super) struct Kernel {
    language: Language,
    format: &'static Format,
    operation: Operation,
    activations: &'static Activations,
    /// What its operation reads scales and activations by.
    numbers: Vec<Number>,
}

impl Kernel {
    /// # Errors
    /// If there is no template for it.
    pub(super) fn new(language: Language, format: &'static Format, operation: Operation) -> Result<Self> {
        let name = format.name;
        if !OPERATIONS.contains(&operation) {
            let names = OPERATIONS.map(Operation::name).join(", ");
            bail!("there is no template of {operation}: give one of {names}");
        }
        let is_known = format.plain().is_some() || [&format::Q2_K, &format::TQ1_0].contains(&format);
        if !is_known {
            bail!(
                "there is no template of {name}, which no description expresses; `qk256 formats` shows the formats"
            );
        }
        let activations = match (operation, format.activations) {
            (Operation::Dot, Some(activations)) => activations,
            (Operation::Dot, None) => {
                bail!(
                    "there is no template of dot on {name}, which has no quantised activations of its own: give gemv or gemm"
                )
            }
            _ => &qk256_verify::activations::F32,
        };
        let of_weights = format.scale_places(format.block_len).into_iter().map(|(_, number)| number);
        let of_x = activations.scale.map(|(_, number)| number);
        let numbers = of_weights.filter(|_| operation != Operation::Unpack).chain(of_x).collect();
        Ok(Self { language, format, operation, activations, numbers })
    }

    /// Its source.
    pub(super) fn text(&self) -> String {
        let template = if self.language == Language::Rust { RUST } else { C };
        let (tags, mut text, mut is_in) = (self.tags(), String::new(), true);
        for line in template.lines() {
            match line.strip_prefix('@') {
                Some("end") => is_in = true,
                Some(condition) if condition.starts_with("if ") => {
                    let mut words = condition.split(' ').skip(1);
                    is_in = words.all(|word| word.split('|').any(|tag| tags.contains(&tag)));
                }
                _ if is_in => text += &format!("{line}\n"),
                _ => {}
            }
        }
        self.words().iter().fold(text, |text, (word, value)| text.replace(&format!("@{word}@"), value))
    }

    fn tags(&self) -> Vec<&'static str> {
        let coding = match &self.format.coding {
            Coding::Plain(_) => "plain",
            Coding::Custom(_) => self.format.name,
        };
        let scale = match self.format.scale() {
            Scale::Separate => "separate",
            Scale::Tensor => "tensor",
            Scale::None | Scale::InBlock(..) | Scale::BeforeRow(_) => "inner",
        };
        let x = if self.activations.scale.is_some() { "x_scaled" } else { "x_plain" };
        let numbers = self.numbers.iter().map(|number| reader(*number));
        [self.operation.name(), coding, scale, x].into_iter().chain(numbers).collect()
    }

    fn words(&self) -> Vec<(&'static str, String)> {
        let Format { block_len, block_bytes, .. } = *self.format;
        let values: Vec<String> =
            self.format.values().unwrap_or_default().iter().map(ToString::to_string).collect();
        let (x_len, x_bytes) = (self.activations.block_len, self.activations.block_bytes);
        let mut words = vec![
            ("OPERATION", self.operation.name().to_owned()),
            ("FORMAT", self.format.name.to_owned()),
            ("X", self.activations.name.to_owned()),
            ("BLOCK_LEN", block_len.to_string()),
            ("BLOCK_BYTES", block_bytes.to_string()),
            ("HEADER_BYTES", self.format.header_bytes().to_string()),
            ("CODES", values.len().to_string()),
            ("VALUES", values.join(", ")),
            ("X_LEN", x_len.to_string()),
            ("X_BYTES", x_bytes.to_string()),
            ("X_VALUES_AT", self.activations.values_at.unwrap_or_default().to_string()),
            ("RUN", block_len.min(x_len).to_string()),
            ("SCALE", self.scale()),
            ("SCALE_AT", if self.format.scale() == Scale::Tensor { "0" } else { "b" }.to_owned()),
            (
                "X_SCALE",
                self.activations.scale.map_or(String::new(), |(at, number)| self.read(number, "of_x", at)),
            ),
        ];
        words.extend(self.format.plain().into_iter().flat_map(of_codes));
        words
    }

    /// The scale of block `b` of row `r`.
    fn scale(&self) -> String {
        let is_rust = self.language == Language::Rust;
        match self.format.scale() {
            Scale::Separate => "call->scales ? call->scales[r * blocks + b] : 1.0f".to_owned(),
            Scale::Tensor => "call->scales ? call->scales[0] : 1.0f".to_owned(),
            Scale::InBlock(at, number) => self.read(number, "block", at),
            Scale::BeforeRow(number) => self.read(number, "row", 0),
            Scale::None if is_rust => "1.0".to_owned(),
            Scale::None => "1.0f".to_owned(),
        }
    }

    /// What reads a number from byte `at` on.
    fn read(&self, number: Number, bytes: &str, at: usize) -> String {
        match (self.language, at) {
            (_, 0) => format!("{}({bytes})", reader(number)),
            (Language::Rust, at) => format!("{}(&{bytes}[{at}..])", reader(number)),
            (_, at) => format!("{}({bytes} + {at})", reader(number)),
        }
    }
}

/// The function that reads a number.
fn reader(number: Number) -> &'static str {
    match number {
        Number::F16 => "half",
        Number::Bf16 => "brain",
        Number::F32 => "single",
        Number::HalfE8m0 | Number::HalfE4m3 | Number::SplitF16 => {
            unreachable!("no description of a format has such a scale")
        }
    }
}

/// Where the codes of a plain format are.
fn of_codes(plain: &Plain) -> [(&'static str, String); 6] {
    let Plain { bits, codes_at, group, order, .. } = plain;
    let slots = plain.codes_per_byte();
    let shift = match order {
        BitOrder::LsbFirst => format!("({bits} * slot)"),
        BitOrder::MsbFirst => format!("(8 - {bits} * (slot + 1))"),
    };
    [
        ("CODES_AT", codes_at.to_string()),
        ("GROUP", group.to_string()),
        ("GROUP_LEN", (group * slots).to_string()),
        ("SLOTS", slots.to_string()),
        ("SHIFT", shift),
        ("MASK", plain.largest_code().to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every kernel that there is a template for.
    fn kernels() -> impl Iterator<Item = Kernel> {
        let languages = [Language::C, Language::Cpp, Language::Rust];
        let pairs = format::ALL.iter().flat_map(|&format| OPERATIONS.map(|operation| (format, operation)));
        pairs.flat_map(move |(format, operation)| {
            languages.into_iter().filter_map(move |language| Kernel::new(language, format, operation).ok())
        })
    }

    #[test]
    fn no_word_of_a_template_is_left_over() {
        assert_eq!(kernels().count(), 3 * (format::ALL.len() * OPERATIONS.len() - 1), "all but dot of qk256");
        for kernel in kernels() {
            let text = kernel.text();
            assert!(!text.is_empty() && !text.contains('@'), "{text}");
            let (opened, closed) = (text.matches('{').count(), text.matches('}').count());
            assert_eq!(opened, closed, "{text}");
            assert!(text.contains("\"my_kernel\"") && text.contains(kernel.format.name), "{text}");
        }
    }

    #[test]
    fn what_there_is_no_template_of_is_refused_with_what_there_is() {
        let refused = |format, operation| {
            Kernel::new(Language::C, format, operation).err().expect("there is none").to_string()
        };
        assert!(
            refused(&format::QK256, Operation::Quantize).contains("give one of unpack, dequantize, gemv")
        );
        assert!(refused(&format::QK256, Operation::Dot).contains("give gemv or gemm"));
    }
}
