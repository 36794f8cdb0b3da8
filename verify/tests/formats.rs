//! Formats decoded by hand, from what their projects say, and not from the descriptions: both must agree on all bytes.

use half::f16;
use qk256_verify::format::{self, Format};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// Blocks of the rows that are decoded.
const BLOCKS: usize = 3;

type Decode = fn(&[u8]) -> Vec<f64>;

fn half_at(bytes: &[u8], at: usize) -> f64 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).into()
}

fn qk256(block: &[u8]) -> Vec<f64> {
    block
        .iter()
        .flat_map(|byte| [byte & 3, byte >> 2 & 3, byte >> 4 & 3, byte >> 6])
        .map(qk256_weight)
        .collect()
}

fn qk256_weight(code: u8) -> f64 {
    [-2.0, -1.0, 1.0, 2.0][usize::from(code)]
}

fn q2_0(block: &[u8]) -> Vec<f64> {
    let scale = half_at(block, 0);
    (0..64).map(|e| (f64::from(block[2 + e / 4] >> (e % 4 * 2) & 3) - 1.0) * scale).collect()
}

fn q1_0(block: &[u8]) -> Vec<f64> {
    let scale = half_at(block, 0);
    (0..128).map(|e| if block[2 + e / 8] >> (e % 8) & 1 == 1 { scale } else { -scale }).collect()
}

fn q4_0(block: &[u8]) -> Vec<f64> {
    let (scale, nibbles) = (half_at(block, 0), &block[2..18]);
    let low = nibbles.iter().map(|byte| byte & 15);
    let high = nibbles.iter().map(|byte| byte >> 4);
    low.chain(high).map(|code| (f64::from(code) - 8.0) * scale).collect()
}

fn tq2_0(block: &[u8]) -> Vec<f64> {
    let (scale, mut out) = (half_at(block, 64), Vec::new());
    for half in [&block[..32], &block[32..64]] {
        for shift in [0, 2, 4, 6] {
            out.extend(half.iter().map(|byte| (f64::from(byte >> shift & 3) - 1.0) * scale));
        }
    }
    out
}

fn i2_s(block: &[u8]) -> Vec<f64> {
    [6, 4, 2, 0]
        .iter()
        .flat_map(|shift| block[..32].iter().map(move |byte| f64::from(byte >> shift & 3)))
        .collect()
}

fn i2_s_neon(block: &[u8]) -> Vec<f64> {
    [6, 4, 2, 0]
        .iter()
        .flat_map(|shift| block[..16].iter().map(move |byte| f64::from(byte >> shift & 3)))
        .collect()
}

/// Without the scale of the row.
fn iq2_bn(block: &[u8]) -> Vec<f64> {
    [0, 2, 4, 6]
        .iter()
        .flat_map(|shift| block.iter().map(move |byte| f64::from(byte >> shift & 3) - 1.0))
        .collect()
}

/// Bytes before the blocks of a row, bytes of a block, and how a block is decoded.
const BY_HAND: [(&str, usize, usize, Decode); 8] = [
    ("qk256", 0, 64, qk256),
    ("q2_0", 0, 18, q2_0),
    ("q1_0", 0, 18, q1_0),
    ("q4_0", 0, 18, q4_0),
    ("tq2_0", 0, 66, tq2_0),
    ("i2_s", 0, 32, i2_s),
    ("i2_s_neon", 0, 16, i2_s_neon),
    ("iq2_bn", 4, 16, iq2_bn),
];

fn agrees(format: &Format, row: &[u8], (header, block_bytes, decode): (usize, usize, Decode)) {
    let scale = if header == 4 { f64::from(f32::from_le_bytes(row[..4].try_into().unwrap())) } else { 1.0 };
    let by_hand: Vec<f64> =
        row[header..].chunks(block_bytes).flat_map(decode).map(|value| value * scale).collect();
    let described = format.decode(row, by_hand.len());
    let differs = |(a, b): (&f64, &f64)| a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan());
    let wrong = described.iter().zip(&by_hand).position(differs);
    assert_eq!(wrong, None, "{}: an element of {row:02x?}", format.name);
}

#[test]
fn every_format_is_decoded_by_hand_to_the_same_numbers() {
    let known: Vec<&str> = format::ALL.iter().map(|format| format.name).collect();
    assert_eq!(known, BY_HAND.map(|(name, ..)| name), "each has a decoder here");
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for (format, (name, header, block_bytes, decode)) in format::ALL.iter().zip(BY_HAND) {
        let len = BLOCKS * format.block_len;
        assert_eq!(format.row_bytes(len), header + BLOCKS * block_bytes, "{name}");
        for _ in 0..2000 {
            let mut row = vec![0; format.row_bytes(len)];
            rng.fill_bytes(&mut row);
            agrees(format, &row, (header, block_bytes, decode));
        }
        // Every byte at every place of a block, with a scale of one where the row has it.
        for place in 0..block_bytes {
            for byte in 0..=u8::MAX {
                let mut row = vec![0x3c; format.row_bytes(format.block_len)];
                row[header + place] = byte;
                agrees(format, &row, (header, block_bytes, decode));
            }
        }
    }
}

#[test]
fn each_code_is_in_one_byte() {
    for format in format::ALL {
        let mut all: Vec<usize> = (0..format.block_bytes).flat_map(|byte| format.elements(byte)).collect();
        all.sort_unstable();
        assert_eq!(all, Vec::from_iter(0..format.block_len), "{}", format.name);
    }
}
