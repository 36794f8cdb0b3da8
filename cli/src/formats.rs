//! `qk256 formats`: the packed formats, and how their blocks are laid out.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::{Result, bail};
use qk256_verify::format::{self, BitOrder, Format, Scale};

use crate::Verdict;
use crate::output::{self, stdout};
use crate::usage::help_end;

/// List the packed formats, or draw a block of one: which bits of which byte hold which element, and where the scale is.
#[derive(clap::Args)]
#[command(after_help = help_end!(
    "qk256 formats",
    "qk256 formats q4_0";
    "0" => "the formats are printed"
))]
pub(crate) struct Args {
    /// The format to draw
    name: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<Verdict> {
    let Some(name) = &args.name else {
        writeln!(stdout(), "{}", list())?;
        return Ok(Verdict::Pass);
    };
    let Some(format) = format::ALL.iter().find(|format| format.name == name) else {
        let names: Vec<&str> = format::ALL.iter().map(|format| format.name).collect();
        bail!("`{name}` is not a format; the formats are {}", names.join(", "))
    };
    write!(stdout(), "{}", drawing(format))?;
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
    match format.values {
        [first, .., last] if format.values.len() > 4 => format!("{first} .. {last}"),
        few => few.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    }
}

fn scale(format: &Format) -> String {
    match format.scale {
        Scale::None => "none".to_owned(),
        Scale::Separate => "separate f32, or none".to_owned(),
        Scale::InBlock(byte, number) => format!("{} at byte {byte}", number.name()),
        Scale::BeforeRow(number) => format!("{} before each row", number.name()),
    }
}

/// A line for each byte of a block, with the elements that it holds, from the most significant bits on.
fn drawing(format: &Format) -> String {
    let mut text = String::new();
    let Format { name, block_len, block_bytes, bits, .. } = format;
    let _ =
        writeln!(text, "{name}: blocks of {block_len} elements in {block_bytes} bytes, {bits} bits a code");
    let _ = writeln!(text, "codes: {}; scale: {}; from {}", values(format), scale(format), format.origin);
    let _ = write!(text, "\nbyte ");
    for slot in (0..format.codes_per_byte() as u32).rev() {
        let (high, low) = (bits * slot + bits - 1, bits * slot);
        let label = if high == low { format!("bit {low}") } else { format!("bits {high}-{low}") };
        let _ = write!(text, " {label:>9}");
    }
    text.push('\n');
    for byte in 0..format.block_bytes {
        let _ = write!(text, "{byte:4} ");
        let mut elements: Vec<usize> = format.elements(byte).collect();
        if format.order == BitOrder::LsbFirst {
            elements.reverse();
        }
        if elements.is_empty() {
            let _ = write!(text, "  scale");
        }
        for element in elements {
            let _ = write!(text, " {element:9}");
        }
        text.push('\n');
    }
    text
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
}
