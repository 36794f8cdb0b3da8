//! Numbers quantised as the projects' reference code does, as near as their formats are to those of this crate.

use qk256_verify::activations::Activations;
use qk256_verify::format::{Coding, Format, Q2_K, Scale};

/// Groups of a block of `q2_k`, and the elements of each.
const GROUPS: usize = 16;

/// A row of packed weights, the scales of its blocks where they are apart, and what the weights come to.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) packed: Vec<u8>,
    pub(super) scales: Vec<f32>,
    pub(super) weights: Vec<f64>,
}

/// A row of weights that are as near to `values` as the format has them.
pub(super) fn weights(format: &'static Format, values: &[f32]) -> Row {
    match format.coding {
        Coding::Plain(_) => plain(format, values),
        Coding::Custom(_) => with_minima(format, values),
    }
}

/// Whether rows of a format can be made.
pub(super) fn is_known(format: &Format) -> bool {
    format.plain().is_some() || format.name == Q2_K.name
}

/// A row of a plain format: the scale of a block is its largest magnitude over that of the codes, and of signs the mean magnitude. Codes of
/// ternary formats stay ternary.
fn plain(format: &'static Format, values: &[f32]) -> Row {
    let table = format.values().expect("plain formats have values");
    // The codes of i2_s are multiplied themselves, and one of them stands for zero.
    let offset = f64::from(u8::from(table == [0, 1, 2, 3]));
    let usable = if table.len() == 4 && table.contains(&0) { &table[..3] } else { table };
    let of_scale = match format.scale() {
        Scale::BeforeRow(_) => values.len(),
        _ => format.block_len,
    };
    let scales: Vec<f64> = values.chunks(of_scale).map(|part| scale(usable, offset, part)).collect();
    let code = |(at, value): (usize, &f32)| {
        let target = f64::from(*value) / scales[at / of_scale] + offset;
        let distance = |code: &usize| (f64::from(usable[*code]) - target).abs();
        (0..usable.len()).min_by(|one, other| distance(one).total_cmp(&distance(other))).unwrap_or_default()
            as u8
    };
    let mut packed = format.pack(&values.iter().enumerate().map(code).collect::<Vec<u8>>());
    for ((at, number), scale) in format.scale_places(values.len()).into_iter().zip(&scales) {
        number.write(*scale, &mut packed[at..]);
    }
    let mut decoded = format.decode(&packed, values.len());
    let is_apart = format.scale() == Scale::Separate;
    if is_apart {
        let scale = |at: usize| f64::from(scales[at / of_scale] as f32);
        decoded.iter_mut().enumerate().for_each(|(at, weight)| *weight *= scale(at));
    }
    let scales = scales.iter().map(|&scale| scale as f32).collect();
    Row { packed, scales: if is_apart { scales } else { Vec::new() }, weights: decoded }
}

/// The scale of some values for these weights of codes.
fn scale(usable: &[i8], offset: f64, values: &[f32]) -> f64 {
    let magnitudes = values.iter().map(|value| f64::from(value.abs()));
    let largest = usable.iter().map(|&value| (f64::from(value) - offset).abs()).fold(0.0, f64::max);
    let scale = match usable {
        [-1, 1] => magnitudes.sum::<f64>() / values.len() as f64,
        _ => magnitudes.fold(0.0, f64::max) / largest,
    };
    if scale > 0.0 { scale } else { 1.0 }
}

/// A row of `q2_k`: each group has a scale and a minimum of four bits, in units of the largest of the block.
fn with_minima(format: &'static Format, values: &[f32]) -> Row {
    let mut codes = Vec::new();
    let mut headers = Vec::new();
    for block in values.chunks(format.block_len) {
        let group = |values: &[f32]| {
            let (least, most) = values.iter().fold((0.0_f64, 0.0_f64), |(least, most), &value| {
                (least.min(value.into()), most.max(value.into()))
            });
            ((most - least) / 3.0, -least)
        };
        let groups: Vec<(f64, f64)> = block.chunks(GROUPS).map(group).collect();
        let unit =
            |of: fn(&(f64, f64)) -> f64| groups.iter().map(of).fold(f64::MIN_POSITIVE, f64::max) / 15.0;
        let (scale, minimum) = (unit(|group| group.0), unit(|group| group.1));
        let four_bits = groups.iter().map(|group| ((group.0 / scale).round(), (group.1 / minimum).round()));
        let four_bits: Vec<(f64, f64)> = four_bits.collect();
        for (values, (of_scale, of_minimum)) in block.chunks(GROUPS).zip(&four_bits) {
            let step = if *of_scale > 0.0 { of_scale * scale } else { 1.0 };
            let code =
                |value: &f32| ((f64::from(*value) + of_minimum * minimum) / step).round().clamp(0.0, 3.0);
            codes.extend(values.iter().map(|value| code(value) as u8));
        }
        headers.push((four_bits, scale, minimum));
    }
    let mut packed = format.pack(&codes);
    let mut places = format.scale_places(values.len()).into_iter();
    for (block, (four_bits, scale, minimum)) in headers.iter().enumerate() {
        for (group, (of_scale, of_minimum)) in four_bits.iter().enumerate() {
            packed[block * format.block_bytes + group] = *of_scale as u8 | (*of_minimum as u8) << 4;
        }
        for (value, (at, number)) in [scale, minimum].into_iter().zip(places.by_ref()) {
            number.write(*value, &mut packed[at..]);
        }
    }
    let weights = format.decode(&packed, values.len());
    Row { packed, scales: Vec::new(), weights }
}

/// Activations, as bytes where they are quantised, and what they come to.
pub(super) fn activations(kind: &'static Activations, values: &[f32]) -> (Vec<u8>, Vec<f64>) {
    let Some(values_at) = kind.values_at else {
        return (Vec::new(), values.iter().map(|&value| value.into()).collect());
    };
    let of_scale = if kind.scale.is_some() { kind.block_len } else { values.len() };
    let mut bytes = Vec::new();
    let mut exact = Vec::new();
    for part in values.chunks(of_scale) {
        let largest = part.iter().fold(0.0_f64, |largest, value| largest.max(f64::from(value.abs())));
        let step = if largest > 0.0 { largest / 127.0 } else { 1.0 };
        let mut block = vec![0; part.len() / kind.block_len * kind.block_bytes];
        for (at, value) in part.iter().enumerate() {
            block[values_at + at] = (f64::from(*value) / step).round() as i8 as u8;
        }
        if let Some((at, number)) = kind.scale {
            number.write(step, &mut block[at..]);
        }
        kind.write_sums(&mut block);
        let scales = kind.scales(&block, part.len());
        let integers = kind.values(&block, part.len()).into_iter().enumerate();
        exact.extend(integers.map(|(at, value)| f64::from(value) * scales[at / kind.block_len]));
        bytes.append(&mut block);
    }
    (bytes, exact)
}
