//! `qk256 formats`: the packed formats, and how their blocks are laid out.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Result;
use qk256_verify::format::{self, Coding, Format, Number, Scale};

use crate::Verdict;
use crate::format_option::Chosen;
use crate::output::{self, stdout};
use crate::usage::help_end;

/// List the packed formats, or draw a block of one: which bits of which byte hold which element, and where the scale is.
#[derive(clap::Args)]
#[command(after_help = help_end!(
    "qk256 formats",
    "qk256 formats q4_0",
    "qk256 formats ./mine.toml";
    "0" => "the formats are printed"
))]
pub(crate) struct Args {
    /// The format to draw: a name of the list, or a TOML file that describes one (docs/formats.md)
    #[arg(value_name = "NAME|FILE.toml", value_parser = Chosen::parse)]
    format: Option<Chosen>,
}

pub(crate) fn run(args: &Args) -> Result<Verdict> {
    let text = match &args.format {
        None => format!("{}\n", list()),
        Some(chosen) => drawing(chosen.format),
    };
    write!(stdout(), "{text}")?;
    Ok(Verdict::Pass)
}

fn list() -> comfy_table::Table {
    let mut table = output::table(["format", "elements", "bytes", "bits a weight", "codes", "scale", "from"]);
    for format in format::ALL {
        let bits = 8.0 * format.block_bytes as f64 / format.block_len as f64;
        table.add_row([
            format.name,
            &format.block_len.to_string(),
            &format.block_bytes.to_string(),
            &bits.to_string(),
            &values(format),
            &scale(format),
            format.origin,
        ]);
    }
    table
}

/// What the codes weigh: all of them, or of many the first and the last.
fn values(format: &Format) -> String {
    match format.values() {
        Some([first, .., last]) if format.code_count() > 4 => format!("{first} .. {last}"),
        Some(few) => few.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        None => format!("{} codes", format.code_count()),
    }
}

fn scale(format: &Format) -> String {
    let at = |&(byte, number): &(usize, Number)| format!("{} at byte {byte}", number.name());
    match format.scale() {
        Scale::None => "none".to_owned(),
        Scale::Separate => "separate f32, or none".to_owned(),
        Scale::Tensor => "one f32 a tensor, or none".to_owned(),
        Scale::InBlock(..) => {
            format.scale_places(format.block_len).iter().map(at).collect::<Vec<_>>().join(", ")
        }
        Scale::BeforeRow(number) => format!("{} before each row", number.name()),
    }
}

/// A line for each byte of a block, with the elements that it holds, from the most significant bits on.
fn drawing(format: &Format) -> String {
    let mut text = String::new();
    let Format { name, origin, block_len, block_bytes, .. } = format;
    let (bits, label): (_, &dyn Fn(usize) -> &'static str) = match &format.coding {
        Coding::Plain(plain) => (format!("{} bits a code", plain.bits), &|byte| plain_label(format, byte)),
        Coding::Custom(coding) => (format!("{} codes", coding.code_count()), &|byte| coding.label(byte)),
    };
    let _ = writeln!(text, "{name}: blocks of {block_len} elements in {block_bytes} bytes, {bits}");
    let _ = writeln!(text, "codes: {}; scale: {}; from {origin}", values(format), scale(format));
    let _ = write!(text, "\nbyte ");
    for column in columns(format) {
        let _ = write!(text, " {column:>9}");
    }
    text.push('\n');
    for byte in 0..*block_bytes {
        let _ = write!(text, "{byte:4} ");
        let elements = elements(format, byte);
        if elements.is_empty() {
            let _ = write!(text, "  {}", label(byte));
        }
        for (element, _) in elements {
            let _ = write!(text, " {element:9}");
        }
        text.push('\n');
    }
    text
}

/// The elements that a byte holds, from the most significant bits on, and these bits. Those that share their bits are in order.
fn elements(format: &Format, byte: usize) -> Vec<(usize, u8)> {
    let mut elements: Vec<_> = format.elements_of_byte(byte).collect();
    elements.sort_by_key(|&(_, bits)| std::cmp::Reverse(bits));
    elements
}

/// What stands above the elements: their bits, or which digits they are where all share the byte.
fn columns(format: &Format) -> Vec<String> {
    let bytes = (0..format.block_bytes).map(|byte| elements(format, byte));
    let first = bytes.max_by_key(Vec::len).unwrap_or_default();
    let column = |(digit, &(_, bits)): (usize, &(usize, u8))| match (
        7 - bits.leading_zeros(),
        bits.trailing_zeros(),
    ) {
        (7, 0) => format!("digit {digit}"),
        (high, low) if high == low => format!("bit {low}"),
        (high, low) => format!("bits {high}-{low}"),
    };
    first.iter().enumerate().map(column).collect()
}

/// What a byte of a plain format that holds no codes is for.
fn plain_label(format: &Format, byte: usize) -> &'static str {
    match format.scale() {
        Scale::InBlock(at, number) if (at..at + number.width()).contains(&byte) => "scale",
        _ => "not used",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drawing_of_q4_0_has_nibbles_in_halves_and_the_scale_in_front() {
        let text = drawing(&format::Q4_0);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[3], ["byte", "bits", "7-4", "bits", "3-0"]);
        assert_eq!((&lines[4][..], &lines[5][..]), (&["0", "scale"][..], &["1", "scale"][..]));
        assert_eq!((&lines[6][..], &lines[21][..]), (&["2", "16", "0"][..], &["17", "31", "15"][..]));
        assert_eq!(lines.len(), 22);
    }

    #[test]
    fn the_first_element_of_i2_s_is_in_the_most_significant_bits() {
        let text = drawing(&format::I2_S);
        let first: Vec<&str> =
            text.lines().nth(4).expect("there is a first byte").split_whitespace().collect();
        assert_eq!(first, ["0", "0", "32", "64", "96"]);
    }
    fn line(text: &str, byte: usize) -> Vec<&str> {
        text.lines().nth(4 + byte).expect("there is such a byte").split_whitespace().collect()
    }

    #[test]
    fn the_drawing_of_q2_k_has_scales_in_front_and_halves_of_128_elements() {
        let text = drawing(&format::Q2_K);
        assert!(line(&text, 15).ends_with(&["of", "16", "elements"]), "{text}");
        assert_eq!(line(&text, 16), ["16", "96", "64", "32", "0"]);
        assert_eq!(line(&text, 79), ["79", "255", "223", "191", "159"]);
        assert_eq!(line(&text, 80), ["80", "scale", "of", "the", "scales"]);
        assert_eq!(text.lines().count(), 4 + 84);
    }

    #[test]
    fn the_drawing_of_tq1_0_has_five_digits_a_byte_and_then_four() {
        let text = drawing(&format::TQ1_0);
        assert!(text.lines().nth(3).is_some_and(|line| line.ends_with("digit 4")), "{text}");
        assert_eq!(line(&text, 1), ["1", "1", "33", "65", "97", "129"]);
        assert_eq!(line(&text, 51), ["51", "243", "247", "251", "255"]);
        assert_eq!(line(&text, 52), ["52", "scale"]);
    }
}
