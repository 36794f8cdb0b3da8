//! Formats described by TOML files: what is read, and how each mistake is answered.

use std::path::PathBuf;

use qk256_verify::format::{self, BitOrder, Coding, Format, FormatError, Plain, Scale};
use tempfile::TempDir;

/// A format like `q4_0`.
const RIGHT: &str = r#"
name = "NAME"
block_len = 32
block_bytes = 18
bits = 4
codes_at = 2
group = 16
order = "lsb"
values = [-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7]
scale = { in = "block", byte = 0, number = "f16" }
"#;

fn load(text: &str) -> Result<&'static Format, FormatError> {
    let folder = TempDir::new().expect("there is room for a folder");
    let path: PathBuf = folder.path().join("some.toml");
    std::fs::write(&path, text).expect("there is room for a file");
    format::load(&path)
}

/// The fields of a format as a file.
fn described(format: &Format, plain: &Plain, name: &str) -> String {
    let order = if plain.order == BitOrder::LsbFirst { "lsb" } else { "msb" };
    let scale = match plain.scale {
        Scale::None => "\"none\"".to_owned(),
        Scale::Separate => "\"separate\"".to_owned(),
        Scale::Tensor => "\"tensor\"".to_owned(),
        Scale::InBlock(byte, number) => {
            format!("{{ in = \"block\", byte = {byte}, number = \"{}\" }}", number.name())
        }
        Scale::BeforeRow(number) => format!("{{ in = \"row\", number = \"{}\" }}", number.name()),
    };
    let (Format { block_len, block_bytes, .. }, Plain { bits, codes_at, group, values, .. }) =
        (format, plain);
    format!(
        "name = \"{name}\"\nblock_len = {block_len}\nblock_bytes = {block_bytes}\nbits = {bits}\ncodes_at = {codes_at}\n\
         group = {group}\norder = \"{order}\"\nvalues = {values:?}\nscale = {scale}\n"
    )
}

#[test]
fn a_file_describes_each_plain_format() {
    let mut plain_formats = 0;
    for format in format::ALL {
        let Coding::Plain(plain) = &format.coding else { continue };
        let name = format!("my_{}", format.name);
        let loaded = load(&described(format, plain, &name)).expect("the description is right");
        assert_eq!((loaded.name, loaded.block_len), (&*name, format.block_len));
        assert_eq!((loaded.block_bytes, &loaded.coding), (format.block_bytes, &format.coding));
        assert!(loaded.origin.ends_with("some.toml"), "{}", loaded.origin);
        assert!(format::find(&name).is_some_and(|found| std::ptr::eq(found, loaded)), "{name} is found");
        let again = load(&described(format, plain, &name)).expect("it is the same once more");
        assert!(std::ptr::eq(again, loaded), "{name} is kept once");
        plain_formats += 1;
    }
    assert_eq!(plain_formats, 8);
    assert!(format::ALL.iter().all(|format| format::find(format.name) == Some(format)));
    assert!(format::find("unknown").is_none());
}

/// What is put in the place of what, and what the error must have in it.
const MISTAKES: &[(&str, &str, &[&str])] = &[
    ("NAME", "Mine", &["`name`", "\"Mine\"", "small letters"]),
    ("NAME", "", &["`name`", "small letters"]),
    ("NAME", "tq2_0", &["`name`", "a format from ggml", "choose another"]),
    ("block_len = 32", "block_len = 0", &["`block_len`", "from 1"]),
    ("block_len = 32", "block_len = 65538", &["`block_len`", "to 65536"]),
    ("block_len = 32", "block_len = 33", &["`block_len`", "whole bytes", "multiple of 2"]),
    ("block_bytes = 18", "block_bytes = -1", &["`block_bytes`", "-1 is out of range"]),
    ("block_bytes = 18", "block_bytes = 17", &["`codes_at`", "17 bytes", "`block_bytes` to 18"]),
    ("bits = 4", "bits = 3", &["`bits`", "3 bits", "1, 2 or 4"]),
    ("bits = 4", "bits = \"4\"", &["bits = \"4\"", "expected i64"]),
    ("bits = 4\n", "", &["missing field `bits`"]),
    ("bits = 4", "bit = 4", &["unknown field `bit`", "`bits`"]),
    ("codes_at = 2", "codes_at = 3", &["`codes_at`", "do not fit into 18 bytes", "`block_bytes` to 19"]),
    ("group = 16", "group = 0", &["`group`", "from 1"]),
    ("group = 16", "group = 5", &["`group`", "groups of 5 bytes", "divisor of 16"]),
    ("\"lsb\"", "\"little\"", &["`order`", "\"little\"", "\"msb\""]),
    ("[-8, ", "[", &["`values`", "16 codes", "15 values"]),
    ("[-8, ", "[-129, ", &["`values`", "-129", "from -128 to 127"]),
    ("byte = 0", "byte = 1", &["`scale`", "bytes 1 to 2 hold codes", "bytes 2 to 17"]),
    ("byte = 0", "byte = 17", &["`scale`", "behind the 18 bytes", "`block_bytes` to 19"]),
    ("byte = 0", "byte = -1", &["`scale`", "-1 is out of range"]),
    ("byte = 0, ", "", &["`scale`", "byte = 0"]),
    ("byte = 0", "bytes = 0", &["`scale`", "bytes = 0"]),
    ("\"block\"", "\"row\"", &["`scale`", "before the blocks of each row"]),
    ("\"block\"", "\"tensor\"", &["`scale`", "\"tensor\" (one f32 in that buffer)", "\"separate\""]),
    ("\"f16\"", "\"f64\"", &["`scale`", "f16, bf16, f32"]),
    (
        "{ in = \"block\", byte = 0, number = \"f16\" }",
        "\"one\"",
        &["`scale`", "\"one\" is no scale", "\"none\""],
    ),
    ("order = ", "order ", &["describes no format", "line 8"]),
];

#[test]
fn every_mistake_is_answered_with_the_file_the_field_and_what_to_write() {
    for &(from, to, parts) in MISTAKES {
        let text = RIGHT.replacen(from, to, 1).replace("NAME", "mistaken");
        assert_ne!(text, RIGHT.replace("NAME", "mistaken"), "{from} is in the file");
        let error = load(&text).expect_err(to).to_string();
        let missing: Vec<_> = parts.iter().filter(|part| !error.contains(**part)).collect();
        assert!(missing.is_empty() && error.contains("some.toml"), "{to}: {missing:?} not in: {error}");
    }
    assert!(format::find("mistaken").is_none(), "no wrong format is kept");
    let error = format::load(&PathBuf::from("no/such.toml")).expect_err("there is no such file").to_string();
    assert!(error.contains("no/such.toml"), "{error}");
}

#[test]
fn one_name_is_that_of_one_format() {
    let text = RIGHT.replace("NAME", "taken");
    load(&text).expect("the description is right");
    let error = load(&text.replace("lsb", "msb")).expect_err("it is another format").to_string();
    assert!(error.contains("`name`") && error.contains("`taken`"), "{error}");
}

#[test]
fn a_value_without_an_opposite_is_not_symmetric() {
    let values = "values = [-128, 127]";
    let text =
        RIGHT.replace("NAME", "lowest").replace("bits = 4", "bits = 1").replace("group = 16", "group = 4");
    let start = text.find("values").expect("there are values");
    let end = text.find("scale").expect("there is a scale");
    let format = load(&format!("{}{values}\n{}", &text[..start], &text[end..])).expect("it is right");
    assert!(!format.is_symmetric());
    assert_eq!((format.extreme_codes(), format.code_of(-128)), (vec![0], Some(0)));
}
