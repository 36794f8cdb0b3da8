//! The bytes of a row and what they hold: codes, weights and elements, and back.

use super::{BlockCoding, Coding, Element, Format, Plain, Scale, largest_magnitude, value};

/// Codes of 4 bits, the most that a description has.
const MOST_CODES: usize = 16;

impl Format {
    /// The code of element `at` of a row.
    ///
    /// # Panics
    /// If the bytes end before it.
    #[inline(always)]
    pub fn code(&self, row: &[u8], at: usize) -> u8 {
        match &self.coding {
            Coding::Plain(plain) => {
                let (byte, slot) = self.place(plain, at);
                row[byte] >> plain.shift(slot) & plain.largest_code()
            }
            Coding::Custom(coding) => {
                self.custom_codes(*coding, self.block(row, at / self.block_len))[at % self.block_len]
            }
        }
    }

    /// Puts the code of element `at`, modulo the number of codes, into a row.
    ///
    /// # Panics
    /// If the bytes end before it.
    #[inline(always)]
    pub fn set_code(&self, row: &mut [u8], at: usize, code: u8) {
        match &self.coding {
            Coding::Plain(plain) => {
                let (byte, slot) = self.place(plain, at);
                let mask = plain.mask(slot);
                row[byte] = row[byte] & !mask | code << plain.shift(slot) & mask;
            }
            Coding::Custom(coding) => {
                let block = &mut row[self.header_bytes() + at / self.block_len * self.block_bytes..]
                    [..self.block_bytes];
                let mut codes = self.custom_codes(*coding, block);
                codes[at % self.block_len] = code;
                coding.encode(&codes, block);
            }
        }
    }

    /// Packs these codes, modulo the number of codes, into a row of whole blocks. Scales and the bits that are left are zero.
    pub fn pack(&self, codes: &[u8]) -> Vec<u8> {
        let mut row = vec![0; self.row_bytes(codes.len())];
        match &self.coding {
            Coding::Plain(plain) => {
                let mask = plain.largest_code();
                self.places(plain, codes.len(), |at, byte, shift| row[byte] |= (codes[at] & mask) << shift);
            }
            Coding::Custom(coding) => {
                let blocks = row[self.header_bytes()..].chunks_mut(self.block_bytes);
                for (block, codes) in blocks.zip(codes.chunks(self.block_len)) {
                    let mut whole = codes.to_vec();
                    whole.resize(self.block_len, 0);
                    coding.encode(&whole, block);
                }
            }
        }
        row
    }

    /// The codes of the first `len` elements of a row, in order.
    ///
    /// # Panics
    /// If the bytes end before the last.
    pub fn codes(&self, row: &[u8], len: usize) -> Vec<u8> {
        match &self.coding {
            Coding::Plain(plain) => {
                let (mut codes, mask) = (vec![0; len], plain.largest_code());
                self.fill(plain, row, &mut codes, |bits| bits & mask);
                codes
            }
            Coding::Custom(coding) => {
                let mut codes = Vec::with_capacity(len);
                self.decode_custom(*coding, row, len, |element| codes.push(element.code));
                codes
            }
        }
    }

    /// The weights of the first `len` elements of a row before scales, in order.
    ///
    /// # Panics
    /// If the bytes end before the last, or codes have no [`values`](Self::values).
    pub fn weights(&self, row: &[u8], len: usize) -> Vec<i8> {
        match &self.coding {
            Coding::Plain(plain) => {
                let (mut weights, mask) = (vec![0; len], plain.largest_code());
                let values: [i8; MOST_CODES] = std::array::from_fn(|code| plain.weight(code as u8));
                self.fill(plain, row, &mut weights, |bits| values[usize::from(bits & mask) % MOST_CODES]);
                weights
            }
            Coding::Custom(coding) => {
                let mut weights = Vec::with_capacity(len);
                self.decode_custom(*coding, row, len, |element| weights.push(value(*coding, element.code)));
                weights
            }
        }
    }

    /// The first `len` numbers of a row: weights times the scales that are among its bytes, exact. The others count as one.
    ///
    /// # Panics
    /// If the bytes end before the last.
    pub fn decode(&self, row: &[u8], len: usize) -> Vec<f64> {
        self.weights_and_magnitudes(row, len).0
    }

    /// The first `len` numbers of a row, as [`decode`](Self::decode) gives them, and the magnitude of each ([`Element::magnitude`]).
    ///
    /// # Panics
    /// If the bytes end before the last.
    pub fn weights_and_magnitudes(&self, row: &[u8], len: usize) -> (Vec<f64>, Vec<f64>) {
        let plain = match &self.coding {
            Coding::Plain(plain) => plain,
            Coding::Custom(coding) => {
                let mut numbers = (Vec::with_capacity(len), Vec::with_capacity(len));
                let each = |element: Element| numbers.extend([(element.weight, element.magnitude)]);
                self.decode_custom(*coding, row, len, each);
                return numbers;
            }
        };
        let (mut weights, mask) = (vec![0.0; len], plain.largest_code());
        let values: [f64; MOST_CODES] = std::array::from_fn(|code| plain.weight(code as u8).into());
        self.fill(plain, row, &mut weights, |bits| values[usize::from(bits & mask) % MOST_CODES]);
        let largest = f64::from(largest_magnitude(plain.values));
        let mut magnitudes: Vec<f64> = weights.iter().map(|weight| weight.abs() + largest).collect();
        let blocks = weights.chunks_mut(self.block_len).zip(magnitudes.chunks_mut(self.block_len));
        for (block, (weights, magnitudes)) in blocks.enumerate() {
            let scale = match plain.scale {
                Scale::None | Scale::Separate | Scale::Tensor => break,
                Scale::BeforeRow(number) => number.read(row),
                Scale::InBlock(byte, number) => number.read(&self.block(row, block)[byte..]),
            };
            weights.iter_mut().for_each(|weight| *weight *= scale);
            magnitudes.iter_mut().for_each(|magnitude| *magnitude *= scale.abs());
        }
        (weights, magnitudes)
    }

    /// A mask of the bits of a row that its first `len` elements depend on: their codes, and all bytes that hold no codes. The other bits
    /// may be anything. `None` where the codes of some elements are not in one byte, and the last block is not whole.
    pub fn own_bits(&self, len: usize) -> Option<Vec<u8>> {
        let mut own = vec![u8::MAX; self.row_bytes(len)];
        if len.is_multiple_of(self.block_len) {
            return Some(own);
        }
        let last = own.len() - self.block_bytes;
        let block = &mut own[last..];
        let used = len % self.block_len;
        let places: Option<Vec<_>> =
            (0..self.block_len).map(|element| self.place_in_block(element)).collect();
        let places = places?;
        places[used..].iter().for_each(|&(byte, bits)| block[byte] &= !bits);
        // Bits that a code past the end shares with one that is used.
        places[..used].iter().for_each(|&(byte, bits)| block[byte] |= bits);
        Some(own)
    }

    /// Byte and slot of element `at` of a row.
    #[inline(always)]
    const fn place(&self, plain: &Plain, at: usize) -> (usize, usize) {
        let (byte, slot) = plain.place(at % self.block_len);
        (self.header_bytes() + at / self.block_len * self.block_bytes + byte, slot)
    }

    /// Fills `out` with what `of` makes of the codes of a row, each with the bits that stand above it in its byte.
    fn fill<T>(&self, plain: &Plain, row: &[u8], out: &mut [T], of: impl Fn(u8) -> T) {
        let (slots, len) = (plain.codes_per_byte(), plain.group);
        let shifts: [u32; 8] = std::array::from_fn(|slot| plain.shift(slot % slots));
        for (number, out) in out.chunks_mut(self.block_len).enumerate() {
            let block = &row[self.header_bytes() + number * self.block_bytes + plain.codes_at..];
            match (len, slots) {
                (1, 2) => fill_bytes::<2, T>(block, shifts, out, &of),
                (1, 4) => fill_bytes::<4, T>(block, shifts, out, &of),
                (1, 8) => fill_bytes::<8, T>(block, shifts, out, &of),
                _ => fill_groups(block, (len, slots), shifts, out, &of),
            }
        }
    }

    /// Calls `each` with the first `len` elements of a row, byte by byte: which element it is, the byte that holds its code, and how far
    /// that is to be shifted. As [`place`](Self::place) says, without a division for each.
    #[inline]
    fn places(&self, plain: &Plain, len: usize, mut each: impl FnMut(usize, usize, u32)) {
        let (slots, bytes) = (plain.codes_per_byte(), plain.group);
        let shifts: [u32; 8] = std::array::from_fn(|slot| plain.shift(slot % slots));
        for block in 0..self.blocks(len) {
            let mut byte = self.header_bytes() + block * self.block_bytes + plain.codes_at;
            for group in (block * self.block_len..(block + 1) * self.block_len).step_by(bytes * slots) {
                for first in group..group + bytes {
                    for (slot, &shift) in shifts[..slots].iter().enumerate() {
                        let at = first + slot * bytes;
                        if at < len {
                            each(at, byte, shift);
                        }
                    }
                    byte += 1;
                }
            }
        }
    }

    /// Calls `each` with the first `len` elements of a row, in order.
    fn decode_custom(&self, coding: &dyn BlockCoding, row: &[u8], len: usize, mut each: impl FnMut(Element)) {
        for block in 0..self.blocks(len) {
            let mut left = len - block * self.block_len;
            coding.decode(self.block(row, block), &mut |element| {
                if left > 0 {
                    each(element);
                    left -= 1;
                }
            });
        }
    }

    /// The codes of a block.
    fn custom_codes(&self, coding: &dyn BlockCoding, block: &[u8]) -> Vec<u8> {
        let mut codes = Vec::with_capacity(self.block_len);
        coding.decode(block, &mut |element| codes.push(element.code));
        codes
    }

    /// The bytes of a block of a row.
    fn block<'a>(&self, row: &'a [u8], block: usize) -> &'a [u8] {
        &row[self.header_bytes() + block * self.block_bytes..][..self.block_bytes]
    }
}

/// Fills `out` from bytes that hold N elements in a row each.
fn fill_bytes<const N: usize, T>(bytes: &[u8], shifts: [u32; 8], out: &mut [T], of: impl Fn(u8) -> T) {
    let bytes = &bytes[..out.len().div_ceil(N)];
    let (whole, rest) = out.as_chunks_mut::<N>();
    let (of_whole, of_rest) = bytes.split_at(whole.len());
    for (out, byte) in whole.iter_mut().zip(of_whole) {
        out.iter_mut().zip(shifts).for_each(|(to, shift)| *to = of(byte >> shift));
    }
    // One byte, or none.
    for byte in of_rest {
        rest.iter_mut().zip(shifts).for_each(|(to, shift)| *to = of(byte >> shift));
    }
}

/// Fills `out` from groups of bytes: the first codes of all bytes of a group, then the second ones, and so on.
fn fill_groups<T>(
    bytes: &[u8],
    (len, slots): (usize, usize),
    shifts: [u32; 8],
    out: &mut [T],
    of: impl Fn(u8) -> T,
) {
    for (group, out) in out.chunks_mut(len * slots).enumerate() {
        for (out, shift) in out.chunks_mut(len).zip(shifts) {
            let bytes = &bytes[group * len..][..out.len()];
            out.iter_mut().zip(bytes).for_each(|(to, byte)| *to = of(byte >> shift));
        }
    }
}
