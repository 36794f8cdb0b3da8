//! Activations of products: f32, or quantised to 8 bits in one of these layouts.
//!
//! A layout is a value ([`Activations`]), as a format of weights is. To add one, write a constant, and add it to [`ALL`].

use std::hash::{Hash, Hasher};

use crate::format::number::Number;

/// Every kind of activations.
pub const ALL: &[&Activations] = &[&F32, &Q8_0, &Q8_1, &Q8_K, &I8];

/// How activations are stored: blocks of `block_len` elements in `block_bytes` bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Activations {
    /// The name in cases, options and reports.
    pub name: &'static str,
    /// Elements of a block.
    pub block_len: usize,
    /// Bytes of a block.
    pub block_bytes: usize,
    /// The first byte of a block that holds an i8, and one for each element follows; `None` where elements are f32.
    pub values_at: Option<usize>,
    /// The byte of a block where its scale is, if there is one.
    pub scale: Option<(usize, Number)>,
    /// Sums of the values of a block, if there are some.
    pub sums: Option<Sums>,
}

/// Sums of the values of a block, which kernels may use in the place of the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sums {
    /// From this byte on, as i16, those of [`SUM_LEN`] elements each.
    Groups(usize),
    /// At this byte that of the block times its scale, rounded to such a number.
    Scaled(usize, Number),
}

/// f32 activations.
pub const F32: Activations =
    Activations { name: "f32", block_len: 1, block_bytes: 4, values_at: None, scale: None, sums: None };

/// `q8_0` of ggml: an f16 scale, then 32 values.
pub const Q8_0: Activations = Activations {
    name: "q8_0",
    block_len: 32,
    block_bytes: 34,
    values_at: Some(2),
    scale: Some((0, Number::F16)),
    sums: None,
};

/// `q8_1` of ggml: an f16 scale, the scaled sum of the values, then 32 values.
pub const Q8_1: Activations = Activations {
    name: "q8_1",
    block_len: 32,
    block_bytes: 36,
    values_at: Some(4),
    scale: Some((0, Number::F16)),
    sums: Some(Sums::Scaled(2, Number::F16)),
};

/// `q8_K` of ggml: an f32 scale, 256 values, and the sums of 16 values each.
pub const Q8_K: Activations = Activations {
    name: "q8_k",
    block_len: 256,
    block_bytes: 292,
    values_at: Some(4),
    scale: Some((0, Number::F32)),
    sums: Some(Sums::Groups(260)),
};

/// 8-bit integers. Whoever calls the kernel scales the product.
pub const I8: Activations =
    Activations { name: "i8", block_len: 1, block_bytes: 1, values_at: Some(0), scale: None, sums: None };

/// Elements of each of the sums of [`Sums::Groups`].
pub const SUM_LEN: usize = 16;

impl Activations {
    /// The kind of that name.
    pub fn find(name: &str) -> Option<&'static Self> {
        ALL.iter().copied().find(|activations| activations.name == name)
    }

    /// Whether elements are 8-bit integers.
    pub const fn is_quantized(&self) -> bool {
        self.values_at.is_some()
    }

    /// Bytes of a vector of whole blocks.
    pub const fn bytes(&self, len: usize) -> u128 {
        len.div_ceil(self.block_len) as u128 * self.block_bytes as u128
    }

    /// The 8-bit integers of a vector, in order.
    ///
    /// # Panics
    /// If the bytes end before the last, or elements are f32.
    pub fn values(&self, bytes: &[u8], len: usize) -> Vec<i8> {
        let at = self.values_at.expect("f32 activations hold no integers");
        let mut values = Vec::with_capacity(len);
        for block in bytes.chunks(self.block_bytes).take(len.div_ceil(self.block_len)) {
            let left = self.block_len.min(len - values.len());
            values.extend(block[at..at + left].iter().map(|&byte| byte as i8));
        }
        values
    }

    /// The scale of each block of a vector, exact; ones where there are none.
    ///
    /// # Panics
    /// If the bytes end before the last.
    pub fn scales(&self, bytes: &[u8], len: usize) -> Vec<f64> {
        let blocks = bytes.chunks(self.block_bytes).take(len.div_ceil(self.block_len));
        blocks.map(|block| self.scale.map_or(1.0, |(at, number)| number.read(&block[at..]))).collect()
    }

    /// Writes the sums of a block's values, where the layout has them: wrong sums are never sent.
    ///
    /// # Panics
    /// If the block is shorter than it must be.
    pub fn write_sums(&self, block: &mut [u8]) {
        let (Some(sums), Some(values)) = (self.sums, self.values_at) else { return };
        match sums {
            Sums::Groups(at) => {
                let (head, tail) = block.split_at_mut(at);
                for (values, to) in head[values..].chunks(SUM_LEN).zip(tail.chunks_mut(size_of::<i16>())) {
                    to.copy_from_slice(&(sum(values) as i16).to_le_bytes());
                }
            }
            Sums::Scaled(at, number) => {
                let scaled = self.scaled_sum(block);
                number.write(scaled, &mut block[at..]);
            }
        }
    }

    /// How far the scaled sum of each block is from what its values and its scale make, which rounding it costs; nothing where there are
    /// no such sums.
    ///
    /// # Panics
    /// If the bytes end before the last.
    pub fn sum_errors(&self, bytes: &[u8], len: usize) -> Vec<f64> {
        let Some(Sums::Scaled(at, number)) = self.sums else { return Vec::new() };
        let blocks = bytes.chunks(self.block_bytes).take(len.div_ceil(self.block_len));
        blocks.map(|block| (number.read(&block[at..]) - self.scaled_sum(block)).abs()).collect()
    }

    /// The sum of a block's values times its scale, exact.
    fn scaled_sum(&self, block: &[u8]) -> f64 {
        let values = self.values_at.map_or(0, |at| sum(&block[at..at + self.block_len]));
        self.scale.map_or(1.0, |(at, number)| number.read(&block[at..])) * f64::from(values)
    }
}

/// The sum of 8-bit integers.
fn sum(values: &[u8]) -> i32 {
    values.iter().map(|&value| i32::from(value as i8)).sum()
}

impl Hash for Activations {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_read_as_their_layout_says() {
        let mut block = [0_u8; 292];
        block[..4].copy_from_slice(&(-0.5_f32).to_le_bytes());
        block[4] = 0x80;
        block[4 + 17] = 3;
        Q8_K.write_sums(&mut block);
        assert_eq!(block[260..264], [0x80, 0xff, 3, 0], "-128 and 3");
        let values = Q8_K.values(&block, 256);
        assert_eq!((values[0], values[17], values.len()), (-128, 3, 256));
        assert_eq!(Q8_K.scales(&block, 256), [-0.5]);
        let mut scaled = [0_u8; 36];
        scaled[1] = 0x3c;
        scaled[4..].fill(127);
        scaled[4] = 126;
        Q8_1.write_sums(&mut scaled);
        // 4063 lies between the f16 numbers 4062 and 4064.
        assert_eq!((Number::F16.read(&scaled[2..]), Q8_1.sum_errors(&scaled, 32)), (4064.0, vec![1.0]));
        let two = [[0, 0x3c].as_slice(), &[1; 32], &[0, 0x40], &[2; 32]].concat();
        assert_eq!((Q8_0.scales(&two, 64), Q8_0.bytes(64)), (vec![1.0, 2.0], 68));
        assert_eq!(Q8_0.values(&two, 64)[31..33], [1, 2]);
        assert_eq!((I8.values(&[255, 1], 2), I8.scales(&[255, 1], 2)), (vec![-1, 1], vec![1.0, 1.0]));
    }
}
