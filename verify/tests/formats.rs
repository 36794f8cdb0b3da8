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

fn tq1_0(block: &[u8]) -> Vec<f64> {
    let powers = [1_u32, 3, 9, 27, 81];
    let (scale, mut out) = (half_at(block, 52), Vec::new());
    for (bytes, digits) in [(&block[..32], 5), (&block[32..48], 5), (&block[48..52], 4)] {
        for power in &powers[..digits] {
            let digit = |&byte: &u8| (u32::from(byte) * power % 256 * 3) >> 8;
            out.extend(bytes.iter().map(digit).map(|digit| (f64::from(digit) - 1.0) * scale));
        }
    }
    out
}

fn q2_k(block: &[u8]) -> Vec<f64> {
    let (d, dmin, mut out) = (half_at(block, 80), half_at(block, 82), Vec::new());
    for half in [&block[16..48], &block[48..80]] {
        for shift in [0, 2, 4, 6] {
            for byte in half {
                let s = block[out.len() / 16];
                out.push(d * f64::from(s & 15) * f64::from(byte >> shift & 3) - dmin * f64::from(s >> 4));
            }
        }
    }
    out
}

/// Bytes before the blocks of a row, bytes of a block, and how a block is decoded.
const BY_HAND: [(&str, usize, usize, Decode); 10] = [
    ("qk256", 0, 64, qk256),
    ("q2_0", 0, 18, q2_0),
    ("q1_0", 0, 18, q1_0),
    ("q4_0", 0, 18, q4_0),
    ("tq2_0", 0, 66, tq2_0),
    ("tq1_0", 0, 54, tq1_0),
    ("q2_k", 0, 84, q2_k),
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
        let of_byte = |byte| format.elements_of_byte(byte).map(|(element, _)| element);
        let mut all: Vec<usize> = (0..format.block_bytes).flat_map(of_byte).collect();
        all.sort_unstable();
        assert_eq!(all, Vec::from_iter(0..format.block_len), "{}", format.name);
    }
}

/// A row of random bytes.
fn random_row(format: &Format, len: usize, rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut row = vec![0; format.row_bytes(len)];
    rng.fill_bytes(&mut row);
    row
}

/// What is seen of the first elements of a row, NaNs alike.
fn bits(format: &Format, row: &[u8], len: usize) -> Vec<(u8, u64, u64)> {
    let bits = |number: f64| if number.is_nan() { f64::NAN.to_bits() } else { number.to_bits() };
    let (weights, magnitudes) = format.weights_and_magnitudes(row, len);
    let numbers = weights.into_iter().zip(magnitudes);
    let codes = format.codes(row, len).into_iter();
    codes.zip(numbers).map(|(code, (weight, magnitude))| (code, bits(weight), bits(magnitude))).collect()
}

#[test]
fn codes_come_back_from_the_row_that_they_were_packed_into() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for format in format::ALL {
        for len in [0, 1, format.block_len - 1, format.block_len, 2 * format.block_len + 3] {
            let codes: Vec<u8> =
                (0..len).map(|_| (rng.next_u32() % u32::from(format.code_count())) as u8).collect();
            let mut row = format.pack(&codes);
            assert_eq!(row.len(), format.row_bytes(len), "{}", format.name);
            assert_eq!(format.codes(&row, len), codes, "{}", format.name);
            for at in (0..len).step_by(7) {
                let (scales, code) = (format.scale_places(len), (codes[at] + 1) % format.code_count());
                scales.iter().for_each(|&(byte, number)| number.write(-1.5, &mut row[byte..]));
                format.set_code(&mut row, at, code);
                assert_eq!(format.code(&row, at), code, "{}", format.name);
                format.set_code(&mut row, at, codes[at]);
                assert!(
                    scales.iter().all(|&(byte, number)| number.read(&row[byte..]) == -1.5),
                    "{}",
                    format.name
                );
            }
            assert_eq!(format.codes(&row, len), codes, "{}: the other codes stay", format.name);
        }
    }
}

#[test]
fn bits_that_are_not_own_do_not_matter_and_reach_the_next_code() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for format in format::ALL {
        for len in [1, format.block_len - 1, format.block_len, format.block_len + 5] {
            let own = format.own_bits(len).expect("each code is in one byte");
            let row = random_row(format, len, &mut rng);
            let changed: Vec<u8> = row.iter().zip(&own).map(|(byte, own)| byte ^ !own).collect();
            assert_eq!(bits(format, &row, len), bits(format, &changed, len), "{} {len}", format.name);
            // The codes of plain formats and of q2_k are apart; those of tq1_0 share bytes.
            let codes = |row| format.codes(row, format.blocks(len) * format.block_len)[len..].to_vec();
            let differ = codes(&row).iter().zip(codes(&changed)).all(|(one, other)| *one != other);
            assert!(differ || format.name == "tq1_0", "{} {len}", format.name);
        }
    }
}

#[test]
fn magnitudes_are_those_of_the_bound() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    for format in format::ALL {
        let len = 2 * format.block_len;
        let mut row = random_row(format, len, &mut rng);
        for (byte, number) in format.scale_places(len) {
            number.write(-0.375, &mut row[byte..]);
        }
        let scale = if format.has_inner_scales() { 0.375 } else { 1.0 };
        let largest = format.values().map(|values| values[usize::from(format.extreme_codes()[0])]);
        let (weights, magnitudes) = format.weights_and_magnitudes(&row, len);
        for (at, code) in format.codes(&row, len).into_iter().enumerate() {
            let must = match largest {
                Some(largest) => {
                    let value = f64::from(format.weight(code));
                    assert_eq!(weights[at].abs(), value.abs() * scale, "{} {at}", format.name);
                    (value.abs() + f64::from(largest).abs()) * scale
                }
                None => {
                    let s = row[at / 256 * 84 + at % 256 / 16];
                    0.375 * f64::from(s & 15) * f64::from(code) + 0.375 * f64::from(s >> 4)
                }
            };
            assert_eq!(magnitudes[at], must, "{} {at}", format.name);
        }
    }
}

#[test]
fn what_holds_of_codes_is_known_of_formats_without_a_description() {
    let [tq1_0, q2_k] = [&format::TQ1_0, &format::Q2_K];
    assert_eq!((tq1_0.code_count(), tq1_0.extreme_codes(), tq1_0.code_of(1)), (3, vec![0, 2], Some(2)));
    assert_eq!((q2_k.code_count(), q2_k.extreme_codes(), q2_k.code_of(1)), (4, vec![0, 3], None));
    assert_eq!((tq1_0.terms_per_block(), q2_k.terms_per_block()), (1, 2));
    assert_eq!(q2_k.scale_places(257).iter().map(|place| place.0).collect::<Vec<_>>(), [80, 82, 164, 166]);
    assert_eq!(format::IQ2_BN.scale_places(257).len(), 1, "one scale a row");
    assert!(!tq1_0.is_symmetric() && !q2_k.is_symmetric() && format::QK256.is_symmetric());
    assert_ne!(tq1_0.coding, q2_k.coding);
}
