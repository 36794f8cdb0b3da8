//! Numbers quantised as the projects' reference code does, as near as their formats are to those of this crate.

use qk256_verify::activations::Activations;
use qk256_verify::format::{Coding, Format, Q2_K, Scale};

/// Elements of a group of `q2_k`.
const GROUP: usize = 16;

/// A row of packed weights, the scales of its blocks where they are apart, and what the weights come to.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) packed: Vec<u8>,
    pub(super) scales: Vec<f32>,
    pub(super) weights: Vec<f64>,
}

impl Row {
    /// The same for products without the scales that are apart.
    pub(super) fn without_scales(self, format: &'static Format) -> Self {
        Self { weights: format.decode(&self.packed, self.weights.len()), scales: Vec::new(), ..self }
    }
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

/// The scale of some values for these weights of codes. Where the largest of these exists with one sign only, the largest value becomes it.
fn scale(usable: &[i8], offset: f64, values: &[f32]) -> f64 {
    let magnitude = |value: &f64| value.abs();
    let largest_of = |numbers: &mut dyn Iterator<Item = f64>| {
        numbers.fold(
            0.0,
            |largest: f64, number| if magnitude(&number) > magnitude(&largest) { number } else { largest },
        )
    };
    let extreme = largest_of(&mut usable.iter().map(|&value| f64::from(value) - offset));
    let has_opposite = usable.iter().any(|&value| f64::from(value) - offset == -extreme);
    let largest = largest_of(&mut values.iter().map(|&value| value.into()));
    let scale = match usable {
        [-1, 1] => values.iter().map(|value| f64::from(value.abs())).sum::<f64>() / values.len() as f64,
        _ if has_opposite => (largest / extreme).abs(),
        _ => largest / extreme,
    };
    if scale == 0.0 { 1.0 } else { scale }
}

/// A row of `q2_k`: each group has a scale and a minimum of four bits, in units of the largest of the block, those of the least error.
fn with_minima(format: &'static Format, values: &[f32]) -> Row {
    let (mut codes, mut headers) = (Vec::new(), Vec::new());
    for block in values.chunks(format.block_len) {
        let groups = || block.chunks(GROUP);
        let least = |group: &[f32]| group.iter().fold(0.0, |least: f64, &value| least.min(value.into()));
        let most = |group: &[f32]| group.iter().fold(0.0, |most: f64, &value| most.max(value.into()));
        let largest = |of: &dyn Fn(&[f32]) -> f64| groups().map(of).fold(f64::MIN_POSITIVE, f64::max);
        let scale = largest(&|group| (most(group) - least(group)) / 3.0) / 15.0;
        let minimum = largest(&|group| -least(group)) / 15.0;
        let best: Vec<u8> = groups().map(|group| best_header(group, scale, minimum)).collect();
        for (group, &header) in groups().zip(&best) {
            codes.extend(group.iter().map(|value| code_with_minimum(*value, header, scale, minimum)));
        }
        headers.push((best, [scale, minimum]));
    }
    let mut packed = format.pack(&codes);
    let mut places = format.scale_places(values.len()).into_iter();
    for (block, (best, units)) in headers.iter().enumerate() {
        packed[block * format.block_bytes..][..best.len()].copy_from_slice(best);
        for (unit, (at, number)) in units.iter().zip(places.by_ref()) {
            number.write(*unit, &mut packed[at..]);
        }
    }
    let weights = format.decode(&packed, values.len());
    Row { packed, scales: Vec::new(), weights }
}

/// The scale and minimum of a group, in a byte, whose weights are nearest to the values. Large values count more.
fn best_header(group: &[f32], scale: f64, minimum: f64) -> u8 {
    let error = |header: &u8| -> f64 {
        let weight =
            |code: u8| scale * f64::from(header & 15) * f64::from(code) - minimum * f64::from(header >> 4);
        let of = |value: &f32| weight(code_with_minimum(*value, *header, scale, minimum)) - f64::from(*value);
        group.iter().map(|value| f64::from(value.abs()) * of(value) * of(value)).sum()
    };
    (0..=u8::MAX).min_by(|one, other| error(one).total_cmp(&error(other))).unwrap_or_default()
}

/// The code of a value in a group with this scale and minimum.
fn code_with_minimum(value: f32, header: u8, scale: f64, minimum: f64) -> u8 {
    let step = scale * f64::from((header & 15).max(1));
    ((f64::from(value) + minimum * f64::from(header >> 4)) / step).round().clamp(0.0, 3.0) as u8
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

#[cfg(test)]
mod tests {
    use qk256_verify::format::{I2_S, IQ2_BN, Q1_0, Q2_0, Q2_K, Q4_0, QK256, TQ2_0};

    use super::weights;

    #[test]
    fn weights_are_near_the_values() {
        let values: Vec<f32> = (0..4096).map(|at| 0.1 + 2.0 * (at as f32).cos()).collect();
        for (format, most) in [
            (&Q4_0, 0.1),
            (&Q2_K, 0.4),
            (&QK256, 0.6),
            (&TQ2_0, 0.7),
            (&Q2_0, 0.7),
            (&IQ2_BN, 0.7),
            (&Q1_0, 0.8),
        ] {
            let row = weights(format, &values);
            let square = |(weight, value): (&f64, &f32)| (weight - f64::from(*value)).powi(2);
            let squares = row.weights.iter().zip(&values).map(square).sum::<f64>();
            let error = (squares / values.len() as f64).sqrt();
            assert!(error < most, "{}: {error}", format.name);
        }
        let row = weights(&I2_S, &values);
        let signs = row.weights.iter().zip(&values).all(|(weight, value)| {
            let sign = weight - 1.0;
            sign == 0.0 || sign == f64::from(value.signum())
        });
        assert!(signs, "the codes of i2_s are those of signs and zeros");
    }
}
